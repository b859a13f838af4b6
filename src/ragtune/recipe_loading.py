"""Recipes from YAML and ``--set``: every error at once, each with file:line and the nearest known name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final, get_args, overload

import yaml
from pydantic import BaseModel, ValidationError

from ragtune.errors import InputError, Problem, RecipeError, did_you_mean
from ragtune.recipe import Recipe

Place = tuple[str | int, ...]
AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


@final
class _Loader(yaml.SafeLoader):
    """YAML whose ``2e-5`` is a number (YAML 1.1 reads it as text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """One value for a dotted key, as it stands (``--set`` reads YAML), and what the user calls the place."""

    key: str
    value: Any
    place: str


Override = str | Setting


@overload
def load_recipe(path: Path | str, *, overrides: Sequence[Override] = ...) -> Recipe: ...
@overload
def load_recipe(path: Path | str, *, overrides: Sequence[Override] = ..., kind: type[AnyRecipe]) -> AnyRecipe: ...
def load_recipe(path: Path | str, *, overrides: Sequence[Override] = (), kind: type[BaseModel] = Recipe) -> BaseModel:
    """Read a recipe file; ``overrides`` are ``dotted.key=value`` strings whose values are YAML, or ``Setting``s.

    ``kind`` is the recipe's class: a run's, or that of one stage. Raises ``RecipeError`` with every problem found.
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
        keys = _keys(yaml.compose(text, Loader=_Loader))
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise RecipeError(_yaml_problem(error, path)) from error
    except RecursionError as error:
        raise RecipeError(
            Problem("the recipe holds itself", f"{path}:1", "an alias inside its own anchor", "write the value out")
        ) from error
    if not isinstance(values, dict):
        raise RecipeError(
            Problem(
                what="a recipe is a mapping of keys to values",
                where=f"{path}:1",
                found=type(values).__name__,
                do="write lines such as 'run: runs/first' and 'data: my-dataset'",
            )
        )
    _refuse_repeated(keys, path)
    places = {place: f"{path}:{line}" for place, line in keys}
    return parse_recipe(values, overrides=overrides, places=places, origin=str(path), kind=kind)


@overload
def parse_recipe(
    values: Mapping[str, Any],
    *,
    overrides: Sequence[Override] = ...,
    places: Mapping[Place, str] | None = ...,
    origin: str = ...,
) -> Recipe: ...
@overload
def parse_recipe(
    values: Mapping[str, Any],
    *,
    overrides: Sequence[Override] = ...,
    places: Mapping[Place, str] | None = ...,
    origin: str = ...,
    kind: type[AnyRecipe],
) -> AnyRecipe: ...
def parse_recipe(
    values: Mapping[str, Any],
    *,
    overrides: Sequence[Override] = (),
    places: Mapping[Place, str] | None = None,
    origin: str = "recipe",
    kind: type[BaseModel] = Recipe,
) -> BaseModel:
    """A recipe from plain values; ``places`` says where each key was written. Raises ``RecipeError``."""
    places = dict(places or {})
    merged = _copied(values)
    wrong: list[Problem] = []
    for override in overrides:
        try:
            setting = override if isinstance(override, Setting) else _parsed(override)
            places[_set(merged, setting)] = setting.place
        except InputError as error:
            wrong += error.problems
    if wrong:
        raise RecipeError(wrong)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(_problems(error, kind=kind, places=places, origin=origin)) from error


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


def _keys(node: yaml.Node | None, place: Place = ()) -> list[tuple[Place, int]]:
    """Each key's place and 1-based line, in the order of the file."""
    found: list[tuple[Place, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            found += [(here, key.start_mark.line + 1), *_keys(value, here)]
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*place, index)
            found += [(here, value.start_mark.line + 1), *_keys(value, here)]
    return found


def _refuse_repeated(keys: Sequence[tuple[Place, int]], path: Path) -> None:
    first: dict[Place, int] = {}
    problems = [
        Problem(
            what=f"the key {place[-1]!r} stands there twice",
            where=f"{path}:{line} ({_dotted(place)})",
            found=f"first in line {first[place]}",
            do="put both under one key, or take one out",
        )
        for place, line in keys
        if first.setdefault(place, line) != line
    ]
    if problems:
        raise RecipeError(problems)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _parsed(override: str) -> Setting:
    """A ``dotted.key=value`` string."""
    dotted, equals, text = override.partition("=")
    place = f"--set {override}"
    if not equals or not all(dotted.strip().split(".")):
        raise RecipeError(Problem("--set needs key=value", place, override, "--set train.learning_rate=2e-5"))
    try:
        return Setting(dotted.strip(), yaml.load(text, Loader=_Loader), place)
    except yaml.YAMLError as error:
        raise RecipeError(
            Problem("the value of --set is not valid YAML", place, text, "put the value in quotes")
        ) from error


def _set(values: dict[str, Any], setting: Setting) -> Place:
    """Set a value in place, making the parts above it; gives its place, with the number of a list's item."""
    keys = setting.key.split(".")
    if keys == ["data"] and isinstance(values.get("data"), dict) and isinstance(setting.value, str):
        # only which data is said: how batches are drawn stays as the recipe has it
        keys = ["data", "sources"]
    return _set_in(values, keys, place=(), setting=setting)


def _set_in(part: Any, keys: Sequence[str], *, place: Place, setting: Setting) -> Place:
    key: str | int = keys[0]
    rest = keys[1:]
    if isinstance(part, list):
        key = _item(part, keys[0], place=place, setting=setting)
        rest = rest if keys[0].isdigit() else keys
    here = (*place, key)
    if not rest:
        part[key] = setting.value
        return here
    part[key] = _opened(part.get(key) if isinstance(part, dict) else part[key], here, setting)
    return _set_in(part[key], rest, place=here, setting=setting)


def _item(items: list[Any], key: str, *, place: Place, setting: Setting) -> int:
    """Which item of a list is meant: the one that is named by number, or the only one."""
    if key.isdigit() and int(key) < len(items):
        return int(key)
    if not key.isdigit() and len(items) == 1:
        return 0
    raise RecipeError(
        Problem(
            what=f"{_dotted(place)} is a list of {len(items)}",
            where=setting.place,
            found=setting.key,
            do=f"name one by its number, for example {_dotted(place)}.0.{key}",
        )
    )


# What a text stands for where a part may be written short
_SHORT: Mapping[Place, str] = {("data", "sources"): "path", ("train", "losses"): "name"}


def _opened(value: Any, place: Place, setting: Setting) -> Any:
    """A part that keys can be set in: a missing one is made, a short form written out."""
    if place == ("data",) and isinstance(value, str):
        return {"sources": [{"path": value}]}
    if place in _SHORT:
        items = value if isinstance(value, list) else [] if value is None else [value]
        return items or [{}]
    if place[:-1] in _SHORT and isinstance(value, str):
        return {_SHORT[place[:-1]]: value}
    if value is None:
        return {}
    if isinstance(value, dict | list):
        return value
    raise RecipeError(
        Problem(f"{_dotted(place)} has no keys", setting.place, f"{_dotted(place)} is {value!r}", "set one of the two")
    )


def _dotted(place: Place) -> str:
    return ".".join(str(key) for key in place) or "the recipe"


def _problems(
    error: ValidationError, *, kind: type[BaseModel], places: Mapping[Place, str], origin: str
) -> list[Problem]:
    items = error.errors(include_url=False)
    by_place: dict[Place, list[Any]] = {}
    for item in items:
        whole: Place = tuple(item["loc"])
        # pydantic calls a list whose items are all wrong "too short" as well; the items' own errors say it better
        if item["type"] == "too_short" and any(
            len(o["loc"]) > len(whole) and o["loc"][: len(whole)] == whole for o in items
        ):
            continue
        place = whole if item["type"] == "extra_forbidden" else _known_part(kind, whole)
        by_place.setdefault(place, []).append(item)
    return [
        _problem(kind, place, found, where=f"{_where(place, places) or origin} ({_dotted(place)})")
        for place, found in by_place.items()
    ]


def _problem(kind: type[BaseModel], place: Place, items: Sequence[Any], *, where: str) -> Problem:
    """One problem; several items are the ways in which a value could have been right."""
    dotted, fault = _dotted(place), items[0]["type"]
    if fault == "extra_forbidden":
        do = did_you_mean(str(place[-1]), list(_fields(kind, place[:-1])))
        return Problem(what=f"unknown key {place[-1]!r}", where=where, found=dotted, do=do)
    if fault == "missing":
        do = f"add {dotted!r} or --set {dotted}=..."
        return Problem(what=f"{dotted} is missing", where=where, found="no value", do=do)
    wanted = " or ".join(item["msg"].removeprefix("Value error, ") for item in items)
    if fault == "model_type":
        wanted = f"write its keys, for example {dotted}.{_fields(kind, place)[0]}"
    return Problem(what=f"{dotted} is wrong", where=where, found=repr(items[0]["input"])[:200], do=wanted)


def _known_part(kind: type[BaseModel], place: Place) -> Place:
    """``place`` up to the last key that a recipe has; pydantic adds names of its own for the sides of a union."""
    for end in range(1, len(place) + 1):
        key = place[end - 1]
        if isinstance(key, str) and key not in _fields(kind, place[: end - 1]):
            return place[: end - 1]
    return place


def _where(place: Place, places: Mapping[Place, str]) -> str | None:
    """The nearest written place at or above ``place``, else one below it."""
    for end in range(len(place), 0, -1):
        if place[:end] in places:
            return places[place[:end]]
    return next((where for below, where in places.items() if place and below[: len(place)] == place), None)


def _fields(kind: type[BaseModel], place: Place) -> tuple[str, ...]:
    """The keys that are known at a place in a recipe."""
    part = kind
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
