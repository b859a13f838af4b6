"""The rules of the house that a reader would otherwise have to watch over."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ragtune"
LINES_IN_A_FILE = 400
LINES_IN_A_FUNCTION = 60
PARAMETERS = 10
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError|# type: ignore(?!\[)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_functions(tree: ast.Module) -> list[str]:
    """Functions of too many lines."""
    lengths = [(node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions(tree)]
    return [f"{node.lineno}: {node.name} has {n} lines" for node, n in lengths if n > LINES_IN_A_FUNCTION]


def wide_functions(tree: ast.Module) -> list[str]:
    """Functions of too many parameters."""
    counts = [(f, len(f.args.posonlyargs) + len(f.args.args) + len(f.args.kwonlyargs)) for f in functions(tree)]
    return [f"{node.lineno}: {node.name} takes {n} parameters" for node, n in counts if n > PARAMETERS]


def functions(tree: ast.Module) -> list[Function]:
    """Every function and method."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def swallowed_exceptions(tree: ast.Module) -> list[str]:
    """`except:` and an `except Exception` that neither raises nor uses the error."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else set()
        used = any(isinstance(inner, ast.Raise) for inner in ast.walk(node)) or (
            node.name and any(isinstance(inner, ast.Name) and inner.id == node.name for inner in ast.walk(node))
        )
        if node.type is None or (names & {"Exception", "BaseException"} and not used):
            found.append(f"{node.lineno}: an exception is swallowed")
    return found


def prints(tree: ast.Module) -> list[str]:
    """Calls of print."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [f"{c.lineno}: print" for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


CHECKS: dict[str, Callable[[ast.Module], list[str]]] = {
    "functions are short": long_functions,
    "functions take little": wide_functions,
    "no exception is swallowed": swallowed_exceptions,
    "libraries do not print": prints,
}

# A command's options are its parameters, and what it prints is its work.
FREE_IN_CLI = ("functions take little", "libraries do not print")


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("name", CHECKS)
def test_rule(name: str) -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{fault}"
        for path in sources()
        if not (name in FREE_IN_CLI and path.relative_to(SOURCE).parts[0] == "cli")
        for fault in CHECKS[name](ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("functions are short", "def f():\n" + "    x = 1\n" * LINES_IN_A_FUNCTION),
        ("functions take little", f"def f({', '.join(f'a{i}' for i in range(PARAMETERS + 1))}): ..."),
        ("no exception is swallowed", "try:\n    f()\nexcept:\n    raise"),
        ("no exception is swallowed", "try:\n    f()\nexcept (KeyError, Exception):\n    pass"),
        ("libraries do not print", "print('x')"),
    ],
)
def test_a_broken_rule_is_seen(name: str, bad: str) -> None:
    assert CHECKS[name](ast.parse(bad))


def test_files_are_short() -> None:
    lengths = {path.relative_to(SOURCE): path.read_text(encoding="utf-8").count("\n") for path in sources()}
    assert not {str(path): n for path, n in lengths.items() if n > LINES_IN_A_FILE}


def test_no_file_is_a_drawer_for_everything() -> None:
    assert not [p for p in sources() if p.stem in ("utils", "util", "helpers", "misc", "common")]


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found, "\n".join(found)


def test_classes_are_abstract_or_final() -> None:
    bases: set[str] = set()
    open_classes: dict[str, str] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            names = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
            bases |= names
            final = any(ast.unparse(decorator).endswith("final") for decorator in node.decorator_list)
            if not final and not names & {"ABC", "Protocol"} and not node.name.endswith("Error"):
                open_classes[node.name] = f"{path.relative_to(SOURCE)}:{node.lineno}"
    leaves = {name: place for name, place in open_classes.items() if name not in bases}
    assert not leaves, f"mark these @final: {leaves}"
