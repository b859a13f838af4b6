"""Vectors of many texts on disk, memory-mapped: made in blocks, continued after a killed run, read without copying.

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragtune.retrieval.dense import Encoder
from ragtune.retrieval.exact import check_vectors
from ragtune.run import out_of_space_named, write_json

BLOCK_TEXTS = 8192
Kept = Literal["fp32", "fp16"]
DTYPES: dict[Kept, type[np.floating[Any]]] = {"fp32": np.float32, "fp16": np.float16}


def passage_vectors(
    texts: Sequence[str], encoder: Encoder, path: Path, *, kept: Kept = "fp32", say: Callable[[str], None] | None = None
) -> NDArray[np.floating]:
    """vector_ND of passages as a read-only memory map of ``path``; whoever names the file answers for its being theirs.

    While it is made, the vectors lie beside in ``<name>.part``, and a run that was killed goes on with the last whole
    block. ``say`` is told when it does. InputError: NaN or infinite vectors (as fp16: values beyond 65504).
    """
    if not path.is_file():
        with out_of_space_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(texts, encoder, path, kept=kept, say=say or (lambda line: None))
    found: NDArray[np.floating] = np.load(path, mmap_mode="r")
    return found


def _make(texts: Sequence[str], encoder: Encoder, path: Path, *, kept: Kept, say: Callable[[str], None]) -> None:
    assert texts, "no texts have no vectors"
    part, state = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    done = _rows_done(part, state, total=len(texts))
    if done:
        say(f"{done:,} of {len(texts):,} passages were encoded before")
    stored: Any = np.load(part, mmap_mode="r+") if done else None
    for start in range(done, len(texts), BLOCK_TEXTS):
        vector_BD = encoder.encode(texts[start : start + BLOCK_TEXTS], kind="passage", label="passages")
        with np.errstate(over="ignore"):
            kept_BD = vector_BD.astype(DTYPES[kept])
        check_vectors(kept_BD, f"the passage vectors as {kept}")
        if stored is None:
            shape = len(texts), vector_BD.shape[1]
            stored = np.lib.format.open_memmap(part, mode="w+", dtype=DTYPES[kept], shape=shape)
        stored[start : start + len(kept_BD)] = kept_BD
        stored.flush()
        write_json(state, {"rows": start + len(kept_BD)})
    del stored
    os.replace(part, path)
    state.unlink(missing_ok=True)


def _rows_done(part: Path, state: Path, *, total: int) -> int:
    """Rows that a killed run had written whole; 0 where there is nothing to go on with."""
    try:
        rows = int(json.loads(state.read_text(encoding="utf-8"))["rows"])
        return rows if len(np.load(part, mmap_mode="r")) == total else 0
    except (OSError, ValueError, KeyError):
        return 0
