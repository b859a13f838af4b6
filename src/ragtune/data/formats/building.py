"""Rows become a dataset: equal texts become one, relations are kept once, contradictions are told."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from ragtune.data.formats.class_texts import LabelledText, link_classes
from ragtune.data.formats.fields import Fields
from ragtune.data.formats.options import ImportOptions
from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Qrels, Query
from ragtune.data.validation import shown


@final
@dataclass(frozen=True, slots=True)
class Link:
    """A passage beside a query. ``exact`` relevance is kept to the fraction, beside its rounded grade."""

    text: str
    relevance: float
    teacher: float | None = None
    title: str = ""
    id: str | None = None
    exact: bool = False


@final
class Builder:
    """Collects rows. The order of first appearance is the order of the dataset."""

    def __init__(self, options: ImportOptions, *, format: str) -> None:
        self._options = options
        self._format = format
        self._corpus: dict[str, Passage] = {}
        self._queries: dict[str, Query] = {}
        self._passage_ids: dict[tuple[str, str], str] = {}
        self._query_ids: dict[tuple[str, str], str] = {}
        self._links: dict[str, dict[str, Link]] = {}
        self._qrels: dict[str, Qrels] = {}
        self._labelled: dict[str, list[LabelledText]] = {}
        self._asked_by: dict[str, Fields] = {}

    def add(self, fields: Fields, queries: Sequence[str], links: Sequence[Link]) -> None:
        """One row: each query with every passage beside it."""
        passage_ids = [self._passage(fields, place, link) for place, link in enumerate(links)]
        for place, text in enumerate(queries):
            query_id = self._query(fields, text, place)
            self._asked_by.setdefault(query_id, fields)
            for passage_id, link in zip(passage_ids, links, strict=True):
                self._relate(fields, query_id, passage_id, link)

    def add_labelled(self, fields: Fields, text: str, label: str) -> None:
        """One text with its class: a query and a passage at once."""
        query_id = self._query(fields, text, 0, label=label)
        self._asked_by.setdefault(query_id, fields)
        self._corpus.setdefault(query_id, Passage(id=query_id, text=text, metadata={"label": label}))
        self._labelled.setdefault(fields.split, []).append(LabelledText(query_id, label))

    def finish(self, info: DatasetInfo) -> Dataset:
        """The dataset."""
        for split, texts in self._labelled.items():
            self._qrels[split] = link_classes(texts, seed=self._options.seed)
        for query_id, links in self._links.items():
            if not any(link.relevance > 0 or link.exact for link in links.values()):
                self._asked_by[query_id].note("query without a positive; it is kept with its negatives")
        candidates = {
            query_id: [self._candidate(passage_id, link) for passage_id, link in links.items() if _says_more(link)]
            for query_id, links in self._links.items()
        }
        return Dataset(
            info=info,
            corpus=self._corpus,
            queries=self._queries,
            qrels=self._qrels,
            candidates={query_id: listed for query_id, listed in candidates.items() if listed},
        )

    def _candidate(self, passage_id: str, link: Link) -> Candidate:
        return Candidate(passage_id, relevance=link.relevance, teacher=link.teacher, source=self._format)

    def _passage(self, fields: Fields, place: int, link: Link) -> str:
        key = (link.title, link.text)
        if self._options.duplicates == "keep":
            passage_id = link.id or (f"{fields.number}-{place}" if place else str(fields.number))
        else:
            passage_id = self._passage_ids.setdefault(key, link.id or content_id("p", *key))
            if link.id and link.id != passage_id:
                fields.note("passage that has an equal text under another id; the first id is used")
        known = self._corpus.setdefault(passage_id, Passage(id=passage_id, text=link.text, title=link.title))
        if (known.title, known.text) != key:
            self._taken(fields, passage_id, before=known.text, now=link.text)
        return passage_id

    def _query(self, fields: Fields, text: str, place: int, *, label: str = "") -> str:
        given = fields.id("id")
        metadata = fields.metadata() | ({"label": label} if label else {})
        key = (text, str(metadata.get("prompt", "")))
        if given and place:
            given = f"{given}-{place}"
        if self._options.duplicates == "keep":
            number = f"{fields.number}-{place}" if place else str(fields.number)
            query_id = self._own_id(fields, given, text) or number
        else:
            query_id = self._query_ids.setdefault(key, self._own_id(fields, given, text) or content_id("q", *key))
            if given and query_id not in (given, _beside(given, fields)):
                fields.note("query that has an equal text under another id; the first id is used")
        known = self._queries.get(query_id)
        if known is None:
            self._queries[query_id] = Query(id=query_id, text=text, metadata=metadata)
        elif known.text != text:
            self._taken(fields, query_id, before=known.text, now=text)
        elif dict(known.metadata) != metadata:
            self._queries[query_id] = replace(known, metadata=_joined(known.metadata, metadata, fields))
        return query_id

    def _own_id(self, fields: Fields, given: str | None, text: str) -> str | None:
        """The given id; where another file uses it for another text, this file's name stands before it."""
        first = self._asked_by.get(given) if given else None
        if first is None or first.at.file == fields.at.file or self._queries[str(given)].text == text:
            return given
        fields.note("query id that another file uses for another text; this file's name is put before it")
        return _beside(str(given), fields)

    def _taken(self, fields: Fields, key: str, *, before: str, now: str) -> None:
        found = f"{key} for {shown(before, width=40)} above and {shown(now, width=40)} here"
        fields.problem("the same id for two texts", found=found, do="give each text an id of its own, or none")

    def _relate(self, fields: Fields, query_id: str, passage_id: str, link: Link) -> None:
        known = self._links.setdefault(query_id, {}).get(passage_id)
        if known is None or (known.relevance <= 0 < link.relevance and not link.exact):
            if known is not None:
                fields.note("passage that is positive and negative for one query; it counts as positive")
            self._links[query_id][passage_id] = link
        elif known.relevance > 0 >= link.relevance and not link.exact:
            fields.note("passage that is positive and negative for one query; it counts as positive")
        elif known.relevance != link.relevance:
            fields.note("pair with another score further up, which is used")
        elif known.teacher is None and link.teacher is not None:
            self._links[query_id][passage_id] = link
        elif link.teacher is not None and known.teacher != link.teacher:
            fields.note("passage with another teacher score further up, which is used")
        kept = self._links[query_id][passage_id]
        if kept.relevance > 0 or kept.exact:
            grades = self._qrels.setdefault(fields.split, {}).setdefault(query_id, {})
            grades[passage_id] = math.floor(kept.relevance + 0.5) if kept.exact else 1


def content_id(kind: str, *texts: str) -> str:
    """An id that depends on the texts alone: the same import gives the same ids.

    >>> content_id("p", "", "猫")
    'p64a587ecb2db1313'
    """
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return kind + digest[:16]


def _beside(given: str, fields: Fields) -> str:
    return f"{Path(fields.at.file).stem}-{given}"


def _says_more(link: Link) -> bool:
    """Whether a relation holds more than a line of qrels can say."""
    return link.exact or link.relevance <= 0 or link.teacher is not None


def _joined(known: Any, new: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """Metadata of two rows with one query; where they differ, the later row's is kept whole under ``more_rows``."""
    if any(known.get(name, value) != value for name, value in new.items()):
        fields.note("query that further rows repeat with other metadata, kept under metadata.more_rows")
        return {**known, "more_rows": [*known.get("more_rows", []), new]}
    return {**new, **known}
