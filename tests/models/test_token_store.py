"""The token store: the tokenizer's ids, read from disk, made once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.models import load_model
from ragtune.models import tokens as tokens_module
from ragtune.models.base import Scorer
from ragtune.models.tokens import token_store
from ragtune.recipe import ModelRecipe


def loaded(folder: Path, **settings: Any) -> Scorer:
    return load_model(ModelRecipe(name=str(folder), **settings))


def stored(store: tokens_module.TokenStore) -> list[list[int]]:
    return [store[i].tolist() for i in range(len(store))]


def test_ids_are_the_tokenizers(tiny_model: Path, texts: list[str], tmp_path: Path) -> None:
    model = loaded(tiny_model, query_prompt="find ", passage_prompt="读：", query_max_tokens=9)
    prompts = [None, "a ", "", None, "茶 ", None, None, "tides "]
    for kind, own in itertools.product(("query", "passage"), (None, prompts)):
        store = token_store(model, texts, kind=kind, folder=tmp_path, prompts=own)
        expected = [ids.tolist() for ids in model.tokenize(texts, kind=kind, prompts=own)]
        assert stored(store) == expected
        assert (len(store), store.tokens) == (8, sum(map(len, expected)))
    assert isinstance(store[3].base, np.memmap) and store[3].dtype == np.int32


def test_a_text_is_tokenised_once(tiny_model: Path, texts: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    first = token_store(loaded(tiny_model), texts, kind="query", folder=tmp_path)
    model = loaded(tiny_model)
    model.tokenize(["another call in between"], kind="passage")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(type(model), "tokenize", never)
    assert stored(token_store(model, texts, kind="query", folder=tmp_path)) == stored(first)
    with pytest.raises(AssertionError, match="again"):
        token_store(model, texts[::-1], kind="query", folder=tmp_path)


def test_whatever_changes_the_ids_has_a_folder_of_its_own(
    tiny_model: Path, zoo: Callable[..., Path], tmp_path: Path
) -> None:
    plain, texts = loaded(tiny_model), ["a cat", "茶"]
    cases: list[tuple[Scorer, list[str], str, list[str | None] | None]] = [
        (plain, texts, "query", None),
        (plain, texts, "passage", None),
        (plain, texts[::-1], "query", None),
        (plain, texts[:1], "query", None),
        (plain, ["a cat茶"], "query", None),
        (plain, ["a ca", "t茶"], "query", None),
        (plain, ["a cat\0茶"], "query", None),
        (plain, ["a catNone 茶"], "query", None),
        (plain, texts, "query", ["x", None]),
        (plain, texts, "query", [None, "x"]),
        (plain, texts, "query", ["", ""]),
        (loaded(tiny_model, query_prompt="x"), texts, "query", None),
        (loaded(tiny_model, query_prompt="x", query_prompt_format="{} {}"), texts, "query", None),
        (loaded(tiny_model, query_max_tokens=5), texts, "query", None),
        (loaded(tiny_model, tokenizer=str(zoo("roberta"))), texts, "query", None),
    ]
    for model, own, kind, prompts in cases:
        store = token_store(model, own, kind=kind, folder=tmp_path, prompts=prompts)
        expected = model.tokenize(own, kind=kind, prompts=prompts)
        assert stored(store) == [ids.tolist() for ids in expected]
    assert len(list(tmp_path.iterdir())) == len(cases)


def test_no_texts_and_many_texts(
    tiny_model: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(tiny_model)
    empty = token_store(model, [], kind="query", folder=tmp_path)
    assert (len(empty), empty.tokens) == (0, 0)
    monkeypatch.setattr(tokens_module, "CHUNK_TEXTS", 3)
    prompts = [None, "a ", None, None, "b ", None, "c ", None]
    store = token_store(model, texts, kind="query", folder=tmp_path, prompts=prompts)
    assert stored(store) == [ids.tolist() for ids in model.tokenize(texts, kind="query", prompts=prompts)]


def test_an_interrupted_store_leaves_nothing(
    tiny_model: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(np, "concatenate", interrupted)
        token_store(loaded(tiny_model), texts, kind="query", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(token_store(loaded(tiny_model), texts, kind="query", folder=tmp_path)) == 8
