"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer


def complain(text: str) -> None:
    """An error, on stderr."""
    typer.echo(f"error: {text}", err=True)


def tell(line: str) -> None:
    """Progress, on stderr."""
    typer.echo(line, err=True)


def show(text: str) -> None:
    """A result, on stdout."""
    typer.echo(text)


def show_json(value: Any) -> None:
    """A result for programs, on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table on stdout; numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    listed = [[str(cell) for cell in row] for row in rows]
    for place, heading in enumerate(headings):
        numeric = bool(listed) and all(_is_number(row[place]) for row in listed)
        table.add_column(heading, justify="right" if numeric else "left")
    for row in listed:
        table.add_row(*row)
    console = Console()
    # a table cut to a narrow or unknown terminal would hide numbers
    Console(width=max(console.width, 160)).print(table)


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace(",", "").lstrip("+-").isdigit()
