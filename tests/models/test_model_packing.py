"""Packed attention against written-out attention, and every architecture against plain transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ragtune.models import load_model
from ragtune.models.base import TokenBatch
from ragtune.models.dense import DenseModel
from ragtune.models.packing import BUCKET_PADDING, CELL_MULTIPLE, AttentionPlan, PackedAttention, PackedLayout
from ragtune.recipe import ModelRecipe, Pooling

PACKED = (
    "bert", "electra", "roberta", "xlm-roberta", "distilbert", "modernbert",
    "qwen2", "qwen3", "llama", "mistral", "gemma3_text",
)  # fmt: skip
PADDED = ("mpnet", "deberta-v2", "gemma2")
LENGTHS = [(4,), (3, 3, 3), (7, 6, 6, 2, 1), (1, 1), (5, 1, 4, 9, 2), (20, 19, 19, 18)]
WAYS = [(False, None), (True, None), (False, 3), (True, 3), (True, 100)]


def plan(lengths: tuple[int, ...], *, causal: bool, window: int | None, dropout: float = 0.0) -> AttentionPlan:
    layout = PackedLayout(lengths, device=torch.device("cpu"), dtype=torch.float64)
    return AttentionPlan(layout=layout, scale=0.7, causal=causal, dropout=dropout, window=window)


def random_qkv(lengths: tuple[int, ...], *, heads: int = 2, dims: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    shape = (sum(lengths), heads, dims)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def written_out(qkv: list[Tensor], lengths: tuple[int, ...], *, causal: bool, window: int | None) -> Tensor:
    """One sequence after the other, one query token after the other."""
    rows, start = [], 0
    for length in lengths:
        q, k, v = (x[start : start + length] for x in qkv)
        for t in range(length):
            seen = [j for j in range(length) if (j <= t or not causal) and (window is None or abs(t - j) < window)]
            weight = torch.softmax(0.7 * torch.einsum("hd,jhd->jh", q[t], k[seen]), 0)
            rows.append(torch.einsum("jh,jhd->hd", weight, v[seen]))
        start += length
    return torch.stack(rows)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("causal", "window"), WAYS)
def test_attention_and_its_gradients_are_those_of_the_definition(
    lengths: tuple[int, ...], causal: bool, window: int | None
) -> None:
    qkv = random_qkv(lengths)
    how = plan(lengths, causal=causal, window=window)
    found, expected = PackedAttention.apply(*qkv, how), written_out(qkv, lengths, causal=causal, window=window)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    outer = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
    for mine, theirs in zip(
        torch.autograd.grad(found, qkv, outer), torch.autograd.grad(expected, qkv, outer), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 2)])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_backward_is_the_derivative_of_forward(causal: bool, window: int | None, dropout: float) -> None:
    lengths = (5, 5, 4, 2, 1)
    how = plan(lengths, causal=causal, window=window, dropout=dropout)

    def attention(*qkv: Tensor) -> Tensor:
        torch.manual_seed(5)
        return PackedAttention.apply(*qkv, how)

    assert torch.autograd.gradcheck(attention, random_qkv(lengths, heads=1, dims=2))


def test_dropout_drops_the_given_share_and_keeps_the_mean() -> None:
    lengths = (64,) * 8
    qkv = [x.detach() for x in random_qkv(lengths, dims=1)]
    qkv[0].zero_()
    qkv[2].fill_(1.0)
    torch.manual_seed(0)
    out = PackedAttention.apply(*qkv, plan(lengths, causal=False, window=None, dropout=0.25))
    # every weight is 1/64 and every value 1: the output is the kept share over 0.75
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    kept = (out * 0.75 * 64).round() / 64
    assert kept.mean().item() == pytest.approx(0.75, abs=0.01)
    assert out.std().item() > 0.03


def test_sequences_do_not_see_each_other() -> None:
    lengths = (6, 5, 5, 3)
    q, k, v = (x.detach() for x in random_qkv(lengths))
    how = plan(lengths, causal=False, window=None)
    before = PackedAttention.apply(q, k, v, how)
    k[6:11], v[6:11] = 9.0, -9.0
    after = PackedAttention.apply(q, k, v, how)
    assert torch.equal(before[:6], after[:6]) and torch.equal(before[11:], after[11:])
    assert not torch.equal(before[6:11], after[6:11])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_near_and_finite(dtype: torch.dtype) -> None:
    lengths = (30, 29, 28, 28, 3)
    for causal, window in WAYS:
        layout = PackedLayout(lengths, device=torch.device("cpu"), dtype=dtype)
        how = AttentionPlan(layout=layout, scale=0.7, causal=causal, dropout=0.0, window=window)
        exact = random_qkv(lengths)
        half = [(2 * x.detach()).to(dtype).requires_grad_() for x in exact]
        rounded = [x.detach().double().requires_grad_() for x in half]
        found = PackedAttention.apply(*half, how)
        expected = written_out(rounded, lengths, causal=causal, window=window)
        torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.2 if dtype != torch.float32 else 1e-3)
        found.sum().backward()
        assert all(torch.isfinite(x.grad).all() for x in half)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_layout_holds_every_token_once(lengths: tuple[int, ...]) -> None:
    layout = PackedLayout(lengths, device=torch.device("cpu"), dtype=torch.float32)
    assert layout.position_N.tolist() == [t for length in lengths for t in range(length)]
    assert (layout.end_B - layout.start_B).tolist() == list(lengths)
    held = [bucket.token_BT[bucket.inside_BT].tolist() for bucket in layout.buckets]
    assert [token for tokens in held for token in tokens] == list(range(sum(lengths)))
    for bucket in layout.buckets:
        longest = int(bucket.inside_BT.sum(1).max())
        assert bucket.count * longest <= (1 + BUCKET_PADDING) * bucket.inside_BT.sum()
        assert bucket.length % CELL_MULTIPLE == 0 and bucket.length - longest < CELL_MULTIPLE


# Architectures


def loaded(folder: Path, *, packed: bool = True, **settings: Any) -> DenseModel:
    model = load_model(ModelRecipe(name=str(folder), **settings))
    assert isinstance(model, DenseModel)
    if not packed:
        model.packed = False
        model.backbone.set_attn_implementation("eager")
    return model


def plain_vectors(folder: Path, ids: list[np.ndarray], *, pooling: str) -> tuple[Tensor, Any]:
    """``vector_BD`` by transformers alone: each text by itself, token ids in, no padding, eager attention."""
    from transformers import AutoModel

    backbone = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    states = [backbone(input_ids=torch.from_numpy(own.astype(np.int64))[None]).last_hidden_state[0] for own in ids]
    pool = {"mean": lambda s: s.mean(0), "cls": lambda s: s[0], "last_token": lambda s: s[-1]}[pooling]
    return torch.nn.functional.normalize(torch.stack([pool(state) for state in states]), dim=-1), backbone


def batch_of(model: DenseModel, texts: list[str]) -> TokenBatch:
    return TokenBatch.of(model.tokenize(texts, kind="passage"), device=torch.device("cpu"))


def test_the_zoo_is_told_apart(zoo: Callable[..., Path], zoo_names: list[str]) -> None:
    assert sorted(zoo_names) == sorted(PACKED + PADDED)
    assert [name for name in PACKED if not loaded(zoo(name)).packed] == []
    assert [name for name in PADDED if loaded(zoo(name)).packed] == []


@pytest.mark.parametrize("name", PACKED + PADDED)
def test_vectors_and_gradients_are_those_of_plain_transformers(
    zoo: Callable[..., Path], texts: list[str], name: str
) -> None:
    model = loaded(zoo(name))
    expected, plain = plain_vectors(zoo(name), model.tokenize(texts, kind="passage"), pooling=model.head.pooling)
    weight_BD = torch.linspace(-1, 1, expected.numel()).view_as(expected)
    (expected * weight_BD).sum().backward()
    named = dict(plain.named_parameters())
    for packed in {model.packed, False}:
        ours = loaded(zoo(name), packed=packed)
        found = ours(batch_of(ours, texts))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        (found * weight_BD).sum().backward()
        for key, parameter in ours.backbone.named_parameters():
            if named[key].grad is None:
                assert parameter.grad is None or not parameter.grad.any(), key
                continue
            assert parameter.grad is not None, key
            # 1e-4 of the largest element: fp32 sums in another order
            bound = 1e-4 * max(1.0, named[key].grad.abs().max().item())
            torch.testing.assert_close(
                parameter.grad, named[key].grad, rtol=1e-3, atol=bound, msg=lambda m, k=key: k + m
            )


@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
@pytest.mark.parametrize("name", ["bert", "llama", "mpnet"])
def test_each_pooling_is_what_it_says(zoo: Callable[..., Path], texts: list[str], name: str, pooling: Pooling) -> None:
    model = loaded(zoo(name), pooling=pooling)
    expected, _ = plain_vectors(zoo(name), model.tokenize(texts, kind="query"), pooling=pooling)
    np.testing.assert_allclose(model.encode(texts, kind="query"), expected.detach().numpy(), atol=1e-5)
    padded = loaded(zoo(name), pooling=pooling, packed=False)
    np.testing.assert_allclose(padded.encode(texts, kind="query"), expected.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "qwen3", "mpnet"])
def test_company_order_and_padding_change_nothing(zoo: Callable[..., Path], texts: list[str], name: str) -> None:
    model = loaded(zoo(name))
    whole = model.encode(texts, kind="passage")
    alone = np.concatenate([model.encode([text], kind="passage") for text in texts])
    order = [5, 2, 7, 0, 3, 1, 6, 4]
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    np.testing.assert_allclose(model.encode([texts[i] for i in order], kind="passage"), whole[order], atol=1e-5)
    model.pad_to_multiple_of = 64
    np.testing.assert_allclose(model.encode(texts, kind="passage"), whole, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert", "llama", "deberta-v2"])
def test_dropout_is_off_by_default_and_on_when_asked_for(zoo: Callable[..., Path], texts: list[str], name: str) -> None:
    still = loaded(zoo(name))
    batch = batch_of(still, texts)
    with torch.no_grad():
        assert torch.equal(still.train()(batch), still.eval()(batch))
        noisy = loaded(zoo(name), dropout=0.3)
        torch.testing.assert_close(noisy(batch), still(batch))
        noisy.train()
        torch.manual_seed(0)
        first = noisy(batch)
        assert not torch.equal(noisy(batch), first)
        torch.manual_seed(0)
        assert torch.equal(noisy(batch), first)


def test_the_longest_text_a_roberta_allows_is_read(zoo: Callable[..., Path]) -> None:
    model = loaded(zoo("roberta"))
    assert model.settings["passage"].max_tokens == 256  # the tokenizer's; the table has 262 - 2
    (ids,) = model.tokenize(["cat " * 400], kind="passage")
    assert len(ids) == 256
    expected, _ = plain_vectors(zoo("roberta"), [ids], pooling="mean")
    np.testing.assert_allclose(model.encode(["cat " * 400], kind="passage"), expected.detach().numpy(), atol=1e-5)


def test_an_empty_text_has_a_vector_everywhere(zoo: Callable[..., Path], zoo_names: list[str]) -> None:
    for name in zoo_names:
        model = loaded(zoo(name))
        assert np.isfinite(model.encode(["", " ", "a cat"], kind="query")).all(), name
        assert model.encode([], kind="query").shape == (0, 32)
