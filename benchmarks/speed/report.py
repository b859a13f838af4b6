"""Medians, ratios and their spread over the rounds, as JSON-ready numbers and as a Markdown page."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speed.contestants import CONTESTANTS, QUERIES_PER_STEP

OURS = "ragtune"
Round = Mapping[str, Mapping[str, Any]]


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, lowest and highest; nothing for nothing.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.0, 'high': 3.0}
    """
    if not values:
        return None
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def summarise(rounds: Sequence[Round], ceilings: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """For each contestant: speed, share of the ceiling, memory, and how many times faster ragtune is.

    Ratios and shares are taken within a round, where the machine was in one mood, and only then summarised.
    """
    return {name: _of_contestant(name, rounds, ceilings) for name in rounds[0]}


def _of_contestant(name: str, rounds: Sequence[Round], ceilings: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    done = [(one, ceiling) for one, ceiling in zip(rounds, ceilings, strict=True) if "failed" not in one[name]]
    both = [one for one, _ in done if name != OURS and "failed" not in one.get(OURS, {"failed": ""})]
    return {
        "rounds_done": len(done),
        "tokens_per_second": spread([one[name]["tokens_per_second"] for one, _ in done]),
        "seconds_per_32_queries": spread([QUERIES_PER_STEP / one[name]["queries_per_second"] for one, _ in done]),
        "computed_per_real_token": spread([one[name]["computed_per_real_token"] for one, _ in done]),
        "useful_gflops": spread([one[name]["useful_gflops"] for one, _ in done]),
        "share_of_bf16_square": spread([one[name]["useful_gflops"] / ceiling["bf16_square"] for one, ceiling in done]),
        "share_of_bf16_minilm": spread([one[name]["useful_gflops"] / ceiling["bf16_minilm"] for one, ceiling in done]),
        "peak_rss_bytes": spread([one[name]["peak_rss_bytes"] for one, _ in done]),
        "ragtune_times_faster": spread(
            [one[OURS]["tokens_per_second"] / one[name]["tokens_per_second"] for one in both]
        ),
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory[0] if memory else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The page beside the JSON file."""
    parts = [
        f"# Dense training speed, {results['date']}",
        "",
        f"`{results['command']}`",
        "",
        _setting(results),
        "",
        *_table(results["summary"]),
        "",
        "Median over the rounds (lowest to highest). Tokens are real ones: what the attention mask marks, no padding, "
        "no second forward. Useful GFLOP/s and its share of the ceiling count the same tokens "
        "(formula: benchmarks/speed/flops.py). Peak memory is the process's highest resident set.",
        "",
        *_ceiling_table(results["ceilings"]),
        *_memory_table(results["memory"]),
        *(f"- {CONTESTANTS[name].title}: {CONTESTANTS[name].note}" for name in results["summary"]),
        "",
    ]
    return "\n".join(parts)


def _setting(results: Mapping[str, Any]) -> str:
    host = results["machine"]
    return (
        f"{host['processor']}, {host['cores']} cores, {(host['memory_bytes'] or 0) / 2**30:.0f} GiB, "
        f"load {host['load_before']:.2f} before the start; {results['threads']} threads, {results['rounds_asked']} "
        f"rounds of {results['steps']} timed step(s) of {QUERIES_PER_STEP} queries x 8 passages after one step to warm "
        f"up, at most {results['max_length']} tokens a text, {results['tokens_per_step']:.0f} real tokens a step."
    )


def _table(summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "| contestant | real tokens/s | seconds per 32 queries | ragtune is faster by | computed / real tokens "
        "| useful GFLOP/s | of bf16 square matmul | of bf16 MiniLM matmul | peak memory, GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, numbers in summary.items():
        cells = [
            CONTESTANTS[name].title,
            _cell(numbers["tokens_per_second"], "{:,.0f}"),
            _cell(numbers["seconds_per_32_queries"], "{:.1f}"),
            _cell(numbers["ragtune_times_faster"], "{:.1f}x"),
            _cell(numbers["computed_per_real_token"], "{:.2f}"),
            _cell(numbers["useful_gflops"], "{:,.0f}"),
            _cell(numbers["share_of_bf16_square"], "{:.1%}"),
            _cell(numbers["share_of_bf16_minilm"], "{:.1%}"),
            _cell(numbers["peak_rss_bytes"], "{:.2f}", divisor=1e9),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ceiling_table(ceilings: Sequence[Mapping[str, float]]) -> list[str]:
    lines = ["| matrix product, GFLOP/s | median (lowest to highest) |", "|---|---|"]
    return [
        *lines,
        *(f"| {name} | {_cell(spread([one[name] for one in ceilings]), '{:,.0f}')} |" for name in ceilings[0]),
        "",
    ]


def _memory_table(memory: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not memory:
        return []
    lines = ["| ragtune, in-batch negatives | peak memory, GB | real tokens/s |", "|---|---|---|"]
    for title, result in memory.items():
        speed = f"failed: {result['failed']}" if "failed" in result else f"{result['tokens_per_second']:,.0f}"
        lines.append(f"| {title} | {result['peak_rss_bytes'] / 1e9:.2f} | {speed} |")
    peaks = [result["peak_rss_bytes"] for result in memory.values() if "failed" not in result]
    if len(peaks) > 1:
        lines.append(f"| last / first | {peaks[-1] / peaks[0]:.2f} | |")
    return [*lines, ""]


def _cell(numbers: Mapping[str, float] | None, form: str, *, divisor: float = 1.0) -> str:
    if numbers is None:
        return "-"
    median, low, high = (form.format(numbers[key] / divisor) for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
