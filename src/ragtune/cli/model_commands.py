"""Commands on models: demo, run, train, evaluate, search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ragtune.cli.output import show, show_json, show_table, tell
from ragtune.errors import InputError, Problem

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe, for example train.epochs=3. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Move another run in the folder aside.")]
ModelOption = Annotated[str, typer.Option(help="builtin:minilm, a hub name, a model folder or a run folder.")]


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Tune the built-in model on Python's documentation.

    The dataset is built from the language reference and the docstrings that every Python carries; training ends with
    the verdict on modules that it never saw. Needs no network.

    Example: ragtune demo
    """
    from ragtune.documents.python_corpus import build_python_dataset
    from ragtune.pipeline import run_recipe
    from ragtune.recipe_loading import parse_recipe

    tell("building a dataset from Python's language reference and docstrings")
    dataset = build_python_dataset()
    recipe = parse_recipe(
        {"run": str(out), "data": f"builtin:{dataset.info.name}", "overwrite": overwrite, **DEMO},
        overrides=set_ or [],
        origin="the demo's recipe",
    )
    _report(run_recipe(recipe, say=tell, datasets=[dataset]), json=json)


DEMO: dict[str, Any] = {
    "model": {"name": "builtin:minilm", "query_max_tokens": 64, "passage_max_tokens": 256},
    "train": {
        "epochs": 2,
        "batch_size": 128,
        "learning_rate": 1e-4,
        "losses": {"name": "softmax", "temperature": 0.03},
    },
    "evaluate": {"dims": [128], "storages": ["fp32", "int8"], "precision": "auto"},
}
"""The demo's recipe. Two epochs take some two minutes on 2 cores; settings chosen on the dev split (LOG.md)."""


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML.")],
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Run a recipe: data, training, proof. The same command again resumes.

    Example: ragtune run recipes/financial-qa.yaml --set data=my-dataset --set run=runs/first
    """
    from ragtune.recipe_loading import load_recipe

    _run(load_recipe(recipe, overrides=[*(set_ or []), *(["overwrite=true"] if overwrite else [])]), json=json)


def train(
    data: Annotated[str | None, typer.Option(help="A dataset folder, or anything 'ragtune import' reads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    family: Annotated[str | None, typer.Option(help="Model family: dense, late, sparse, reranker or adapter.")] = None,
    model: Annotated[str | None, typer.Option(help="builtin:minilm, a hub name or a model folder.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe in YAML to start from.")] = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Train a model and measure it against the untuned one.

    Example: ragtune train --data my-dataset --out runs/first --set train.epochs=3
    """
    from ragtune.recipe_loading import Setting, load_recipe, parse_recipe

    flags = [("run", out, "--out"), ("data", data, "--data"), ("model.family", family, "--family")]
    flags.append(("model.name", model, "--model"))
    given = [Setting(key, str(value), flag) for key, value, flag in flags if value is not None]
    overrides: list[str | Setting] = [*given, *(set_ or []), *(["overwrite=true"] if overwrite else [])]
    whole = (
        load_recipe(recipe, overrides=overrides)
        if recipe is not None
        else parse_recipe({}, overrides=overrides, origin="the command line")
    )
    _run(whole, json=json)


def _run(recipe: Any, *, json: bool) -> None:
    from ragtune.pipeline import run_recipe

    _report(run_recipe(recipe, say=tell), json=json)


def _report(result: Any, *, json: bool) -> None:
    if not result.verdict:
        return
    if json:
        show_json(
            {
                "model": str(result.model),
                "report": str(result.report),
                "metrics": result.metrics,
                "verdict": result.verdict,
            }
        )
        return
    show(f"model:   {result.model}\nreport:  {result.report}\n{result.verdict}")


def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    model: ModelOption = "builtin:minilm",
    baseline: Annotated[str | None, typer.Option(help="A model to compare with.")] = None,
    split: Annotated[str, typer.Option(help="The split to measure.")] = "test",
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="For example nDCG@10. Repeatable; the verdict is about the first."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="merged: equal passages count as one; single-id: only the judged id.")
    ] = "merged",
    dims: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Also measure vectors cut to N dimensions. Repeatable.")
    ] = None,
    storage: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="fp32, fp16, int8 or binary vectors. Repeatable.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Passages a query retrieves.")] = 100,
    reranker: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A reranker behind the model. Repeatable.")
    ] = None,
    rerank_depth: Annotated[int | None, typer.Option(help="Passages a query that a reranker reads (100).")] = None,
    first_stage: Annotated[
        str | None, typer.Option(help="What finds the passages for the rerankers: bm25 or a model; else --model.")
    ] = None,
    bm25: Annotated[bool, typer.Option("--bm25/--no-bm25", help="Measure BM25 beside the models.")] = True,
    report: Annotated[Path | None, typer.Option(help="Write the HTML report here.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the evaluation as JSON here; - for stdout.")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Measure a model beside a baseline, with intervals.

    Scores at every size and storage of the vectors, a significance test, BM25 for comparison, examples in the report.
    With rerankers the verdict is about the last of them, against the first one, or against the model alone.

    Example: ragtune evaluate my-dataset --model runs/first/model --baseline builtin:minilm --report report.html
    """
    from ragtune.pipeline.proof import measure_models
    from ragtune.recipe_loading import Setting, parse_recipe

    _refuse_unread(set_ or [])
    flags = [
        ("model.name", model, "--model"), ("evaluate.baseline", baseline, "--baseline"),
        ("evaluate.split", split, "--split"), ("evaluate.measures", measure, "--measure"),
        ("evaluate.protocol", protocol, "--protocol"), ("evaluate.dims", dims, "--dims"),
        ("evaluate.storages", storage, "--storage"), ("evaluate.top_k", top_k, "--top-k"),
        ("evaluate.bm25", bm25, "--bm25"), ("evaluate.rerank.models", reranker, "--reranker"),
        ("evaluate.rerank.depth", rerank_depth, "--rerank-depth"),
        ("evaluate.rerank.first_stage", first_stage, "--first-stage"),
    ]  # fmt: skip
    given = [Setting(key, value, flag) for key, value, flag in flags if value is not None and value != []]
    overrides: list[str | Setting] = [*given, *(set_ or [])]
    for path in (report, json_file):
        _refuse_folder(path)
    recipe = parse_recipe({"run": ".", "data": str(dataset)}, overrides=overrides, origin="the command line")
    evaluation = measure_models(recipe, dataset, say=tell)
    _write_evaluation(evaluation, report=report, json_file=json_file)


def _refuse_unread(overrides: list[str]) -> None:
    """Only these parts of a recipe mean something to an evaluation."""
    unread = [o for o in overrides if o.partition("=")[0].split(".")[0].strip() not in ("model", "evaluate", "seed")]
    if unread:
        do = "set model.*, evaluate.* or seed"
        raise InputError([Problem("an evaluation does not read this setting", f"--set {o}", o, do) for o in unread])


def _refuse_folder(path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise InputError(Problem("the output is a folder", str(path), "a folder", "name a file in it"))


def _write_evaluation(evaluation: Any, *, report: Path | None, json_file: Path | None) -> None:
    from ragtune.evaluation.report import write_report
    from ragtune.evaluation.results import write_evaluation

    if report is not None:
        write_report(evaluation, report)
        tell(f"report: {report}")
    if json_file is not None and str(json_file) == "-":
        show(evaluation.to_json())
        return
    if json_file is not None:
        write_evaluation(evaluation, json_file)
    names = list(evaluation.plan.measures)
    rows = [
        [r.contender, r.dims or "-", r.storage or "-", *(f"{r.scores[n]:.4f}" for n in names)] for r in evaluation.rows
    ]
    show_table(["model", "dims", "storage", *names], rows)
    show(evaluation.verdict.text)


def search(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.")],
    model: ModelOption = "builtin:minilm",
    retriever: Annotated[str, typer.Option(help="dense, bm25 or fused (both, by reciprocal rank).")] = "dense",
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many passages.")] = 5,
    json: JsonOption = False,
) -> None:
    """Search a dataset with a model, with BM25, or with both.

    Passage vectors are kept in ~/.cache/ragtune (or $RAGTUNE_CACHE), so that the next search is quick.

    Example: ragtune search my-dataset "how are refunds handled?" --model runs/first/model
    """
    from ragtune.pipeline.searching import search_dataset

    hits = search_dataset(dataset, query, model=model, retriever=retriever, k=k)
    if json:
        show_json([hit.as_dict() for hit in hits])
        return
    if not hits:
        tell("no passage shares a word with the question; try --retriever dense")
    for hit in hits:
        show(f"{hit.rank:>2}  {hit.score:.4f}  {hit.passage.id}\n    {' '.join(hit.passage.content.split())[:300]}")


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "run": run,
    "train": train,
    "evaluate": evaluate,
    "search": search,
}
