"""Dense bi-encoders: one vector a text.

Letters: B texts, N tokens of all texts together, T tokens of the longest, H hidden width, D dimensions.
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

from ragtune.models.base import KINDS, Inputs, Kind, Representation, TextSettings, TokenBatch, TokenIds
from ragtune.models.folders import write_modules
from ragtune.models.transformer import ENCODE_TEXTS, TransformerEncoder, write_json_plainly
from ragtune.models.transformer import TokenRows as TokenRows
from ragtune.models.transformer import position_offset as position_offset
from ragtune.recipe import Pooling
from ragtune.run import atomic_folder
from ragtune.scoring.similarity import full_precision


@final
@dataclass(frozen=True, slots=True)
class DenseHead:
    """What turns token states into a vector: pooling, optional projections, optional L2 norm."""

    pooling: Pooling
    normalize: bool


@final
class DenseModel(TransformerEncoder):
    """A bi-encoder over a transformers backbone."""

    family: ClassVar[str] = "dense"

    def __init__(
        self,
        *,
        name: str,
        backbone: Any,
        tokenizer: Any,
        head: DenseHead,
        settings: dict[Kind, TextSettings],
        heads: list[nn.Module],
    ) -> None:
        super().__init__(name=name, backbone=backbone, tokenizer=tokenizer, settings=settings)
        self.head = head
        self.heads = nn.ModuleList(heads)

    @property
    def dims(self) -> int:
        """Length of a vector."""
        linears = [layer for layer in self.heads.modules() if isinstance(layer, nn.Linear)]
        return linears[-1].out_features if linears else self.hidden

    def forward(self, batch: TokenBatch) -> Tensor:
        """``vector_BD``, fp32, normalised when the model says so."""
        pooled_BH = self._packed_pooled(batch) if self.packed else self._padded_pooled(batch)
        for head in self.heads:
            pooled_BH = head(pooled_BH.to(next(head.parameters()).dtype))
        vector_BD = full_precision(pooled_BH)
        return F.normalize(vector_BD, dim=-1) if self.head.normalize else vector_BD

    def _packed_pooled(self, batch: TokenBatch) -> Tensor:
        state_NH, layout = self.packed_states(batch)
        if self.head.pooling == "cls":
            return state_NH[layout.start_B]
        if self.head.pooling == "last_token":
            return state_NH[layout.end_B - 1]
        length_B = (layout.end_B - layout.start_B).float()
        text_N = torch.repeat_interleave(torch.arange(len(length_B), device=self.device), layout.end_B - layout.start_B)
        real_NH = full_precision(state_NH[: batch.tokens])
        total_BH = real_NH.new_zeros(len(length_B), self.hidden).index_add(0, text_N, real_NH)
        return total_BH / length_B[:, None]

    def _padded_pooled(self, batch: TokenBatch) -> Tensor:
        state_BTH, mask_BT = self.padded_states(batch)
        length_B = batch.lengths_B.to(self.device)
        if self.head.pooling == "cls":
            return state_BTH[:, 0]
        if self.head.pooling == "last_token":
            return state_BTH[torch.arange(len(length_B), device=self.device), length_B - 1]
        total_BH = (full_precision(state_BTH) * mask_BT[..., None]).sum(1)
        return total_BH / length_B[:, None]

    def score(self, query: Representation, passage: Representation) -> Tensor:
        """``score_QC``: dot products, fp32."""
        return full_precision(query.rows_ND) @ full_precision(passage.rows_ND).T

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        """``vector_BD`` float32 of many texts, in their order; computed in ``encode_dtype``."""
        parts = [np.empty((0, self.dims), dtype=np.float32)]
        for first in range(0, len(texts), ENCODE_TEXTS):
            part = slice(first, first + ENCODE_TEXTS)
            sequences = self.tokenize(texts[part], kind=kind, prompts=None if prompts is None else prompts[part])
            parts.append(self.encode_tokens(sequences, kind=kind, label=label or f"encoding {kind}s"))
        return np.concatenate(parts)

    def encode_tokens(self, sequences: Sequence[TokenIds], *, kind: Kind, label: str = "") -> np.ndarray:
        """``vector_BD`` float32 of texts that are tokenised already; computed in ``encode_dtype``."""
        out_BD = np.empty((len(sequences), self.dims), dtype=np.float32)
        for places, vector_BD in self.encoded_batches(Inputs(sequences, kinds=[kind] * len(sequences)), label=label):
            out_BD[places] = vector_BD.numpy()
        return out_BD

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder, whole or not at all."""
        with atomic_folder(folder) as aside:
            self.backbone.save_pretrained(aside)
            self.write_around(aside)

    def write_around(self, folder: Path) -> None:
        """Everything of the folder but the backbone's weights."""
        self.write_tokenizer(folder)
        longest = max(self.settings[kind].max_tokens for kind in KINDS)
        lowercase = any(setting.lowercase for setting in self.settings.values())
        limits = {"max_seq_length": longest, "do_lower_case": lowercase}
        write_json_plainly(folder / "sentence_bert_config.json", limits)
        write_modules(
            folder, pooling=self.head.pooling, hidden=self.hidden, heads=list(self.heads), normalize=self.head.normalize
        )
        query, passage = (self.settings[kind] for kind in KINDS)
        prompts = {"query": query.joined("")} | {name: passage.joined("") for name in ("document", "passage")}
        write_json_plainly(
            folder / "config_sentence_transformers.json",
            {
                "model_type": "SentenceTransformer",
                "prompts": prompts,
                "default_prompt_name": None,
                "similarity_fn_name": "cosine" if self.head.normalize else "dot",
            },
        )
        longest_of = {f"{kind}_max_tokens": self.settings[kind].max_tokens for kind in KINDS}
        formats = {f"{kind}_prompt_format": self.settings[kind].format for kind in KINDS}
        prompt = {f"{kind}_prompt": self.settings[kind].prompt for kind in KINDS}
        shape = {"pooling": self.head.pooling, "normalize": self.head.normalize, "dims": self.dims}
        write_json_plainly(
            folder / "ragtune.json", {"family": self.family, **shape, **prompt, **formats, **longest_of, **self.notes}
        )
