"""How many tokens a text has for a model, by its tokenizer file alone; torch is not needed where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ragtune.errors import ModelError, Problem
from ragtune.models.builtin import model_folder
from ragtune.recipe import ModelRecipe

CountTokens = Callable[[Sequence[str]], list[int]]

_FILES = ("tokenizer.json", "0_Transformer/tokenizer.json")
"""Where a model folder keeps its fast tokenizer; the second is that of older sentence-transformers."""


def tokenizer_place(model: str) -> Path:
    """The tokenizer file of a model, or the model's folder where it has none. Raises ModelError."""
    folder = model_folder(ModelRecipe(name=model))
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    return files[0] if files else folder


def token_counter(place: Path) -> CountTokens:
    """A function that gives the tokens of every text, the model's start and end tokens among them.

    ``place`` is what ``tokenizer_place`` gave. Raises ModelError when nothing there can be read.
    """
    return _from_file(place) if place.is_file() else _from_folder(place)


def _from_file(file: Path) -> CountTokens:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises Exception itself
        raise _unreadable(file, error) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(found.ids) for found in tokenizer.encode_batch_fast(list(texts))]


def _from_folder(folder: Path) -> CountTokens:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    return lambda texts: [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


def _unreadable(place: Path, error: Exception) -> ModelError:
    return ModelError(
        Problem(
            what="the model's tokenizer cannot be read",
            where=str(place),
            found=" ".join(str(error).split())[:200],
            do="give a folder that holds tokenizer.json, a hub name, or builtin:minilm",
        )
    )
