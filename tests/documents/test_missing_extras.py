"""A reader whose package is not installed says which extra brings it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from ragtune.errors import MissingExtraError

READERS = {
    "read_docx": "docx",
    "read_pptx": "pptx",
    "read_html": "selectolax.lexbor",
    "read_markdown": "markdown_it",
    "read_text": "charset_normalizer",
}


@pytest.mark.parametrize("reader", READERS)
def test_the_extra_is_named(reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, READERS[reader], None)  # what a package that is not there looks like to import
    path = tmp_path / "a"
    path.write_bytes("Привет, как дела?".encode("cp1251") if reader == "read_text" else b"# Rent")
    with pytest.raises(MissingExtraError, match=r"ragtune\[ingest\]"):
        importlib.import_module(f"ragtune.documents.{reader}").read(path)


def test_a_workbook_needs_the_extra_and_separated_values_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragtune.documents.read_sheet import read

    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "a.csv").write_text("part,price\nbolt,2\n", encoding="utf-8")
    assert len(read(tmp_path / "a.csv").blocks) == 1
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(MissingExtraError, match=r"ragtune\[ingest\]"):
        read(tmp_path / "a.xlsx")
