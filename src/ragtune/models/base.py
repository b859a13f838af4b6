"""What every model family offers to training, mining and evaluation."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

Kind = Literal["query", "passage"]
KINDS: tuple[Kind, ...] = ("query", "passage")
TokenIds = np.ndarray


@final
@dataclass(frozen=True, slots=True)
class TextSettings:
    """How one kind of text is read.

    >>> TextSettings(prompt="Question: ", format="{}{}", max_tokens=32).joined("why?")
    'Question: why?'
    """

    prompt: str
    format: str
    max_tokens: int
    lowercase: bool = False

    def joined(self, text: str, *, prompt: str | None = None) -> str:
        """The text with its prompt; an own ``prompt`` replaces the setting's."""
        prefix = self.prompt if prompt is None else prompt
        if prefix:
            before, between, after = self.format.split("{}")
            text = f"{before}{prefix}{between}{text}{after}"
        return text.lower() if self.lowercase else text


@final
@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token sequences behind each other: ``ids_N`` (N tokens in all) and ``lengths_B`` (one a text)."""

    ids_N: Tensor
    lengths_B: Tensor

    @classmethod
    def of(cls, sequences: Sequence[TokenIds], *, device: torch.device) -> TokenBatch:
        """A batch of ``sequences``, in their order."""
        lengths = torch.tensor([len(s) for s in sequences], dtype=torch.int64)
        ids = torch.from_numpy(np.concatenate(sequences).astype(np.int64))
        return cls(ids_N=ids.to(device), lengths_B=lengths)

    @property
    def tokens(self) -> int:
        """Real tokens in the batch."""
        return self.ids_N.numel()


def token_batches(lengths: Sequence[int], *, budget: int) -> Iterator[list[int]]:
    """Places of texts, longest first, cut where the next text would exceed ``budget`` tokens.

    >>> list(token_batches([3, 9, 4, 5], budget=9))
    [[1], [3, 2], [0]]
    """
    batch: list[int] = []
    used = 0
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and used + lengths[place] > budget:
            yield batch
            batch, used = [], 0
        batch.append(place)
        used += lengths[place]
    if batch:
        yield batch


class Scorer(nn.Module, abc.ABC):
    """A retrieval model: texts in, representations and scores out."""

    family: ClassVar[str]
    name: str
    settings: dict[Kind, TextSettings]
    encode_dtype: torch.dtype
    """What ``encode`` computes in."""
    packed: bool
    """Whether micro-batches run without padding."""
    forward_dtype: torch.dtype | None = None
    """What token states are computed in, where the weights' own dtype does not tell (sharded weights)."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    @abc.abstractmethod
    def dims(self) -> int:
        """Length of a vector."""

    @property
    @abc.abstractmethod
    def token_embedding(self) -> nn.Embedding:
        """The token embedding table."""

    @property
    @abc.abstractmethod
    def matmul_parameters(self) -> int:
        """Weights that take part in a matrix product for every token (for the count of useful FLOPs)."""

    @property
    @abc.abstractmethod
    def attention_width(self) -> int:
        """Layers times hidden width: attention costs 4 * width * length FLOPs a token forward."""

    @abc.abstractmethod
    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None = None, truncate: bool = True
    ) -> list[TokenIds]:
        """Token ids of each text, prompt in front, cut to the kind's limit (or not), special tokens included."""

    @abc.abstractmethod
    def tokenizer_fingerprint(self) -> str:
        """A hash that differs between tokenizers that give other ids."""

    @abc.abstractmethod
    def forward(self, batch: TokenBatch) -> Tensor:
        """Representations, one row a text, fp32."""

    @abc.abstractmethod
    def score(self, query_rep: Tensor, passage_rep: Tensor) -> Tensor:
        """``score_QC`` of representations, fp32, not divided by a temperature."""

    @abc.abstractmethod
    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        """Representations of many texts, float32, in their order; a text's own prompt replaces the setting's."""

    @abc.abstractmethod
    def encode_tokens(self, sequences: Sequence[TokenIds], *, label: str = "") -> np.ndarray:
        """Representations of texts that are tokenised already, float32, in their order."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model so that the ecosystem loads it as it stands."""
