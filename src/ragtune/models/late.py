"""Late interaction: one vector a token that counts, the score of a pair by MaxSim (ColBERT).

Letters: B texts, N tokens of all texts together, H hidden width, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ragtune.models.base import Inputs, Kind, Representation, TextSettings, TokenBatch, TokenIds
from ragtune.models.late_pooling import pooled
from ragtune.models.token_vectors import TokenVectors
from ragtune.models.transformer import ENCODE_TEXTS, TransformerEncoder
from ragtune.run import atomic_folder, hash_json
from ragtune.scoring.maxsim import packed_maxsim
from ragtune.scoring.similarity import full_precision


@final
@dataclass(frozen=True, slots=True)
class Expansion:
    """Queries shorter than ``length`` tokens are filled up with ``token_id``; these tokens count.

    Without ``attend`` no token of the query sees them, though they see the query. ``own_tail`` is how many tokens of
    this very id the tokenizer itself puts at a text's end (a decoder's end of text), which are no filling.
    """

    length: int
    attend: bool
    token_id: int
    own_tail: int = 0


@final
@dataclass(frozen=True, slots=True)
class LateReading:
    """Which tokens count. ``skipped`` are ids that do not count in passages, and the words they came from."""

    expansion: Expansion | None
    skipped: tuple[int, ...] = ()
    skipped_words: tuple[str, ...] = ()
    normalize: bool = True
    pool_factor: float = 1.0


@final
class Projection(nn.Module):
    """A linear layer, an activation, and in some published models a residual around both."""

    def __init__(self, linear: nn.Linear, activation: nn.Module, *, residual: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = linear
        self.activation = activation
        self.residual = residual

    def forward(self, state_NH: Tensor) -> Tensor:
        """``state_ND``."""
        out_ND: Tensor = self.activation(self.linear(state_NH))
        return out_ND if self.residual is None else out_ND + self.residual(state_NH)


@final
class LateModel(TransformerEncoder):
    """A late-interaction encoder over a transformers backbone."""

    family: ClassVar[str] = "late"

    def __init__(
        self,
        *,
        name: str,
        backbone: Any,
        tokenizer: Any,
        settings: dict[Kind, TextSettings],
        reading: LateReading,
        projections: Sequence[Projection],
    ) -> None:
        super().__init__(name=name, backbone=backbone, tokenizer=tokenizer, settings=settings)
        self.reading = reading
        self.projections = nn.ModuleList(projections)
        self._skipped = torch.tensor(reading.skipped, dtype=torch.int64)

    @property
    def dims(self) -> int:
        """Width of a token's vector."""
        layers = [layer for layer in self.projections if isinstance(layer, Projection)]
        return layers[-1].linear.out_features if layers else self.hidden

    @property
    def matmul_parameters(self) -> int:
        """Weights of the linear layers that every token passes."""
        heads = sum(p.weight.numel() for p in self.projections.modules() if isinstance(p, nn.Linear))
        return super().matmul_parameters + heads

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None = None, truncate: bool = True
    ) -> list[TokenIds]:
        """Token ids of each text; queries filled up with expansion tokens."""
        sequences = super().tokenize(texts, kind=kind, prompts=prompts, truncate=truncate)
        expansion = self.reading.expansion
        if kind == "passage" or expansion is None:
            return sequences
        filling = (np.full(max(0, expansion.length - len(s)), expansion.token_id, dtype=np.int32) for s in sequences)
        return [np.concatenate([s, fill]) for s, fill in zip(sequences, filling, strict=True)]

    def tokenizer_fingerprint(self) -> str:
        """The tokenizer's, and how queries are filled up."""
        expansion = self.reading.expansion
        filled = None if expansion is None else [expansion.length, expansion.token_id]
        return hash_json({"tokenizer": super().tokenizer_fingerprint(), "filled": filled})

    def row_counts(self, batch: TokenBatch) -> Tensor:
        """How many tokens of each text count."""
        counts_N = self._counting(batch).long()
        text_N = torch.repeat_interleave(batch.lengths_B)
        return torch.zeros_like(batch.lengths_B).index_add(0, text_N, counts_N)

    def _counting(self, batch: TokenBatch) -> Tensor:
        """``counts_N`` on the CPU: every token of a query, the tokens of a passage that are not skipped.

        A passage of skipped tokens alone keeps them: it would have no score at all.
        """
        ids_N = batch.ids_N.cpu()
        counts_N = ~torch.isin(ids_N, self._skipped)
        text_N = torch.repeat_interleave(batch.lengths_B)
        some_B = torch.zeros_like(batch.lengths_B).index_add(0, text_N, counts_N.long())
        whole_B = some_B == 0
        if batch.query_B is not None:
            whole_B = whole_B | batch.query_B
        return counts_N | whole_B[text_N]

    def _unseen(self, batch: TokenBatch) -> Tensor | None:
        """``unseen_N`` on the CPU: expansion tokens that no token attends to; None where there are none."""
        expansion = self.reading.expansion
        if expansion is None or expansion.attend or batch.query_B is None:
            return None
        end_B = batch.lengths_B.cumsum(0)
        place_N = torch.arange(batch.tokens)
        text_N = torch.repeat_interleave(batch.lengths_B)
        other_N = batch.ids_N.cpu() != expansion.token_id
        last_B = torch.full_like(end_B, -1).scatter_reduce(0, text_N, torch.where(other_N, place_N, -1), "amax")
        return batch.query_B[text_N] & (place_N > last_B[text_N] + expansion.own_tail)

    def forward(self, batch: TokenBatch) -> Tensor:
        """``rows_ND``, fp32: the tokens that count, text by text."""
        state_NH = self.token_states(batch, unseen_N=self._unseen(batch))
        state_NH = state_NH[self._counting(batch).to(state_NH.device)]
        for layer in self.projections:
            state_NH = layer(state_NH.to(next(layer.parameters()).dtype))
        rows_ND = full_precision(state_NH)
        return F.normalize(rows_ND, dim=-1) if self.reading.normalize else rows_ND

    def score(self, query: Representation, passage: Representation) -> Tensor:
        """``score_QC`` by MaxSim, fp32."""
        return packed_maxsim(query.rows_ND, query.lengths_B, passage.rows_ND, passage.lengths_B)

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> TokenVectors:
        """Token vectors of many texts, float16 for passages; computed in ``encode_dtype``, passages pooled."""
        parts = []
        for first in range(0, len(texts), ENCODE_TEXTS):
            part = slice(first, first + ENCODE_TEXTS)
            sequences = self.tokenize(texts[part], kind=kind, prompts=None if prompts is None else prompts[part])
            parts.append(self.encode_tokens(sequences, kind=kind, label=label or f"encoding {kind}s"))
        return _joined(parts, dims=self.dims, kind=kind)

    def encode_tokens(self, sequences: Sequence[TokenIds], *, kind: Kind, label: str = "") -> TokenVectors:
        """Token vectors of texts that are tokenised already."""
        inputs = Inputs(sequences, kinds=[kind] * len(sequences))
        dtype = np.float32 if kind == "query" else np.float16
        factor = self.reading.pool_factor if kind == "passage" else 1.0
        rows: list[np.ndarray] = [np.empty((0, self.dims), dtype)] * len(sequences)
        for places, rows_ND in self.encoded_batches(inputs, label=label):
            counts = self.row_counts(inputs.batch(places, device=torch.device("cpu")))
            for place, text_ND in zip(places, rows_ND.split(counts.tolist()), strict=True):
                rows[place] = pooled(text_ND.numpy(), factor=factor).astype(dtype)
        lengths = np.array([len(r) for r in rows], dtype=np.int64)
        return TokenVectors(np.concatenate(rows) if rows else np.empty((0, self.dims), dtype), lengths)

    def save(self, folder: Path) -> None:
        """Write a folder that sentence-transformers' MultiVectorEncoder loads, whole or not at all."""
        with atomic_folder(folder) as aside:
            self.backbone.save_pretrained(aside)
            self.write_around(aside)

    def write_around(self, folder: Path) -> None:
        """Everything of the folder but the backbone's weights."""
        from ragtune.models.late_files import write_late

        write_late(self, folder)


def _joined(parts: list[TokenVectors], *, dims: int, kind: Kind) -> TokenVectors:
    if len(parts) == 1:
        return parts[0]
    dtype = np.float32 if kind == "query" else np.float16
    rows = [np.empty((0, dims), dtype), *(part.rows_ND for part in parts)]
    lengths = [np.empty(0, np.int64), *(part.lengths_B for part in parts)]
    return TokenVectors(np.concatenate(rows), np.concatenate(lengths))
