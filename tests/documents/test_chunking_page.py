"""The example of the page on chunking is run, and gives what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("markdown_it")
pytest.importorskip("selectolax")


def test_the_example_gives_what_the_page_shows(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (repository / "docs" / "chunking.md").read_text(encoding="utf-8")
    source, code, shown = (
        re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
        for kind in ("markdown", "python", "text")
    )
    (tmp_path / "lease.md").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "chunking.md", "exec"), {})
    assert capsys.readouterr().out.strip() == shown.strip()
