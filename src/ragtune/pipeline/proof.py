"""The proof of a run: the untuned and the saved tuned model side by side, with report and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset
from ragtune.errors import InputError, Problem
from ragtune.evaluation.contenders import Contender
from ragtune.evaluation.evaluate import check_plan, evaluate
from ragtune.evaluation.pair_scores import collapses
from ragtune.evaluation.report import Background, write_report
from ragtune.evaluation.results import Evaluation, Role, write_evaluation
from ragtune.models import FAMILIES
from ragtune.pipeline.adapters import adapter_contenders, share_of_full_gain
from ragtune.pipeline.checks import check_measured_models, check_measured_split, together
from ragtune.pipeline.loading import from_anywhere, loaded, other_model, with_passage_side
from ragtune.pipeline.reranking import check_names, first_stage, reranked, reranker_roles, run_contenders
from ragtune.recipe import ModelRecipe, Recipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.two_stage import Remembered
from ragtune.run import RunFolder, read_json, write_json

Say = Callable[[str], None]

# Names of contenders that a base model cannot have
TAKEN_NAMES = ("tuned", "BM25")


def prove(recipe: Recipe, dataset: Dataset, *, run: RunFolder, say: Say) -> dict[str, Any]:
    """Evaluate base against tuned on the recipe's split; writes metrics.json, evaluation.json and report.html.

    The tuned model is the one that was saved, loaded as a user loads it.
    """
    say(f"measuring {recipe.evaluate.baseline or recipe.model.name} and the tuned model on {recipe.evaluate.split}")
    contenders = [*_sides(recipe, dataset, run=run), *_bm25(recipe, dataset)]
    evaluation = evaluate(dataset, contenders=contenders, plan=recipe.evaluate, seed=recipe.seed)
    write_evaluation(evaluation, run.path / "evaluate" / "evaluation.json")
    log = _log(run.path / "train" / "log.jsonl")
    metrics = {**_metrics(evaluation, run), "warnings": collapses(log)}
    if metrics["share_of_full_gain"] is not None:
        say(f"the adapter reaches {metrics['share_of_full_gain']:.0%} of the full tuning's gain")
    write_json(run.path / "metrics.json", metrics)
    _note_in_model(run.path / "model" / "ragtune.json", metrics)
    background = Background(
        training_log=log,
        recipe_yaml=(run.path / "recipe.yaml").read_text(encoding="utf-8"),
        commands=[f"ragtune run {run.path.name}/recipe.yaml"],
        warnings=metrics["warnings"],
    )
    write_report(evaluation, run.path / "report.html", background=background)
    return {"verdict": evaluation.verdict.text}


def _sides(recipe: Recipe, dataset: Dataset, *, run: RunFolder) -> list[Contender]:
    """The untuned and the tuned model, with rerankers where the plan names some; or a first stage and rerankers."""
    if FAMILIES[recipe.model.family].pairs:
        return run_contenders(recipe, dataset, saved=run.path / "model")
    if recipe.model.family == "adapter":
        return adapter_contenders(recipe, dataset, saved=run.path / "model")
    precision = recipe.evaluate.precision
    base_name = recipe.evaluate.baseline or recipe.model.name
    base = loaded(other_model(recipe.model, base_name), precision=precision)
    tuned = loaded(_saved(recipe.model, run.path / "model"), precision=precision)
    shown = f"{base_name} (untuned)" if base_name in TAKEN_NAMES else base_name
    after = Contender(name="tuned", model=with_passage_side(tuned, precision=precision), role="after")
    return [
        Contender(name=shown, model=with_passage_side(base, precision=precision), role="before"),
        after,
        *reranked(recipe, dataset, first=after, roles=["reference"] * len(recipe.evaluate.rerank.models)),
    ]


def measure_models(recipe: Recipe, folder: Path, *, say: Say) -> Evaluation:
    """The recipe's model on a dataset folder, beside its baseline and BM25."""
    plan = recipe.evaluate
    together(lambda: check_plan(plan), lambda: _check_names(recipe))
    dataset = read_dataset(folder)
    check_measured_split(recipe, dataset)
    behind = reranker_roles(len(plan.rerank.models))
    # the verdict is about the rerankers where there are some: the last one, against the first or the model alone
    own: list[Role] = (
        ["after", "before"] if not behind else ["before" if len(behind) == 1 else "reference", "reference"]
    )
    names = [recipe.model.name] if plan.baseline is None else [recipe.model.name, plan.baseline]
    models = [loaded(_asked(recipe.model, name), precision=plan.precision) for name in names]
    check_measured_models(recipe, models)
    contenders = [
        Contender(name=name, model=with_passage_side(model, precision=plan.precision), role=role)
        for name, model, role in zip(names, models, own, strict=False)
    ][::-1]
    contenders += _second_stages(recipe, dataset, contenders, roles=behind)
    contenders += _bm25(recipe, dataset)
    say(f"measuring {', '.join(c.name for c in contenders)} on {plan.split} of {dataset.info.name}")
    return evaluate(dataset, contenders=contenders, plan=plan, seed=recipe.seed)


def _second_stages(
    recipe: Recipe, dataset: Dataset, contenders: list[Contender], *, roles: list[Role]
) -> list[Contender]:
    """The plan's rerankers behind the model, or behind another first stage, which is then measured too."""
    name = recipe.evaluate.rerank.first_stage
    if not roles or name in (None, recipe.model.name):
        return reranked(recipe, dataset, first=contenders[-1], roles=roles)
    first = Contender(name=f"{name} (first stage)", model=Remembered(first_stage(dataset, recipe)))
    return [first, *reranked(recipe, dataset, first=first, roles=roles)]


def _check_names(recipe: Recipe) -> None:
    check_names(recipe.evaluate.rerank.models)
    if recipe.evaluate.baseline == recipe.model.name:
        raise InputError(
            Problem("a model is to be compared with itself", "--baseline", recipe.model.name, "name another model")
        )


def _asked(recipe: ModelRecipe, name: str) -> ModelRecipe:
    return from_anywhere(recipe, name) if name == recipe.name else other_model(recipe, name)


def _saved(recipe: ModelRecipe, folder: Path) -> ModelRecipe:
    """How a saved model is loaded: by its folder alone, which says everything else."""
    return ModelRecipe(name=str(folder), family=recipe.family, trust_remote_code=recipe.trust_remote_code)


def _bm25(recipe: Recipe, dataset: Dataset) -> list[Contender]:
    if not recipe.evaluate.bm25:
        return []
    return [Contender(name="BM25", model=BM25Retriever(dataset.corpus, language=dataset.info.language))]


def _metrics(evaluation: Evaluation, run: RunFolder) -> dict[str, Any]:
    """The numbers of a run on one page."""
    training = run.stage("train").manifest()
    results = {} if training is None else training["results"]
    return {
        "verdict": evaluation.verdict.text,
        "share_of_full_gain": share_of_full_gain(evaluation),
        "rows": [row.model_dump(mode="json") for row in evaluation.rows],
        "comparisons": [comparison.model_dump(mode="json") for comparison in evaluation.comparisons],
        "training": {
            k: results[k]
            for k in ("steps", "seconds", "tokens_per_second", "peak_memory_bytes", "best_value")
            if k in results
        },
    }


def _note_in_model(path: Path, metrics: dict[str, Any]) -> None:
    """Metrics before and after go into the model folder."""
    write_json(path, {**read_json(path), "metrics": metrics["rows"], "verdict": metrics["verdict"]})


def _log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
