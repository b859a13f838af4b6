"""What every model family offers to training, mining and evaluation."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

Kind = Literal["query", "passage"]
KINDS: tuple[Kind, ...] = ("query", "passage")
TokenIds = np.ndarray
Encoded = Any
"""Many texts as a family keeps them: vectors [B, D] float32, ``TokenVectors``, or a sparse matrix of term weights."""


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
    """Token sequences behind each other: ``ids_N`` (N tokens in all) and ``lengths_B`` (one a text).

    ``query_B`` says which texts are queries, ``second_B`` where the passage of a joined pair begins. Both are for
    models that read them, and None where nobody said.
    """

    ids_N: Tensor
    lengths_B: Tensor
    query_B: Tensor | None = None
    second_B: Tensor | None = None

    @classmethod
    def of(
        cls,
        sequences: Sequence[TokenIds],
        *,
        device: torch.device,
        kinds: Sequence[Kind] | None = None,
        seconds: Sequence[int] | None = None,
    ) -> TokenBatch:
        """A batch of ``sequences``, in their order."""
        lengths = torch.tensor([len(s) for s in sequences], dtype=torch.int64)
        ids = torch.from_numpy(np.concatenate(sequences).astype(np.int64))
        query_B = None if kinds is None else torch.tensor([kind == "query" for kind in kinds])
        second_B = None if seconds is None else torch.tensor(seconds, dtype=torch.int64)
        return cls(ids_N=ids.to(device), lengths_B=lengths, query_B=query_B, second_B=second_B)

    @property
    def tokens(self) -> int:
        """Real tokens in the batch."""
        return self.ids_N.numel()


@final
@dataclass(frozen=True, slots=True)
class Inputs:
    """What one step encodes: token sequences, with their kinds or, for joined pairs, where each passage begins."""

    sequences: Sequence[TokenIds]
    kinds: Sequence[Kind] | None = None
    seconds: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    def batch(self, places: Sequence[int], *, device: torch.device) -> TokenBatch:
        """The sequences at ``places``, in that order."""
        return TokenBatch.of(
            [self.sequences[i] for i in places],
            device=device,
            kinds=None if self.kinds is None else [self.kinds[i] for i in places],
            seconds=None if self.seconds is None else [self.seconds[i] for i in places],
        )


@final
@dataclass(frozen=True, slots=True)
class Representation:
    """What a model makes of B texts: a group of rows for each, behind each other in ``rows_ND``.

    One row a text for vectors and vocabulary weights; one row a counting token for late interaction. ``lengths_B``
    (int64, on the CPU) says how many.

    >>> both = Representation(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 1]))
    >>> both[torch.tensor([1, 0])].rows_ND.flatten().tolist()
    [3.0, 1.0, 2.0]
    """

    rows_ND: Tensor
    lengths_B: Tensor

    @classmethod
    def one_each(cls, vector_BD: Tensor) -> Representation:
        """One row a text."""
        return cls(vector_BD, torch.ones(len(vector_BD), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.lengths_B)

    def __getitem__(self, places: Tensor | slice) -> Representation:
        """The texts at ``places``: int64, or a slice without steps, which copies nothing."""
        if isinstance(places, slice):
            first, last, _ = places.indices(len(self))
            start, end = int(self.lengths_B[:first].sum()), int(self.lengths_B[:last].sum())
            return Representation(self.rows_ND[start:end], self.lengths_B[first:last])
        places = places.to(self.lengths_B.device)
        return Representation(self.rows_ND[row_places(self.lengths_B, places)], self.lengths_B[places])

    def padded(self) -> tuple[Tensor, Tensor]:
        """``token_BTD`` with zeros behind each text's rows, and ``mask_BT``, true on the rows."""
        longest = int(self.lengths_B.max()) if len(self) else 0
        mask_BT = (torch.arange(longest) < self.lengths_B[:, None]).to(self.rows_ND.device)
        token_BTD = self.rows_ND.new_zeros(len(self), longest, self.rows_ND.shape[-1])
        return token_BTD.masked_scatter(mask_BT[..., None], self.rows_ND), mask_BT


def row_places(lengths_B: Tensor, places_R: Tensor) -> Tensor:
    """Where the rows of the texts at ``places_R`` are, text by text.

    >>> row_places(torch.tensor([2, 1, 3]), torch.tensor([2, 0])).tolist()
    [3, 4, 5, 0, 1]
    """
    start_B, count_R = lengths_B.cumsum(0) - lengths_B, lengths_B[places_R]
    shift_R = start_B[places_R] - (count_R.cumsum(0) - count_R)
    return torch.repeat_interleave(shift_R, count_R) + torch.arange(int(count_R.sum()))


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
    """A retrieval model that can be trained: a ``BiEncoder`` or a ``PairModel``."""

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
        """Width of a row of ``forward``."""

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
        """``rows_ND``, fp32: the rows of each text behind those of the one before."""

    def row_counts(self, batch: TokenBatch) -> Tensor:
        """How many rows ``forward`` gives each text (int64, on the CPU); known without running it."""
        return torch.ones_like(batch.lengths_B)

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model so that the ecosystem loads it as it stands."""


class BiEncoder(Scorer):
    """Reads queries and passages apart; the score of a pair is a function of their representations."""

    @abc.abstractmethod
    def score(self, query: Representation, passage: Representation) -> Tensor:
        """``score_QC`` of representations, fp32, not divided by a temperature."""

    def penalties(self, query: Representation, passage: Representation, *, progress: float) -> dict[str, Tensor]:
        """What is added to every query's loss for the representations themselves, by name; ``progress`` is 0 to 1."""
        return {}

    @abc.abstractmethod
    def encode(
        self, texts: Sequence[str], *, kind: Kind, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Encoded:
        """Representations of many texts in their order; a text's own prompt replaces the setting's."""

    @abc.abstractmethod
    def encode_tokens(self, sequences: Sequence[TokenIds], *, kind: Kind, label: str = "") -> Encoded:
        """Representations of texts that are tokenised already, in their order."""


class PairModel(Scorer):
    """Reads query and passage together: ``forward`` gives each joined pair one row of width 1, its score."""

    @property
    def dims(self) -> int:
        """A score."""
        return 1

    @abc.abstractmethod
    def join(self, query: TokenIds, passage: TokenIds) -> tuple[TokenIds, int]:
        """The ids of a pair, special tokens included, within the model's limit, and where the passage begins."""
