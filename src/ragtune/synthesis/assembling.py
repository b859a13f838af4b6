"""The finished dataset: splits by document group, labels, negatives, and no passage on both sides of a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from ragtune.data.duplicates import near_texts
from ragtune.data.records import Candidate, Dataset, Passage, Qrels
from ragtune.data.sealing import question_hash, seal_test
from ragtune.data.splitting import split_dataset
from ragtune.errors import DataError
from ragtune.recipe_synthesis import SplitRecipe
from ragtune.synthesis.drafts import Draft, Rejected, Sieved

HELD_OUT = ("test", "dev")
"""Which split keeps a passage that several ask for: the earlier one."""


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """Draft id -> split, with what is to be said of it."""

    split_of: Mapping[str, str]
    notices: tuple[str, ...] = ()


def place_drafts(drafts: Sequence[Draft], dataset: Dataset, recipe: SplitRecipe, *, seed: int) -> Placed:
    """Deal the drafts to train, dev and test by document group; a part that the dataset has already gets none.

    The dataset's own train queries are dealt with them: what one of them asks for cannot be in test for another.
    """
    sizes = {part: getattr(recipe, part) for part in HELD_OUT if not dataset.split(part)}
    everything = {draft.id: "train" for draft in drafts}
    if not any(sizes.values()) or not drafts:
        return Placed(everything)
    qrels = {query: dict(grades) for query, grades in dataset.split("train").items()}
    qrels |= {draft.id: dict.fromkeys(draft.passage_ids, 1) for draft in drafts}
    queries = dataset.queries | {draft.id: draft.as_query() for draft in drafts}
    whole = replace(dataset, queries=queries, qrels={**dataset.qrels, "train": qrels})
    try:
        done = split_dataset(whole, dev=sizes.get("dev", 0), test=sizes.get("test", 0), seed=seed)
    except DataError as error:
        return Placed(everything, (f"nothing was set aside: {error.problems[0].what} ({error.problems[0].found})",))
    placed = {query: split for split, judged in done.dataset.qrels.items() for query in judged}
    return Placed({query: placed[query] for query in (*everything, *dataset.split("train"))}, done.notices)


def drop_shared(
    drafts: Sequence[Draft], split_of: Mapping[str, str], dataset: Dataset, groups: Mapping[str, str]
) -> Sieved:
    """Take passages that test (or dev) asks for away from dev and train, after labels were completed across them.

    A draft whose own source is asked for there goes; one that merely gained such a passage keeps it as ``unsure``.
    """
    taken = {
        split: {groups[key] for grades in dataset.split(split).values() for key, grade in grades.items() if grade > 0}
        for split in HELD_OUT
    }
    rejected: list[Rejected] = []
    kept: dict[str, Draft] = {}
    above: set[str] = set()
    for split in (*HELD_OUT, "train"):
        above |= taken.get(split, set())
        own: set[str] = set()
        for draft in drafts:
            if split_of[draft.id] != split:
                continue
            if split != HELD_OUT[0] and (shared := _first_in(draft.passage_ids, above, groups)):
                reason = f"{shared} answers a query of a split that is set aside"
                rejected.append(Rejected(draft, "shared passage", reason))
                continue
            lost = [key for key, grade in draft.more.items() if grade > 0 and groups[key] in above]
            if split != HELD_OUT[0] and lost:
                more = {key: grade for key, grade in draft.more.items() if key not in lost}
                draft = replace(draft, more=more, unsure=(*draft.unsure, *lost))
            kept[draft.id] = draft
            own |= {groups[key] for key in _positives(draft)}
        above |= own
    return [kept[draft.id] for draft in drafts if draft.id in kept], rejected


def drop_asked(drafts: Sequence[Draft], split_of: Mapping[str, str], dataset: Dataset) -> Sieved:
    """Take queries of train away that test asks too, in (nearly) the same words."""
    tested = [dataset.queries[query].text for query in dataset.split(HELD_OUT[0])]
    tested += [draft.text for draft in drafts if split_of[draft.id] == HELD_OUT[0]]
    texts = {draft.id: draft.text for draft in drafts if split_of[draft.id] == "train"}
    hashes = {question_hash(text) for text in tested}
    asked = near_texts(texts, tested) | {key for key, text in texts.items() if question_hash(text) in hashes}
    rejected = [Rejected(draft, "shared question", "test asks the same") for draft in drafts if draft.id in asked]
    return [draft for draft in drafts if draft.id not in asked], rejected


def assemble(
    dataset: Dataset,
    drafts: Sequence[Draft],
    split_of: Mapping[str, str],
    *,
    changed: Mapping[str, Passage],
    source: Any,
) -> Dataset:
    """The dataset with the drafts in it; a test split that was made for them is sealed."""
    qrels: dict[str, Qrels] = {}
    for split, judged in dataset.qrels.items():
        for query, grades in judged.items():
            qrels.setdefault(split_of.get(query, split) if split == "train" else split, {})[query] = dict(grades)
    queries, candidates = dict(dataset.queries), {key: list(rows) for key, rows in dataset.candidates.items()}
    for draft in drafts:
        split = split_of[draft.id]
        queries[draft.id] = draft.as_query()
        grades = dict.fromkeys(_positives(draft), 1)
        if split in HELD_OUT:
            grades |= {key: 0 for key, grade in draft.more.items() if grade == 0}
        elif beside := _beside(draft):
            candidates[draft.id] = beside
        qrels.setdefault(split, {})[draft.id] = grades
    order = ("train", "dev", "test")
    ordered = {split: qrels[split] for split in (*order, *qrels) if split in qrels}
    corpus = {key: changed.get(key, passage) for key, passage in dataset.corpus.items()}
    info = replace(dataset.info, sources=[*dataset.info.sources, source])
    done = replace(dataset, info=info, corpus=corpus, queries=queries, qrels=ordered, candidates=candidates)
    return seal_test(done) if done.split(HELD_OUT[0]) and not dataset.split(HELD_OUT[0]) else done


def _positives(draft: Draft) -> list[str]:
    return [*draft.passage_ids, *(key for key, grade in draft.more.items() if grade > 0)]


def _beside(draft: Draft) -> list[Candidate]:
    """What training learns besides the positives: passages that do not answer, and those that nobody judged."""
    rows: dict[str, Candidate] = {}
    for key, grade in draft.more.items():
        if grade == 0:
            rows[key] = Candidate(key, relevance=0.0, source="judge")
    for key in draft.negatives:
        if key not in draft.more:
            rows[key] = Candidate(key, relevance=0.0, source="contrast")
    for key in draft.unsure:
        if key not in draft.more:
            rows[key] = Candidate(key, source="synthesis", valid=False)
    return list(rows.values())


def _first_in(keys: Iterable[str], taken: set[str], groups: Mapping[str, str]) -> str | None:
    return next((key for key in keys if groups[key] in taken), None)
