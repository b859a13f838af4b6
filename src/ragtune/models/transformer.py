"""What bi-encoders over one transformers backbone share: tokens in, token states out, with or without padding.

Letters: B texts, N tokens of all texts together, T tokens of the longest, H hidden width.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ragtune.models import packing
from ragtune.models.base import BiEncoder, Inputs, Kind, TextSettings, TokenBatch, TokenIds, token_batches
from ragtune.run import hash_json, progress

# Tokens of one forward pass while encoding. measured: 4,096 to 16,384 are equally fast on 2 cores (LOG.md)
ENCODE_TOKENS = 8192
ENCODE_TEXTS = 65_536


class TransformerEncoder(BiEncoder):
    """A bi-encoder over a transformers backbone."""

    def __init__(self, *, name: str, backbone: Any, tokenizer: Any, settings: dict[Kind, TextSettings]) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.settings = settings
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
    def idle(self) -> list[nn.Parameter]:
        """BERT's pooler: representations are made of token states."""
        return [p for name, p in self.backbone.named_parameters() if "pooler" in name.split(".")]

    def replace_backbone(self, backbone: nn.Module) -> None:
        """Put another backbone in its place."""
        self.backbone = backbone

    @property
    def hidden(self) -> int:
        """Width of the backbone's token states."""
        return int(self.backbone.config.hidden_size)

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

    def token_states(self, batch: TokenBatch, *, unseen_N: Tensor | None = None) -> Tensor:
        """``state_NH`` of every token. Those that are ``unseen_N`` see the others of their text; nothing sees them."""
        if self.packed:
            return self.packed_states(batch, unseen_N=unseen_N)[0][: batch.tokens]
        state_BTH, mask_BT = self.padded_states(batch, unseen_N=unseen_N)
        return state_BTH[mask_BT]

    def packed_states(
        self, batch: TokenBatch, *, unseen_N: Tensor | None = None
    ) -> tuple[Tensor, packing.PackedLayout]:
        """``state_NH``, filling tokens behind, and where the texts lie."""
        lengths = batch.lengths_B.tolist()
        layout = packing.PackedLayout(lengths, device=self.device, dtype=self._compute_dtype(), unseen_N=unseen_N)
        offset = position_offset(self.backbone)
        ids_N = F.pad(batch.ids_N, (0, layout.tokens - batch.tokens), value=self.tokenizer.pad_token_id or 0)
        state_NH: Tensor = self.backbone(
            **self._embedded(ids_N[None]), position_ids=layout.position_N[None] + offset, packed_layout=layout
        ).last_hidden_state[0]
        return state_NH, layout

    def padded_states(self, batch: TokenBatch, *, unseen_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``state_BTH`` and ``mask_BT``, true on tokens."""
        rows = torch.split(batch.ids_N, batch.lengths_B.tolist())
        longest = -(-int(batch.lengths_B.max()) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        pad = self.tokenizer.pad_token_id or 0
        ids_BT = torch.stack([F.pad(row, (0, longest - len(row)), value=pad) for row in rows])
        mask_BT = torch.arange(longest, device=self.device) < batch.lengths_B.to(self.device)[:, None]
        seen_BT = mask_BT.long()
        if unseen_N is not None:
            seen_BT[mask_BT] = (~unseen_N).long().to(self.device)
        state_BTH: Tensor = self.backbone(**self._embedded(ids_BT), attention_mask=seen_BT).last_hidden_state
        return state_BTH, mask_BT

    def encoded_batches(self, inputs: Inputs, *, label: str) -> Iterator[tuple[list[int], Tensor]]:
        """Places of texts and their rows on the CPU, micro-batch by micro-batch; computed in ``encode_dtype``."""
        work = list(token_batches([len(s) for s in inputs.sequences], budget=ENCODE_TOKENS))
        was_training = self.training
        self.eval()
        full = self.encode_dtype == torch.float32
        half = {} if full else {n: p.to(self.encode_dtype) for n, p in self.named_parameters()}
        with torch.inference_mode():
            for places in progress(work, label=label or "encoding"):
                batch = inputs.batch(places, device=self.device)
                yield places, torch.func.functional_call(self, half, (batch,)).cpu()
        self.train(was_training)

    @abc.abstractmethod
    def write_around(self, folder: Path) -> None:
        """Everything of a saved folder but the backbone's weights."""

    def write_tokenizer(self, folder: Path) -> None:
        """The tokenizer's files, without the limits of the last call."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            backend.no_truncation()
            backend.no_padding()
        self.tokenizer.save_pretrained(folder)


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


def write_json_plainly(path: Path, value: Any) -> None:
    """A plain write: the caller renames the whole folder into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
