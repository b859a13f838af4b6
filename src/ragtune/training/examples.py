"""Training rows from datasets: distinct passages in one pool, queries with what is known of them by pool id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from ragtune.data.duplicates import plain_text
from ragtune.data.records import Dataset, Passage
from ragtune.errors import DataError, Problem
from ragtune.models.tokens import TokenStore
from ragtune.recipe import DataRecipe, SourceRecipe
from ragtune.scoring.targets import OwnCandidate


@final
class PassagePool:
    """Every distinct passage text of a training run; an id is its place, as a string."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._place: dict[str, int] = {}

    def add(self, passage: Passage) -> str:
        """The id of a passage's text; equal texts share one."""
        place = self._place.setdefault(plain_text(passage.content), len(self.texts))
        if place == len(self.texts):
            self.texts.append(passage.content)
        return str(place)

    def id_of_text(self, text: str) -> str | None:
        """The id of the passage that is this very text, if there is one."""
        place = self._place.get(plain_text(text))
        return None if place is None else str(place)


@final
@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One query and everything known of it; passages by pool id. ``doubtful`` are suspected false negatives."""

    query_id: str
    text: str
    prompt: str | None
    positives: tuple[OwnCandidate, ...]
    negatives: tuple[OwnCandidate, ...]
    doubtful: frozenset[str]
    relevant: Mapping[str, float]
    label: str | None
    text_id: str | None
    in_batch_negatives: bool


@final
@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The rows of all sources. ``groups`` are the sets that a batch may be kept within, as row numbers."""

    rows: tuple[TrainingRow, ...]
    passages: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    notices: tuple[str, ...]

    @property
    def queries(self) -> int:
        """Rows that are trained on: those of a group."""
        return sum(len(group) for group in self.groups)


@final
@dataclass(frozen=True, slots=True)
class Source:
    """A dataset with its place in the recipe."""

    recipe: SourceRecipe
    dataset: Dataset


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """The tokenised queries (by row number) and passages (by pool id); ``frozen_PD`` are passage vectors that stay."""

    queries: TokenStore
    passages: TokenStore
    frozen_PD: Tensor | None = None


def build_training_set(sources: Sequence[Source], *, recipe: DataRecipe, seed: int, distillation: bool) -> TrainingSet:
    """Rows of every source's train split. Raises ``DataError`` when a source has none, or lacks teacher scores."""
    pool = PassagePool()
    rows_of: list[list[TrainingRow]] = []
    notices: list[str] = []
    # all passages first: a query may be a passage of a later source
    ids_of = [_pooled(source.dataset, pool) for source in sources]
    for number, source in enumerate(sources):
        rows = _rows(source, pool, ids=ids_of[number])
        unused = len(source.dataset.split("train")) - len(rows)
        if unused:
            notices.append(
                f"{source.recipe.path}: {unused} queries with an empty text or no passage are not trained on"
            )
        limit = source.recipe.max_examples
        if limit is not None and len(rows) > limit:
            chosen = np.random.default_rng([seed, number]).choice(len(rows), size=limit, replace=False)
            rows = [rows[i] for i in sorted(chosen)]
        rows_of.append(rows)
    _check(sources, rows_of, distillation=distillation)
    return _grouped(sources, rows_of, pool=pool, recipe=recipe, notices=notices)


def _pooled(dataset: Dataset, pool: PassagePool) -> dict[str, str]:
    """Pool id of every passage that stands beside a training query."""
    return {cid: pool.add(dataset.corpus[cid]) for qid in dataset.split("train") for cid in _mentioned(dataset, qid)}


def _rows(source: Source, pool: PassagePool, *, ids: Mapping[str, str]) -> list[TrainingRow]:
    train = source.dataset.split("train")
    return [row for qid in train if (row := _row(source, qid, ids=ids, pool=pool)) is not None]


def _mentioned(dataset: Dataset, query_id: str) -> list[str]:
    """Passages that stand beside a query and say something."""
    found = [*dataset.split("train")[query_id], *(c.corpus_id for c in dataset.candidates.get(query_id, ()))]
    return [corpus_id for corpus_id in found if dataset.corpus[corpus_id].content]


def _row(source: Source, query_id: str, *, ids: Mapping[str, str], pool: PassagePool) -> TrainingRow | None:
    dataset = source.dataset
    query = dataset.queries[query_id]
    own: dict[str, OwnCandidate] = {}
    for corpus_id, grade in dataset.split("train")[query_id].items():
        if corpus_id not in ids:
            continue
        own[ids[corpus_id]] = OwnCandidate(ids[corpus_id], relevance=float(grade))
    for candidate in dataset.candidates.get(query_id, ()):
        if candidate.corpus_id not in ids:
            continue
        key = ids[candidate.corpus_id]
        known = own.get(key)
        relevance = candidate.relevance
        # what is known to answer stays so: a copy of its text may stand among the negatives
        if known is not None and not (relevance or 0.0) > 0:
            relevance = known.relevance
        own[key] = OwnCandidate(key, relevance=relevance or 0.0, teacher=candidate.teacher, valid=candidate.valid)
    positives = tuple(c for c in own.values() if (c.relevance or 0.0) > 0)
    others = [c for c in own.values() if not (c.relevance or 0.0) > 0]
    # a doubtful one takes no place in a step, where it would be encoded and not counted
    negatives = tuple(c for c in others if c.valid)
    if not own or not query.text.strip():
        return None
    label = query.metadata.get("label")
    prompt = query.metadata.get("prompt")
    return TrainingRow(
        query_id=query_id,
        text=query.text,
        prompt=None if prompt is None else str(prompt),
        positives=positives,
        negatives=negatives,
        doubtful=frozenset(c.passage_id for c in others if not c.valid),
        relevant={c.passage_id: c.relevance or 0.0 for c in positives},
        label=None if label is None else str(label),
        text_id=pool.id_of_text(query.text),
        in_batch_negatives=source.recipe.in_batch_negatives and dataset.info.in_batch_negatives,
    )


def _check(sources: Sequence[Source], rows_of: Sequence[Sequence[TrainingRow]], *, distillation: bool) -> None:
    problems = []
    for source, rows in zip(sources, rows_of, strict=True):
        if not rows:
            problems.append(
                Problem(
                    what="the dataset has nothing to train on",
                    where=source.recipe.path,
                    found=f"splits: {', '.join(source.dataset.qrels) or 'none'}",
                    do="give it a train split: ragtune split, or qrels/train.tsv",
                )
            )
        bare = [r.query_id for r in rows if all(c.teacher is None for c in (*r.positives, *r.negatives))]
        if distillation and bare:
            problems.append(
                Problem(
                    what="train.distillation needs teacher scores",
                    where=source.recipe.path,
                    found=f"{len(bare)} of {len(rows)} queries without one, first {bare[0]!r}",
                    do="add teacher scores (pos_scores / neg_scores), or set train.distillation=false",
                )
            )
    if problems:
        raise DataError(problems)


def _grouped(
    sources: Sequence[Source],
    rows_of: Sequence[list[TrainingRow]],
    *,
    pool: PassagePool,
    recipe: DataRecipe,
    notices: Sequence[str],
) -> TrainingSet:
    """Sets under ``small_threshold`` become one; what is then under ``drop_threshold`` is left out, and said so."""
    rows = tuple(row for part in rows_of for row in part)
    first = np.cumsum([0, *(len(part) for part in rows_of)])
    numbers = [tuple(range(first[i], first[i + 1])) for i in range(len(rows_of))]
    small = [i for i, part in enumerate(rows_of) if len(part) < recipe.small_threshold]
    groups = [(numbers[i], sources[i].recipe.weight) for i in range(len(rows_of)) if i not in small]
    notices = [*notices]
    merged = tuple(n for i in small for n in numbers[i])
    names = ", ".join(sources[i].recipe.path for i in small)
    if merged and len(merged) < recipe.drop_threshold:
        notices.append(f"left out for data.drop_threshold={recipe.drop_threshold}: {names} ({len(merged)} queries)")
    elif merged:
        weight = sum(sources[i].recipe.weight * len(rows_of[i]) for i in small) / len(merged)
        groups.append((merged, weight))
        if len(small) > 1:
            notices.append(f"merged for data.small_threshold={recipe.small_threshold}: {names}")
    if not groups:
        raise DataError(
            Problem(
                what="no dataset is left to train on",
                where="data.drop_threshold",
                found=f"{len(merged)} queries in all, drop_threshold {recipe.drop_threshold}",
                do="lower data.drop_threshold",
            )
        )
    return TrainingSet(
        rows=rows,
        passages=tuple(pool.texts),
        groups=tuple(group for group, _ in groups),
        weights=tuple(weight for _, weight in groups),
        notices=tuple(notices),
    )
