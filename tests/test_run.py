"""Run folders: files and folders whole or not at all, stages done once, another run's folder never touched."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.errors import OutOfSpaceError, RunFolderError
from ragtune.run import (
    RunFolder,
    Stage,
    atomic_folder,
    atomic_write,
    hash_file,
    hash_folder,
    hash_json,
    nearest_folder,
    out_of_space_named,
    progress,
    read_json,
    versions,
    write_json,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- files ---


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with atomic_write(path) as file:
        file.write("一半")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "一半"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(failure), atomic_write(path) as file:
        file.write("new")
        raise failure
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = (
        "import os, sys\nfrom ragtune.run import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write('new')\n    file.flush()\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert path.read_text() == "old"


@pytest.fixture
def umask_027() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_027")
def test_what_is_written_has_the_users_permissions(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as file:
        file.write("x")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_binary_files_are_written_too(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file", binary=True) as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "file").read_bytes() == b"\x00\xff"


@given(value=json_values)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_is_written_readably(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"名": "茶"})
    assert "茶" in (tmp_path / "value.json").read_text(encoding="utf-8")


# --- folders ---


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with atomic_folder(path) as aside:
        (aside / "a").write_text("1")
        assert not path.exists()
    assert names(path) == ["a"]
    assert names(path.parent) == ["folder"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_the_old_folder(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(failure), atomic_folder(path) as aside:
        (aside / "new").write_text("new")
        raise failure
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_an_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with atomic_folder(path) as aside:
        (aside / "new").write_text("new")
    assert names(path) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder(path) as aside:
        aside.rename(tmp_path / "gone")
    assert names(path) == ["old"]


# --- no space ---


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_said_with_the_path(tmp_path: Path, code: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OutOfSpaceError, match="file"), atomic_write(path):
        raise OSError(code, os.strerror(code))
    assert path.read_text() == "old"


def test_no_space_is_seen_in_what_libraries_say(tmp_path: Path) -> None:
    with pytest.raises(OutOfSpaceError, match="model"), out_of_space_named(tmp_path / "model"):
        raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), out_of_space_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(RunFolderError), out_of_space_named(tmp_path):
        RunFolder(__file__).holds({})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("a small file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_whoever_writes(small_disk: Path) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file

    (small_disk / "mine").write_text("mine")
    big = torch.zeros(100_000)
    with pytest.raises(OutOfSpaceError), atomic_write(small_disk / "text") as file:
        file.write("x" * 400_000)
    with pytest.raises(OutOfSpaceError), atomic_write(small_disk / "vectors.npy", binary=True) as file:
        np.save(file, big.numpy())
    for write in (lambda path: save_file({"big": big}, path), lambda path: torch.save(big, path)):
        with pytest.raises(OutOfSpaceError), atomic_folder(small_disk / "folder") as aside:
            write(aside / "weights")
    assert names(small_disk) == ["mine"]


# --- hashes ---


@given(value=st.dictionaries(st.text(), st.integers(), min_size=2))
def test_a_hash_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert hash_json(dict(reversed(value.items()))) == hash_json(value)
    first = next(iter(value))
    assert hash_json({**value, first: value[first] + 1}) != hash_json(value)


def test_a_folders_hash_depends_on_names_and_bytes_and_not_on_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    before = hash_folder(tmp_path)
    (tmp_path / ".b").write_text("hidden")
    assert hash_folder(tmp_path) == before
    (tmp_path / "sub" / "a").write_text("2")
    changed = hash_folder(tmp_path)
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    assert len({before, changed, hash_folder(tmp_path)}) == 3
    assert len(hash_file(tmp_path / "sub" / "b")) == 64


def test_the_nearest_folder_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert nearest_folder("a/b/c") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path


# --- stages ---


def test_a_stage_is_done_for_its_inputs_alone(tmp_path: Path) -> None:
    stage = Stage("train", tmp_path / "train")
    assert not stage.is_done({"seed": 1})
    stage.begin({"seed": 1})
    assert not stage.is_done({"seed": 1})
    stage.finish(inputs={"seed": 1}, results={"steps": 3}, seconds=1.23456)
    assert stage.is_done({"seed": 1})
    assert not stage.is_done({"seed": 2})
    manifest = stage.manifest()
    assert manifest is not None
    assert (manifest["results"], manifest["seconds"], manifest["stage"]) == ({"steps": 3}, 1.235, "train")
    assert manifest["versions"]["python"] == sys.version.split()[0]


def test_an_interrupted_stage_is_gone_on_with_and_another_one_is_not(tmp_path: Path) -> None:
    stage = Stage("train", tmp_path / "train")
    stage.begin({"seed": 1})
    (stage.folder / "checkpoint").write_text("half")
    stage.begin({"seed": 1})
    assert (stage.folder / "checkpoint").exists()
    stage.begin({"seed": 2})
    assert names(stage.folder) == ["started.json"]


def test_beginning_again_unfinishes_a_stage(tmp_path: Path) -> None:
    stage = Stage("train", tmp_path / "train")
    stage.begin({})
    stage.finish(inputs={}, results={}, seconds=0)
    stage.begin({})
    assert stage.manifest() is None


# --- run folders ---

MINE = {"recipe": "r1", "data": "d1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a run has taken, with a result in it."""
    run = RunFolder(tmp_path / "run")
    run.claim(recipe_yaml="seed: 1\n", identity=MINE)
    (run.path / "model").write_text("weights")
    return run.path


def test_a_new_folder_is_taken(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "b")
    run.claim(recipe_yaml="种子: 1\n", identity=MINE)
    assert names(run.path) == ["recipe.yaml", "run.json"]
    assert (run.path / "recipe.yaml").read_text(encoding="utf-8") == "种子: 1\n"
    assert run.stage("train").folder == run.path / "train"


def test_the_same_run_goes_on(folder: Path) -> None:
    RunFolder(folder).claim(recipe_yaml="seed: 1\n", identity=MINE)
    assert (folder / "model").read_text() == "weights"
    assert names(folder.parent) == ["run"]


def test_the_same_run_goes_on_even_with_overwrite(folder: Path) -> None:
    RunFolder(folder).claim(recipe_yaml="seed: 1\n", identity=MINE, overwrite=True)
    assert names(folder.parent) == ["run"]


@pytest.mark.parametrize(("part", "said"), [("recipe", "another recipe"), ("data", "another data")])
def test_another_run_is_refused_and_nothing_is_touched(folder: Path, part: str, said: str) -> None:
    before = hash_folder(folder)
    with pytest.raises(RunFolderError, match=said) as error:
        RunFolder(folder).claim(recipe_yaml="seed: 2\n", identity={**MINE, part: "other"})
    assert "--overwrite" in error.value.problems[0].do
    assert hash_folder(folder) == before


def test_the_known_parts_alone_can_be_asked_for_early(folder: Path) -> None:
    run = RunFolder(folder)
    run.refuse_other({"recipe": "r1"})
    with pytest.raises(RunFolderError):
        run.refuse_other({"recipe": "r2"})


@pytest.mark.parametrize("content", ["not json", "[]", '{"identity": "text"}', '{"other": 1}'])
def test_files_that_are_no_run_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match="files that are not of a ragtune run"):
        RunFolder(tmp_path).claim(recipe_yaml="", identity=MINE)
    assert names(tmp_path) == ["run.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunFolderError, match="not a folder"):
            RunFolder(tmp_path / "file").claim(recipe_yaml="", identity=MINE, overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_killed_write_left_does_not_take_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".run.json.x7f").write_text("{")
    RunFolder(tmp_path).claim(recipe_yaml="", identity=MINE)
    assert RunFolder(tmp_path).holds(MINE)


def test_overwriting_moves_the_other_run_aside(folder: Path) -> None:
    for seed in ("r2", "r3"):
        RunFolder(folder).claim(recipe_yaml="", identity={**MINE, "recipe": seed}, overwrite=True)
    parent = folder.parent
    assert names(parent) == ["run", "run.previous-1", "run.previous-2"]
    assert (parent / "run.previous-1" / "model").read_text() == "weights"


def test_the_current_folder_is_not_moved_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(RunFolderError, match="current folder"):
        RunFolder(".").claim(recipe_yaml="", identity={**MINE, "recipe": "r2"}, overwrite=True)
    assert (folder / "model").read_text() == "weights"


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"python", "torch", "transformers", "numpy"} <= set(versions())


# --- progress ---


def test_progress_is_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2, 3], label="work")) == [1, 2, 3]
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_progress_goes_to_stderr_on_a_terminal() -> None:
    import pty

    code = "from ragtune.run import progress\nprint(sum(progress(range(5), label='adding up')))"
    ours, theirs = pty.openpty()
    done = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    seen: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 1024):
                seen.append(chunk)
        except OSError:
            return

    reader = threading.Thread(target=read)
    reader.start()
    out, _ = done.communicate(timeout=60)
    reader.join(timeout=60)
    os.close(ours)
    assert json.loads(out) == 10
    assert b"adding up" in b"".join(seen)
