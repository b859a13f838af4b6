"""Training speed of a dense retriever: ragtune against its peers on the same batches, interleaved in one run.

See benchmarks/README.md for the work, the contestants and how to read the numbers. The standard library is enough to
run this file; every contestant runs in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from speed import environments, report
from speed.contestants import CONTESTANTS, QUERIES_PER_STEP
from speed.plan import Batch, BenchmarkError, draw_batches, read_rows, read_texts
from speed.turns import Bench, TokenCount, count_tokens, measure_ceiling, take_turn

NEGATIVES = 7
MAX_LENGTH = 512
PAIR_BATCHES = (128, 2048)
RESULTS = Path(__file__).resolve().parent / "results"
SHARED = Path(os.environ.get("RAGTUNE_SHARED", environments.ROOT.parent / "shared"))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "financial-qa-10K", help="BEIR folder of financial-qa-10K")
    add("--envs", type=Path, default=Path("~/.cache/ragtune-bench"), help="folder of the virtual environments")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="use this Python for an environment")
    add("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), help="who takes part")
    add("--rounds", type=int, default=3, help="every contestant has one turn in each round")
    add("--steps", type=int, default=2, help="timed steps of 32 queries in a turn")
    add("--turn-seconds", type=float, default=600.0, help="no further step begins after this much timed work")
    add("--threads", type=int, default=2)
    add("--no-memory", action="store_true", help="leave out the peak memory at 128 and 2,048 pairs")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args()


def prepare(arguments: argparse.Namespace, scratch: Path) -> Bench:
    """Environments and texts."""
    given = {name: Path(path) for name, _, path in (pair.partition("=") for pair in arguments.python)}
    taking_part = [*arguments.contestants, *([] if arguments.no_memory else [report.OURS])]
    needed = dict.fromkeys(CONTESTANTS[name].environment for name in taking_part)
    folder = arguments.envs.expanduser().resolve()
    return Bench(
        pythons={name: environments.prepare(name, folder=folder, given=given) for name in needed},
        texts=read_texts(arguments.data),
        scratch=scratch,
        threads=arguments.threads,
        turn_seconds=arguments.turn_seconds,
        max_length=MAX_LENGTH,
    )


def run_rounds(
    bench: Bench, arguments: argparse.Namespace, batches: Sequence[Batch], count: TokenCount
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """The turns by round and name, and each round's matmul ceiling. A round's first batch is its warm-up."""
    rounds, ceilings = [], []
    for number in range(arguments.rounds):
        start = number * (arguments.steps + 1)
        warmup, *timed = batches[start : start + arguments.steps + 1]
        ceilings.append(measure_ceiling(bench, next(iter(bench.pythons))))
        say(f"round {number + 1}: bf16 square matmul at {ceilings[-1]['bf16_square']:,.0f} GFLOP/s")
        turns = {}
        for name in arguments.contestants:
            turns[name] = take_turn(bench, CONTESTANTS[name], warmup=warmup, timed=timed, count=count)
            say(f"round {number + 1}: {name}: {in_words(turns[name])}")
        rounds.append(turns)
    return rounds, ceilings


def run_memory_cases(bench: Bench, data: Path) -> dict[str, Any]:
    """Peak memory of ragtune at growing batches of pairs: one positive each, in-batch negatives."""
    rows = read_rows(data, negatives=0)
    cases = {}
    for size in PAIR_BATCHES:
        batches = draw_batches(rows, count=1, size=size)
        count = count_tokens(bench, CONTESTANTS[report.OURS].environment, batches)
        contestant = replace(CONTESTANTS[report.OURS], queries_per_step=size)
        cases[f"{size:,} pairs"] = take_turn(bench, contestant, warmup=None, timed=batches, count=count)
        say(f"memory: {size:,} pairs: {in_words(cases[f'{size:,} pairs'])}")
    return cases


def in_words(turn: dict[str, Any]) -> str:
    memory = f"peak {turn['peak_rss_bytes'] / 1e9:.2f} GB"
    if "failed" in turn:
        return f"FAILED, {memory}\n{turn['failed']}"
    return f"{turn['tokens_per_second']:,.0f} real tokens/s, {turn['useful_gflops']:,.0f} useful GFLOP/s, {memory}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def benchmark(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The whole run."""
    host = report.machine()
    bench = prepare(arguments, scratch)
    rows = read_rows(arguments.data, negatives=NEGATIVES)
    batches = draw_batches(rows, count=arguments.rounds * (arguments.steps + 1), size=QUERIES_PER_STEP)
    count = count_tokens(bench, next(iter(bench.pythons)), batches)
    rounds, ceilings = run_rounds(bench, arguments, batches, count)
    memory = {} if arguments.no_memory else run_memory_cases(bench, arguments.data)
    tokens = [sum(count.lengths(batch, bench.texts, distinct=False)) for batch in batches]
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/train_dense.py", *sys.argv[1:]]),
        "machine": host,
        "threads": arguments.threads,
        "rounds_asked": arguments.rounds,
        "steps": arguments.steps,
        "max_length": MAX_LENGTH,
        "tokens_per_step": sum(tokens) / len(tokens),
        "summary": report.summarise(rounds, ceilings),
        "memory": memory,
        "ceilings": ceilings,
        "rounds": rounds,
        "installed": {name: environments.frozen(python) for name, python in bench.pythons.items()},
    }


def main() -> int:
    arguments = read_arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="ragtune-bench-") as scratch:
            results = benchmark(arguments, Path(scratch))
    except BenchmarkError as error:
        say(str(error))
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"train_dense-{results['date']}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = report.markdown(results)
    stem.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
