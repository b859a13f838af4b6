"""What any bi-encoder makes of texts, searched and scored: vectors, token vectors, or term weights.

Letters: Q queries, B texts, k results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Passage, Query
from ragtune.models.base import Encoded as Encoded
from ragtune.models.token_vectors import TokenVectors
from ragtune.retrieval.exact import TopK, exact_top_k
from ragtune.retrieval.late import late_scores, late_top_k
from ragtune.retrieval.search import Ranking, Retriever
from ragtune.retrieval.sparse import sparse_top_k


class TextEncoder(Protocol):
    """What a bi-encoder of any family can do: texts in, in the same order what it makes of them out."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: Literal["query", "passage"],
        label: str = "",
        prompts: Sequence[str | None] | None = None,
    ) -> Encoded:
        """Texts read as queries or as passages; ``label`` names the progress bar, own prompts replace the model's."""


def take(encoded: Encoded, places: Sequence[int] | NDArray[np.int64]) -> Encoded:
    """The texts at ``places``, in that order."""
    chosen = np.asarray(places, dtype=np.int64)
    return encoded.take(chosen) if isinstance(encoded, TokenVectors) else encoded[chosen]


def top_k_of(query: Encoded, passages: Encoded, *, k: int, ids: Sequence[str] | None = None) -> TopK:
    """The k best passages of each query, exactly; equal scores by ``ids`` descending, else the smaller row first."""
    if isinstance(passages, TokenVectors):
        return late_top_k(query, passages, k=k, ids=ids)
    if isinstance(passages, np.ndarray):
        return exact_top_k(query, passages, k=k, ids=ids)
    return sparse_top_k(query, passages, k=k, ids=ids)


def scores_of(query: Encoded, passages: Encoded) -> NDArray[np.float32]:
    """``score_QC`` of every query against every passage."""
    if isinstance(passages, TokenVectors):
        return late_scores(query, passages)
    product = query @ passages.T
    scores: NDArray[np.float32] = product if isinstance(product, np.ndarray) else product.toarray()
    return scores


def width(encoded: Encoded) -> int:
    """Length of a row."""
    return encoded.dims if isinstance(encoded, TokenVectors) else int(encoded.shape[1])


def bytes_per_text(encoded: Encoded) -> int:
    """What keeping a text takes, on average."""
    if isinstance(encoded, TokenVectors):
        size = encoded.rows_ND.nbytes
    else:
        size = encoded.nbytes if isinstance(encoded, np.ndarray) else encoded.data.nbytes + encoded.indices.nbytes
    count = len(encoded) if isinstance(encoded, TokenVectors) else encoded.shape[0]
    return round(size / max(1, count))


@final
class EncodedRetriever(Retriever):
    """Searches what a bi-encoder of any family makes of a corpus."""

    def __init__(self, passages: Encoded, ids: Sequence[str], model: TextEncoder) -> None:
        self.passages = passages
        self.ids = list(ids)
        self.model = model

    @staticmethod
    def build(corpus: Mapping[str, Passage], model: TextEncoder) -> EncodedRetriever:
        """Encode a corpus (title and text of each passage)."""
        texts = [passage.content for passage in corpus.values()]
        return EncodedRetriever(model.encode(texts, kind="passage", label="passages"), list(corpus), model)

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """The k best passages of each query."""
        if not queries:
            return Ranking([], [], [])
        texts, prompts = [query.text for query in queries], [query.prompt for query in queries]
        encoded = self.model.encode(texts, kind="query", label="queries", prompts=prompts)
        found = top_k_of(encoded, self.passages, k=k, ids=self.ids)
        names = np.array(self.ids, dtype=object)
        return Ranking([query.id for query in queries], names[found.index_Qk].tolist(), found.score_Qk.tolist())
