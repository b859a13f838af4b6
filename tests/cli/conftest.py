"""The command line called in this process, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pytest

from ragtune.cli.main import main
from ragtune.data.folder import write_dataset


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Ragtune = Callable[..., Outcome]


@pytest.fixture
def ragtune(capfd: pytest.CaptureFixture[str]) -> Ragtune:
    """Calls ``ragtune``; arguments are turned into text."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def workplace(
    tmp_path: Path, tiny_dataset: Callable[..., Any], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The current folder: a dataset ``ds``, one with negatives and teacher scores ``taught``, a model ``base``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    write_dataset(tiny_dataset("mixed"), tmp_path / "ds")
    write_dataset(tiny_dataset("mixed", with_candidates=True), tmp_path / "taught")
    (tmp_path / "base").symlink_to(tiny_model)
    yield tmp_path
