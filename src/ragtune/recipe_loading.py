"""Recipes from YAML and ``--set``: every error at once, each with file:line and the nearest known name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ragtune.errors import Problem, RecipeError, did_you_mean
from ragtune.recipe import Recipe

Place = tuple[str | int, ...]


def load_recipe(path: Path | str, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file; ``overrides`` are ``dotted.key=value`` strings whose values are YAML.

    Raises ``RecipeError`` with every problem found.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            Problem(what="the recipe cannot be read", where=str(path), found=str(error.strerror), do="check the path")
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            Problem(what="the recipe is not UTF-8", where=str(path), found=str(error), do="save it as UTF-8")
        ) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(_yaml_problem(error, path)) from error
    if not isinstance(values, dict):
        raise RecipeError(
            Problem(
                what="a recipe is a mapping of keys to values",
                where=f"{path}:1",
                found=type(values).__name__,
                do="write lines such as 'run: runs/first' and 'data: my-dataset'",
            )
        )
    lines = {place: f"{path}:{line}" for place, line in _line_numbers(node)}
    return parse_recipe(values, overrides=overrides, places=lines, origin=str(path))


def parse_recipe(
    values: Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    places: Mapping[Place, str] | None = None,
    origin: str = "recipe",
) -> Recipe:
    """A recipe from plain values; ``places`` says where each key was written."""
    places = dict(places or {})
    merged = _copied(values)
    for override in overrides:
        place = _apply_override(merged, override)
        places[place] = f"--set {override}"
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(_problems(error, places=places, origin=origin)) from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, secrets left out."""
    values = recipe.model_dump(mode="json", exclude={"model": {"token"}})
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def _yaml_problem(error: yaml.YAMLError, path: Path) -> Problem:
    line = error.problem_mark.line + 1 if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else 1
    return Problem(
        what="the recipe is not valid YAML",
        where=f"{path}:{line}",
        found=" ".join(str(error).split())[:200],
        do="check indentation, colons and quotes on that line",
    )


def _line_numbers(node: yaml.Node | None, place: Place = ()) -> list[tuple[Place, int]]:
    """Each key's place and 1-based line."""
    found: list[tuple[Place, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, key.value)
            found += [(here, key.start_mark.line + 1), *_line_numbers(value, here)]
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*place, index)
            found += [(here, value.start_mark.line + 1), *_line_numbers(value, here)]
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _apply_override(values: dict[str, Any], override: str) -> Place:
    """Set ``dotted.key=value`` in place; the part above a key is made when it is missing or a shorthand."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(
            Problem(what="the value of --set is not valid YAML", where=f"--set {override}", found=text, do="quote it")
        ) from error
    if not equals or not all(keys):
        raise RecipeError(
            Problem(
                what="--set needs key=value",
                where=f"--set {override}",
                found=override,
                do="--set train.learning_rate=2e-5",
            )
        )
    part: Any = values
    for key in keys[:-1]:
        child = part.get(key)
        if key == "data" and isinstance(child, str):
            child = {"sources": [{"path": child}]}
        part[key] = child if isinstance(child, dict) else {}
        part = part[key]
    part[keys[-1]] = _float_if_exponent(value)
    return tuple(keys)


def _float_if_exponent(value: Any) -> Any:
    """YAML 1.1 reads ``2e-5`` as text; a number was meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _problems(error: ValidationError, *, places: Mapping[Place, str], origin: str) -> list[Problem]:
    problems = []
    items = error.errors(include_url=False)
    for item in items:
        place: Place = tuple(item["loc"])
        # pydantic calls a list whose items are all wrong "too short" as well; the items' own errors say it better
        if item["type"] == "too_short" and any(
            len(o["loc"]) > len(place) and o["loc"][: len(place)] == place for o in items
        ):
            continue
        dotted = ".".join(str(key) for key in place) or "the recipe"
        where = f"{_where(place, places) or origin} ({dotted})"
        if item["type"] == "extra_forbidden":
            known = list(_fields(place[:-1]))
            problems.append(
                Problem(
                    what=f"unknown key {place[-1]!r}", where=where, found=dotted, do=did_you_mean(str(place[-1]), known)
                )
            )
        elif item["type"] == "missing":
            problems.append(
                Problem(
                    what=f"{dotted} is missing",
                    where=where,
                    found="no value",
                    do=f"add {dotted!r} or --set {dotted}=...",
                )
            )
        else:
            message = item["msg"].removeprefix("Value error, ")
            problems.append(
                Problem(what=f"{dotted} is wrong", where=where, found=repr(item["input"])[:200], do=message)
            )
    return problems


def _where(place: Place, places: Mapping[Place, str]) -> str | None:
    """The nearest written place at or above ``place``."""
    for end in range(len(place), 0, -1):
        if place[:end] in places:
            return places[place[:end]]
    return None


def _fields(place: Place) -> tuple[str, ...]:
    """The keys that are known at a place in the recipe."""
    part: type[BaseModel] = Recipe
    for key in place:
        if isinstance(key, int):
            continue
        part = _part_of(part.model_fields[str(key)].annotation) or part
    return tuple(part.model_fields)


def _part_of(annotation: Any) -> type[BaseModel] | None:
    """The recipe part inside an annotation such as ``tuple[Part, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        part = _part_of(inner)
        if part is not None:
            return part
    return None
