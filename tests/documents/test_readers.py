"""Which reader a file goes to, and what is said of files that nothing reads."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ragtune.documents.blocks import ReadDocument
from ragtune.documents.readers import READERS, detect_reader, find_files, guarded, read_document
from ragtune.errors import InputError, UnreadableFileError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return path


@pytest.mark.parametrize(
    ("name", "content", "reader"),
    [
        ("a.pdf", b"%PDF-1.7 ...", "pdf"),
        ("a.txt", b"junk before\n%PDF-1.4", "pdf"),
        ("a.md", b"# Title", "markdown"),
        ("a.csv", b"a,b", "csv"),
        ("a.txt", b"<p>told as text</p>", "text"),
        ("page", b"  <!DOCTYPE html><html>", "html"),
        ("NOTES", "Größe".encode(), "text"),
        ("a.TXT", "中文".encode("gb18030"), "text"),
        ("a.txt", "plain".encode("utf-16"), "text"),
        ("a.pdf", b"<html><body>Not found", "html"),
    ],
)
def test_content_counts_before_the_name(tmp_path: Path, name: str, content: bytes, reader: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert detect_reader(tmp_path / name).name == reader


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_office_files_are_told_by_what_is_inside(tmp_path: Path, kind: str) -> None:
    inside = {"docx": "word/document.xml", "pptx": "ppt/presentation.xml", "xlsx": "xl/workbook.xml"}[kind]
    assert detect_reader(archive(tmp_path / "misnamed.zip", inside)).name == kind


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pdf", b"", "the file is empty"),
        ("a.docx", b"PK\x03\x04 cut", "cut off or broken"),
        ("a.docx", b"plain text", "the docx file is broken"),
        ("a.doc", OLE, "before 2007"),
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "an Office file with a password"),
        ("a.pdf", b"\x89PNG\r\n", "a PNG picture"),
        ("a.txt", b"\x00\x01\x02\x03" * 40, "binary data"),
        ("a.rtf", b"{\\rtf1 text}", "a Rich Text file"),
    ],
)
def test_what_is_said_of_a_file_that_nothing_reads(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        detect_reader(tmp_path / name)
    assert caught.value.problems[0].where == str(tmp_path / name)


def test_an_archive_of_other_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"a ZIP archive of photo\.jpg"):
        detect_reader(archive(tmp_path / "a.docx", "photo.jpg"))


def test_a_name_that_lies_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_text("<html><body><p>Not found.</p></body></html>", encoding="utf-8")
    assert read_document(tmp_path / "a.pdf").notices[0].startswith("named .pdf, but its content is html")


def test_whatever_a_parser_raises_becomes_a_problem(tmp_path: Path) -> None:
    def broken(path: Path) -> ReadDocument:
        raise KeyError("no part")

    with pytest.raises(UnreadableFileError, match="it is broken") as caught:
        guarded(broken, tmp_path / "a.docx", kind="docx")
    assert caught.value.problems[0].found == "KeyError: 'no part'"


def test_every_reader_is_there() -> None:
    import importlib.util

    for spec in READERS.values():
        assert spec.extensions and spec.summary
    for name in ("pdf", "docx", "pptx", "sheet", "html", "markdown", "text"):
        assert importlib.util.find_spec(f"ragtune.documents.read_{name}"), name


# --- paths


def names(files: list[Path]) -> list[str]:
    return [file.name for file in files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "picture.png", ".hidden.md", "sub/c.md", ".git/d.md"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text("x", encoding="utf-8")
    return tmp_path / "docs"


def test_a_folder_gives_what_it_holds(folder: Path) -> None:
    found, skipped = find_files([str(folder)])
    assert names(found) == ["a.txt", "b.md", "c.md"]
    assert names(skipped) == ["picture.png"]


@pytest.mark.parametrize(("pattern", "expected"), [("*.md", ["b.md"]), ("**/*.md", ["b.md", "c.md"]), ("s*", ["c.md"])])
def test_globs(folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(find_files([f"{folder}/{pattern}"])[0]) == expected


def test_hidden_files_come_when_asked_for(folder: Path) -> None:
    assert names(find_files([f"{folder}/.*.md"])[0]) == [".hidden.md"]


def test_a_named_file_is_taken_whatever_it_is_called(folder: Path) -> None:
    found, skipped = find_files([str(folder / "picture.png"), str(folder)])
    assert "picture.png" in names(found)
    assert skipped == []


def test_all_paths_that_lead_nowhere_are_told(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        find_files([str(folder / "x.pdf"), str(folder / "*.docx"), str(folder / "empty")])
    assert [problem.found for problem in caught.value.problems] == ["nothing there", "nothing there", "an empty folder"]


def test_an_archive_of_a_version_that_nobody_reads_is_broken(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.docx", "word/document.xml")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 130
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="cut off or broken"):
        read_document(path)
