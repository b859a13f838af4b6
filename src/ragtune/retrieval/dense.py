"""Dense retrieval: an encoder and the vectors of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from ragtune.data.records import Passage, Query
from ragtune.retrieval.search import Ranking, Retriever
from ragtune.retrieval.vectors import Storage, VectorStore


class Encoder(Protocol):
    """What a model must be able to do: texts in, vectors [N, D] float32 out, in the same order."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: Literal["query", "passage"],
        label: str = "",
        prompts: Sequence[str | None] | None = None,
    ) -> NDArray[np.float32]:
        """vector_ND of the texts, read as queries or as passages; ``label`` names the progress bar.

        A text's own prompt replaces the model's; None = it has none.
        """


@final
class DenseRetriever(Retriever):
    """Searches a `VectorStore` with what an encoder makes of the queries."""

    def __init__(self, vectors: VectorStore, encoder: Encoder, *, device: str = "auto") -> None:
        self.vectors = vectors
        self.encoder = encoder
        self.device = device

    @staticmethod
    def build(
        corpus: Mapping[str, Passage], encoder: Encoder, *, storage: Storage = "fp32", dims: int | None = None
    ) -> DenseRetriever:
        """Encode a corpus (title and text of each passage) and keep its vectors."""
        texts = [passage.content for passage in corpus.values()]
        vector_ND = encoder.encode(texts, kind="passage", label="passages")
        return DenseRetriever(VectorStore.build(vector_ND, list(corpus), storage=storage, dims=dims), encoder)

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        """The k passages with the largest dot product."""
        if not queries:
            return Ranking([], [], [])
        texts, prompts = [query.text for query in queries], [query.prompt for query in queries]
        query_QD = self.encoder.encode(texts, kind="query", label="queries", prompts=prompts)
        found = self.vectors.search(query_QD, k=k, device=self.device)
        ids = np.array(self.vectors.ids, dtype=object)
        return Ranking([query.id for query in queries], ids[found.index_Qk].tolist(), found.score_Qk.tolist())
