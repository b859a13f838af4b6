"""What mined negatives are worth: the same training with none, random, naive and margin-mined negatives, one table.

    python benchmarks/mining_quality.py --out runs/mining-quality

Everything runs in this environment, one training after the other; a killed run goes on where it stopped. The test
split decides nothing: every arm keeps the weights that its dev split likes best.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from ragtune.data.folder import write_dataset
from ragtune.data.folder_reading import read_dataset
from ragtune.data.splitting import carve_dev
from ragtune.evaluation.judged import clusters, judged_split
from ragtune.measures import paired_bootstrap
from ragtune.pipeline import run_recipe
from ragtune.pipeline.mining import mine_folder
from ragtune.recipe_loading import parse_recipe
from ragtune.recipe_mining import MineRecipe
from ragtune.run import read_json

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RAGTUNE_SHARED", ROOT.parent / "shared"))
RESULTS = Path(__file__).resolve().parent / "results"
MEASURES = ["nDCG@10", "MRR@10", "Recall@10"]
NO_LIMIT: Mapping[str, Any] = {"relative_margin": None, "near": None, "neighbours": 0, "bm25": False}


@final
@dataclass(frozen=True, slots=True)
class Arm:
    """One way to come by negatives; None = none."""

    title: str
    mining: Mapping[str, Any] | None = field(default_factory=dict)


ARMS: Mapping[str, Arm] = {
    "none": Arm("none (in-batch only)", None),
    "random": Arm("random, numpy seed 520", {"random": True, "seed": 520}),
    "naive": Arm("naive top-k of the base model", NO_LIMIT),
    "margin": Arm("0.95 of the positive's score, union with BM25", {}),
    "margin-drawn": Arm("the same, drawn from the best 30", {"choice": "random"}),
    "margin-0.1": Arm("0.90 of the positive's score, union with BM25", {"relative_margin": 0.1}),
}


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "financial-qa-10K", help="a dataset folder with a test split")
    add("--out", type=Path, required=True, help="folder of the runs")
    add("--arms", nargs="+", choices=list(ARMS), default=["none", "random", "naive", "margin"])
    add("--seeds", nargs="+", type=int, default=[13], help="each arm is trained once with each")
    add("--negatives", type=int, default=4, help="negatives a query")
    add("--max-train", type=int, help="train on so many queries only")
    add("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="a setting of the training")
    add("--results", type=Path, default=RESULTS, help="folder of the table")
    return parser.parse_args()


def recipe_of(arguments: argparse.Namespace, arm: str, seed: int, data: Path) -> Any:
    """The training, the same for every arm but for the negatives in the data and the room for them."""
    mined = ARMS[arm].mining is not None
    values = {
        "run": str(arguments.out / f"{arm}-{seed}"),
        "data": {
            "sources": [{"path": str(data), "max_examples": arguments.max_train}],
            "group_size": 1 + arguments.negatives if mined else 1,
        },
        "model": {"query_max_tokens": 64, "passage_max_tokens": 256},
        "train": {
            "epochs": 3,
            "batch_size": 128,
            "learning_rate": 1e-4,
            "losses": {"name": "softmax", "temperature": 0.05},
        },
        "evaluate": {"protocol": "single-id", "measures": MEASURES, "bm25": False, "precision": "auto"},
        "seed": seed,
    }
    return parse_recipe(values, overrides=arguments.overrides, origin="benchmarks/mining_quality.py")


def prepared(arguments: argparse.Namespace) -> Path:
    """The data with a dev split, written once, so that every arm has the same one."""
    folder: Path = arguments.out / "data"
    if not (folder / "dataset.json").is_file():
        dataset = read_dataset(arguments.data)
        write_dataset(dataset if dataset.split("dev") else carve_dev(dataset, 0.05).dataset, folder)
    return folder


def mined_data(arguments: argparse.Namespace, arm: str, base: Path) -> tuple[Path, dict[str, Any] | None]:
    """The data with an arm's negatives, and their audit."""
    mining = ARMS[arm].mining
    if mining is None:
        return base, None
    folder = arguments.out / f"data-{arm}-{arguments.negatives}"
    if not (folder / "mining.json").is_file():
        # searched at the model's full length, whatever the training reads
        recipe = MineRecipe.model_validate({"negatives": arguments.negatives, **mining})
        mine_folder(base, recipe, out=folder, overwrite=True, say=say)
    audit = read_json(folder / "mining.json")
    return folder, {key: audit[key] for key in ("chosen", "filled", "short", "cut", "suspicions")}


def scores_of(run: Path) -> tuple[dict[str, float], dict[str, float]]:
    """nDCG@10 of every test query by its id, before and after training."""
    found = read_json(run / "evaluate" / "evaluation.json")["per_query"]
    (base,) = set(found) - {"tuned"}
    return found[base], found["tuned"]


def difference(
    one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]], groups: Mapping[str, str]
) -> dict[str, float]:
    """Mean difference of two arms over queries and seeds, with its interval over groups of queries."""
    ids = list(one[0])
    before_Q, after_Q = (np.mean([[run[query] for query in ids] for run in runs], axis=0) for runs in (other, one))
    interval = paired_bootstrap(before_Q, after_Q, groups=[groups[query] for query in ids])
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def run_arms(arguments: argparse.Namespace) -> dict[str, Any]:
    base = prepared(arguments)
    groups = clusters(judged_split(read_dataset(base), "test", protocol="single-id"))
    results: dict[str, Any] = {}
    after: dict[str, list[Mapping[str, float]]] = {}
    before: Mapping[str, float] = {}
    for arm in arguments.arms:
        began = time.perf_counter()
        data, audit = mined_data(arguments, arm, base)
        mined = time.perf_counter()
        runs = [run_recipe(recipe_of(arguments, arm, seed, data), say=say) for seed in arguments.seeds]
        found = [scores_of(run.folder) for run in runs]
        before, after[arm] = found[0][0], [scores for _, scores in found]
        results[arm] = {
            "title": ARMS[arm].title,
            "audit": audit,
            "mining_seconds": round(mined - began, 1),
            "seconds": round(time.perf_counter() - mined, 1),
            "metrics": [run.metrics for run in runs],
            "ndcg": float(np.mean([np.mean(list(scores.values())) for scores in after[arm]])),
            "over_base": difference(after[arm], [before], groups),
            "over_first": None
            if arm == arguments.arms[0]
            else difference(after[arm], after[arguments.arms[0]], groups),
        }
    return {"arms": results, "base": float(np.mean(list(before.values())))}


def markdown(results: Mapping[str, Any]) -> str:
    """One table."""
    arms = list(results["arms"].values())
    lines = [
        f"# What mined negatives are worth, {results['date']}",
        "",
        f"`{results['command']}`",
        "",
        f"nDCG@10 of the untuned model: {results['base']:.4f}. Intervals: 95 %, paired bootstrap over test queries.",
        "",
        f"| negatives | nDCG@10 | over the untuned model | over {arms[0]['title']} | mining, s | training, s |",
        "|---|---|---|---|---|---|",
    ]
    for one in arms:
        cells = [one["title"], f"{one['ndcg']:.4f}", interval(one["over_base"]), interval(one["over_first"])]
        lines.append(f"| {' | '.join([*cells, str(one['mining_seconds']), str(one['seconds'])])} |")
    return "\n".join(lines) + "\n"


def interval(found: Mapping[str, float] | None) -> str:
    return "" if found is None else f"{found['mean']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    arguments = read_arguments()
    arguments.out = arguments.out.resolve()
    results = {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/mining_quality.py", *sys.argv[1:]]),
        **run_arms(arguments),
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    stem = arguments.results / f"mining_quality-{results['date']}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
