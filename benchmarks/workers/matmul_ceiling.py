"""What this machine's matrix products reach right now: the ceiling that the training is held against."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import torch
from torch.nn import functional
from turn import now, read_job

SECONDS_EACH = 2.0
# A large square product, and MiniLM's first feed-forward matrix over a 4,096-token micro-batch: (rows, inner, columns).
SHAPES = {"square": (4096, 4096, 4096), "minilm": (4096, 384, 1536)}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def gflops(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    """Median rate of ``x @ w.T`` in GFLOP/s over about two seconds, after one run to warm up."""
    rows, inner, columns = shape
    left = torch.randn(rows, inner).to(dtype)
    right = torch.randn(columns, inner).to(dtype)
    functional.linear(left, right)
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < SECONDS_EACH:
        began = now()
        functional.linear(left, right)
        seconds.append(now() - began)
    return 2 * rows * inner * columns / statistics.median(seconds) / 1e9


def main() -> None:
    read_job()
    rates = {f"{dtype}_{shape}": gflops(SHAPES[shape], DTYPES[dtype]) for dtype in DTYPES for shape in SHAPES}
    Path(sys.argv[2]).write_text(json.dumps(rates), encoding="utf-8")


if __name__ == "__main__":
    main()
