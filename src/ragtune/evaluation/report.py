"""The report: one HTML file that needs nothing else, in light and dark, on paper and on a telephone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, final

from ragtune.evaluation import plots
from ragtune.evaluation.results import Comparison, Evaluation, Row, SliceRow
from ragtune.evaluation.verdict import interval_text, p_text, percent, signed
from ragtune.run import atomic_write

PASSAGE_CHARACTERS = 700
PROTOCOL_NOTES = {
    "merged": "passages of equal content count as one.",
    "single-id": "only the passage named in the qrels counts, even where another has the same text.",
}


@final
@dataclass(frozen=True, slots=True)
class Background:
    """What a report shows beside the evaluation itself: the training's log and warnings, the recipe, the commands."""

    training_log: Sequence[plots.LogRecord] = ()
    recipe_yaml: str = ""
    commands: Sequence[str] = ()
    warnings: Sequence[str] = ()


def write_report(evaluation: Evaluation, path: Path | str, *, background: Background | None = None) -> None:
    """Write the report of ``evaluation`` to ``path``, whole or not at all."""
    with atomic_write(path) as file:
        file.write(render_report(evaluation, background=background))


def render_report(evaluation: Evaluation, *, background: Background | None = None) -> str:
    """The report as HTML text; every text of the dataset in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters |= {
        "signed": lambda value: _minus(signed(value)),
        "p": lambda p: p_text(p).removeprefix("p ").removeprefix("= "),
        "interval": lambda item: _minus(interval_text(item.low, item.high)),
        "rank": lambda rank: f"> {evaluation.plan.top_k}" if rank is None else str(rank),
        "unbroken": lambda line: line.replace("< ", "<\N{NO-BREAK SPACE}").replace("= ", "=\N{NO-BREAK SPACE}"),
        "thousands": lambda number: f"{number:,}",
        "shortened": partial(shortened, characters=PASSAGE_CHARACTERS),
    }
    source = resources.files("ragtune.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(_content(evaluation, background or Background()))


def shortened(text: str, *, characters: int) -> str:
    """The text, cut after ``characters``.

    >>> shortened("retrieval", characters=4)
    'retr …'
    """
    return text if len(text) <= characters else text[:characters].rstrip() + " …"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _content(e: Evaluation, background: Background) -> dict[str, Any]:
    before, after = e.by_role("before"), e.by_role("after")
    pair = (before.name, after.name) if before and after else None
    changes = {c.measure: c for c in e.comparisons if (c.before_name, c.after_name) == pair}
    primary = e.plan.measures[0]
    pictures = {
        "metrics": plots.metric_bars(e),
        "sizes": plots.size_curves(e),
        "scores": plots.score_histograms(e),
        "training": plots.training_curves(background.training_log, measure=primary),
    }
    return {
        "e": e,
        "before": before,
        "after": after,
        "primary": primary,
        "headline": changes.get(primary),
        "changes": changes,
        "others": _others(e, pair),
        "plots": pictures,
        "sections": _sections(e, pictures, warned=bool(background.warnings)),
        "slices": _by_slice(e.slices),
        "sizes": _sizes(e),
        "protocol_note": PROTOCOL_NOTES[e.dataset.protocol],
        "confidence": percent(e.confidence),
        "facts": _facts(e),
        "commands": background.commands,
        "warnings": background.warnings,
        "recipe_yaml": background.recipe_yaml,
    }


def _others(e: Evaluation, pair: tuple[str, str] | None) -> list[Comparison]:
    return [c for c in e.comparisons if (c.before_name, c.after_name) != pair]


def _sizes(e: Evaluation) -> list[tuple[str, int, list[Row | None]]]:
    """A line for every contender and prefix, largest first, with the row of each storage."""
    rows = {(row.contender, row.dims, row.storage): row for row in e.rows}
    lines = dict.fromkeys((row.contender, row.dims) for row in e.rows if row.dims is not None)
    return [
        (contender, dims, [rows.get((contender, dims, storage)) for storage in e.plan.storages])
        for contender, dims in lines
    ]


def _by_slice(rows: Sequence[SliceRow]) -> list[tuple[str, list[SliceRow]]]:
    return [(title, list(group)) for title, group in groupby(rows, key=lambda row: row.slice)]


def _sections(e: Evaluation, pictures: dict[str, plots.Plot | None], *, warned: bool) -> list[tuple[str, str]]:
    table = (
        ("measures", "Measures", True),
        ("sizes", "Dimensions and storage", pictures["sizes"]),
        ("scores", "Scores", pictures["scores"]),
        ("slices", "Where it changed", e.slices),
        ("training", "Training", pictures["training"] or warned),
        ("examples", "Wins and losses", e.wins or e.losses),
        ("dataset", "Dataset", True),
        ("reproduce", "To do it again", True),
    )
    return [(anchor, title) for anchor, title, shown in table if shown]


def _facts(e: Evaluation) -> list[tuple[str, str]]:
    d, passages, queries = e.dataset, e.dataset.statistics.passages, e.dataset.statistics.queries
    unit = "characters" if d.language in ("zh", "ja") else "words"
    facts = [
        ("name", d.name),
        ("language", d.language),
        ("split", d.split),
        ("protocol", d.protocol),
        ("questions", f"{d.queries:,} in {d.clusters:,} clusters, with {d.judgements:,} judgements"),
        ("passages", f"{passages.count:,}; {passages.equal:,} repeat another word for word, {passages.near:,} nearly"),
        ("length of a question", f"{queries.words.mean:.1f} {unit} on average, {queries.words.longest:,} at most"),
        ("length of a passage", f"{passages.words.mean:.1f} {unit} on average, {passages.words.longest:,} at most"),
        ("licence", d.licence or "not given"),
        ("SHA-256", d.hash),
    ]
    for leak in d.statistics.leakage:
        if leak.later == d.split:
            line = (
                f"{leak.near_queries:,} questions repeat or nearly repeat one of {leak.earlier}; "
                f"{leak.near_positives:,} have a relevant passage that {leak.earlier} has too"
            )
            facts.insert(-2, (f"shared with {leak.earlier}", line))
    return facts
