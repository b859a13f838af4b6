"""The typed recipe: documented, closed, frozen, in range, with its short forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from ragtune.recipe import LossRecipe, ModelRecipe, Part, Recipe


def parts(part: type[BaseModel] = Recipe) -> dict[str, type[BaseModel]]:
    """Every part of a recipe by its class name."""
    found = {part.__name__: part}
    for field in part.model_fields.values():
        stack: list[Any] = [field.annotation]
        while stack:
            annotation = stack.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                found |= parts(annotation)
            stack += get_args(annotation)
    return found


PARTS = parts()
MINIMAL: dict[str, Any] = {"run": "r", "data": "d"}


def recipe(**more: Any) -> Recipe:
    return Recipe.model_validate({**MINIMAL, **more})


def test_the_parts_are_found() -> None:
    assert {"Recipe", "ModelRecipe", "LossRecipe", "LoraRecipe", "SourceRecipe", "MatryoshkaRecipe"} <= set(PARTS)


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_field_is_documented(part: type[BaseModel]) -> None:
    assert part.__doc__
    assert [name for name, field in part.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("part", [p for p in PARTS.values() if issubclass(p, Part)], ids=lambda part: part.__name__)
def test_a_part_takes_no_unknown_key(part: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        part.model_validate({"no_such_key": 1})


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe().seed = 3


def test_defaults_are_a_valid_recipe() -> None:
    made = recipe()
    assert Recipe.model_validate(made.model_dump()) == made
    assert made.run == Path("r")
    assert [source.path for source in made.data.sources] == ["d"]


OUT_OF_RANGE = {
    "train": [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0}, {"warmup_ratio": 1.1}, {"weight_decay": -1},
        {"micro_batch_tokens": 0}, {"graph_tokens": -1}, {"losses": []}, {"directions": []}, {"max_steps": 0},
        {"losses": [{"name": "softmax", "weight": 0}]}, {"precision": "fp8"}, {"trackers": ["mlflow"]},
        {"learning_rate": float("inf")}, {"epochs": float("nan")}, {"max_gradient_norm": 0}, {"patience": 0},
        {"matryoshka": {"dims": []}}, {"matryoshka": {"dims": [8, 16], "weights": [1, 1]}}, {"schedule": "step"},
        {"false_negatives": {"margin": float("nan")}}, {"matryoshka": {"dims": [8], "weights": [1, 0]}},
    ],
    "data": [
        {"sources": []}, {"sources": ["d"], "dev_fraction": -0.1}, {"sources": ["d"], "group_size": 0},
        {"sources": ["d"], "positives_per_query": "some"}, {"sources": ["d"], "batch_from": "both"},
        {"sources": ["d"], "positives_per_query": 3, "group_size": 2}, {"sources": [{"path": "d", "weight": 0}]},
        {"sources": [{"path": "d", "empty": "drop"}]}, {"sources": [{"path": "d", "max_examples": 0}]},
        {"sources": ["d"], "duplicates": "drop"},
    ],
    "model": [
        {"family": "sparce"}, {"pooling": "max"}, {"query_prompt_format": "{}"}, {"passage_prompt_format": "{}{}{}"},
        {"query_max_tokens": 0}, {"lora": {"rank": 0}}, {"dropout": 2}, {"freeze": {"first_layers": -1}},
        {"projection_dims": 0},
    ],
    "evaluate": [
        {"measures": []}, {"storages": []}, {"storages": ["int4"]}, {"protocol": "strict"}, {"dims": [0]},
        {"top_k": 0}, {"resamples": 0},
    ],
}  # fmt: skip
CASES = [(part, value) for part, values in OUT_OF_RANGE.items() for value in values]


@pytest.mark.parametrize(("part", "value"), CASES, ids=lambda value: str(value))
def test_what_is_out_of_range_is_refused(part: str, value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        recipe(**{part: value})


@pytest.mark.parametrize(
    "data", ["d", Path("d"), {"sources": "d"}, {"sources": ["d"]}, {"sources": {"path": "d"}}, {"sources": [Path("d")]}]
)
def test_data_may_be_written_short(data: Any) -> None:
    assert Recipe.model_validate({"run": "r", "data": data}) == recipe()


@pytest.mark.parametrize("losses", ["cosent", ["cosent"], {"name": "cosent"}, [{"name": "cosent"}]])
def test_losses_may_be_written_short(losses: Any) -> None:
    assert recipe(train={"losses": losses}).train.losses == (LossRecipe(name="cosent"),)


def test_a_loss_keeps_its_own_options_apart() -> None:
    loss = recipe(train={"losses": {"name": "softmax", "weight": 2, "temperature": 0.05}}).train.losses[0]
    assert (loss.name, loss.weight, loss.options) == ("softmax", 2.0, {"temperature": 0.05})


def test_directions_may_be_one() -> None:
    assert recipe(train={"directions": "query_query"}).train.directions == ("query_query",)


def test_a_written_line_break_in_a_prompt_format_is_one() -> None:
    assert ModelRecipe(query_prompt_format="Instruct: {}\\nQuery: {}").query_prompt_format == "Instruct: {}\nQuery: {}"


def test_the_home_folder_may_be_written_short() -> None:
    assert recipe(run="~/runs/x").run == Path.home() / "runs" / "x"


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(recipe(model={"token": "secret"}))
