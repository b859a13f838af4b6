"""The table of readers, and which of them a file goes to: what its bytes say counts before its name."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

from ragtune.documents.blocks import ReadDocument
from ragtune.errors import InputError, Problem, UnreadableFileError
from ragtune.run import nearest_folder

HEAD_BYTES = 4096
"""How much of a file is looked at: a PDF may begin up to 1,024 bytes late."""

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")


@final
@dataclass(frozen=True, slots=True)
class ReaderSpec:
    """One kind of file: the endings of its names (lower case, with dot), its reader, and what is kept of it."""

    name: str
    extensions: tuple[str, ...]
    read: Callable[[Path], ReadDocument]
    summary: str


def _from(module: str) -> Callable[[Path], ReadDocument]:
    """``read`` of a module of this package, which is imported only when a file of that kind comes along."""

    def read(path: Path) -> ReadDocument:
        found: Callable[[Path], ReadDocument] = importlib.import_module(f"ragtune.documents.{module}").read
        return found(path)

    return read


_ROWS = (
    ReaderSpec("pdf", (".pdf",), _from("read_pdf"), "text in reading order, headings, lists, tables; page and box"),
    ReaderSpec("docx", (".docx", ".docm"), _from("read_docx"), "heading styles, lists, tables"),
    ReaderSpec(
        "pptx", (".pptx", ".pptm"), _from("read_pptx"), "titles, lists, tables, speaker's notes; a slide a page"
    ),
    ReaderSpec("xlsx", (".xlsx", ".xlsm"), _from("read_sheet"), "a table a sheet"),
    ReaderSpec("csv", (".csv", ".tsv"), _from("read_sheet"), "one table; the separator is found"),
    ReaderSpec("html", (".html", ".htm", ".xhtml"), _from("read_html"), "the page's content without its navigation"),
    ReaderSpec("markdown", (".md", ".markdown"), _from("read_markdown"), "headings, lists, tables, code"),
    ReaderSpec("text", (".txt", ".text", ".rst", ".log"), _from("read_text"), "paragraphs; the encoding is found"),
)
READERS: Mapping[str, ReaderSpec] = MappingProxyType({row.name: row for row in _ROWS})
BY_EXTENSION: Mapping[str, ReaderSpec] = MappingProxyType({e: row for row in _ROWS for e in row.extensions})

_PLAIN = ("csv", "html", "markdown", "text")
"""Kinds that only a name tells apart: their bytes are text."""

_OFFICE = {"word/": "docx", "ppt/": "pptx", "xl/": "xlsx"}
_FOREIGN = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"II*\x00": "a TIFF picture",
    b"MM\x00*": "a TIFF picture",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"{\\rtf": "a Rich Text file",
    b"%!PS": "a PostScript file",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
_DO_CONVERT = "convert it to one of: " + ", ".join(READERS)


def unreadable(path: Path | str, *, what: str, found: str, do: str) -> UnreadableFileError:
    """The error for a file that cannot be read."""
    return UnreadableFileError(Problem(what=what, where=str(path), found=found, do=do))


def detect_reader(path: Path) -> ReaderSpec:
    """The reader of a file by its content, and by its name where the content is plain text.

    Raises UnreadableFileError for an empty or encrypted file and for a kind that nothing here reads.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise unreadable(path, what="the file is empty", found="0 bytes", do="leave it out, or put the file back")
    if b"%PDF-" in head[:1024]:
        return READERS["pdf"]
    if head.startswith(b"PK\x03\x04"):
        return READERS[_office_kind(path)]
    if head.startswith(OLE):
        raise _old_office(path)
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise unreadable(path, what="no reader for this kind of file", found=name, do=_DO_CONVERT)
    return _plain_kind(path, head)


def read_document(path: Path) -> ReadDocument:
    """The blocks of one file, whatever its kind.

    Raises UnreadableFileError with what is wrong and what to do; parsers of third parties raise nearly every kind of
    exception on a broken file, and each becomes one.
    """
    spec = detect_reader(path)
    document = guarded(spec.read, path, kind=spec.name)
    named = BY_EXTENSION.get(path.suffix.lower())
    if named is not None and named is not spec:
        notice = f"named {path.suffix}, but its content is {spec.name}: read as {spec.name}"
        document = replace(document, notices=(notice, *document.notices))
    return document


def guarded(read: Callable[[Path], ReadDocument], path: Path, *, kind: str) -> ReadDocument:
    """``read(path)``; whatever it raises is told as a file that cannot be read, missing extras and systems aside."""
    try:
        return read(path)
    except (InputError, OSError, MemoryError, ImportError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise unreadable(
            path,
            what=f"the {kind} file cannot be read; it is broken",
            found=f"{type(error).__name__}: {said}" if said else type(error).__name__,
            do="open it in its own program and save it again",
        ) from error


def _office_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        do = "copy or download it again, or open it in its own program and save it"
        raise unreadable(path, what="the file is cut off or broken", found=str(error), do=do) from error
    for start, kind in _OFFICE.items():
        if any(name.startswith(start) for name in names):
            return kind
    found = "a ZIP archive of " + ", ".join(names[:3])
    raise unreadable(path, what="no reader for this kind of file", found=found, do="unpack it, or " + _DO_CONVERT)


def _old_office(path: Path) -> UnreadableFileError:
    if _ENCRYPTED_PACKAGE in path.read_bytes():
        do = "open it with its password and save it without one"
        return unreadable(path, what="the file is encrypted", found="an Office file with a password", do=do)
    found = "an Office file of the years before 2007"
    return unreadable(path, what="no reader for this kind of file", found=found, do="save it as docx, pptx or xlsx")


def _plain_kind(path: Path, head: bytes) -> ReaderSpec:
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\x00" in head and not utf16 and not _looks_utf16(head):
        raise unreadable(path, what="no reader for this kind of file", found="binary data", do=_DO_CONVERT)
    named = BY_EXTENSION.get(path.suffix.lower())
    if named is not None and named.name in _PLAIN:
        return named
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return READERS["html"]
    if named is not None:
        found = f"text in a file named {path.suffix}"
        do = "copy or download it again; if it is text, name it .txt"
        raise unreadable(path, what=f"the {named.name} file is broken", found=found, do=do)
    return READERS["text"]


def _looks_utf16(head: bytes) -> bool:
    """Whether bytes without a mark are UTF-16: hardly a control character in one of its two orders."""
    for order in ("utf-16-le", "utf-16-be"):
        text = head[: len(head) // 2 * 2].decode(order, errors="replace")
        strange = sum((character < " " and character not in "\t\n\r") or character == "\ufffd" for character in text)
        letters = sum(character.isascii() or character.isalpha() for character in text)
        if strange == 0 and letters > 0.9 * len(text):
            return True
    return False


def find_files(paths: list[str]) -> tuple[list[Path], list[Path]]:
    """The files that paths, folders and globs name (sorted, each once) and, of folders, those that have no reader.

    Hidden files of a folder are left out. Raises InputError with every path that leads nowhere.
    """
    found: dict[Path, None] = {}
    skipped: dict[Path, None] = {}
    problems = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_file():
            found[path] = None
            continue
        inside = _inside(path) if path.is_dir() else _globbed(path)
        for file in inside:
            (found if file.suffix.lower() in BY_EXTENSION else skipped)[file] = None
        if not inside:
            problems.append(_leads_nowhere(path))
    if problems:
        raise InputError(problems)
    return list(found), [file for file in skipped if file not in found]


def _inside(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if not _is_hidden(file.relative_to(folder))]


def _globbed(pattern: Path) -> list[Path]:
    anchor = nearest_folder(pattern)
    rest = pattern.absolute().relative_to(anchor)
    # hidden files come only to those who ask for them
    hidden = any(part.startswith(".") for part in rest.parts)
    matches = [m for m in sorted(anchor.glob(str(rest))) if hidden or not _is_hidden(m.relative_to(anchor))]
    found = [file for match in matches for file in (_inside(match) if match.is_dir() else [match])]
    return list(dict.fromkeys(found))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _leads_nowhere(path: Path) -> Problem:
    found = "an empty folder" if path.is_dir() else "nothing there"
    do = "check the path; folders are read with all below them, and globs such as 'reports/*.pdf' may be quoted"
    return Problem(what="no files to read", where=str(path), found=found, do=do)
