"""The token store: every text of a list is tokenised once and lies memory-mapped on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np

from ragtune.models.base import Kind, Scorer, TokenIds
from ragtune.run import atomic_folder, progress

CHUNK_TEXTS = 16_384


@final
class TokenStore:
    """Token ids of a list of texts; ``store[i]`` is a view of the mapped file."""

    def __init__(self, folder: Path) -> None:
        self._ends = np.load(folder / "ends.npy")
        self._ids: TokenIds = (
            np.load(folder / "ids.npy", mmap_mode="r") if self._ends.size and self._ends[-1] else np.empty(0, np.int32)
        )

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> TokenIds:
        start = 0 if place == 0 else self._ends[place - 1]
        return np.asarray(self._ids[start : self._ends[place]])

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return int(self._ends[-1]) if len(self._ends) else 0


def token_store(
    model: Scorer, texts: Sequence[str], *, kind: Kind, folder: Path, prompts: Sequence[str | None] | None = None
) -> TokenStore:
    """The store of ``texts`` under ``folder``, made when it is not there.

    Its name is a hash of the texts, their prompts, the kind's settings and the tokenizer, so it is never stale. The
    tokenizer itself runs on all cores.
    """
    path = folder / _key(model, texts, kind=kind, prompts=prompts)
    if not path.is_dir():
        with atomic_folder(path) as aside:
            _write(aside, list(_tokenised(model, texts, kind=kind, prompts=prompts)))
    return TokenStore(path)


def _tokenised(
    model: Scorer, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None
) -> Iterator[TokenIds]:
    starts = range(0, len(texts), CHUNK_TEXTS)
    for start in progress(starts, label=f"tokenising {kind}s", total=len(starts)):
        part = slice(start, start + CHUNK_TEXTS)
        yield from model.tokenize(texts[part], kind=kind, prompts=None if prompts is None else prompts[part])


def write_store(folder: Path, sequences: Sequence[TokenIds]) -> None:
    """Write token ids as a store, whole or not at all."""
    with atomic_folder(folder) as aside:
        _write(aside, sequences)


def _write(folder: Path, sequences: Sequence[TokenIds]) -> None:
    np.save(folder / "ends.npy", np.cumsum([len(s) for s in sequences], dtype=np.int64))
    np.save(folder / "ids.npy", np.concatenate(sequences) if sequences else np.empty(0, np.int32))


def _key(model: Scorer, texts: Sequence[str], *, kind: Kind, prompts: Sequence[str | None] | None) -> str:
    digest = hashlib.sha256(repr((kind, model.settings[kind], model.tokenizer_fingerprint())).encode())
    for place, text in enumerate(texts):
        data = text.encode("utf-8", "surrogatepass")
        own = None if prompts is None else prompts[place]
        digest.update(f"{len(data)} {own!r} ".encode("utf-8", "surrogatepass"))
        digest.update(data)
    return f"{kind}-{digest.hexdigest()[:24]}"
