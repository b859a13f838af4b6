"""A dataset's rows as each format has them: the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from ragtune.data.records import Dataset, Query
from ragtune.data.validation import Place, Problems, shown

Written = dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """A text with a teacher's score, if there is one."""

    text: str
    teacher: float | None


@final
@dataclass(frozen=True, slots=True)
class Group:
    """A query with all its positives and negatives."""

    query: Query
    positives: list[Scored]
    negatives: list[Scored]


@final
@dataclass(frozen=True, slots=True)
class Outgoing:
    """The part of a dataset that is exported; ``split`` None is all of it. What a format cannot say is noted."""

    dataset: Dataset
    split: str | None
    notes: Problems

    def note(self, what: str, query_id: str) -> None:
        """Note that something of a query is not exported."""
        self.notes.note(what, Place(f"query {query_id}", 0))

    def queries(self) -> Iterator[Query]:
        """The queries of the split, in the order of its qrels."""
        if self.split is None:
            yield from self.dataset.queries.values()
            return
        judged = self.dataset.split(self.split)
        yield from (self.dataset.queries[key] for key in judged)
        elsewhere = {key for qrels in self.dataset.qrels.values() for key in qrels}
        for key in self.dataset.queries:
            if key not in elsewhere:
                self.note("not exported: the query has no judgement in any split (split=None exports it)", key)

    def grades(self, query: Query) -> dict[str, int]:
        """The judgements of a query."""
        splits = self.dataset.qrels if self.split is None else (self.split,)
        return {key: grade for split in splits for key, grade in self.dataset.split(split).get(query.id, {}).items()}

    def groups(self) -> Iterator[Group]:
        """Queries with positives and negatives; an unknown candidate is a negative, a suspected positive neither."""
        for query in self.queries():
            grades = self.grades(query)
            listed = {candidate.corpus_id: candidate for candidate in self.dataset.candidates.get(query.id, [])}
            positives = [key for key, grade in grades.items() if grade > 0]
            negatives = [key for key, grade in grades.items() if grade <= 0 and key not in listed]
            for key, candidate in listed.items():
                if not candidate.valid and key not in positives:
                    self.note("not exported: a candidate that is marked as not valid", query.id)
                elif candidate.relevance and candidate.relevance > 0 and key not in grades:
                    positives.append(key)
                elif key not in positives:
                    negatives.append(key)
            teacher = {key: candidate.teacher for key, candidate in listed.items()}
            yield Group(
                query,
                positives=[Scored(self.text(key), teacher.get(key)) for key in positives],
                negatives=[Scored(self.text(key), teacher.get(key)) for key in negatives],
            )

    def text(self, corpus_id: str) -> str:
        """A passage as one text: title and text."""
        passage = self.dataset.corpus[corpus_id]
        return passage.content if passage.title else passage.text


def write_flagembedding(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``query``, ``pos``, ``neg``, ``id`` and, where known, scores, ``prompt`` and ``type``."""
    for group in outgoing.groups():
        row: Written = {"query": group.query.text, "id": group.query.id}
        for name, listed in (("pos", group.positives), ("neg", group.negatives)):
            row[name] = [one.text for one in listed]
        sides = (("pos_scores", group.positives), ("neg_scores", group.negatives))
        known = [one.teacher is not None for _, listed in sides for one in listed]
        if known and all(known):
            row |= {name: [one.teacher for one in listed] for name, listed in sides}
        elif any(known):
            outgoing.note("teacher scores not exported: some of the query's passages have none", group.query.id)
        yield row | {name: group.query.metadata[name] for name in ("prompt", "type") if name in group.query.metadata}


def write_triplets(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``query``, ``positive``, ``negative``; each text of a query is in at least one of its rows."""
    for group in outgoing.groups():
        positives, negatives = group.positives, group.negatives
        if not positives or not negatives:
            outgoing.note("not exported: a triplet needs a positive and a negative", group.query.id)
            continue
        for place in range(max(len(positives), len(negatives))):
            yield {
                "query": group.query.text,
                "positive": positives[place % len(positives)].text,
                "negative": negatives[place % len(negatives)].text,
            }


def write_labelled_pairs(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``query``, ``passage`` and ``label`` (1 or 0)."""
    for group in outgoing.groups():
        for label, listed in ((1, group.positives), (0, group.negatives)):
            yield from ({"query": group.query.text, "passage": one.text, "label": label} for one in listed)


def write_pairs(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``query`` and ``passage``, positives only."""
    for group in outgoing.groups():
        if not group.positives:
            outgoing.note("not exported: the query has no positive", group.query.id)
        yield from ({"query": group.query.text, "passage": one.text} for one in group.positives)


def write_scored_pairs(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``sentence1``, ``sentence2`` and ``score``: the exact relevance where there is one, else the grade."""
    for query in outgoing.queries():
        exact = {one.corpus_id: one.relevance for one in outgoing.dataset.candidates.get(query.id, [])}
        for corpus_id, grade in outgoing.grades(query).items():
            relevance = exact.get(corpus_id)
            score = float(grade) if relevance is None else relevance
            yield {"sentence1": query.text, "sentence2": outgoing.text(corpus_id), "score": score}


def write_rag(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``query``, ``response`` and ``context`` (a list); queries without an answer have no row."""
    for group in outgoing.groups():
        answer = group.query.metadata.get("answer")
        if answer is None:
            outgoing.note("not exported: the query has no answer", group.query.id)
            continue
        response = answer if isinstance(answer, str) else shown(answer, width=10**6)
        yield {"query": group.query.text, "response": response, "context": [one.text for one in group.positives]}


def write_classes(outgoing: Outgoing) -> Iterator[Written]:
    """Rows of ``text`` and ``label``."""
    for query in outgoing.queries():
        if "label" in query.metadata:
            yield {"text": query.text, "label": query.metadata["label"]}
        else:
            outgoing.note("not exported: the text has no class", query.id)
