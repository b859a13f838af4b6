"""The dense model: the embedding's gradient, reading text, encoding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ragtune.models import load_model
from ragtune.models.base import Representation, TextSettings, TokenBatch, token_batches
from ragtune.models.dense import DenseModel, TokenRows
from ragtune.recipe import ModelRecipe


def loaded(folder: Path, **settings: Any) -> DenseModel:
    model = load_model(ModelRecipe(name=str(folder), **settings))
    assert isinstance(model, DenseModel)
    return model


# The embedding table's gradient


def table(rows: int = 7, width: int = 3) -> Tensor:
    return torch.linspace(-1, 1, rows * width).reshape(rows, width).requires_grad_()


@pytest.mark.parametrize(
    "micro_batches", [[[1, 2, 3]], [[4, 4, 4, 4]], [[0, 6, 0], [6, 6, 5], [0]], [[2], [2], [2]]], ids=str
)
def test_the_tables_gradient_is_autograds(micro_batches: list[list[int]]) -> None:
    mine, plain = table(), table()
    for ids in micro_batches:
        for weight, lookup in ((mine, TokenRows.apply), (plain, lambda w, i: torch.nn.functional.embedding(i, w))):
            rows = lookup(weight, torch.tensor(ids))
            (rows.sin() * torch.arange(1.0, rows.numel() + 1).view_as(rows)).sum().backward()
    torch.testing.assert_close(mine.grad, plain.grad)
    assert mine.grad is not None and mine.grad.any()


def test_the_tables_gradient_adds_to_what_was_there() -> None:
    weight = table()
    weight.grad = torch.ones_like(weight)
    TokenRows.apply(weight, torch.tensor([[1, 1], [2, 3]])).sum().backward()
    assert weight.grad[:, 0].tolist() == [1, 3, 2, 2, 1, 1, 1]


def test_a_frozen_table_gets_no_gradient(tiny_model: Path, texts: list[str]) -> None:
    model = loaded(tiny_model)
    model.token_embedding.weight.requires_grad_(False)
    model(TokenBatch.of(model.tokenize(texts, kind="query"), device=model.device)).sum().backward()
    assert model.token_embedding.weight.grad is None


def test_gradients_of_parts_of_a_batch_add_up(tiny_model: Path, texts: list[str]) -> None:
    def gradients(parts: list[list[int]]) -> dict[str, Tensor]:
        model = loaded(tiny_model)
        ids = model.tokenize(texts, kind="query")
        for part in parts:
            vectors = model(TokenBatch.of([ids[i] for i in part], device=model.device))
            # a target a text: the norm alone is 1 and has no gradient
            goal_BD = torch.stack([torch.linspace(-1, 1, model.dims).roll(i) for i in part])
            (vectors * goal_BD).sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    whole, cut = gradients([list(range(8))]), gradients([[0, 3], [7], [1, 2, 4, 5, 6]])
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-3, atol=1e-6)


# Reading text


def test_prompts_formats_and_limits_are_each_kinds_own(tiny_model: Path) -> None:
    model = loaded(
        tiny_model,
        query_prompt="find",
        passage_prompt="读",
        query_prompt_format="{}: {}",
        passage_prompt_format="{}\\n{}",
        query_max_tokens=6,
        passage_max_tokens=9,
    )
    texts = ["the cat sleeps most of the day and hunts mice", "绿茶不经过发酵"]
    plain = loaded(tiny_model)
    for kind, limit, prefix in (("query", 6, "find: "), ("passage", 9, "读\n")):
        found = model.tokenize(texts, kind=kind)
        uncut = plain.tokenize([prefix + text for text in texts], kind=kind)
        assert [len(ids) for ids in found] == [min(limit, len(ids)) for ids in uncut]
        assert all(ids[-1] == 3 and ids[0] == 2 for ids in found)
        assert all(np.array_equal(ids[:-1], whole[: len(ids) - 1]) for ids, whole in zip(found, uncut, strict=True))
        whole = model.tokenize(texts, kind=kind, truncate=False)
        assert all(np.array_equal(ids, expected) for ids, expected in zip(whole, uncut, strict=True))


def test_an_own_prompt_replaces_the_setting(tiny_model: Path) -> None:
    model = loaded(tiny_model, query_prompt="find ", query_prompt_format="({}) {}")
    found = model.tokenize(["cats"] * 3, kind="query", prompts=[None, "", "tides"])
    expected = loaded(tiny_model).tokenize(["(find ) cats", "cats", "(tides) cats"], kind="query")
    assert [ids.tolist() for ids in found] == [ids.tolist() for ids in expected]
    vectors = model.encode(["cats"] * 3, kind="query", prompts=[None, "", "tides"])
    plain = loaded(tiny_model).encode(["(find ) cats", "cats", "(tides) cats"], kind="query")
    np.testing.assert_allclose(vectors, plain, atol=1e-6)


@pytest.mark.parametrize("text", ["{}", "{0} {x}", "100 % {", "}{"])
def test_braces_in_text_and_prompt_are_text(text: str) -> None:
    setting = TextSettings(prompt="{a} ", format='{"q"}: {}{}', max_tokens=9)
    assert setting.joined(text) == '{"q"}: {a} ' + text


def test_the_tokenizers_fingerprint_does_not_depend_on_earlier_calls(
    tiny_model: Path, zoo: Callable[..., Path]
) -> None:
    model = loaded(tiny_model, query_max_tokens=4)
    before = model.tokenizer_fingerprint()
    model.tokenize(["a cat sleeps most of the day"], kind="query")
    assert model.tokenizer_fingerprint() == before == loaded(tiny_model).tokenizer_fingerprint()
    assert loaded(zoo("roberta")).tokenizer_fingerprint() != before


# Encoding


def test_batches_hold_every_text_once_and_stay_in_the_budget() -> None:
    lengths = [3, 50, 7, 7, 1, 20, 2, 9]
    batches = list(token_batches(lengths, budget=20))
    assert sorted(i for batch in batches for i in batch) == list(range(8))
    assert all(len(batch) == 1 or sum(lengths[i] for i in batch) <= 20 for batch in batches)
    ordered = [lengths[i] for batch in batches for i in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_encoding_leaves_the_model_as_it_was(tiny_model: Path, texts: list[str]) -> None:
    model = loaded(tiny_model)
    model.train()
    first = model.encode(texts, kind="query")
    assert model.training and all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())
    assert first.dtype == np.float32 and first.shape == (8, 32)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    model.encode_dtype = torch.bfloat16
    near = model.encode(texts, kind="query")
    assert near.dtype == np.float32 and 0 < np.abs(near - first).max() < 0.02
    model.encode_dtype = torch.float32
    assert np.array_equal(model.encode(texts, kind="query"), first)


def test_many_small_encoding_batches_give_the_same(
    tiny_model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragtune.models import dense, transformer

    model = loaded(tiny_model)
    prompts = [None, "tides ", None, "a ", "", None, "bees ", None]
    whole = model.encode(texts, kind="passage", prompts=prompts)
    monkeypatch.setattr(dense, "ENCODE_TEXTS", 3)
    monkeypatch.setattr(transformer, "ENCODE_TOKENS", 30)
    np.testing.assert_allclose(model.encode(texts, kind="passage", prompts=prompts), whole, atol=1e-6)


def test_normalisation_off_leaves_lengths(tiny_model: Path, texts: list[str]) -> None:
    free = loaded(tiny_model, normalize=False).encode(texts, kind="query")
    lengths = np.linalg.norm(free, axis=1, keepdims=True)
    assert np.ptp(lengths) > 0.01
    np.testing.assert_allclose(free / lengths, loaded(tiny_model).encode(texts, kind="query"), atol=1e-6)


def test_scores_are_dot_products(tiny_model: Path) -> None:
    model = loaded(tiny_model)
    query_QD, passage_CD = torch.randn(2, 5), torch.randn(3, 5)
    expected = torch.tensor([[float(q @ p) for p in passage_CD] for q in query_QD])
    query, passage = Representation.one_each(query_QD), Representation.one_each(passage_CD)
    torch.testing.assert_close(model.score(query, passage), expected)


def test_counted_weights_are_those_of_every_tokens_products(tiny_model: Path) -> None:
    model = loaded(tiny_model)
    assert model.matmul_parameters == 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert model.attention_width == 2 * 32
    assert (model.dims, model.hidden, model.device.type) == (32, 32, "cpu")
    vocabulary = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    assert model.token_embedding.num_embeddings == vocabulary
