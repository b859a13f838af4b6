"""One virtual environment for each package under test, made from its pinned requirement file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from speed.plan import BenchmarkError

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
ENVIRONMENTS = ("flagembedding", "ragtune", "sentence_transformers")


def prepare(name: str, *, folder: Path, given: Mapping[str, Path]) -> Path:
    """The Python of environment ``name``: the ``given`` one, or that of a venv in ``folder``, made where missing."""
    if name in given:
        return given[name]
    venv = folder / name
    python = venv / "bin" / "python"
    stamp = venv / "requirements.sha256"
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return python
    print(f"installing {requirements.name} into {venv}", file=sys.stderr, flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(venv)])
    _call([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    stamp.write_text(digest, encoding="utf-8")
    return python


def frozen(python: Path) -> list[str]:
    """Every installed distribution, as ``pip freeze`` prints it."""
    listing = subprocess.run(
        [str(python), "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    )
    return listing.stdout.split("\n")[:-1]


def _call(command: list[str]) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise BenchmarkError(
            f"an environment could not be installed\n  where: {command[0]}\n  found: {' '.join(command)} failed\n"
            "  do:    read pip's message above; --python NAME=PATH takes an environment that you have"
        )
