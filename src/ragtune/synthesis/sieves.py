"""Filters that compare queries with each other and with the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ragtune.data.language import units
from ragtune.data.records import Dataset, Query
from ragtune.recipe_synthesis import FilterRecipe
from ragtune.retrieval.search import search
from ragtune.synthesis.drafts import Draft, Rejected, Sieved
from ragtune.synthesis.pool import Pool
from ragtune.synthesis.words import content_units

BLOCK = 1024


def drop_duplicates(drafts: Sequence[Draft], dataset: Dataset, pool: Pool, *, near: float | None) -> Sieved:
    """Of queries that say the same, keep the first; queries that the dataset has already come before all.

    ``near`` is the cosine from which two queries are the same. What the dropped one was written for may answer the
    kept one too: its passages become ``unsure`` there.
    """
    known = [query.text for query in dataset.queries.values()]
    texts = [*known, *(draft.text for draft in drafts)]
    twin_N, cosine_N = _exact_twins(texts), np.ones(len(texts), dtype=np.float32)
    if near is not None and texts:
        vector_ND = pool.encode_queries(texts)
        _near_twins(vector_ND, twin_N, cosine_N, near=near)
    kept: dict[int, Draft] = {}
    rejected: list[Rejected] = []
    for place, draft in enumerate(drafts, start=len(known)):
        first = int(twin_N[place])
        if first == place:
            kept[place] = draft
            continue
        rejected.append(Rejected(draft, "duplicate", f"says the same as: {texts[first]}", float(cosine_N[place])))
        if first in kept:
            other = kept[first]
            unsure = [key for key in draft.passage_ids if key not in (*other.passage_ids, *other.unsure)]
            kept[first] = replace(other, unsure=(*other.unsure, *unsure))
    return list(kept.values()), rejected


def _exact_twins(texts: Sequence[str]) -> NDArray[np.int64]:
    """Place -> first place with the same words."""
    first: dict[str, int] = {}
    return np.array(
        [first.setdefault(" ".join(units(text)) or text, place) for place, text in enumerate(texts)], dtype=np.int64
    )


def _near_twins(
    vector_ND: NDArray[np.float32], twin_N: NDArray[np.int64], cosine_N: NDArray[np.float32], *, near: float
) -> None:
    """Point each query at the nearest earlier one that is kept and reaches ``near``."""
    for start in range(0, len(vector_ND), BLOCK):
        end = min(start + BLOCK, len(vector_ND))
        cosine_BN = vector_ND[start:end] @ vector_ND[:end].T
        for row in np.flatnonzero((cosine_BN >= near).sum(axis=1) > 1):
            place = start + int(row)
            earlier = cosine_BN[row, :place]
            kept = np.flatnonzero((earlier >= near) & (twin_N[:place] == np.arange(place)))
            if twin_N[place] == place and len(kept):
                best = int(kept[np.argmax(earlier[kept])])
                twin_N[place], cosine_N[place] = best, earlier[best]


def round_trip(drafts: Sequence[Draft], pool: Pool, *, k: int) -> list[Rejected]:
    """The drafts whose source is not among the first k of BM25 and the embedder together.

    A duplicate of the source counts as the source; of two sources each must be found.
    """
    queries = [draft.as_query() for draft in drafts]
    found = pool.fused(queries, k=k)
    lost = []
    for draft, passages in zip(drafts, found.passage_ids, strict=True):
        groups = {pool.groups[key] for key in passages}
        missing = [key for key in draft.passage_ids if pool.groups[key] not in groups]
        if missing:
            reason = f"{missing[0]} is not among the first {k} of BM25 and the embedder"
            lost.append(Rejected(draft, "round trip", reason, float(k)))
    return lost


def too_easy(drafts: Sequence[Draft], dataset: Dataset, pool: Pool, recipe: FilterRecipe) -> list[Rejected]:
    """The drafts that teach nothing: their words all stand in the passage, or the embedder is sure already."""
    lead_of = _leads(drafts, pool) if recipe.max_lead is not None else {}
    easy = []
    for draft in drafts:
        told = {unit for key in draft.passage_ids for unit in units(dataset.corpus[key].content)}
        asked = content_units(draft.text)
        overlap = sum(unit in told for unit in asked) / max(1, len(asked))
        lead = lead_of.get(draft.id, 0.0)
        if recipe.max_overlap is not None and overlap > recipe.max_overlap:
            easy.append(Rejected(draft, "too easy", f"{overlap:.0%} of its words stand in the passage", overlap))
        elif recipe.max_lead is not None and lead > recipe.max_lead:
            easy.append(Rejected(draft, "too easy", f"its source leads by {lead:.3f}", lead))
    return easy


def _leads(drafts: Sequence[Draft], pool: Pool) -> Mapping[str, float]:
    """Draft id -> how far its source's score lies above the best other passage's; 0 where another one leads."""
    queries: list[Query] = [draft.as_query() for draft in drafts]
    found = search(pool.dense, queries, k=10)
    leads: dict[str, float] = {}
    for draft, passages, scores in zip(drafts, found.passage_ids, found.scores, strict=True):
        own = {pool.groups[key] for key in draft.passage_ids}
        others = [score for key, score in zip(passages, scores, strict=True) if pool.groups[key] not in own]
        first_is_own = bool(passages) and pool.groups[passages[0]] in own
        leads[draft.id] = scores[0] - others[0] if first_is_own and others else 0.0
    return leads
