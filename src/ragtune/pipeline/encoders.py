"""Settings that one kind of bi-encoder reads and another does not; what would be ignored is refused."""

from __future__ import annotations

from ragtune.errors import Problem, RecipeError
from ragtune.recipe import Recipe

OWN_PARTS = ("late", "sparse")


def refuse_unread(recipe: Recipe) -> None:
    """Raise ``RecipeError`` for every setting that the family of the model would not read."""
    family = recipe.model.family
    unread = {f"model.{part}": _is_set(recipe, part) for part in OWN_PARTS if part != family}
    if family in OWN_PARTS:
        unread |= _of_single_vectors(recipe)
    if family == "sparse":
        freeze = recipe.model.freeze
        unread |= {
            "model.normalize": recipe.model.normalize is not None,
            "train.fsdp": recipe.train.fsdp,
            "model.freeze.token_embeddings": freeze.token_embeddings or freeze.first_layers > 0,
        }
    problems = [
        Problem(f"the family {family} does not read this setting", key, "it is set", "leave it out")
        for key, is_set in unread.items()
        if is_set
    ]
    if problems:
        raise RecipeError(problems)


def _is_set(recipe: Recipe, part: str) -> bool:
    value = getattr(recipe.model, part)
    return bool(value != type(value)())


def _of_single_vectors(recipe: Recipe) -> dict[str, bool]:
    """Settings about one vector a text."""
    model, train, evaluate = recipe.model, recipe.train, recipe.evaluate
    return {
        "model.pooling": model.pooling is not None,
        "model.projection_dims": model.projection_dims is not None,
        "model.freeze.passage_side": model.freeze.passage_side,
        "model.lora.merge": model.lora is not None and not model.lora.merge,
        "train.matryoshka": train.matryoshka is not None,
        "train.best_metric": ":" in train.best_metric,
        "evaluate.dims": bool(evaluate.dims),
        "evaluate.storages": evaluate.storages != ("fp32",),
    }
