"""The command that writes queries: synthesize."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ragtune.cli.output import show, show_json, show_table, tell

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, for example filters.round_trip_k=10. Repeatable."),
]
LlmOption = Annotated[
    str | None, typer.Option("--llm", metavar="SOURCE", help="A URL, builtin:smollm2, a model folder or name, none.")
]


def synthesize(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")],
    llm: LlmOption = None,
    llm_model: Annotated[str | None, typer.Option(help="The model's name at the URL.")] = None,
    out: Annotated[Path | None, typer.Option(help="The dataset folder to write; left out: DATASET itself.")] = None,
    per_passage: Annotated[int | None, typer.Option(help="Queries a passage.")] = None,
    styles: Annotated[str | None, typer.Option(metavar="A,B", help="Styles of queries, dealt out in turn.")] = None,
    max_passages: Annotated[int | None, typer.Option(help="Passages that are asked about; spread evenly.")] = None,
    examples: Annotated[Path | None, typer.Option(help="A file of your own queries, to be imitated.")] = None,
    structure: Annotated[bool, typer.Option("--structure", help="Pairs from headings and captions too.")] = False,
    max_requests: Annotated[int | None, typer.Option(help="Stop after this many requests.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after this many tokens.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop after this much money.")] = None,
    price_in: Annotated[float | None, typer.Option(help="Price of a million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million reply tokens.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe of synthesis in YAML to start from.")] = None,
    set_: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost; writes nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset in --out.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write queries for a corpus: by a model or by structure.

    Every query is checked; train, dev and test are set apart by document. The same command again goes on where an
    interrupted one stopped, and asks nothing twice.

    Example: ragtune synthesize my-dataset --llm http://localhost:8000/v1 --out my-dataset-asked
    """
    flags = [
        ("llm.source", llm, "--llm"), ("llm.model", llm_model, "--llm-model"),
        ("per_passage", per_passage, "--per-passage"), ("styles", styles, "--styles"),
        ("max_passages", max_passages, "--max-passages"),
        ("examples", None if examples is None else str(examples), "--examples"),
        ("structure.enabled", structure or None, "--structure"),
        ("budget.max_requests", max_requests, "--max-requests"), ("budget.max_tokens", max_tokens, "--max-tokens"),
        ("budget.max_cost", max_cost, "--max-cost"), ("budget.price_in", price_in, "--price-in"),
        ("budget.price_out", price_out, "--price-out"), ("seed", seed, "--seed"),
    ]  # fmt: skip
    whole = _recipe(recipe, flags, set_ or [])
    if dry_run:
        _show_estimate(_synthesizer(dataset, whole, out=out or dataset).estimate(), json=json)
        return
    _refuse_taken(dataset, out, overwrite=overwrite)
    _synthesize(dataset, whole, out=out or dataset, json=json)


def _recipe(path: Path | None, flags: list[tuple[str, Any, str]], overrides: list[str]) -> Any:
    from ragtune.recipe_loading import Setting, load_recipe, parse_recipe
    from ragtune.recipe_synthesis import SynthesisRecipe

    given = [Setting(key, value, flag) for key, value, flag in flags if value is not None]
    settings: list[str | Setting] = [*given, *overrides]
    if path is not None:
        return load_recipe(path, overrides=settings, kind=SynthesisRecipe)
    return parse_recipe({}, overrides=settings, origin="the command line", kind=SynthesisRecipe)


def _synthesizer(dataset: Path, recipe: Any, *, out: Path) -> Any:
    from ragtune.data.folder_reading import read_dataset
    from ragtune.synthesis.synthesize import Synthesizer

    # beside the dataset, for the dataset's folder is replaced as a whole
    work = out.absolute().with_name(f"{out.absolute().name}.synthesis")
    return Synthesizer(read_dataset(dataset), recipe, work=work, say=tell)


def _refuse_taken(dataset: Path, out: Path | None, *, overwrite: bool) -> None:
    """Before the first request is paid for."""
    from ragtune.errors import DataError, Problem

    if out is None or overwrite or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    do = "choose another folder, or pass --overwrite"
    raise DataError(Problem("the output folder is taken", str(out), "files are there", do))


def _synthesize(dataset: Path, recipe: Any, *, out: Path, json: bool) -> None:
    from ragtune.data.folder import write_dataset

    synthesizer = _synthesizer(dataset, recipe, out=out)
    done = synthesizer.run()
    folder = write_dataset(done.dataset, out, overwrite=True)
    report = dict(done.report)
    if json:
        show_json({"folder": str(folder), "work": str(synthesizer.work), **report})
        return
    splits = ", ".join(f"{split} {count:,}" for split, count in report["kept_by_split"].items())
    show(f"wrote {folder}: {report['kept']:,} of {report['made']:,} queries kept ({splits})")
    if report["rejected"]:
        show_table(["cut by", "queries"], list(report["rejected"].items()))
    show(f"what was cut, and why: {synthesizer.work / 'rejected.jsonl'}")


def _show_estimate(estimate: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(estimate)
        return
    show(f"{estimate['queries']:,} queries for {estimate['passages']:,} passages, at most:")
    names = ("requests", "prompt_tokens", "reply_tokens", "cost")
    rows = [[part, *(f"{estimate[part][name]:,}" for name in names)] for part in ("writing", "judging", "total")]
    show_table(["", "requests", "prompt tokens", "reply tokens", "cost"], rows)
    if estimate["answered_before"]:
        show(f"{estimate['answered_before']:,} requests are answered already and not counted")


COMMANDS: dict[str, Callable[..., None]] = {"synthesize": synthesize}
