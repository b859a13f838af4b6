"""``ragtune ingest``: the table, JSON, exit codes, and what is said of bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# Guide\n\nFill in oil once a month.\n", encoding="utf-8")
    (tmp_path / "docs" / "说明.txt").write_text("每个月加一次油。", encoding="utf-8")
    (tmp_path / "docs" / "photo.png").write_bytes(b"\x89PNG")
    return tmp_path / "docs"


def test_what_is_told(ragtune: Any, docs: Path) -> None:
    (docs / "empty.pdf").touch()
    outcome = ragtune("ingest", "docs", "--out", "ds", "--workers", "1")
    assert outcome.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines()}
    assert rows["guide.md"][:5] == ["new", "1", "1", "100.00%", "0"]
    assert rows["empty.pdf"][0] == "failed"
    assert outcome.out.splitlines()[-1] == "ds: 2 passages (en); 2 added, 0 kept, 0 removed"
    assert "failed: empty.pdf: the file is empty" in outcome.err
    assert "1 files of other kinds left out: photo.png" in outcome.err


def test_json(ragtune: Any, docs: Path) -> None:
    ragtune("ingest", "docs", "--out", "ds", "--workers", "1")
    said = json.loads(ragtune("ingest", "docs", "--out", "ds", "--workers", "1", "--json").out)
    assert (said["passages"], said["kept"], said["added"]) == (2, 2, 0)
    assert {file["document"]: file["state"] for file in said["files"]} == {
        "guide.md": "unchanged",
        "说明.txt": "unchanged",
    }
    assert said["skipped"] == ["docs/photo.png"]


def test_nothing_readable_exits_with_1(ragtune: Any, docs: Path) -> None:
    outcome = ragtune("ingest", "docs/photo.png", "--out", "ds")
    assert (outcome.code, Path("ds").exists()) == (1, False)
    assert "a PNG picture" in outcome.err and "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "no files to read"),
        (("docs", "--max-tokens", "3"), "--max-tokens"),
        (("docs", "--max-tokens", "40", "--overlap-tokens", "30"), "more than half"),
        (("docs", "--reader", "ocr"), "'auto', 'docling' or 'unstructured'"),
        (("docs", "--workers", "0"), "--workers"),
        (("docs", "--model", "builtin:no"), "did you mean"),
    ],
)
def test_wrong_calls_exit_with_2(ragtune: Any, docs: Path, arguments: tuple[str, ...], said: str) -> None:
    outcome = ragtune("ingest", *arguments, "--out", "ds")
    assert (outcome.code, Path("ds").exists()) == (2, False)
    assert said in outcome.err and "Traceback" not in outcome.err
