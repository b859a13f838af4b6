"""Teacher scores: every asked-for pair of query and passage scored once, whatever happens in between.

Scores go into an append-only part file as they come, keyed by a hash of the pair; the file belongs to one teacher. A
killed run goes on where it stopped, and a pair that was scored for another dataset is not scored again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragtune.data.records import Candidate, Dataset, Passage, Query
from ragtune.errors import InputError, Problem
from ragtune.recipe_mining import ScoreRecipe
from ragtune.retrieval.dense import Encoder
from ragtune.run import out_of_space_named, progress

JUDGED = "judged"
"""Source of a positive that became a candidate so that its score has a place."""


@runtime_checkable
class PairTeacher(Protocol):
    """A model that says how well a passage answers a query: a reranker, late interaction, an LLM judge."""

    def score_pairs(self, queries: Sequence[Query], passages: Sequence[Passage]) -> ArrayLike:
        """One finite score a pair, higher is better; the pairs come with like lengths beside each other."""


@final
class EncoderTeacher:
    """A bi-encoder as a teacher: the dot product. Each distinct text is encoded once."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._query: dict[tuple[str, str | None], NDArray[np.float32]] = {}
        self._passage: dict[str, NDArray[np.float32]] = {}

    def score_pairs(self, queries: Sequence[Query], passages: Sequence[Passage]) -> NDArray[np.float32]:
        """Dot products of the vectors."""
        asked = dict.fromkeys((q.text, q.prompt) for q in queries if (q.text, q.prompt) not in self._query)
        texts, prompts = [text for text, _ in asked], [prompt for _, prompt in asked]
        if asked:
            vectors = self._encoder.encode(texts, kind="query", label="queries", prompts=prompts)
            self._query |= dict(zip(asked, vectors, strict=True))
        read = list(dict.fromkeys(p.content for p in passages if p.content not in self._passage))
        if read:
            self._passage |= dict(zip(read, self._encoder.encode(read, kind="passage", label="passages"), strict=True))
        pairs = zip(queries, passages, strict=True)
        return np.array([self._query[q.text, q.prompt] @ self._passage[p.content] for q, p in pairs], dtype=np.float32)


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """A dataset with teacher scores, and how many pairs were asked for, known from before, and scored now."""

    dataset: Dataset
    pairs: int
    known: int
    scored: int


@final
@dataclass(frozen=True, slots=True)
class _Pair:
    query: Query
    passage: Passage

    @property
    def key(self) -> str:
        row = [self.query.text, self.query.prompt, self.passage.content]
        return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32]

    @property
    def length(self) -> int:
        return len(self.query.text) + len(self.passage.content)


def score_dataset(dataset: Dataset, teacher: PairTeacher, *, recipe: ScoreRecipe, part: Path) -> Scored:
    """The dataset with a teacher score in every cell that ``recipe`` names.

    ``part`` is the part file of this very teacher: its name must differ between teachers that give other scores.
    Positives that are no candidates become such, with the source ``judged``. InputError: nothing to score, or a
    teacher that gives other than one finite score a pair.
    """
    cells = list(_cells(dataset, recipe))
    if not cells:
        found, do = f"splits: {', '.join(recipe.splits)}", "mine negatives first (ragtune mine), or name other splits"
        raise InputError(Problem("there is no pair to score", dataset.info.name, found, do))
    pairs = {(q, p): _Pair(dataset.queries[q], dataset.corpus[p]) for q, p in cells}
    with _PartFile(part) as scores:
        missing = {pair.key: pair for pair in pairs.values() if pair.key not in scores}
        known = len({pair.key for pair in pairs.values()}) - len(missing)
        _score(list(missing.values()), teacher, scores, block_pairs=recipe.block_pairs)
        found_scores = {cell: scores[pair.key] for cell, pair in pairs.items()}
    return Scored(_filled(dataset, found_scores), pairs=len(cells), known=known, scored=len(missing))


def _cells(dataset: Dataset, recipe: ScoreRecipe) -> Iterator[tuple[str, str]]:
    """Each (query id, passage id) that is to be scored, once; blank texts say nothing and are left out."""
    for query, grades in ((q, g) for split in recipe.splits for q, g in dataset.split(split).items()):
        listed = {c.corpus_id: c for c in dataset.candidates.get(query, ())}
        positives = [key for key, grade in grades.items() if grade > 0] if recipe.positives else []
        for key in dict.fromkeys([*positives, *(listed if recipe.candidates else ())]):
            has_score = key in listed and listed[key].teacher is not None
            blank = not (dataset.queries[query].text.strip() and dataset.corpus[key].content)
            if not blank and not (has_score and recipe.existing == "keep"):
                yield query, key


def _score(pairs: list[_Pair], teacher: PairTeacher, scores: _PartFile, *, block_pairs: int) -> None:
    ordered = sorted(pairs, key=lambda pair: -pair.length)
    starts = range(0, len(ordered), block_pairs)
    for start in progress(starts, label="teacher scores", total=len(starts)):
        block = ordered[start : start + block_pairs]
        queries, passages = [pair.query for pair in block], [pair.passage for pair in block]
        score_B = np.asarray(teacher.score_pairs(queries, passages), dtype=np.float64)
        if score_B.shape != (len(block),) or not np.isfinite(score_B).all():
            finite = "NaN or infinite" if score_B.shape == (len(block),) else f"shape {score_B.shape}"
            found = f"{finite} for {len(block)} pairs"
            raise InputError(Problem("scores do not fit", "the teacher", found, "one finite score a pair"))
        scores.add({pair.key: round(score, 7) for pair, score in zip(block, score_B.tolist(), strict=True)})


def _filled(dataset: Dataset, score: dict[tuple[str, str], float]) -> Dataset:
    candidates = {query: list(listed) for query, listed in dataset.candidates.items()}
    grades = {query: row for qrels in dataset.qrels.values() for query, row in qrels.items()}
    new: dict[str, dict[str, float]] = {}
    for (query, key), value in score.items():
        new.setdefault(query, {})[key] = value
    for query, scored in new.items():
        listed = candidates.get(query, [])
        told = [replace(c, teacher=scored[c.corpus_id]) if c.corpus_id in scored else c for c in listed]
        missing = [key for key in scored if key not in {c.corpus_id for c in listed}]
        judged = [Candidate(k, relevance=float(grades[query][k]), teacher=scored[k], source=JUDGED) for k in missing]
        candidates[query] = [*judged, *told]
    return replace(dataset, candidates=candidates)


@final
class _PartFile:
    """Scores by key, read at the start and appended to; a last line that was cut short is written over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scores: dict[str, float] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _PartFile:
        with out_of_space_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read()
            self._file = open(self._path, "r+b" if self._path.exists() else "x+b")
            self._file.truncate(whole)
            self._file.seek(whole)
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._scores

    def __getitem__(self, key: str) -> float:
        return self._scores[key]

    def add(self, scores: dict[str, float]) -> None:
        """Append scores; they are on the disk when this returns."""
        assert self._file is not None, "a part file is open while it is added to"
        with out_of_space_named(self._path):
            self._file.write("".join(f"{json.dumps([key, value])}\n" for key, value in scores.items()).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        self._scores |= scores

    def _read(self) -> int:
        """Read the scores; gives the length of the whole lines."""
        if not self._path.exists():
            return 0
        whole = 0
        for line in self._path.read_bytes().splitlines(keepends=True):
            try:
                key, value = json.loads(line)
                if not line.endswith(b"\n"):
                    break
                self._scores[str(key)] = float(value)
            except (ValueError, TypeError):
                break
            whole += len(line)
        return whole
