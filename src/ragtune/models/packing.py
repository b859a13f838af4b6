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
# Share of padding a bucket may hold. measured: 0.05 to 0.15 are equally fast, 0 is slower (LOG.md)
BUCKET_PADDING = 0.10
# Keywords of transformers' attention that change scores; a model that uses one is refused here and runs with padding
UNSUPPORTED = ("softcap", "s_aux", "sinks", "position_bias", "alibi", "attn_bias", "score_mod")


@final
@dataclass(frozen=True, slots=True)
class Bucket:
    """``count`` sequences of at most ``length`` tokens, from token ``start`` to ``stop``.

    ``gather`` lists the token of each padded cell (padding repeats the bucket's first token) and ``real`` the cells
    that are no padding; None when all sequences are equally long, as are ``mask`` (0 or -inf on padded keys) and
    ``keep`` (1, or 0 on padded queries).
    """

    start: int
    stop: int
    count: int
    length: int
    gather: Tensor | None
    real: Tensor | None
    mask: Tensor | None
    keep: Tensor | None


@final
@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Where the sequences of a packed batch lie."""

    buckets: tuple[Bucket, ...]
    position_N: Tensor
    start_B: Tensor
    end_B: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], *, device: torch.device, dtype: torch.dtype) -> PackedLayout:
        """The layout of sequences of these lengths, in this order (sorted lengths pad least)."""
        length_B = torch.tensor(lengths, dtype=torch.int64)
        end_B = length_B.cumsum(0)
        start_B = end_B - length_B
        total = int(end_B[-1])
        position_N = torch.arange(total) - torch.repeat_interleave(start_B, length_B)
        buckets = tuple(
            _bucket(length_B[first:last], start=int(start_B[first]), device=device, dtype=dtype)
            for first, last in _bucket_bounds(lengths)
        )
        return cls(
            buckets=buckets, position_N=position_N.to(device), start_B=start_B.to(device), end_B=end_B.to(device)
        )


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


def _bucket(length_B: Tensor, *, start: int, device: torch.device, dtype: torch.dtype) -> Bucket:
    count, longest, total = len(length_B), int(length_B.max()), int(length_B.sum())
    gather = real = mask = keep = None
    if total != count * longest:
        column_T = torch.arange(longest)
        inside_BT = column_T < length_B[:, None]
        first_B = length_B.cumsum(0) - length_B
        gather = torch.where(inside_BT, first_B[:, None] + column_T, 0).flatten().to(device) + start
        real = inside_BT.flatten().nonzero().squeeze(1).to(device)
        mask = torch.zeros(count, 1, 1, longest, dtype=dtype).masked_fill_(~inside_BT[:, None, None], float("-inf"))
        mask, keep = mask.to(device), inside_BT[:, None, :, None].to(device=device, dtype=dtype)
    return Bucket(start, start + total, count, longest, gather=gather, real=real, mask=mask, keep=keep)


def _padded(x_NHD: Tensor, bucket: Bucket) -> Tensor:
    """(count, heads, length, head dims) of a bucket."""
    rows = x_NHD[bucket.start : bucket.stop] if bucket.gather is None else x_NHD.index_select(0, bucket.gather)
    return rows.view(bucket.count, bucket.length, *x_NHD.shape[1:]).transpose(1, 2)


def _unpad_into(out_NHD: Tensor, x_BHTD: Tensor, bucket: Bucket) -> None:
    rows = x_BHTD.transpose(1, 2).reshape(bucket.count * bucket.length, *out_NHD.shape[1:])
    target = out_NHD[bucket.start : bucket.stop]
    if bucket.real is None:
        target.copy_(rows)
    else:
        torch.index_select(rows, 0, bucket.real, out=target)


def _hide(score: Tensor, how: AttentionPlan) -> None:
    """Hide later tokens and those outside the window.

    By a finite value: a padded query may have padded keys alone in its window, and -inf throughout would give NaN.
    """
    length = score.shape[-1]
    narrow = how.window is not None and how.window < length
    if not how.causal and not narrow:
        return
    place = torch.arange(length, device=score.device)
    ahead_TT = place - place[:, None]
    hidden_TT = ahead_TT > 0 if how.causal else torch.zeros_like(ahead_TT, dtype=torch.bool)
    if how.window is not None:
        hidden_TT = hidden_TT | (ahead_TT.abs() >= how.window)
    score.masked_fill_(hidden_TT, torch.finfo(score.dtype).min)


@final
class PackedAttention(torch.autograd.Function):
    """softmax(q k' * scale) v within each sequence of a packed batch; shapes (N, heads, head dims)."""

    @staticmethod
    def forward(ctx: Any, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, how: AttentionPlan) -> Tensor:
        """Attention output, (N, heads, head dims)."""
        out_NHD = torch.empty(q_NHD.shape, dtype=q_NHD.dtype, device=q_NHD.device)
        saved: list[Tensor | None] = []
        for bucket in how.layout.buckets:
            q, k, v = (_padded(x, bucket) for x in (q_NHD, k_NHD, v_NHD))
            score = torch.matmul(q * how.scale, k.transpose(2, 3))
            if bucket.mask is not None:
                score += bucket.mask
            _hide(score, how)
            weight = torch.softmax(score, -1)
            drop = None
            if how.dropout:
                drop = (torch.rand_like(weight) >= how.dropout).to(weight.dtype) / (1 - how.dropout)
            _unpad_into(out_NHD, torch.matmul(weight if drop is None else weight * drop, v), bucket)
            saved += [q, k, v, weight, drop]
        ctx.save_for_backward(*saved)
        ctx.how = how
        return out_NHD

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Gradients of q, k and v."""
        (grad_NHD,) = grads
        grad_q, grad_k, grad_v = (torch.empty_like(grad_NHD, memory_format=torch.contiguous_format) for _ in range(3))
        # read once: under gradient checkpointing each reading would compute the layer again
        saved = ctx.saved_tensors
        for index, bucket in enumerate(ctx.how.layout.buckets):
            q, k, v, weight, drop = saved[5 * index : 5 * index + 5]
            grad = _padded(grad_NHD, bucket)
            if bucket.keep is not None:
                # a padded row's output is thrown away, so no gradient may come back through it
                grad = grad * bucket.keep
            used = weight if drop is None else weight * drop
            _unpad_into(grad_v, torch.matmul(used.transpose(2, 3), grad), bucket)
            grad_weight = torch.matmul(grad, v.transpose(2, 3))
            if drop is not None:
                grad_weight *= drop
            grad_score = torch._softmax_backward_data(grad_weight, weight, -1, weight.dtype) * ctx.how.scale
            _unpad_into(grad_q, torch.matmul(grad_score, k), bucket)
            _unpad_into(grad_k, torch.matmul(grad_score.transpose(2, 3), q), bucket)
        return grad_q, grad_k, grad_v, None


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
