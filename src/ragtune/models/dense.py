"""Dense bi-encoders: one vector a text.

Letters: B texts, N tokens of all texts together, T tokens of the longest, H hidden width, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ragtune.models import packing
from ragtune.models.base import (
    KINDS,
    BiEncoder,
    Kind,
    Representation,
    TextSettings,
    TokenBatch,
    TokenIds,
    token_batches,
)
from ragtune.models.folders import write_modules
from ragtune.recipe import Pooling
from ragtune.run import atomic_folder, hash_json, progress
from ragtune.scoring.similarity import full_precision

# Tokens of one forward pass while encoding. measured: 4,096 to 16,384 are equally fast on 2 cores (LOG.md)
ENCODE_TOKENS = 8192
ENCODE_TEXTS = 65_536


@final
@dataclass(frozen=True, slots=True)
class DenseHead:
    """What turns token states into a vector: pooling, optional projections, optional L2 norm."""

    pooling: Pooling
    normalize: bool


@final
class DenseModel(BiEncoder):
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
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.head = head
        self.settings = settings
        self.heads = nn.ModuleList(heads)
        self.packed = False
        self.notes: dict[str, Any] = {}
        self.pad_to_multiple_of = 1
        self.encode_dtype = torch.float32

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.backbone.parameters()).device
        return device

    @property
    def hidden(self) -> int:
        """Width of the backbone's token states."""
        return int(self.backbone.config.hidden_size)

    @property
    def dims(self) -> int:
        """Length of a vector."""
        linears = [layer for layer in self.heads.modules() if isinstance(layer, nn.Linear)]
        return linears[-1].out_features if linears else self.hidden

    @property
    def token_embedding(self) -> nn.Embedding:
        """The token embedding table."""
        table = self.backbone.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def matmul_parameters(self) -> int:
        """Weights of the backbone's linear layers that every token passes."""
        pooler = {id(p) for name, p in self.backbone.named_parameters() if "pooler" in name}
        linears = [m for m in self.backbone.modules() if isinstance(m, nn.Linear)]
        return sum(m.weight.numel() for m in linears if id(m.weight) not in pooler)

    @property
    def attention_width(self) -> int:
        """Layers times hidden width."""
        return int(self.backbone.config.num_hidden_layers) * self.hidden

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None = None, truncate: bool = True
    ) -> list[TokenIds]:
        """Token ids of each text, prompt in front, cut to the kind's limit, special tokens included."""
        setting = self.settings[kind]
        own = prompts if prompts is not None else [None] * len(texts)
        joined = [setting.joined(text, prompt=prompt) for text, prompt in zip(texts, own, strict=True)]
        if not joined:
            return []
        found = self.tokenizer(
            joined, truncation=truncate, max_length=setting.max_tokens if truncate else None, padding=False,
            return_attention_mask=False, return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        # a decoder's tokenizer makes nothing of an empty text, and nothing has no vector
        nothing = [self.tokenizer.eos_token_id or self.tokenizer.pad_token_id or 0]
        return [np.asarray(ids or nothing, dtype=np.int32) for ids in found["input_ids"]]

    def tokenizer_fingerprint(self) -> str:
        """SHA-256 of the tokenizer's whole definition."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return hash_json(self.tokenizer.get_vocab())
        # a tokenizer keeps the limits of the last call in its definition
        return hash_json(json.loads(backend.to_str()) | {"truncation": None, "padding": None})

    def forward(self, batch: TokenBatch) -> Tensor:
        """``vector_BD``, fp32, normalised when the model says so."""
        states = self._packed_states if self.packed else self._padded_states
        pooled_BH = states(batch)
        for head in self.heads:
            pooled_BH = head(pooled_BH.to(next(head.parameters()).dtype))
        vector_BD = full_precision(pooled_BH)
        return F.normalize(vector_BD, dim=-1) if self.head.normalize else vector_BD

    def _embedded(self, ids: Tensor) -> dict[str, Tensor]:
        """The backbone's input; a plain table is read here, so that its gradient is added where tokens occur only."""
        table = self.token_embedding
        if type(table) is not nn.Embedding:
            return {"input_ids": ids}
        with_gradient = table.weight.requires_grad and torch.is_grad_enabled()
        lookup = TokenRows.apply if with_gradient else _plain_rows
        rows: Tensor = lookup(table.weight, ids)
        return {"inputs_embeds": rows.to(self._compute_dtype())}

    def _compute_dtype(self) -> torch.dtype:
        if self.forward_dtype is not None:
            return self.forward_dtype
        weights = (p for p in self.backbone.parameters() if p is not self.token_embedding.weight)
        dtype: torch.dtype = next(weights).dtype
        return dtype

    def _packed_states(self, batch: TokenBatch) -> Tensor:
        layout = packing.PackedLayout(batch.lengths_B.tolist(), device=self.device, dtype=self._compute_dtype())
        offset = position_offset(self.backbone)
        ids_N = F.pad(batch.ids_N, (0, layout.tokens - batch.tokens), value=self.tokenizer.pad_token_id or 0)
        state_NH: Tensor = self.backbone(
            **self._embedded(ids_N[None]), position_ids=layout.position_N[None] + offset, packed_layout=layout
        ).last_hidden_state[0]
        if self.head.pooling == "cls":
            return state_NH[layout.start_B]
        if self.head.pooling == "last_token":
            return state_NH[layout.end_B - 1]
        length_B = (layout.end_B - layout.start_B).float()
        text_N = torch.repeat_interleave(torch.arange(len(length_B), device=self.device), layout.end_B - layout.start_B)
        real_NH = full_precision(state_NH[: batch.tokens])
        total_BH = real_NH.new_zeros(len(length_B), self.hidden).index_add(0, text_N, real_NH)
        return total_BH / length_B[:, None]

    def _padded_states(self, batch: TokenBatch) -> Tensor:
        rows = torch.split(batch.ids_N, batch.lengths_B.tolist())
        longest = -(-int(batch.lengths_B.max()) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        pad = self.tokenizer.pad_token_id or 0
        ids_BT = torch.stack([F.pad(row, (0, longest - len(row)), value=pad) for row in rows])
        length_B = batch.lengths_B.to(self.device)
        mask_BT = torch.arange(longest, device=self.device) < length_B[:, None]
        state_BTH: Tensor = self.backbone(**self._embedded(ids_BT), attention_mask=mask_BT.long()).last_hidden_state
        if self.head.pooling == "cls":
            return state_BTH[:, 0]
        if self.head.pooling == "last_token":
            return state_BTH[torch.arange(len(rows), device=self.device), length_B - 1]
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
            parts.append(self.encode_tokens(sequences, label=label or f"encoding {kind}s"))
        return np.concatenate(parts)

    def encode_tokens(self, sequences: Sequence[TokenIds], *, label: str = "") -> np.ndarray:
        """``vector_BD`` float32 of texts that are tokenised already; computed in ``encode_dtype``."""
        out_BD = np.empty((len(sequences), self.dims), dtype=np.float32)
        work = list(token_batches([len(s) for s in sequences], budget=ENCODE_TOKENS))
        was_training = self.training
        self.eval()
        full = self.encode_dtype == torch.float32
        half = {} if full else {n: p.to(self.encode_dtype) for n, p in self.named_parameters()}
        with torch.inference_mode():
            for places in progress(work, label=label or "encoding"):
                batch = TokenBatch.of([sequences[i] for i in places], device=self.device)
                out_BD[places] = torch.func.functional_call(self, half, (batch,)).cpu().numpy()
        self.train(was_training)
        return out_BD

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder, whole or not at all."""
        with atomic_folder(folder) as aside:
            self.backbone.save_pretrained(aside)
            self.write_around(aside)

    def write_around(self, folder: Path) -> None:
        """Everything of the folder but the backbone's weights."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            backend.no_truncation()
            backend.no_padding()
        self.tokenizer.save_pretrained(folder)
        longest = max(self.settings[kind].max_tokens for kind in KINDS)
        lowercase = any(setting.lowercase for setting in self.settings.values())
        _write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": lowercase})
        write_modules(
            folder, pooling=self.head.pooling, hidden=self.hidden, heads=list(self.heads), normalize=self.head.normalize
        )
        query, passage = (self.settings[kind] for kind in KINDS)
        prompts = {"query": query.joined("")} | {name: passage.joined("") for name in ("document", "passage")}
        _write_json(
            folder / "config_sentence_transformers.json",
            {
                "model_type": "SentenceTransformer",
                "prompts": prompts,
                "default_prompt_name": None,
                "similarity_fn_name": "cosine" if self.head.normalize else "dot",
            },
        )
        limits = {f"{kind}_max_tokens": self.settings[kind].max_tokens for kind in KINDS}
        formats = {f"{kind}_prompt_format": self.settings[kind].format for kind in KINDS}
        prompt = {f"{kind}_prompt": self.settings[kind].prompt for kind in KINDS}
        shape = {"pooling": self.head.pooling, "normalize": self.head.normalize, "dims": self.dims}
        _write_json(
            folder / "ragtune.json", {"family": self.family, **shape, **prompt, **formats, **limits, **self.notes}
        )


def position_offset(backbone: nn.Module) -> int:
    """The first text position's row: the tables of RoBERTa and its kin begin behind the padding id."""
    tables = [m for name, m in backbone.named_modules() if name.endswith("position_embeddings")]
    table = tables[0] if tables else None
    return table.padding_idx + 1 if isinstance(table, nn.Embedding) and table.padding_idx is not None else 0


def _plain_rows(weight_VH: Tensor, ids: Tensor) -> Tensor:
    return F.embedding(ids, weight_VH)


@final
class TokenRows(torch.autograd.Function):
    """Rows of an embedding table whose gradient is added to ``weight.grad`` in place.

    Autograd would fill a table of vocabulary size with zeros and add it once a micro-batch.
    """

    @staticmethod
    def forward(ctx: Any, weight_VH: Tensor, ids: Tensor) -> Tensor:
        """The rows, shape of ``ids`` plus H."""
        ctx.weight, ctx.ids = weight_VH, ids
        return F.embedding(ids, weight_VH)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Adds to the table's gradient; hands none on."""
        (grad,) = grads
        weight = ctx.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, ctx.ids.flatten(), grad.reshape(-1, grad.shape[-1]).to(weight.dtype))
        return None, None


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
