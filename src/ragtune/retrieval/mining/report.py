"""The audit as a Markdown page that a person reads before training on what was mined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragtune.retrieval.mining.audit import summary_lines

SHOWN_QUERIES = 20
SHOWN_LETTERS = 300
BAR = 40


def audit_page(audit: Mapping[str, Any], *, name: str) -> str:
    """The page, from ``Audit.as_dict``; ``name`` is the dataset's."""
    parts = [
        [f"# Mined negatives of {name}", "", *(f"- {line}" for line in summary_lines(audit)), ""],
        _cuts(audit),
        _margins(audit["margins"]),
        _suspicions(audit["suspicions"]),
        _sources(audit["by_source"]),
        list(_examples(audit["examples"])),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _cuts(audit: Mapping[str, Any]) -> list[str]:
    rows = [[reason, f"{count:,}", audit["reasons"][reason]] for reason, count in audit["cut"].items()]
    return ["## What was cut, and why", "", *_table(["reason", "candidates", "meaning"], rows), ""] if rows else []


def _margins(margins: Mapping[str, Any] | None) -> list[str]:
    if margins is None:
        return []
    most = max(margins["counts"])
    edges = zip(margins["edges"][:-1], margins["edges"][1:], strict=True)
    rows = [
        [f"{low:.4g} to {high:.4g}", f"{count:,}", "█" * round(BAR * count / most)]
        for (low, high), count in zip(edges, margins["counts"], strict=True)
    ]
    return ["## How far below the positive", "", *_table(["margin", "negatives", ""], rows), ""]


def _suspicions(suspicions: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            one["name"],
            "cannot be told" if one["share"] is None else f"{one['share']:.1%}",
            f"{one['looked_at']:,}",
            one["how"],
        ]
        for one in suspicions
    ]
    headings = ["by", "suspected", "looked at", "how it is estimated"]
    return ["## Suspected false negatives", "", *_table(headings, rows), ""]


def _sources(by_source: Mapping[str, int]) -> list[str]:
    rows = [[source, f"{count:,}"] for source, count in by_source.items()]
    return ["## Who found them", "", *_table(["source", "negatives"], rows), ""]


def _examples(examples: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Examples, the most doubtful first", "")
    for one in examples[:SHOWN_QUERIES]:
        yield from (f"### {_line(one['query'])}", "")
        for positive in one["positives"]:
            yield f"- **positive** {_score(positive['score'])} `{positive['id']}`: {_line(positive['text'])}"
        for negative in one["negatives"]:
            rank = "" if negative["rank"] is None else f", rank {negative['rank']}"
            signs = "".join(f" **[{sign}]**" for sign in negative["signs"])
            found = f"{_score(negative['score'])}{rank}, {negative['source']}"
            yield f"- negative {found}{signs} `{negative['id']}`: {_line(negative['text'])}"
        yield ""


def _score(score: float | None) -> str:
    return "without a score" if score is None else f"{score:.4f}"


def _line(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return plain if len(plain) <= SHOWN_LETTERS else f"{plain[:SHOWN_LETTERS]} ..."


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
