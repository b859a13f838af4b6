"""Exit codes, tracebacks, Ctrl-C, broken pipes, help and version."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ragtune.cli.app import app
from ragtune.cli.main import ADVICE, main

COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_a_result(ragtune: Any, name: str) -> None:
    outcome = ragtune(*[name] * bool(name), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage: ragtune" in outcome.out
    assert ("Example: ragtune " in " ".join(outcome.out.split())) == bool(name)


def test_the_list_of_commands_is_not_cut(ragtune: Any) -> None:
    listed = ragtune("--help").out
    assert "..." not in listed.split("Commands:")[1]
    assert set(COMMANDS) == {
        "demo", "run", "train", "evaluate", "search",
        "import", "export", "check", "split",
        "ingest", "mine", "score", "seal", "synthesize",
    }  # fmt: skip


def test_the_version_is_shown(ragtune: Any) -> None:
    from ragtune import __version__

    assert ragtune("--version").out == f"ragtune {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage"),
        (["trian"], "train"),
        (["train", "--no-such"], "--no-such"),
        (["import"], "SOURCE"),
        (["search", "ds", "q", "--k", "0"], "greater than or equal to 1"),
        (["split", "ds", "--out", "x", "--dev", "some"], "--dev"),
    ],
)
def test_a_call_that_cannot_be_read_is_wrong(ragtune: Any, arguments: list[str], said: str) -> None:
    outcome = ragtune(*arguments)
    assert outcome.code == 2
    assert said in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


def test_debug_shows_the_traceback_and_keeps_the_exit_code(ragtune: Any, workplace: Path) -> None:
    call = ("train", "--data", "nowhere", "--out", "r")
    plain, debug, early = ragtune(*call), ragtune(*call, "--debug"), ragtune("--debug", *call)
    assert [outcome.code for outcome in (plain, debug, early)] == [2, 2, 2]
    assert "Traceback" not in plain.err
    for outcome in (debug, early):
        assert "Traceback" in outcome.err
        assert "ragtune.errors.RecipeError" in outcome.err
        assert outcome.err.endswith(plain.err)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO])
def test_what_the_system_refuses_is_told_in_parts(
    ragtune: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise OSError(code, os.strerror(code), "/some/place")

    monkeypatch.setattr("ragtune.data.folder_reading.read_dataset", refuse)
    outcome = ragtune("check", tmp_path)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: {os.strerror(code)}\n  where: /some/place\n  do:    ")
    assert ADVICE.get(code, "--debug") in outcome.err


def run_in(folder: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ragtune", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def test_ctrl_c_is_130_without_a_traceback(workplace: Path) -> None:
    os.mkfifo(workplace / "slow.yaml")
    process = run_in(workplace, "run", "slow.yaml")
    try:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "run the same command again" in said


def test_a_reader_that_goes_away_is_no_error(workplace: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ragtune", "check", "ds", "--json"],
        cwd=workplace, stdout=writer, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == ""


def test_arguments_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ragtune", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0


@pytest.mark.slow
def test_several_processes_stop_together_without_a_traceback_of_ours(workplace: Path) -> None:
    recipe = "run: r\ndata: ds\nmodel: {name: base}\nevaluate: {split: tset}\n"
    (workplace / "recipe.yaml").write_text(recipe, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "ragtune", "run"]
    done = subprocess.run([*command, "recipe.yaml"], cwd=workplace, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0
    assert "did you mean 'test'" in done.stderr
    # torchrun ends with a traceback of its own; ours would name the command line's files
    assert "ragtune/cli/main.py" not in done.stderr
    assert not (workplace / "r").exists()
