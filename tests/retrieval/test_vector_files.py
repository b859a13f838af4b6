"""Vectors on disk: the same as in memory, in either width, and continued after a killed run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.errors import InputError
from ragtune.retrieval import vector_files
from ragtune.retrieval.vector_files import passage_vectors

TEXTS = [f"text {number}" for number in range(10)]


class Encoder:
    """Vectors made of a text's own number; it can be told to stop after a number of texts."""

    def __init__(self, *, stop_after: int | None = None, factor: float = 1.0) -> None:
        self.seen: list[str] = []
        self.stop_after = stop_after
        self.factor = factor

    def encode(
        self, texts: Sequence[str], *, kind: str, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Any:
        assert kind == "passage"
        if self.stop_after is not None and len(self.seen) >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += texts
        return np.array([[int(text.split()[1]) * self.factor, 1.0] for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "BLOCK_TEXTS", 4)


def test_the_vectors_are_mapped_and_made_once(tmp_path: Path) -> None:
    encoder, path = Encoder(), tmp_path / "deep" / "v.npy"
    vectors = passage_vectors(TEXTS, encoder, path)
    assert isinstance(vectors, np.memmap)
    assert not vectors.flags.writeable
    assert vectors[:, 0].tolist() == list(range(10))
    passage_vectors(TEXTS, encoder, path)
    assert encoder.seen == TEXTS
    assert [file.name for file in path.parent.iterdir()] == ["v.npy"]


def test_half_the_width_is_half_the_file(tmp_path: Path) -> None:
    half = passage_vectors(TEXTS, Encoder(), tmp_path / "half.npy", kept="fp16")
    assert half.dtype == np.float16
    with pytest.raises(InputError, match="fp16"):
        passage_vectors(TEXTS, Encoder(factor=1e5), tmp_path / "large.npy", kept="fp16")


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        passage_vectors(TEXTS, Encoder(stop_after=8), path)
    assert not path.exists()
    second, said = Encoder(), []
    vectors = passage_vectors(TEXTS, second, path, say=said.append)
    assert second.seen == TEXTS[8:]
    assert said == ["8 of 10 passages were encoded before"]
    assert vectors[:, 0].tolist() == list(range(10))


def test_what_another_run_left_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        passage_vectors(TEXTS, Encoder(stop_after=4), path)
    vectors = passage_vectors(TEXTS[:6], Encoder(), path)
    assert vectors[:, 0].tolist() == list(range(6))
