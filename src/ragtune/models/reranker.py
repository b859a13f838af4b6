"""Rerankers: query and passage read together, one score a pair.

Letters: B pairs, N tokens of all pairs together, T tokens of the longest, H hidden width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ragtune.data.records import Passage, Query
from ragtune.models import packing
from ragtune.models.base import Inputs, Kind, PairModel, TextSettings, TokenBatch, TokenIds, token_batches
from ragtune.models.pair_format import PairFormat
from ragtune.models.reranker_heads import Answers, Head
from ragtune.models.transformer import TokenRows, position_offset
from ragtune.recipe_families import Activation
from ragtune.run import hash_json, progress

# Tokens of one forward pass while scoring. measured for encoders: 4,096 to 16,384 are equally fast (LOG.md)
SCORE_TOKENS = 8192
# Pairs whose joined ids are held at once
SCORE_PAIRS = 65_536

ACTIVATIONS: Mapping[Activation, type[nn.Module]] = MappingProxyType({"sigmoid": nn.Sigmoid, "identity": nn.Identity})


@final
@dataclass(frozen=True, slots=True)
class PairReading:
    """How pairs are read: their format, the longest one, what stands before each text, what scores pass in the end.

    ``answers`` are the tokens that a language model scores by; None for a classification head.
    """

    form: PairFormat
    max_tokens: int
    settings: dict[Kind, TextSettings]
    prefixes: dict[Kind, str] = field(default_factory=lambda: {"query": "", "passage": ""})
    activation: Activation = "sigmoid"
    answers: Answers | None = None


@final
class Reranker(PairModel):
    """A cross-encoder: a transformers classifier of one logit, or a language model that answers yes or no."""

    family: ClassVar[str] = "reranker"

    def __init__(self, *, name: str, network: Any, tokenizer: Any, reading: PairReading, head: Head | None) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.tokenizer = tokenizer
        self.reading = reading
        self.settings = reading.settings
        self.head = head
        self.packed = False
        self.fresh_head = False
        self.notes: dict[str, Any] = {}
        self.pad_to_multiple_of = 1
        self.encode_dtype = torch.float32

    @property
    def backbone(self) -> Any:
        """The network without its head."""
        return getattr(self.network, self.network.base_model_prefix)

    def replace_backbone(self, backbone: nn.Module) -> None:
        """Put another backbone under the head."""
        setattr(self.network, self.network.base_model_prefix, backbone)

    @property
    def idle(self) -> list[nn.Parameter]:
        """A language model's output table where it is not the input's: one or two of its rows are read."""
        if self.reading.answers is None:
            return []
        return [p for p in self.network.get_output_embeddings().parameters() if p is not self.token_embedding.weight]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @property
    def hidden(self) -> int:
        """Width of the backbone's token states."""
        return int(self.network.config.hidden_size)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The token embedding table."""
        table = self.backbone.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def matmul_parameters(self) -> int:
        """Weights of the backbone's linear layers that every token passes; a head sees one state a pair."""
        once = {id(p) for name, p in self.backbone.named_parameters() if "pooler" in name}
        linears = [m for m in self.backbone.modules() if isinstance(m, nn.Linear)]
        return sum(m.weight.numel() for m in linears if id(m.weight) not in once)

    @property
    def attention_width(self) -> int:
        """Layers times hidden width."""
        return int(self.network.config.num_hidden_layers) * self.hidden

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None = None, truncate: bool = True
    ) -> list[TokenIds]:
        """Token ids of each text, prompt in front, cut to the kind's limit; ``join`` adds the special tokens."""
        setting = self.settings[kind]
        own = prompts if prompts is not None else [None] * len(texts)
        joined = [
            self.reading.prefixes[kind] + setting.joined(text, prompt=prompt)
            for text, prompt in zip(texts, own, strict=True)
        ]
        if not joined:
            return []
        found = self.tokenizer(
            joined, truncation=truncate, max_length=setting.max_tokens if truncate else None, padding=False,
            add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        return [np.asarray(ids, dtype=np.int32) for ids in found["input_ids"]]

    def tokenizer_fingerprint(self) -> str:
        """SHA-256 of the tokenizer's whole definition, and of the reading without special tokens."""
        definition = json.loads(self.tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        return hash_json({"tokenizer": definition, "prefixes": self.reading.prefixes, "special_tokens": False})

    def join(self, query: TokenIds, passage: TokenIds) -> tuple[TokenIds, int]:
        """The ids of a pair, special tokens included, within the model's limit, and where the passage begins.

        The passage is what is cut: the query has its own limit.
        """
        return self.reading.form.join(query, passage, max_tokens=self.reading.max_tokens)

    def forward(self, batch: TokenBatch) -> Tensor:
        """``score_B1``, fp32, before the activation."""
        if self.head is None:
            logits: Tensor = self.network(**self.padded(batch), use_cache=False).logits
            return logits.float()
        state_BH = self._packed_states(batch, self.head) if self.packed else self._padded_states(batch, self.head)
        return self.head.score(self.network, state_BH).float()

    def _types(self, batch: TokenBatch) -> Tensor | None:
        """``type_N``: 1 from each passage on; None for a model without segments."""
        if not self.reading.form.segments:
            return None
        assert batch.second_B is not None, "a reranker reads joined pairs"
        end_B = batch.lengths_B.cumsum(0)
        second_B = torch.repeat_interleave(end_B - batch.lengths_B + batch.second_B, batch.lengths_B)
        return (torch.arange(batch.tokens) >= second_B).long().to(self.device)

    def _embedded(self, ids: Tensor) -> dict[str, Tensor]:
        """The backbone's input; a plain table is read here, so that its gradient is added where tokens occur only."""
        table = self.token_embedding
        if type(table) is not nn.Embedding:
            return {"input_ids": ids}
        with_gradient = table.weight.requires_grad and torch.is_grad_enabled()
        rows: Tensor = TokenRows.apply(table.weight, ids) if with_gradient else F.embedding(ids, table.weight)  # type: ignore[no-untyped-call]
        return {"inputs_embeds": rows.to(self._compute_dtype())}

    def _compute_dtype(self) -> torch.dtype:
        if self.forward_dtype is not None:
            return self.forward_dtype
        weights = (p for p in self.backbone.parameters() if p is not self.token_embedding.weight)
        dtype: torch.dtype = next(weights).dtype
        return dtype

    def _packed_states(self, batch: TokenBatch, head: Head) -> Tensor:
        layout = packing.PackedLayout(batch.lengths_B.tolist(), device=self.device, dtype=self._compute_dtype())
        filling = (0, layout.tokens - batch.tokens)
        inputs = self._embedded(F.pad(batch.ids_N, filling, value=self.tokenizer.pad_token_id or 0)[None])
        type_N = self._types(batch)
        if type_N is not None:
            inputs["token_type_ids"] = F.pad(type_N, filling)[None]
        position_N = layout.position_N[None] + position_offset(self.backbone)
        state_NH: Tensor = self.backbone(**inputs, position_ids=position_N, packed_layout=layout).last_hidden_state[0]
        if head.reads == "mean":
            length_B = (layout.end_B - layout.start_B).to(state_NH.dtype)
            text_N = torch.repeat_interleave(layout.end_B - layout.start_B)
            total_BH = state_NH.new_zeros(len(length_B), self.hidden).index_add(0, text_N, state_NH[: batch.tokens])
            return total_BH / length_B[:, None]
        return state_NH[layout.start_B if head.reads == "first" else layout.end_B - 1]

    def padded(self, batch: TokenBatch) -> dict[str, Tensor]:
        """What transformers is given: rows of equal length, padding on the right."""
        lengths = batch.lengths_B.tolist()
        longest = -(-max(lengths) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        pad = self.tokenizer.pad_token_id or 0

        def rows(values_N: Tensor, value: int) -> Tensor:
            return torch.stack([F.pad(v, (0, longest - len(v)), value=value) for v in torch.split(values_N, lengths)])

        mask_BT = torch.arange(longest, device=self.device) < batch.lengths_B.to(self.device)[:, None]
        inputs = {"input_ids": rows(batch.ids_N, pad), "attention_mask": mask_BT.long()}
        type_N = self._types(batch)
        return inputs if type_N is None else {**inputs, "token_type_ids": rows(type_N, 0)}

    def _padded_states(self, batch: TokenBatch, head: Head) -> Tensor:
        inputs = self.padded(batch)
        embedded = self._embedded(inputs.pop("input_ids"))
        state_BTH: Tensor = self.backbone(**embedded, **inputs).last_hidden_state
        if head.reads == "mean":
            mask_BT = inputs["attention_mask"].to(state_BTH.dtype)
            return (state_BTH * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
        if head.reads == "first":
            return state_BTH[:, 0]
        return state_BTH[torch.arange(len(state_BTH), device=self.device), batch.lengths_B.to(self.device) - 1]

    def score_pairs(
        self, queries: Sequence[Query], passages: Sequence[Passage], *, label: str = "scoring pairs"
    ) -> NDArray[np.float32]:
        """One score a pair, before the activation; equal texts are tokenised once, equal pairs are scored once."""
        asked = [(query.text, query.prompt) for query in queries]
        read = [passage.content for passage in passages]
        texts = list(dict.fromkeys(asked)), list(dict.fromkeys(read))
        query_ids = self.tokenize([t for t, _ in texts[0]], kind="query", prompts=[p for _, p in texts[0]])
        passage_ids = self.tokenize(texts[1], kind="passage")
        place = {text: i for i, text in enumerate(texts[0])}, {text: i for i, text in enumerate(texts[1])}
        pairs = [(place[0][q], place[1][p]) for q, p in zip(asked, read, strict=True)]
        distinct = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        score_P = np.empty(len(distinct), dtype=np.float32)
        todo = list(distinct)
        for first in range(0, len(todo), SCORE_PAIRS):
            part = todo[first : first + SCORE_PAIRS]
            joined = [self.join(query_ids[q], passage_ids[p]) for q, p in part]
            inputs = Inputs([ids for ids, _ in joined], seconds=[second for _, second in joined])
            score_P[first : first + len(part)] = self.score_joined(inputs, label=label)
        return score_P[[distinct[pair] for pair in pairs]]

    def score_joined(self, inputs: Inputs, *, label: str = "") -> NDArray[np.float32]:
        """The score of each joined pair, in their order; computed in ``encode_dtype``."""
        score_B = np.empty(len(inputs), dtype=np.float32)
        work = list(token_batches([len(s) for s in inputs.sequences], budget=SCORE_TOKENS))
        was_training = self.training
        self.eval()
        full = self.encode_dtype == torch.float32
        half = {} if full else {n: p.to(self.encode_dtype) for n, p in self.named_parameters()}
        with torch.inference_mode():
            for places in progress(work, label=label or "scoring pairs"):
                batch = inputs.batch(places, device=self.device)
                score_B[places] = torch.func.functional_call(self, half, (batch,))[:, 0].cpu().numpy()
        self.train(was_training)
        return score_B

    def activated(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores as sentence-transformers gives them."""
        found: NDArray[np.float32] = ACTIVATIONS[self.reading.activation]()(torch.from_numpy(scores)).numpy()
        return found

    def save(self, folder: Path) -> None:
        """Write a CrossEncoder folder of sentence-transformers, whole or not at all."""
        from ragtune.models.reranker_saving import save_reranker

        save_reranker(self, folder)
