"""The public names: frozen in a text file, so that a change is seen and meant."""

from __future__ import annotations

from pathlib import Path

import pytest

import ragtune

FROZEN = Path(__file__).with_name("public_api.txt")


def test_the_public_names_are_the_frozen_ones() -> None:
    assert sorted(ragtune.__all__) == FROZEN.read_text(encoding="utf-8").split()


@pytest.mark.parametrize("name", ragtune.__all__)
def test_every_public_name_can_be_reached_and_is_documented(name: str) -> None:
    assert (getattr(ragtune, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ragtune.nonsense


def test_dir_lists_the_public_names() -> None:
    assert set(ragtune.__all__) <= set(dir(ragtune))
