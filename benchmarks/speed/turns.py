"""Turns: one worker process each, started, watched and measured from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from speed.contestants import Contestant
from speed.environments import ROOT
from speed.flops import EncoderShape, training_flops
from speed.plan import Batch, BenchmarkError, Texts, as_json, cut

WORKERS = Path(__file__).resolve().parents[1] / "workers"


@final
@dataclass(frozen=True, slots=True)
class Bench:
    """What every turn shares."""

    pythons: Mapping[str, Path]
    texts: Texts
    scratch: Path
    threads: int
    turn_seconds: float
    max_length: int


@final
@dataclass(frozen=True, slots=True)
class TokenCount:
    """Real tokens of each text, counted apart from every contestant, and the encoder's sizes."""

    queries: Mapping[str, int]
    passages: Mapping[str, int]
    shape: EncoderShape

    def lengths(self, batch: Batch, texts: Texts, *, distinct: bool) -> list[int]:
        """Token counts of the batch's texts; with ``distinct``, a passage that occurs again is not counted again."""
        passages = [
            (" ".join(texts.passages[pid].split()), self.passages[pid]) for row in batch for pid in row.passage_ids
        ]
        counted = dict(passages).values() if distinct else (length for _, length in passages)
        return [*(self.queries[row.query_id] for row in batch), *counted]


def count_tokens(bench: Bench, environment: str, batches: Sequence[Batch]) -> TokenCount:
    """Count the tokens of every text in ``batches``."""
    answer = _work(bench, environment, "count_tokens.py", _job(bench, timed=batches))
    if "failed" in answer:
        raise BenchmarkError(f"the tokens could not be counted\n{answer['failed']}")
    lengths = answer["lengths"]
    return TokenCount(lengths["queries"], lengths["passages"], EncoderShape.of_config(answer["config"]))


def measure_ceiling(bench: Bench, environment: str) -> dict[str, float]:
    """Matrix-product rates in GFLOP/s, by ``dtype_shape``."""
    rates = _work(bench, environment, "matmul_ceiling.py", _job(bench, timed=[]))
    if "failed" in rates:
        raise BenchmarkError(f"the matmul ceiling could not be measured\n{rates['failed']}")
    return {name: rates[name] for name in rates if name not in ("peak_rss_bytes", "wall_seconds")}


def take_turn(
    bench: Bench, contestant: Contestant, *, warmup: Batch | None, timed: Sequence[Batch], count: TokenCount
) -> dict[str, Any]:
    """One turn: its steps, speed, useful operations and peak memory; or ``failed`` with the reason.

    Raises:
        BenchmarkError: the worker put another number of tokens through its model than it was given.
    """
    size = contestant.queries_per_step
    warmup_batches = cut(warmup, size)[:1] if warmup else []
    timed_batches = [piece for batch in timed for piece in cut(batch, size)]
    job = _job(bench, warmup=warmup_batches, timed=timed_batches, settings=contestant.settings)
    result = _work(bench, contestant.environment, contestant.worker, job)
    if "failed" in result:
        return result
    steps = result["steps"]
    lengths = [
        count.lengths(batch, bench.texts, distinct=contestant.encodes_each_text_once)
        for batch in timed_batches[: len(steps)]
    ]
    for step, expected in zip(steps, lengths, strict=True):
        if step["real_tokens"] != sum(expected):
            raise BenchmarkError(
                f"a contestant did other work than it was given\n  where: {contestant.title}\n"
                f"  found: {step['real_tokens']} real tokens in a step of {sum(expected)}\n"
                f"  do:    mend benchmarks/workers/{contestant.worker}"
            )
    return result | _summary(steps, lengths, count.shape, queries=len(steps) * size)


def _summary(
    steps: Sequence[Mapping[str, Any]], lengths: Sequence[Sequence[int]], shape: EncoderShape, *, queries: int
) -> dict[str, float]:
    seconds = sum(step["seconds"] for step in steps)
    real = sum(step["real_tokens"] for step in steps)
    computed = sum(step["computed_tokens"] for step in steps)
    useful = sum(training_flops(shape, texts) for texts in lengths)
    return {
        "seconds": seconds,
        "tokens_per_second": real / seconds,
        "queries_per_second": queries / seconds,
        "useful_gflops": useful / seconds / 1e9,
        "computed_per_real_token": computed / real,
    }


def _job(
    bench: Bench, *, timed: Sequence[Batch], warmup: Sequence[Batch] = (), settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "warmup": as_json(warmup),
        "timed": as_json(timed),
        "settings": dict(settings or {}),
        "max_length": bench.max_length,
        "threads": bench.threads,
        "turn_seconds": bench.turn_seconds,
        "scratch": str(bench.scratch / "turn"),
        **bench.texts.of_batches([*warmup, *timed]),
    }


def _work(bench: Bench, environment: str, worker: str, job: Mapping[str, Any]) -> dict[str, Any]:
    return run_worker(bench.pythons[environment], worker, job, scratch=bench.scratch, threads=bench.threads)


def run_worker(python: Path, worker: str, job: Mapping[str, Any], *, scratch: Path, threads: int) -> dict[str, Any]:
    """Run a worker to its end; what it wrote, its seconds and its peak memory, or why it failed."""
    folder = scratch / "turn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job_file, result_file, log_file = folder / "job.json", folder / "result.json", folder / "log.txt"
    job_file.write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
    command = [str(python), str(WORKERS / worker), str(job_file), str(result_file)]
    began = time.perf_counter()
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=_variables(threads), cwd=folder)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = {"peak_rss_bytes": usage.ru_maxrss * 1024, "wall_seconds": time.perf_counter() - began}
    if process.returncode or not result_file.is_file():
        ending = "\n".join(log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        return memory | {"failed": f"{worker} ended with {process.returncode}\n{ending}"}
    return {**json.loads(result_file.read_text(encoding="utf-8")), **memory}


def _variables(threads: int) -> dict[str, str]:
    """The caller's environment, without a GPU or a network, with the given number of threads."""
    return os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MKL_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT / "src"),
    }
