"""A file imports only from floors below its own or from its own package; siblings on a floor stay apart."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ragtune"

# Floor 0 is a flight of steps: each of its files may use those before it.
STEPS = (
    "errors",
    "run",
    "recipe_part",
    "recipe_encoders",
    "recipe_families",
    "recipe",
    "recipe_mining",
    "recipe_synthesis",
    "recipe_loading",
)
FLOORS = (
    STEPS,
    ("scoring", "data", "measures"),
    ("models",),
    ("retrieval",),
    ("documents", "synthesis", "training", "evaluation", "compression"),
    ("rag",),
    ("pipeline", "federation"),
    ("cli", "serving", "compat"),
)
ROOF = ("__init__", "__main__")
HEIGHT = {name: (floor, 0) for floor, names in enumerate(FLOORS) for name in names}
HEIGHT |= {name: (0, step) for step, name in enumerate(STEPS)}
HEIGHT |= {name: (len(FLOORS), 0) for name in ROOF}

# A module named in a string, as lazy imports do (but not a file such as ragtune.json).
NAMED = re.compile(r"ragtune\.([a-z_]+)(\.[a-z_]+)*$")

# Pure floors: the third-party packages that a package may import anywhere.
PURE = {"scoring": {"torch"}, "measures": {"numpy"}}
WITHOUT_TORCH = ("data", "measures", *STEPS)


def room_of(path: Path) -> str:
    """The package, or the file directly under ragtune, that a source file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Every (line, absolute module name) that a file imports, also relatively, lazily or named in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            # `from ragtune import run` names the room in the alias
            yield from (
                (node.lineno, f"{module}.{alias.name}" if module == "ragtune" else module) for alias in node.names
            )
        elif isinstance(node, ast.Constant) and (named := NAMED.match(str(node.value))) and named[1] in HEIGHT:
            yield node.lineno, str(node.value)


def faults(source: str, *, room: str, package: str) -> list[str]:
    """What is wrong with a file's imports, one line each."""
    found = []
    for line, module in imported_modules(ast.parse(source), package):
        top, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if top == "ragtune" and target and target != room and not target.startswith("__"):
            if target not in HEIGHT:
                found.append(f"{line}: {module} stands on no floor")
            elif HEIGHT[target] >= HEIGHT[room]:
                found.append(f"{line}: {room} imports {target}, which is not below it")
        elif top != "ragtune" and top not in sys.stdlib_module_names:
            if top not in PURE.get(room, {top}):
                found.append(f"{line}: {room} is pure and imports {top}")
            if room in WITHOUT_TORCH and top in ("torch", "transformers", "sentence_transformers"):
                found.append(f"{line}: {room} imports {top}")
    return found


def package_of(path: Path) -> str:
    return ".".join(("ragtune", *path.relative_to(SOURCE).parent.parts))


def test_every_file_stands_on_a_floor() -> None:
    unknown = {room_of(path) for path in SOURCE.rglob("*.py")} - set(HEIGHT)
    assert not unknown, f"give these a floor in {Path(__file__).name}: {sorted(unknown)}"


def test_no_import_climbs() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{fault}"
        for path in sorted(SOURCE.rglob("*.py"))
        if room_of(path) in HEIGHT
        for fault in faults(path.read_text(encoding="utf-8"), room=room_of(path), package=package_of(path))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("scoring", "from ragtune.models import load_model"),
        ("training", "from ragtune.evaluation.compare import evaluate"),
        ("training", "def f():\n    from ragtune import evaluation"),
        ("data", "from ..retrieval import search"),
        ("models", "from ragtune.loft import x"),
        ("errors", "from ragtune.run import RunFolder"),
        ("retrieval", "LAZY = {'serve': 'ragtune.serving.app'}"),
        ("scoring", "import numpy"),
        ("measures", "import torch"),
        ("data", "import torch"),
    ],
)
def test_a_climbing_import_is_seen(room: str, line: str) -> None:
    assert faults(line, room=room, package=f"ragtune.{room}")


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("training", "from ragtune.scoring import LOSSES"),
        ("training", "from .batches import Batch"),
        ("run", "from ragtune.errors import InputError"),
        ("scoring", "import math\nimport torch"),
        ("__init__", "LAZY = {'evaluate': 'ragtune.evaluation'}"),
    ],
)
def test_a_right_import_passes(room: str, line: str) -> None:
    assert faults(line, room=room, package=f"ragtune.{room}") == []
