"""Writes the generated parts of the documentation: `python docs/reference.py`.

A page holds its own prose, and between `<!-- generated: NAME -->` and `<!-- end -->` what the code says about itself.
A test compares the pages with what this script would write, so they cannot be out of date.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ragtune import errors
from ragtune.cli.app import app
from ragtune.data.formats.shapes import FORMATS
from ragtune.recipe import Recipe
from ragtune.recipe_mining import MineRecipe, ScoreRecipe
from ragtune.recipe_synthesis import SynthesisRecipe
from ragtune.scoring.losses import LOSSES, loss_options

DOCS = Path(__file__).parent
_PART = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: object) -> str:
    """Inline code."""
    return f"`{text}`"


def commands() -> str:
    """Every command: what it does, its example, arguments and options."""
    listed: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    return "\n\n".join(_command(name, command) for name, command in listed.items())


def _command(name: str, command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help or "").partition("Example: ")
    rows = [
        [_spelling(p), p.help or "", code(p.default) if _has_default(p) else "required" if p.required else ""]
        for p in command.params
        if p.name != "help"
    ]
    shown = f"```bash\n{' '.join(example.split())}\n```"
    return f"## ragtune {name}\n\n{text.strip()}\n\n{shown}\n\n{table(['argument', 'meaning', 'default'], rows)}"


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return code(parameter.metavar or parameter.name.upper())
    return code(" / ".join([*parameter.opts, *parameter.secondary_opts]))


def _has_default(parameter: Any) -> bool:
    return isinstance(parameter.default, str | int | float | Path) and parameter.default not in ("", False)


def recipe(kind: type[BaseModel] = Recipe) -> str:
    """Every key of a recipe, part by part."""
    return "\n\n".join(_part(path, part) for path, part in _parts("", kind))


def stage(kind: type[BaseModel], *, but: str) -> str:
    """Every key of a stage's recipe; the part ``but`` stands on the recipe page as ``model``."""
    shown = [(path, part) for path, part in _parts("", kind) if path.split(".")[0] != but]
    return "\n\n".join(
        _part(path, part).replace("## The whole\n\n", "").replace("## `", "### `") for path, part in shown
    )


def _parts(path: str, part: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, part
    for name, field in part.model_fields.items():
        for inner in _models_in(field.annotation):
            yield from _parts(f"{path}.{name}".lstrip(".") + ("[]" if _is_list(field.annotation) else ""), inner)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _is_list(annotation: Any) -> bool:
    return any(typing.get_origin(a) is tuple for a in (annotation, *typing.get_args(annotation)))


def _part(path: str, part: type[BaseModel]) -> str:
    rows = [
        [code(name), _type(field.annotation), _default(field.default), (field.description or "").replace("``", "`")]
        for name, field in part.model_fields.items()
    ]
    heading = f"## `{path}`" if path else "## The whole"
    text = inspect.cleandoc(part.__doc__ or "")
    return f"{heading}\n\n{text}\n\n{table(['key', 'type', 'default', 'meaning'], rows)}"


def _type(annotation: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(code(value) for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(a) for a in inner)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return "mapping"
    if annotation is type(None):
        return "none"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "part"
    return {"str": "text", "bool": "true / false", "Path": "path"}.get(annotation.__name__, annotation.__name__)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple):
        names = [item.name if isinstance(item, BaseModel) else item for item in value]
        return code(json.dumps(names)) if names else "none"
    return "none" if value in (None, "") else code(json.dumps(value))


def losses() -> str:
    """Every loss: what it is for, its formula and source, its options."""
    overview = [
        [f"[`{name}`](#{name})", loss.summary, "yes" if loss.needs_teacher else ""] for name, loss in LOSSES.items()
    ]
    parts = [table(["loss", "what it does", "needs teacher scores"], overview)]
    for name, loss in LOSSES.items():
        text = inspect.cleandoc(loss.function.__doc__ or "").split("\n>>>")[0].strip().replace("``", "`")
        options = [[code(o.name), o.expected, code(json.dumps(o.default))] for o in loss_options(name).values()]
        parts.append(f"## {name}\n\n{text}\n\n{table(['option', 'type', 'default'], options)}")
    return "\n\n".join(parts)


def formats() -> str:
    """Every shape of rows, with an example as it stands in a file."""
    parts = []
    for spec in FORMATS.values():
        rows = "\n".join(json.dumps(row, ensure_ascii=False) for row in spec.example)
        columns = [
            [code(role) + (" (required)" if role in spec.required else ""), ", ".join(map(code, names))]
            for role, names in spec.roles.items()
        ]
        text = spec.summary[0].upper() + spec.summary[1:] + "."
        parts.append(
            f"### {spec.name}\n\n{text}\n\n```json\n{rows}\n```\n\n{table(['role', 'column may be called'], columns)}"
        )
    return "\n\n".join(parts)


def error_tree() -> str:
    """Every error class with its exit code."""
    return "\n".join(_error_lines(errors.RagtuneError, depth=0))


def _error_lines(error: type[errors.RagtuneError], *, depth: int) -> Iterator[str]:
    text = " ".join(inspect.cleandoc(error.__doc__ or "").split()).replace("``", "`")
    yield f"{'    ' * depth}- `{error.__name__}` (exit code {error.exit_code}): {text}"
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _error_lines(child, depth=depth + 1)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "recipe": recipe,
    "synthesis": lambda: recipe(SynthesisRecipe),
    "mining": lambda: stage(MineRecipe, but="model"),
    "scoring": lambda: stage(ScoreRecipe, but="teacher"),
    "losses": losses,
    "formats": formats,
    "errors": error_tree,
}


def renewed(page: str) -> str:
    """A page's text with its generated parts made anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found['name']]()}\n\n{found[3]}", page)


def main() -> None:
    """Write every page that has a generated part."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(renewed(text), encoding="utf-8")


if __name__ == "__main__":
    main()
