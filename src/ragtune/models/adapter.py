"""Query adapters: a transform of query vectors that is learned while every passage vector stays what it is.

The engine sees a bi-encoder whose "tokens" are row numbers of a table of query vectors that were computed before. So
every loss, negative and schedule works as for other models, and a step costs one small matrix product.

Letters: B texts, D dimensions, R the rank of a low-rank transform or the width of a small network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ragtune.errors import ModelError, Problem
from ragtune.models.base import BiEncoder, Kind, Representation, TokenBatch, TokenIds
from ragtune.models.dense import DenseHead, DenseModel
from ragtune.run import atomic_folder, hash_json, read_json
from ragtune.scoring.similarity import full_precision

AdapterKind = Literal["linear", "low_rank", "mlp"]
Vectors = NDArray[np.float32]
# Half of the thin matrices begins at 0, so that the transform begins as the identity (LoRA's rule, Hu et al. 2021)
INIT_STD = 0.02


class VectorSource(Protocol):
    """Where vectors come from that are never trained."""

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Vectors:
        """vector_BD of texts, read as queries or as passages."""


@final
class QueryTransform(nn.Module):
    """``vector_BD`` to ``vector_BD``; the identity before training.

    linear: W x. low_rank: x + V U x. mlp: x + V relu(U x). No biases: a longer vector gives a longer one, so that it
    does not matter whether vectors are normalised before or after.
    """

    def __init__(self, kind: AdapterKind, *, dims: int, rank: int) -> None:
        super().__init__()
        self.kind = kind
        self.rank = rank
        self.dims = dims
        if kind == "linear":
            self.whole_DD = nn.Parameter(torch.eye(dims))
        else:
            generator = torch.Generator().manual_seed(0)
            self.down_RD = nn.Parameter(torch.randn(rank, dims, generator=generator) * INIT_STD)
            self.up_DR = nn.Parameter(torch.zeros(dims, rank))

    def forward(self, vector_BD: Tensor) -> Tensor:
        """The transformed vectors."""
        out_BD: Tensor = FORMS[self.kind](self, vector_BD)
        return out_BD

    def dense_layers(self) -> list[nn.Sequential]:
        """The same transform as linear layers behind each other, as a sentence-transformers folder holds it.

        x = relu(x) - relu(-x) carries a vector past the network's activation.
        """
        eye_DD = torch.eye(self.dims)
        if self.kind == "linear":
            return [_layer(self.whole_DD, nn.Identity())]
        if self.kind == "low_rank":
            return [_layer(eye_DD + self.up_DR @ self.down_RD, nn.Identity())]
        first = torch.cat([eye_DD, -eye_DD, self.down_RD])
        second = torch.cat([eye_DD, -eye_DD, self.up_DR], dim=1)
        return [_layer(first, nn.ReLU()), _layer(second, nn.Identity())]


FORMS: Mapping[AdapterKind, Any] = MappingProxyType(
    {
        "linear": lambda t, x: x @ t.whole_DD.T,
        "low_rank": lambda t, x: x + (x @ t.down_RD.T) @ t.up_DR.T,
        "mlp": lambda t, x: x + torch.relu(x @ t.down_RD.T) @ t.up_DR.T,
    }
)


def _layer(weight: Tensor, activation: nn.Module) -> nn.Sequential:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        linear.weight.copy_(weight)
    return nn.Sequential(linear, activation)


@final
class AdapterModel(BiEncoder):
    """Vectors of a source that stays as it is, with a learned transform on the query side.

    ``set_queries`` hands over the vectors that training reads; their "token ids" are row numbers.
    """

    family: ClassVar[str] = "adapter"

    def __init__(self, *, name: str, source: VectorSource, transform: QueryTransform, normalize: bool) -> None:
        super().__init__()
        self.name = name
        self.source = Remembered(source)
        self.transform = transform
        self.normalize = normalize
        self.table = nn.Embedding(1, transform.dims)
        self.table.weight.requires_grad_(False)
        self.settings = {}
        self.packed = True
        self.notes: dict[str, Any] = {}
        self.encode_dtype = torch.float32

    def set_queries(self, vector_QD: Vectors) -> list[TokenIds]:
        """Hand over query vectors; gives the row numbers that stand for them."""
        self.table = nn.Embedding.from_pretrained(torch.from_numpy(vector_QD), freeze=True)
        return [np.array([row], dtype=np.int32) for row in range(len(vector_QD))]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.table.weight.device

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return self.transform.dims

    @property
    def token_embedding(self) -> nn.Embedding:
        """The table of query vectors; it is never trained."""
        return self.table

    @property
    def matmul_parameters(self) -> int:
        """The transform's weights."""
        return sum(p.numel() for p in self.transform.parameters())

    @property
    def attention_width(self) -> int:
        """Nothing attends."""
        return 0

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None = None, truncate: bool = True
    ) -> list[TokenIds]:
        """Row numbers of the texts' vectors, which become the table."""
        return self.set_queries(self.source.encode(texts, kind=kind, prompts=prompts))

    def tokenizer_fingerprint(self) -> str:
        """There is no tokenizer; the source's name stands for its vectors."""
        return hash_json({"vectors": self.name})

    def forward(self, batch: TokenBatch) -> Tensor:
        """``vector_BD``, fp32, normalised when the source's vectors are."""
        return self._transformed(self.table(batch.ids_N))

    def _transformed(self, vector_BD: Tensor) -> Tensor:
        out_BD = full_precision(self.transform(vector_BD))
        return F.normalize(out_BD, dim=-1) if self.normalize else out_BD

    def score(self, query: Representation, passage: Representation) -> Tensor:
        """``score_QC``: dot products, fp32."""
        return full_precision(query.rows_ND) @ full_precision(passage.rows_ND).T

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Vectors:
        """The source's vectors, those of queries transformed."""
        vector_BD = self.source.encode(texts, kind=kind, label=label, prompts=prompts)
        return self.transformed(vector_BD) if kind == "query" else vector_BD

    def encode_tokens(self, sequences: Sequence[TokenIds], *, kind: Kind = "query", label: str = "") -> Vectors:
        """Transformed rows of the table; there are queries in it, and nothing else."""
        rows = torch.from_numpy(np.concatenate([np.empty(0, np.int32), *sequences]).astype(np.int64))
        return self.transformed(self.table.weight[rows.to(self.device)].detach().cpu().numpy())

    def transformed(self, vector_BD: Vectors) -> Vectors:
        """Query vectors as they are searched with."""
        with torch.inference_mode():
            out: Vectors = (
                self._transformed(torch.from_numpy(np.ascontiguousarray(vector_BD)).to(self.device)).cpu().numpy()
            )
        return out

    def save(self, folder: Path) -> None:
        """A sentence-transformers folder for queries where a model made the vectors, else the transform alone."""
        base = self.source.inner
        if isinstance(base, DenseModel):
            self._query_model(base).save(folder)
            return
        with atomic_folder(folder) as aside:
            weights = {name: p.detach().contiguous() for name, p in self.transform.named_parameters()}
            save_file(weights, aside / "adapter.safetensors")
            shape = {"kind": self.transform.kind, "dims": self.dims, "rank": self.transform.rank}
            said = {"family": self.family, "adapter": {**shape, "normalize": self.normalize}, **self.notes}
            (aside / "ragtune.json").write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def _query_model(self, base: DenseModel) -> DenseModel:
        """The base model with the transform behind it. Passages go through the base model alone."""
        model = DenseModel(
            name=self.name,
            backbone=base.backbone,
            tokenizer=base.tokenizer,
            head=DenseHead(pooling=base.head.pooling, normalize=base.head.normalize),
            settings=base.settings,
            heads=[*base.heads, *self.transform.dense_layers()],
        )
        model.packed, model.notes = base.packed, {**self.notes, "passage_model": base.name}
        return model


@final
class Remembered:
    """A source that is asked for each text once."""

    def __init__(self, inner: VectorSource) -> None:
        self.inner = inner
        self._known: dict[tuple[Kind, str, str | None], Vectors] = {}

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Vectors:
        """Vectors of texts, those that are new from the inner source."""
        own = [None] * len(texts) if prompts is None else prompts
        keys = [(kind, text, prompt) for text, prompt in zip(texts, own, strict=True)]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if new:
            asked, said = [text for _, text, _ in new], [prompt for _, _, prompt in new]
            vectors = self.inner.encode(asked, kind=kind, label=label, prompts=said)
            self._known |= dict(zip(new, vectors, strict=True))
        return np.stack([self._known[key] for key in keys]) if keys else np.empty((0, 0), np.float32)


def read_transform(folder: Path | str) -> AdapterModel:
    """An adapter that was saved without a model: ``read_transform(folder).transformed(vector_QD)``.

    Raises ``ModelError`` where the folder holds none.
    """
    folder = Path(folder)
    try:
        said = read_json(folder / "ragtune.json")["adapter"]
        weights = load_file(folder / "adapter.safetensors")
    except (OSError, KeyError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"[:200]
        do = "give the model folder of an adapter's run over vector files"
        raise ModelError(Problem("no query adapter can be read", str(folder), found, do)) from error
    transform = QueryTransform(said["kind"], dims=said["dims"], rank=said["rank"])
    transform.load_state_dict(weights)
    return AdapterModel(name=str(folder), source=_NoSource(), transform=transform, normalize=said["normalize"])


@final
class _NoSource:
    """A saved transform has vectors given to it."""

    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Vectors:
        """Refused: there is no model."""
        found, do = f"{len(texts)} texts", "hand vectors to transformed()"
        raise ModelError(Problem("this adapter has no model that reads texts", "the adapter", found, do))
