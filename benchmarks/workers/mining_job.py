"""What the mining workers share: the job, the texts, an encoder that gives vectors made beforehand, the result."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from turn import installed_versions


@final
@dataclass(frozen=True, slots=True)
class MiningJob:
    """``corpus`` and ``rows`` are JSON Lines (``id``, ``text``; ``id``, ``query``, ``positives``).

    ``vectors`` is a folder with ``passages.npy`` and ``queries.npy`` in the order of the lines; None: the real model.
    """

    corpus: str
    rows: str
    vectors: str | None
    negatives: int
    depth: int
    margin: float
    max_length: int
    batch_size: int
    threads: int
    settings: dict[str, Any]


def read_job() -> MiningJob:
    """The job named on the command line, with torch set to its number of threads."""
    import torch

    job = MiningJob(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    return job


def read_lines(path: str) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@final
class GivenVectors:
    """Texts to vectors by a table: every contestant gets the same ones and none pays for a model."""

    def __init__(self, job: MiningJob) -> None:
        assert job.vectors is not None
        folder = Path(job.vectors)
        self._passages = _Table(folder / "passages.npy", [row["text"] for row in read_lines(job.corpus)])
        self._queries = _Table(folder / "queries.npy", [row["query"] for row in read_lines(job.rows)])

    def passages(self, texts: list[str]) -> np.ndarray:
        """Vectors of passages, float32."""
        return self._passages.of(texts)

    def queries(self, texts: list[str]) -> np.ndarray:
        """Vectors of queries, float32."""
        return self._queries.of(texts)


@final
class _Table:
    def __init__(self, path: Path, texts: list[str]) -> None:
        self._vectors = np.load(path, mmap_mode="r")
        self._row = {text: row for row, text in enumerate(texts)}

    def of(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self._vectors[[self._row[text] for text in texts]])


def write_result(negatives: dict[str, list[str]], *, seconds: dict[str, float]) -> None:
    """``negatives``: query text -> texts of its negatives."""
    Path(sys.argv[2]).write_text(
        json.dumps({"negatives": negatives, "seconds": seconds, "versions": installed_versions()}, ensure_ascii=False),
        encoding="utf-8",
    )


def now() -> float:
    """Seconds on a clock that never jumps."""
    return time.perf_counter()
