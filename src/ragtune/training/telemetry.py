"""What training tells: log lines, speed against the measured ceiling, memory and score distributions."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ragtune.models.base import Scorer
from ragtune.run import atomic_write, out_of_space_named
from ragtune.training.distributed import World
from ragtune.training.step import StepResult

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CEILING_SIZE = 2048


def matmul_ceiling(dtype: torch.dtype, *, device: torch.device) -> float:
    """FLOP/s of a large square matrix product in ``dtype``: the best of five runs, measured now."""
    a = torch.randn(CEILING_SIZE, CEILING_SIZE, device=device).to(dtype)
    b = torch.randn(CEILING_SIZE, CEILING_SIZE, device=device).to(dtype)
    best = float("inf")
    for _ in range(6):
        begin = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * CEILING_SIZE**3 / best


def useful_flops(model: Scorer, *, tokens: int, squared_tokens: int) -> float:
    """Floating-point operations that one training step over real tokens needs: forward once, backward twice that.

    A token passes every linear weight with one multiply-add (2 FLOPs); attention multiplies each token with every
    token of its text twice. Padding, recomputation, norms and the optimizer count nothing.
    """
    return 6.0 * model.matmul_parameters * tokens + 12.0 * model.attention_width * squared_tokens


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def quantiles(scores: Tensor) -> list[float]:
    """5, 25, 50, 75 and 95 % points of scores; empty for none."""
    if scores.numel() == 0:
        return []
    sample = scores if scores.numel() <= 100_000 else scores[:: scores.numel() // 100_000 + 1]
    points = torch.quantile(sample.float(), torch.tensor(QUANTILES, device=scores.device))
    return [round(float(p), 4) for p in points]


@final
@dataclass(slots=True)
class Window:
    """Sums since the last log line."""

    loss_sum: float = 0.0
    part_sums: dict[str, float] = field(default_factory=dict)
    queries: int = 0
    tokens: int = 0
    squared_tokens: int = 0
    padded_tokens: int = 0
    recomputed_tokens: int = 0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    last: StepResult | None = None

    def add(self, result: StepResult) -> None:
        """Add one batch."""
        self.loss_sum += result.loss_sum
        for name, value in result.part_sums.items():
            self.part_sums[name] = self.part_sums.get(name, 0.0) + value
        self.queries += result.queries
        self.tokens += result.tokens
        self.squared_tokens += result.squared_tokens
        self.padded_tokens += result.padded_tokens
        self.recomputed_tokens += result.recomputed_tokens
        self.last = result

    def sums(self) -> dict[str, Any]:
        """All but the last batch: what a resumed run needs to write the next line as if it had not stopped."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "last"}

    def over(self, world: World) -> Window:
        """The window with the tokens of all processes; losses are those of all already."""
        tokens, squared, padded, recomputed = world.totals(
            [self.tokens, self.squared_tokens, self.padded_tokens, self.recomputed_tokens]
        )
        return replace(self, tokens=tokens, squared_tokens=squared, padded_tokens=padded, recomputed_tokens=recomputed)


@final
class TrainLog:
    """``log.jsonl``: one line every few steps and one an evaluation; lines after a resumed step are dropped."""

    def __init__(self, path: Path, *, from_step: int, mirror: Callable[[dict[str, float], int], None]) -> None:
        self.path = path
        self._mirror = mirror
        kept = [line for line in self._lines() if 0 < from_step >= _step_of(line)]
        with atomic_write(path) as file:
            file.writelines(f"{line}\n" for line in kept)

    def _lines(self) -> list[str]:
        if not self.path.is_file():
            return []
        return self.path.read_text(encoding="utf-8").splitlines()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; it has a ``step``."""
        with out_of_space_named(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        numbers = {k: float(v) for k, v in record.items() if isinstance(v, int | float) and k != "step"}
        self._mirror(numbers, record["step"])


def _step_of(line: str) -> float:
    """The step of a log line; infinite for one that a kill cut off."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def log_record(window: Window, *, model: Scorer, step: int, rate: float, ceiling: float) -> dict[str, Any]:
    """A log line for what happened since the last one. ``gradient_norm`` is None where fp16 overflowed."""
    assert window.last is not None
    flops = useful_flops(model, tokens=window.tokens, squared_tokens=window.squared_tokens)
    seconds = max(window.seconds, 1e-9)
    return {
        "step": step,
        "loss": round(window.loss_sum / window.queries, 6),
        "parts": {name: round(value / window.queries, 6) for name, value in window.part_sums.items()},
        "learning_rate": rate,
        "gradient_norm": round(window.gradient_norm, 5) if math.isfinite(window.gradient_norm) else None,
        "tokens_per_second": round(window.tokens / seconds, 1),
        "padding_share": round(1 - window.tokens / window.padded_tokens, 4),
        "recomputed_share": round(window.recomputed_tokens / max(1, window.tokens), 4),
        "flops_per_second": round(flops / seconds),
        "share_of_ceiling": round(flops / seconds / ceiling, 4),
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "positive_scores": quantiles(window.last.positive_scores),
        "negative_scores": quantiles(window.last.negative_scores),
    }
