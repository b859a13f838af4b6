"""Commands that set passages beside queries, and the one that seals a test split: mine, score, seal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ragtune.cli.output import show, show_json, tell

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset folder.")]
OutOption = Annotated[
    Path | None, typer.Option(help="The dataset folder to write; without it the result goes into DATASET itself.")
]
RecipeOption = Annotated[Path | None, typer.Option(help="A YAML file with this command's settings to start from.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any further setting of the page. Repeatable.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the dataset that is in --out.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def mine(
    dataset: DatasetArgument,
    model: Annotated[
        list[str] | None,
        typer.Option(help="builtin:minilm, a hub name, a model or run folder. Repeatable; margins are in the first's."),
    ] = None,
    bm25: Annotated[bool | None, typer.Option("--bm25/--no-bm25", help="BM25 looks for candidates too.")] = None,
    reranker: Annotated[str | None, typer.Option(help="A reranker that scores all candidates anew.")] = None,
    random: Annotated[bool | None, typer.Option("--random", help="Draw at random; no model is loaded.")] = None,
    negatives: Annotated[int | None, typer.Option(help="Negatives a query.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="A negative scores at most (1 - margin) times the positive; 0.05 unless set.")
    ] = None,
    min_rank: Annotated[int | None, typer.Option(help="Take no passage that a retriever ranks above this.")] = None,
    choice: Annotated[str | None, typer.Option(help="top, random or score (in proportion to it).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.")] = None,
    out: OutOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Mine hard negatives, with an audit.

    Candidates come from every model and from BM25. Positives, their duplicates and what scores too near to them are
    left out and counted; mining.md and mining.json beside the dataset say what was done, with examples to look at.

    Example: ragtune mine my-dataset --model builtin:minilm --out my-dataset-mined
    """
    from ragtune.pipeline.mining import AUDIT_PAGE, mine_folder
    from ragtune.recipe_mining import MineRecipe
    from ragtune.retrieval.mining.audit import summary_lines

    flags = {
        "models": (model or None, "--model"), "bm25": (bm25, "--bm25"), "reranker": (reranker, "--reranker"),
        "random": (random, "--random"), "negatives": (negatives, "--negatives"),
        "relative_margin": (margin, "--margin"), "min_rank": (min_rank, "--min-rank"), "choice": (choice, "--choice"),
        "seed": (seed, "--seed"),
    }  # fmt: skip
    done = mine_folder(dataset, _settings(MineRecipe, recipe, flags, set_), out=out, overwrite=overwrite, say=tell)
    if json:
        show_json({"folder": str(done.folder), **{key: v for key, v in done.audit.items() if key != "examples"}})
        return
    for line in summary_lines(done.audit):
        show(line)
    show(f"wrote {done.folder}; examples to look at: {done.folder / AUDIT_PAGE}")


def score(
    dataset: DatasetArgument,
    teacher: Annotated[str | None, typer.Option(help="builtin:minilm, a hub name, a model or run folder.")] = None,
    family: Annotated[str | None, typer.Option(help="The teacher's family, for example dense.")] = None,
    out: OutOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Write a teacher's scores beside positives and candidates.

    A killed run goes on where it stopped; pairs that this teacher scored before are not scored again.

    Example: ragtune score my-dataset --teacher builtin:minilm
    """
    from ragtune.pipeline.mining import score_folder
    from ragtune.recipe_mining import ScoreRecipe

    flags = {"teacher.name": (teacher, "--teacher"), "teacher.family": (family, "--family")}
    settings = _settings(ScoreRecipe, recipe, flags, set_)
    folder, done = score_folder(dataset, settings, out=out, overwrite=overwrite, say=tell)
    if json:
        show_json({"folder": str(folder), "pairs": done.pairs, "known": done.known, "scored": done.scored})
    else:
        known = f" ({done.known:,} of them scored before)" if done.known else ""
        show(f"wrote {folder}: teacher scores for {done.pairs:,} pairs{known}")


def seal(
    dataset: DatasetArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Seal what is there now in the place of an older seal.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Seal the test split of a dataset that brought its own.

    From then on a run that trains on its questions, or finds it changed, is refused. 'ragtune split' seals by itself.

    Example: ragtune seal my-dataset
    """
    from ragtune.pipeline.mining import seal_folder

    sealed = seal_folder(dataset, again=again)
    assert sealed.seal is not None
    if json:
        show_json({"folder": str(dataset), "queries": len(sealed.split("test")), "sha256": sealed.seal.sha256})
    else:
        show(f"sealed {len(sealed.split('test')):,} test queries of {dataset}: {sealed.seal.sha256[:16]}")


def _settings(kind: Any, recipe: Path | None, flags: dict[str, tuple[Any, str]], set_: list[str] | None) -> Any:
    """A stage's recipe: the file's settings, then the flags, then --set."""
    from ragtune.recipe_loading import Setting, load_recipe, parse_recipe

    given = [Setting(key, value, flag) for key, (value, flag) in flags.items() if value is not None]
    overrides: list[str | Setting] = [*given, *(set_ or [])]
    if recipe is not None:
        return load_recipe(recipe, overrides=overrides, kind=kind)
    return parse_recipe({}, overrides=overrides, origin="the command line", kind=kind)


COMMANDS: dict[str, Callable[..., None]] = {"mine": mine, "score": score, "seal": seal}
