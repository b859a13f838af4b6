"""The proof of a run: the untuned and the saved tuned model side by side, with report and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset
from ragtune.evaluation.contenders import Contender
from ragtune.evaluation.evaluate import evaluate
from ragtune.evaluation.report import Background, write_report
from ragtune.evaluation.results import Evaluation, write_evaluation
from ragtune.measures import parse_measures
from ragtune.models import load_model
from ragtune.models.adapting import TwoSided
from ragtune.models.dense import DenseModel
from ragtune.models.dense_loading import save_folder_of
from ragtune.recipe import ModelRecipe, Recipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.run import RunFolder, read_json, write_json
from ragtune.training.precision import compute_dtype

Say = Callable[[str], None]


def prove(recipe: Recipe, dataset: Dataset, *, run: RunFolder, say: Say) -> dict[str, Any]:
    """Evaluate base against tuned on the recipe's split; writes metrics.json, evaluation.json and report.html.

    The tuned model is the one that was saved, loaded as a user loads it.
    """
    base_name = recipe.evaluate.baseline or recipe.model.name
    base = _loaded(recipe.model.model_copy(update={"name": base_name, "projection_dims": None}), recipe)
    tuned = _loaded(_saved(recipe.model, run.path / "model"), recipe)
    say(f"measuring {base_name} and the tuned model on {recipe.evaluate.split}")
    after: Any = TwoSided(query=tuned, passage=base) if recipe.model.freeze.passage_side else tuned
    contenders = [
        Contender(name=base_name, model=base, role="before"),
        Contender(name="tuned", model=after, role="after"),
        *_bm25(recipe, dataset),
    ]
    evaluation = evaluate(dataset, contenders=contenders, plan=recipe.evaluate, seed=recipe.seed)
    write_evaluation(evaluation, run.path / "evaluate" / "evaluation.json")
    metrics = _metrics(evaluation, run)
    write_json(run.path / "metrics.json", metrics)
    _note_in_model(run.path / "model" / "ragtune.json", metrics)
    background = Background(
        training_log=_log(run.path / "train" / "log.jsonl"),
        recipe_yaml=(run.path / "recipe.yaml").read_text(encoding="utf-8"),
        commands=[f"ragtune run {run.path.name}/recipe.yaml"],
    )
    write_report(evaluation, run.path / "report.html", background=background)
    return {"verdict": evaluation.verdict.text}


def measure_models(recipe: Recipe, folder: Path, *, say: Say) -> Evaluation:
    """The recipe's model on a dataset folder, beside its baseline and BM25."""
    parse_measures(recipe.evaluate.measures)
    dataset = read_dataset(folder)
    contenders = _bm25(recipe, dataset)
    model = _loaded(_from_anywhere(recipe.model, recipe.model.name), recipe)
    if recipe.evaluate.baseline is None:
        contenders.insert(0, Contender(name=recipe.model.name, model=_encoder(model, recipe), role="after"))
    else:
        base = _loaded(_from_anywhere(recipe.model, recipe.evaluate.baseline), recipe)
        contenders.insert(0, Contender(name=recipe.evaluate.baseline, model=_encoder(base, recipe), role="before"))
        contenders.insert(1, Contender(name=recipe.model.name, model=_encoder(model, recipe), role="after"))
    say(f"measuring {', '.join(c.name for c in contenders)} on {recipe.evaluate.split} of {dataset.info.name}")
    return evaluate(dataset, contenders=contenders, plan=recipe.evaluate, seed=recipe.seed)


def _loaded(model_recipe: ModelRecipe, recipe: Recipe) -> DenseModel:
    """A model that encodes in the precision of the evaluation."""
    model = load_model(model_recipe)
    assert isinstance(model, DenseModel)
    model.encode_dtype = compute_dtype(recipe.evaluate.precision, device=model.device)
    return model


def _encoder(model: DenseModel, recipe: Recipe) -> Any:
    """A model that was tuned on the query side alone brings its passage model with it."""
    passage_name = model.notes.get("passage_model")
    return TwoSided(query=model, passage=_loaded(ModelRecipe(name=passage_name), recipe)) if passage_name else model


def _from_anywhere(recipe: ModelRecipe, name: str) -> ModelRecipe:
    """The recipe for a model folder, a run folder, a hub name or a built-in."""
    return recipe.model_copy(update={"name": str(save_folder_of(name)) if Path(name).is_dir() else name})


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
