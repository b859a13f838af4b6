"""What is looked for before a reranker is trained: settings that it would not read, and its models."""

from __future__ import annotations

import torch

from ragtune.errors import Problem, RecipeError, did_you_mean
from ragtune.models.adapting import prepare_for_training
from ragtune.pipeline.loading import loaded, other_model
from ragtune.pipeline.reranking import BM25, first_stage_name, loaded_reranker, reranker_named
from ragtune.pipeline.tuning import check_disk
from ragtune.recipe import ModelRecipe, Recipe
from ragtune.training.precision import check_precision


def refuse_unread(recipe: Recipe) -> None:
    """Raise ``RecipeError`` for every setting that means nothing to a reranker."""
    model, train, plan = recipe.model, recipe.train, recipe.evaluate
    unread = {
        "model.pooling": model.pooling is not None,
        "model.normalize": model.normalize is not None,
        "model.projection_dims": model.projection_dims is not None,
        "model.freeze.passage_side": model.freeze.passage_side,
        "model.lora.merge=false": model.lora is not None and not model.lora.merge,
        "train.matryoshka": train.matryoshka is not None,
        "train.directions": train.directions != ("query_passage",),
        "train.mining": train.mining is not None,
        "train.fsdp": train.fsdp,
        "train.best_metric": ":" in train.best_metric,
        "evaluate.dims": bool(plan.dims),
        "evaluate.storages": plan.storages != ("fp32",),
        "evaluate.rerank.models": bool(plan.rerank.models),
    }
    problems = [
        Problem(
            what="a reranker does not read this setting",
            where=key,
            found="it is set",
            do=UNREAD.get(key, "a reranker scores pairs and has no vectors: leave it out"),
        )
        for key, is_set in unread.items()
        if is_set
    ]
    if recipe.data.group_size < 2 and recipe.data.positives_per_query == 1:
        problems.append(
            Problem(
                what="a reranker learns from a query's own candidates, and a group of one has no negative",
                where="data.group_size",
                found=str(recipe.data.group_size),
                do="leave data.group_size out (16), or set 2 or more",
            )
        )
    if problems:
        raise RecipeError(problems)


UNREAD = {
    "model.lora.merge=false": "set model.lora.merge=true: adapters are merged into the saved reranker",
    "train.mining": "mine before: ragtune mine DATASET --model EMBEDDER",
    "train.fsdp": "leave it out: a reranker's head reads weights outside the layer that holds them",
    "evaluate.rerank.models": "name them to ragtune evaluate --reranker; the run itself measures its base and its own",
}


def check_reranker_models(recipe: Recipe) -> None:
    """Load what the run will load. Raises ``InputError`` for what cannot be read, ``OutOfSpaceError`` for the disk."""
    model = loaded_reranker(recipe.model)
    check_disk(model, recipe.run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_precision(recipe.train.precision, device=device)
    prepare_for_training(model, recipe.model)
    if recipe.evaluate.baseline is not None:
        loaded_reranker(reranker_named(recipe.model, recipe.evaluate.baseline))
    name = first_stage_name(recipe)
    if name.lower() == BM25 and name != BM25:
        raise RecipeError(
            Problem("unknown first stage", "evaluate.rerank.first_stage", name, did_you_mean(name, [BM25]))
        )
    if name != BM25:
        loaded(other_model(ModelRecipe(), name))
