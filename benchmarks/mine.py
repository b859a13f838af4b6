"""Mining hard negatives: ragtune against its peers, whole processes, interleaved in one run.

See benchmarks/README.md for the work and how to read the numbers. It needs numpy beside the standard library; every
contestant runs in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from speed import environments, report
from speed.plan import BenchmarkError
from speed.turns import run_worker

RESULTS = Path(__file__).resolve().parent / "results"
SHARED = Path(os.environ.get("RAGTUNE_SHARED", environments.ROOT.parent / "shared"))
OURS = "ragtune"
NEGATIVES, DEPTH, MARGIN = 7, 100, 0.05
MAX_LENGTH, DIMS = 256, 384
# FlagEmbedding's own 3,000 texts a batch need more memory than a small machine has
BATCH_SIZE = 128
HN_MINE = "https://github.com/FlagOpen/FlagEmbedding/blob/master/scripts/hn_mine.py"


@final
@dataclass(frozen=True, slots=True)
class Contestant:
    """Who takes part, and how it is called."""

    title: str
    environment: str
    worker: str
    settings: Mapping[str, Any] = field(default_factory=dict)


CONTESTANTS: Mapping[str, Contestant] = {
    OURS: Contestant(
        "ragtune, the peers' work (one model, equal texts, fp32)",
        "ragtune",
        "mine_ragtune.py",
        {"bm25": False, "near": None, "precision": "fp32"},
    ),
    "ragtune-default": Contestant("ragtune as it comes (BM25 and near duplicates too)", "ragtune", "mine_ragtune.py"),
    "st": Contestant("sentence-transformers 6.2.0", "sentence_transformers", "mine_sentence_transformers.py"),
    "flagembedding": Contestant("FlagEmbedding 1.4.2, hn_mine.py", "flagembedding", "mine_flagembedding.py"),
}


@final
@dataclass(frozen=True, slots=True)
class Case:
    """One piece of work: texts, and vectors where no model shall run."""

    title: str
    corpus: Path
    rows: Path
    vectors: Path | None
    positives: Mapping[str, set[str]]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "financial-qa-10K", help="BEIR folder of financial-qa-10K")
    add("--envs", type=Path, default=Path("~/.cache/ragtune-bench"), help="folder of the virtual environments")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="use this Python for an environment")
    add("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), help="who takes part")
    add("--hn-mine", type=Path, help=f"FlagEmbedding's script, which its package lacks: {HN_MINE}")
    add("--rounds", type=int, default=3, help="every contestant has one turn a case in each round")
    add("--cases", nargs="+", choices=["real", "synthetic"], default=["real", "synthetic"])
    add("--real-queries", type=int, help="use only so many training questions of financial-qa-10K, and their passages")
    add("--passages", type=int, default=100_000, help="passages of the synthetic case")
    add("--queries", type=int, default=10_000, help="queries of the synthetic case")
    add("--threads", type=int, default=2)
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args()


def real_case(data: Path, folder: Path, limit: int | None) -> Case:
    """The training questions of financial-qa-10K over all of its contexts, encoded by every contestant itself."""
    corpus = {row["_id"]: row["text"] for row in read_lines(data / "corpus.jsonl") if row["text"].strip()}
    queries = {row["_id"]: row["text"] for row in read_lines(data / "queries.jsonl") if row["text"].strip()}
    lines = (data / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [line.split("\t")[:2] for line in lines]
    rows = [(queries[q], [p]) for q, p in pairs if q in queries and p in corpus][:limit]
    if limit is not None:
        corpus = {key: corpus[key] for _, keys in rows for key in keys}
    return write_case(f"financial-qa-10K, {len(rows):,} queries, {len(corpus):,} passages", folder, corpus, rows)


def synthetic_case(folder: Path, passages: int, queries: int) -> Case:
    """Made-up texts with given vectors of 384 dimensions: what mining itself costs, without any model."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{number}x" for number in range(30_000)])
    share = 1 / np.arange(1, len(words) + 1) ** 0.9
    texts = [" ".join(words[rng.choice(len(words), size=60, p=share / share.sum())]) for _ in range(passages)]
    corpus = {f"p{number}": f"{text} p{number}" for number, text in enumerate(texts)}
    relevant = rng.permutation(passages)[:queries]
    rows = [(f"{' '.join(texts[row].split()[:12])} q{row}", [f"p{row}"]) for row in relevant]
    # Passages in 2,000 topics, so that a query has near neighbours, and some above the margin
    topic_ND = rng.standard_normal((2000, DIMS)).astype(np.float32)[rng.integers(0, 2000, size=passages)]
    passage_ND = normalised(topic_ND + 1.2 * rng.standard_normal((passages, DIMS)).astype(np.float32))
    query_QD = normalised(passage_ND[relevant] + 0.05 * rng.standard_normal((queries, DIMS)).astype(np.float32))
    case = write_case(f"synthetic, {queries:,} queries, {passages:,} passages", folder, corpus, rows)
    vectors = folder / "vectors"
    vectors.mkdir()
    np.save(vectors / "passages.npy", passage_ND)
    np.save(vectors / "queries.npy", query_QD)
    return Case(case.title, case.corpus, case.rows, vectors, case.positives)


def normalised(vector_ND: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)


def write_case(title: str, folder: Path, corpus: Mapping[str, str], rows: Sequence[tuple[str, Sequence[str]]]) -> Case:
    """Write the texts; equal questions are one, with all of their positives."""
    folder.mkdir(parents=True)
    joined: dict[str, list[str]] = {}
    for query, keys in rows:
        joined.setdefault(query, []).extend(keys)
    write_lines(folder / "corpus.jsonl", [{"id": key, "text": text} for key, text in corpus.items()])
    listed = [{"id": f"q{n}", "query": q, "positives": keys} for n, (q, keys) in enumerate(joined.items())]
    write_lines(folder / "rows.jsonl", listed)
    positives = {query: {corpus[key] for key in keys} for query, keys in joined.items()}
    return Case(title, folder / "corpus.jsonl", folder / "rows.jsonl", None, positives)


def take_turn(name: str, case: Case, arguments: argparse.Namespace, python: Path, scratch: Path) -> dict[str, Any]:
    """One process from start to end: seconds, peak memory, and what its negatives are worth at first sight."""
    contestant = CONTESTANTS[name]
    settings = dict(contestant.settings)
    if contestant.worker == "mine_flagembedding.py":
        settings["script"] = str(arguments.hn_mine.resolve())
    job = {
        "corpus": str(case.corpus),
        "rows": str(case.rows),
        "vectors": None if case.vectors is None else str(case.vectors),
        "negatives": NEGATIVES,
        "depth": DEPTH,
        "margin": MARGIN,
        "max_length": MAX_LENGTH,
        "batch_size": BATCH_SIZE,
        "threads": arguments.threads,
        "settings": settings,
    }
    result = run_worker(python, contestant.worker, job, scratch=scratch, threads=arguments.threads)
    if "failed" in result:
        return result
    negatives = result.pop("negatives")
    return result | faults(negatives, case)


def faults(negatives: Mapping[str, Sequence[str]], case: Case) -> dict[str, int]:
    """How many negatives there are, and how many of them are no negatives."""
    return {
        "queries_with_all": sum(len(texts) == NEGATIVES for texts in negatives.values()),
        "negatives": sum(map(len, negatives.values())),
        "equal_to_a_positive": sum(text in case.positives[query] for query, ts in negatives.items() for text in ts),
        "twice_for_a_query": sum(len(texts) - len(set(texts)) for texts in negatives.values()),
    }


def benchmark(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The whole run."""
    if "flagembedding" in arguments.contestants and (arguments.hn_mine is None or not arguments.hn_mine.is_file()):
        do = f"download {HN_MINE} and give it as --hn-mine, or leave flagembedding out of --contestants"
        raise BenchmarkError(f"FlagEmbedding's miner is missing\n  where: --hn-mine\n  do:    {do}")
    given = {name: Path(path) for name, _, path in (pair.partition("=") for pair in arguments.python)}
    folder = arguments.envs.expanduser().resolve()
    needed = dict.fromkeys(CONTESTANTS[name].environment for name in arguments.contestants)
    pythons = {name: environments.prepare(name, folder=folder, given=given) for name in needed}
    makers = {
        "real": lambda: real_case(arguments.data, scratch / "real", arguments.real_queries),
        "synthetic": lambda: synthetic_case(scratch / "synthetic", arguments.passages, arguments.queries),
    }
    cases = [makers[name]() for name in arguments.cases]
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(arguments.rounds):
        turns: dict[str, dict[str, Any]] = {case.title: {} for case in cases}
        for case in cases:
            for name in arguments.contestants:
                python = pythons[CONTESTANTS[name].environment]
                turns[case.title][name] = turn = take_turn(name, case, arguments, python, scratch)
                said = turn.get("failed") or f"{turn['seconds']}"
                memory = f"{turn['wall_seconds']:.1f} s, peak {turn['peak_rss_bytes'] / 1e9:.2f} GB"
                print(f"round {number + 1}: {case.title}: {name}: {memory}: {said}", file=sys.stderr, flush=True)
        rounds.append(turns)
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/mine.py", *sys.argv[1:]]),
        "machine": report.machine(),
        "threads": arguments.threads,
        "settings": {"negatives": NEGATIVES, "depth": DEPTH, "margin": MARGIN, "max_length": MAX_LENGTH},
        "rounds": rounds,
        "installed": {name: environments.frozen(python) for name, python in pythons.items()},
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The page: for each case a table; ratios are taken within a round."""
    rounds = results["rounds"]
    lines = [f"# Mining hard negatives, {results['date']}", "", f"`{results['command']}`", ""]
    lines += [f"{results['machine']}, {results['threads']} threads, {len(rounds)} rounds; {results['settings']}", ""]
    for title in rounds[0]:
        headings = [
            "",
            "seconds",
            "ragtune is faster by",
            "peak memory, GB",
            "queries with all",
            "negatives",
            "no negatives",
        ]
        lines += [f"## {title}", "", f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
        lines += [row_of(name, [one[title] for one in rounds]) for name in rounds[0][title]] + [""]
    return "\n".join(lines)


def row_of(name: str, turns: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """One contestant's row in the table of a case."""
    done = [one for one in turns if "failed" not in one[name]]
    if not done:
        memory = max(one[name]["peak_rss_bytes"] for one in turns) / 1e9
        return f"| {CONTESTANTS[name].title} | failed | | {memory:.2f} | | | |"
    both = [one for one in done if "failed" not in one.get(OURS, {"failed": ""})]
    faster = report.spread([one[name]["wall_seconds"] / one[OURS]["wall_seconds"] for one in both])
    last = done[-1][name]
    wrong = f"{last['equal_to_a_positive']:,} positives, {last['twice_for_a_query']:,} twice"
    cells = [
        CONTESTANTS[name].title,
        cell(report.spread([one[name]["wall_seconds"] for one in done]), "{:.1f}"),
        "" if name == OURS else cell(faster, "{:.2f}x"),
        cell(report.spread([one[name]["peak_rss_bytes"] / 1e9 for one in done]), "{:.2f}"),
        f"{last['queries_with_all']:,}",
        f"{last['negatives']:,}",
        wrong,
    ]
    return f"| {' | '.join(cells)} |"


def cell(numbers: Mapping[str, float] | None, form: str) -> str:
    """Median, and the lowest and highest where there are several."""
    if numbers is None:
        return "-"
    median, low, high = (form.format(numbers[key]) for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> int:
    arguments = read_arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="ragtune-bench-") as scratch:
            results = benchmark(arguments, Path(scratch))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"mine-{results['date']}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = markdown(results)
    stem.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
