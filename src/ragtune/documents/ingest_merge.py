"""A dataset with the passages of some documents replaced; judgements of passages that go are never lost in silence."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ragtune.data.records import Candidate, Dataset, Passage, Qrels
from ragtune.documents.ingest_plan import DOCUMENT, ingested
from ragtune.errors import DataError, Problem

SHOWN = 5


@final
@dataclass(frozen=True, slots=True)
class Merged:
    """The new dataset, how many passages came, stayed and went, and how many judgements went with them."""

    dataset: Dataset
    added: int
    kept: int
    removed: int
    dropped_judgements: int


def merge(
    dataset: Dataset,
    *,
    read: Mapping[str, Sequence[Passage]],
    sources: Mapping[str, dict[str, Any]],
    gone: Sequence[str],
    drop_orphans: bool,
    where: str,
) -> Merged:
    """``dataset`` with the passages of the documents in ``read`` replaced and those of ``gone`` taken out.

    Documents keep their order, new ones come last. Raises DataError when queries are judged on passages that would go,
    unless ``drop_orphans`` is set; then those judgements and candidates go too (the queries stay).
    """
    corpus = _corpus(dataset, read, gone)
    removed = [key for key in dataset.corpus if key not in corpus]
    orphans = _orphans(dataset, set(removed))
    if orphans and not drop_orphans:
        raise _orphaned(orphans, dataset, where)
    lost = set(removed)
    qrels = {name: _judged(qrels, lost) for name, qrels in dataset.qrels.items()}
    candidates = {query: _remaining(listed, lost) for query, listed in dataset.candidates.items()}
    info = dataclasses.replace(dataset.info, sources=_sources(dataset, sources, gone))
    merged = dataclasses.replace(
        dataset,
        info=info,
        corpus=corpus,
        qrels={name: judged for name, judged in qrels.items() if judged},
        candidates={query: listed for query, listed in candidates.items() if listed},
    )
    kept = len(dataset.corpus) - len(removed)
    return Merged(merged, len(corpus) - kept, kept, len(removed), sum(orphans.values()))


def _corpus(dataset: Dataset, read: Mapping[str, Sequence[Passage]], gone: Sequence[str]) -> dict[str, Passage]:
    """Passages by document, in the documents' order; those of no document of ours keep their place."""
    ours = {source[DOCUMENT] for source in ingested(dataset)}
    replaced = set(read) | set(gone)
    corpus: dict[str, Passage] = {}
    placed: set[str] = set()
    for key, passage in dataset.corpus.items():
        document = passage.metadata.get("document")
        if document not in ours or document not in replaced:
            corpus[key] = passage
        elif document in read and document not in placed:
            placed.add(document)
            corpus.update((new.id, new) for new in read[document])
    for document in sorted(set(read) - placed):
        corpus.update((new.id, new) for new in read[document])
    return corpus


def _sources(dataset: Dataset, sources: Mapping[str, dict[str, Any]], gone: Sequence[str]) -> list[dict[str, Any]]:
    ours = {source[DOCUMENT] for source in ingested(dataset)}
    kept = [s for s in dataset.info.sources if s.get(DOCUMENT) not in ours or s[DOCUMENT] not in gone]
    done = [sources.get(s.get(DOCUMENT, ""), s) if s.get(DOCUMENT) in ours else s for s in kept]
    return done + [source for document, source in sorted(sources.items()) if document not in ours]


def _orphans(dataset: Dataset, removed: set[str]) -> Counter[str]:
    """Passage id -> how many judgements and candidates point to it."""
    found: Counter[str] = Counter(passage for _, _, passage, _ in dataset.judged_pairs() if passage in removed)
    found.update(c.corpus_id for listed in dataset.candidates.values() for c in listed if c.corpus_id in removed)
    return found


def _orphaned(orphans: Counter[str], dataset: Dataset, where: str) -> DataError:
    queries = {query for _, query, passage, _ in dataset.judged_pairs() if passage in orphans}
    shown = ", ".join(list(orphans)[:SHOWN]) + (" ..." if len(orphans) > SHOWN else "")
    return DataError(
        Problem(
            what="queries are judged on passages that are no longer in the documents",
            where=where,
            found=f"{sum(orphans.values())} judgements and candidates of {len(queries)} queries, on {shown}",
            do="ingest into another folder and judge again, or pass --drop-orphans to take those judgements out",
        )
    )


def _judged(qrels: Qrels, removed: set[str]) -> Qrels:
    left = {query: {p: grade for p, grade in row.items() if p not in removed} for query, row in qrels.items()}
    return {query: row for query, row in left.items() if row}


def _remaining(listed: Sequence[Candidate], removed: set[str]) -> list[Candidate]:
    return [candidate for candidate in listed if candidate.corpus_id not in removed]
