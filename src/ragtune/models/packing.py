"""Attention over sequences that lie behind each other without padding.

A packed batch is one row of N tokens. Linear layers, norms and activations then see real tokens only; attention
alone needs to know where a sequence ends. It is registered with transformers under ``ragtune_packed``, so that every
model that uses transformers' attention interface can run packed.

On the CPU, sequences are sorted by length and cut into buckets of nearly equal length; each bucket is two batched
matrix products. The backward pass is written out because autograd's own would gather and scatter each bucket anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

NAME = "ragtune_packed"
# Share of padding a bucket may hold. measured: 0.05 to 0.25 are equally fast; fewer buckets are fewer matrix shapes,
# and each shape that oneDNN prepares stays in memory (LOG.md)
BUCKET_PADDING = 0.25
# Buckets are this multiple long: a softmax over rows that fill whole registers is 2 to 4 times as fast (LOG.md)
CELL_MULTIPLE = 16
# Keywords of transformers' attention that change scores; a model that uses one is refused here and runs with padding
UNSUPPORTED = ("softcap", "s_aux", "sinks", "position_bias", "alibi", "attn_bias", "score_mod")


def filled(tokens: int) -> int:
    """``tokens`` rounded up to a multiple of the largest power of two within 1/32 of it.

    Matrix products are prepared once a shape: few shapes are quicker, and memory of one step fits the next.
    measured: 7 % of a step, and 3.1 GB instead of 2.0 GB after twelve steps, without it (LOG.md).

    >>> [filled(n) for n in (12, 100, 3901, 4096)]
    [12, 100, 3904, 4096]
    """
    grain = 1 << max(0, (tokens // 32).bit_length() - 1)
    return -(-tokens // grain) * grain


@final
@dataclass(frozen=True, slots=True)
class Bucket:
    """``count`` sequences, each in ``length`` cells.

    ``token_BT`` names the token of each cell (padding repeats the bucket's first one). ``mask`` is 0 or -inf on
    keys that are padding or unseen, (count, 1, length); None when there are none.
    """

    token_BT: Tensor
    inside_BT: Tensor
    mask: Tensor | None

    @property
    def count(self) -> int:
        """Sequences in the bucket."""
        return self.token_BT.shape[0]

    @property
    def length(self) -> int:
        """Cells of a sequence: the tokens of the longest, filled up to a multiple of ``CELL_MULTIPLE``."""
        return self.token_BT.shape[1]


@final
@dataclass(frozen=True, slots=True)
class HeadRows:
    """Where each (token, head) row lies in the padded buffer of all buckets, which is (bucket, sequence, head, T).

    ``source_P`` gives the flat row of each padded row, ``place_R`` the padded row of each flat row (P, a row of zeros
    behind the buffer, for filling tokens), ``empty_E`` the padded rows that hold no token.
    """

    source_P: Tensor
    place_R: Tensor
    empty_E: Tensor
    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, buckets: Sequence[Bucket], *, heads: int, tokens: int, device: torch.device) -> HeadRows:
        """The rows of ``buckets`` with this number of heads, for ``tokens`` tokens, filling ones included."""
        head_H = torch.arange(heads)[None, :, None]
        sources = [(bucket.token_BT[:, None] * heads + head_H).flatten() for bucket in buckets]
        inside = [bucket.inside_BT[:, None].expand(-1, heads, -1).flatten() for bucket in buckets]
        source_P, inside_P = torch.cat(sources), torch.cat(inside)
        real_R = inside_P.nonzero().squeeze(1)
        place_R = torch.full((tokens * heads,), len(source_P))
        place_R[source_P[real_R]] = real_R
        ends = torch.tensor([len(part) for part in sources]).cumsum(0).tolist()
        return cls(
            source_P=source_P.to(device),
            place_R=place_R.to(device),
            empty_E=(~inside_P).nonzero().squeeze(1).to(device),
            bounds=tuple(zip([0, *ends[:-1]], ends, strict=True)),
        )


@final
class PackedLayout:
    """Where the sequences of a packed batch lie: ``position_N`` of each token, ``start_B``, ``end_B`` of each text.

    Behind them come filling tokens up to ``tokens``, which attend to nothing and are read by nobody. Tokens that are
    ``unseen_N`` attend to the others of their sequence, and nothing attends to them.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        device: torch.device,
        dtype: torch.dtype,
        unseen_N: Tensor | None = None,
    ) -> None:
        length_B = torch.tensor(lengths, dtype=torch.int64)
        end_B = length_B.cumsum(0)
        start_B = end_B - length_B
        self.device = device
        self.tokens = filled(int(end_B[-1]))
        position_N = torch.zeros(self.tokens, dtype=torch.int64)
        position_N[: int(end_B[-1])] = torch.arange(int(end_B[-1])) - torch.repeat_interleave(start_B, length_B)
        self.position_N = position_N.to(device)
        self.start_B, self.end_B = start_B.to(device), end_B.to(device)
        self.buckets = tuple(
            _bucket(length_B[first:last], start=int(start_B[first]), device=device, dtype=dtype, unseen_N=unseen_N)
            for first, last in _bucket_bounds(lengths)
        )
        self._rows: dict[int, HeadRows] = {}

    def rows(self, heads: int) -> HeadRows:
        """The rows of this number of heads; made once for all layers."""
        if heads not in self._rows:
            self._rows[heads] = HeadRows.of(self.buckets, heads=heads, tokens=self.tokens, device=self.device)
        return self._rows[heads]


@final
@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How one attention layer attends: ``scale`` multiplies q k', ``causal`` looks back only.

    With a ``window`` a token sees those less than ``window`` places away.
    """

    layout: PackedLayout
    scale: float
    causal: bool
    dropout: float
    window: int | None = None


def _bucket_bounds(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    first, real, longest = 0, 0, 0
    for index, length in enumerate(lengths):
        longest_then = max(longest, length)
        padded = longest_then * (index - first + 1)
        if index > first and padded > (1 + BUCKET_PADDING) * (real + length):
            yield first, index
            first, real, longest = index, 0, 0
        real += length
        longest = max(longest, length)
    yield first, len(lengths)


def _bucket(
    length_B: Tensor, *, start: int, device: torch.device, dtype: torch.dtype, unseen_N: Tensor | None
) -> Bucket:
    longest = -(-int(length_B.max()) // CELL_MULTIPLE) * CELL_MULTIPLE
    column_T = torch.arange(longest)
    inside_BT = column_T < length_B[:, None]
    first_B = length_B.cumsum(0) - length_B
    token_BT = torch.where(inside_BT, first_B[:, None] + column_T, 0) + start
    seen_BT = inside_BT if unseen_N is None else inside_BT & ~unseen_N.cpu()[token_BT]
    mask = None
    if not bool(seen_BT.all()):
        mask = torch.zeros(len(length_B), 1, longest, dtype=dtype).masked_fill_(~seen_BT[:, None], float("-inf"))
        mask = mask.to(device)
    return Bucket(token_BT=token_BT, inside_BT=inside_BT, mask=mask)


def _hidden(length: int, how: AttentionPlan, *, like: Tensor) -> Tensor | None:
    """(T, T), 0 or a very low value for later tokens and those outside the window; None where all may be seen.

    A finite value: a padded query may have padded keys alone in its window, and -inf throughout would give NaN. Half
    of the least one, because adding a score to that would overflow in fp16.
    """
    if not how.causal and (how.window is None or how.window >= length):
        return None
    place = torch.arange(length, device=like.device)
    ahead_TT = place - place[:, None]
    hidden_TT = ahead_TT > 0 if how.causal else torch.zeros_like(ahead_TT, dtype=torch.bool)
    if how.window is not None:
        hidden_TT = hidden_TT | (ahead_TT.abs() >= how.window)
    nothing_TT = torch.zeros(length, length, dtype=like.dtype, device=like.device)
    return nothing_TT.masked_fill_(hidden_TT, torch.finfo(like.dtype).min / 2)


def _scores(q: Tensor, k: Tensor, bucket: Bucket, how: AttentionPlan) -> Tensor:
    """(count * heads, T, T); padded and hidden keys are masked."""
    mask = None if bucket.mask is None else bucket.mask.repeat_interleave(len(q) // bucket.count, dim=0)
    hidden_TT = _hidden(bucket.length, how, like=q)
    if hidden_TT is not None:
        mask = hidden_TT[None] if mask is None else mask + hidden_TT
    return torch.bmm(q, k.transpose(1, 2)) if mask is None else torch.baddbmm(mask, q, k.transpose(1, 2))


def _buffer(like_PD: Tensor) -> Tensor:
    """Room for P rows, with a row of zeros behind them for filling tokens."""
    buffer = like_PD.new_empty(len(like_PD) + 1, like_PD.shape[1])
    buffer[-1] = 0
    return buffer


@final
class PackedAttention(torch.autograd.Function):
    """softmax(q k' * scale) v within each sequence of a packed batch; shapes (N, heads, head dims).

    Rows of one head are gathered once into a buffer in which every bucket is a plain batch of matrices, and back.
    """

    @staticmethod
    def forward(ctx: Any, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, how: AttentionPlan) -> Tensor:
        """Attention output, (N, heads, head dims)."""
        heads, width = q_NHD.shape[1:]
        rows = how.layout.rows(heads)
        q_PD, k_PD, v_PD = (x.reshape(-1, width).index_select(0, rows.source_P) for x in (q_NHD, k_NHD, v_NHD))
        q_PD *= how.scale
        out_PD = _buffer(q_PD)
        weights: list[Tensor | None] = []
        for bucket, (first, last) in zip(how.layout.buckets, rows.bounds, strict=True):
            q, k, v, out = (x[first:last].view(-1, bucket.length, width) for x in (q_PD, k_PD, v_PD, out_PD))
            weight = torch.softmax(_scores(q, k, bucket, how), -1)
            drop = None
            if how.dropout:
                drop = (torch.rand_like(weight) >= how.dropout).to(weight.dtype) / (1 - how.dropout)
            torch.bmm(weight if drop is None else weight * drop, v, out=out)
            weights += [weight, drop]
        ctx.save_for_backward(q_PD, k_PD, v_PD, *weights)
        ctx.how = how
        return out_PD.index_select(0, rows.place_R).view(-1, heads, width)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Gradients of q, k and v."""
        (grad_NHD,) = grads
        heads, width = grad_NHD.shape[1:]
        rows = ctx.how.layout.rows(heads)
        # read once: under gradient checkpointing each reading would compute the layer again
        q_PD, k_PD, v_PD, *weights = ctx.saved_tensors
        grad_PD = grad_NHD.reshape(-1, width).index_select(0, rows.source_P)
        # a padded row's output is thrown away, so no gradient may come back through it
        grad_PD.index_fill_(0, rows.empty_E, 0)
        grad_q, grad_k, grad_v = (_buffer(grad_PD) for _ in range(3))
        for index, (bucket, (first, last)) in enumerate(zip(ctx.how.layout.buckets, rows.bounds, strict=True)):
            weight, drop = weights[2 * index : 2 * index + 2]
            cells = (x[first:last].view(-1, bucket.length, width) for x in (q_PD, k_PD, v_PD, grad_PD))
            q, k, v, grad = cells
            out_q, out_k, out_v = (x[first:last].view(-1, bucket.length, width) for x in (grad_q, grad_k, grad_v))
            used = weight if drop is None else weight * drop
            torch.bmm(used.transpose(1, 2), grad, out=out_v)
            grad_weight = torch.bmm(grad, v.transpose(1, 2))
            if drop is not None:
                grad_weight *= drop
            grad_score = torch._softmax_backward_data(grad_weight, weight, -1, weight.dtype)
            torch.bmm(grad_score, k, out=out_q)
            torch.bmm(grad_score.transpose(1, 2), q, out=out_k)
        grad_q *= ctx.how.scale
        back = (x.index_select(0, rows.place_R).view(-1, heads, width) for x in (grad_q, grad_k, grad_v))
        return *back, None


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_layout: PackedLayout | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention signature; query, key and value are (1, heads, N, head dims)."""
    assert packed_layout is not None and attention_mask is None and query.shape[0] == 1
    if any(others.get(name) is not None for name in UNSUPPORTED):
        raise ValueError("this attention cannot run packed")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if k.shape[1] != q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if scaling is None else scaling
    causal = bool(getattr(module, "is_causal", False))
    how = AttentionPlan(layout=packed_layout, scale=scale, causal=causal, dropout=dropout, window=sliding_window)
    out_NHD: Tensor = PackedAttention.apply(q, k, v, how)  # type: ignore[no-untyped-call]
    return out_NHD.unsqueeze(0), None


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says where sequences end; no mask is made."""


def register() -> None:
    """Make ``ragtune_packed`` known to transformers."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _no_mask)
