"""The user's own example queries."""

from __future__ import annotations

import json
from pathlib import Path

from ragtune.errors import DataError, Problem


def read_examples(path: Path) -> list[str]:
    """Queries from a file: one a line, or JSON lines with ``text`` or ``query``. DataError: nothing usable there."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = str(error.strerror) if isinstance(error, OSError) else "not UTF-8"
        raise DataError(
            Problem("the examples cannot be read", str(path), found, "give a text file in UTF-8")
        ) from error
    problems: list[Problem] = []
    found_queries = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith("{"):
            text = _of_json(text)
            if not text:
                do = 'write {"text": "..."} or a plain line'
                problems.append(Problem("no query in this line", f"{path}:{number}", line[:80], do))
        if text:
            found_queries.append(text)
    if not found_queries and not problems:
        problems.append(Problem("no example query", str(path), "an empty file", "write one query a line"))
    if problems:
        raise DataError(problems)
    return list(dict.fromkeys(found_queries))


def _of_json(line: str) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        return ""
    value = row.get("text", row.get("query")) if isinstance(row, dict) else None
    return value.strip() if isinstance(value, str) else ""
