"""Sparse encoders: a weight for every term of the vocabulary, most of them 0 (SPLADE).

Letters: B texts, N tokens of all texts together, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from ragtune.models.base import KINDS, Inputs, Kind, Representation, TextSettings, TokenBatch, TokenIds
from ragtune.models.transformer import TransformerEncoder, write_json_plainly
from ragtune.run import atomic_folder
from ragtune.scoring.similarity import dot
from ragtune.scoring.term_weights import flops_penalty, max_term_weights


@final
@dataclass(frozen=True, slots=True)
class SparseReading:
    """How many terms each kind keeps when it is encoded (None = all), and the FLOPS penalty while training."""

    terms: dict[Kind, int | None]
    flops: dict[Kind, float]
    warmup: float


@final
class GivenStates(nn.Module):
    """Stands where a masked-language model expects its backbone, and hands on states that are computed already."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        """The states, in transformers' form."""
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=inputs_embeds)


@final
class MlmHead(nn.Module):
    """What of a masked-language model lies behind its backbone; the output table is multiplied apart.

    Any architecture serves: the model runs with its backbone replaced by ``GivenStates`` and its output table by
    nothing, so what it calls logits are the states that the table would have been multiplied with.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        table = network.get_output_embeddings()
        self._at = next(name for name, module in network.named_modules() if module is table)
        self._prefix = network.base_model_prefix
        self.table = table
        if table.bias is None:
            table.register_parameter("bias", nn.Parameter(torch.zeros(table.out_features)))
        self.network = network
        setattr(network, self._prefix, GivenStates())
        self._put(nn.Identity())

    def _put(self, module: nn.Module) -> None:
        parent, _, name = self._at.rpartition(".")
        setattr(self.network.get_submodule(parent), name, module)

    def forward(self, state_NH: Tensor) -> Tensor:
        """The states that the output table is multiplied with."""
        transformed: Tensor = self.network(inputs_embeds=state_NH[None]).logits[0]
        return transformed

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """The whole masked-language model."""
        given = getattr(self.network, self._prefix)
        setattr(self.network, self._prefix, backbone)
        self._put(self.table)
        self.network.save_pretrained(folder)
        setattr(self.network, self._prefix, given)
        self._put(nn.Identity())


@final
class SparseModel(TransformerEncoder):
    """A sparse encoder over a masked-language model."""

    family: ClassVar[str] = "sparse"

    def __init__(
        self,
        *,
        name: str,
        backbone: Any,
        head: MlmHead,
        tokenizer: Any,
        settings: dict[Kind, TextSettings],
        reading: SparseReading,
    ) -> None:
        super().__init__(name=name, backbone=backbone, tokenizer=tokenizer, settings=settings)
        self.head = head
        self.reading = reading

    @property
    def dims(self) -> int:
        """Terms of the vocabulary."""
        return int(self.head.table.out_features)

    @property
    def matmul_parameters(self) -> int:
        """Weights of the linear layers that every token passes, the output table too."""
        linears = [m for m in self.head.modules() if isinstance(m, nn.Linear)]
        return super().matmul_parameters + sum(m.weight.numel() for m in linears)

    def forward(self, batch: TokenBatch) -> Tensor:
        """``weight_BV``, fp32."""
        state_NH = self.head(self.token_states(batch))
        return max_term_weights(state_NH, batch.lengths_B, self.head.table.weight, self.head.table.bias)

    def score(self, query: Representation, passage: Representation) -> Tensor:
        """``score_QC``: dot products of term weights, fp32."""
        return dot(query.rows_ND, passage.rows_ND)

    def penalties(self, query: Representation, passage: Representation, *, progress: float) -> dict[str, Tensor]:
        """FLOPS of queries and of passages, weighted; the weights rise with the square of ``progress`` (0 to 1)."""
        warmth = 1.0 if progress >= self.reading.warmup else (progress / self.reading.warmup) ** 2
        sides: dict[Kind, Representation] = {"query": query, "passage": passage}
        return {
            f"flops_{kind}": self.reading.flops[kind] * warmth * flops_penalty(side.rows_ND)
            for kind, side in sides.items()
            if self.reading.flops[kind]
        }

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Any:
        """``scipy.sparse.csr_matrix`` [B, V] float32 of many texts, pruned to the terms that the kind keeps."""
        return self.encode_tokens(self.tokenize(texts, kind=kind, prompts=prompts), kind=kind, label=label)

    def encode_tokens(self, sequences: Sequence[TokenIds], *, kind: Kind, label: str = "") -> Any:
        """Term weights of texts that are tokenised already."""
        from scipy.sparse import csr_matrix, vstack

        inputs = Inputs(sequences, kinds=[kind] * len(sequences))
        order: list[int] = []
        parts = [csr_matrix((0, self.dims), dtype=np.float32)]
        for places, weight_BV in self.encoded_batches(inputs, label=label or f"encoding {kind}s"):
            order += places
            parts.append(csr_matrix(heaviest(weight_BV, self.reading.terms[kind]).numpy()))
        return vstack(parts, format="csr")[np.argsort(order)]

    def save(self, folder: Path) -> None:
        """Write a folder that sentence-transformers' SparseEncoder loads, whole or not at all."""
        with atomic_folder(folder) as aside:
            self.head.save(self.backbone, aside)
            self.write_around(aside)

    def write_around(self, folder: Path) -> None:
        """Everything of the folder but the weights."""
        self.write_tokenizer(folder)
        limits = {kind: self.settings[kind].max_tokens for kind in KINDS}
        transformer = {
            "max_seq_length": max(limits.values()),
            "do_lower_case": any(setting.lowercase for setting in self.settings.values()),
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        }
        write_json_plainly(folder / "sentence_bert_config.json", transformer)
        pooling = {"pooling_strategy": "max", "activation_function": "relu", "embedding_dimension": self.dims}
        write_json_plainly(folder / "1_SpladePooling" / "config.json", pooling)
        kinds = {"": "base.modules.transformer.Transformer"}
        kinds["1_SpladePooling"] = "sparse_encoder.modules.splade_pooling.SpladePooling"
        listing = [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{kind}"}
            for index, (path, kind) in enumerate(kinds.items())
        ]
        write_json_plainly(folder / "modules.json", listing)
        prompts = {"query": self.settings["query"].joined(""), "document": self.settings["passage"].joined("")}
        config = {"model_type": "SparseEncoder", "prompts": prompts, "default_prompt_name": None}
        write_json_plainly(folder / "config_sentence_transformers.json", {**config, "similarity_fn_name": "dot"})
        own: dict[str, Any] = {f"{kind}_max_tokens": limits[kind] for kind in KINDS}
        own |= {f"{kind}_prompt": self.settings[kind].prompt for kind in KINDS}
        own |= {f"{kind}_prompt_format": self.settings[kind].format for kind in KINDS}
        own |= {f"{kind}_terms": self.reading.terms[kind] for kind in KINDS}
        write_json_plainly(folder / "ragtune.json", {"family": self.family, **own, **self.notes})


def heaviest(weight_BV: Tensor, terms: int | None) -> Tensor:
    """The heaviest ``terms`` weights of each text, the others 0; None keeps all.

    >>> heaviest(torch.tensor([[1.0, 3.0, 2.0]]), 2).tolist()
    [[0.0, 3.0, 2.0]]
    """
    if terms is None or terms >= weight_BV.shape[1]:
        return weight_BV
    value_BK, term_BK = weight_BV.topk(terms, dim=1)
    return torch.zeros_like(weight_BV).scatter(1, term_BK, value_BK)
