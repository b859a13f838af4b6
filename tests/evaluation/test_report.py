from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ragtune.evaluation.report import Background, render_report, write_report
from ragtune.evaluation.results import Evaluation

BACKGROUND = Background(
    training_log=[{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}],
    recipe_yaml="run: out  # <ours>\n",
    commands=["ragtune run recipes/a.yaml --set data=filings"],
)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, addresses and text, and checks that every element is closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("background", [None, BACKGROUND])
def test_the_page_is_closed_and_needs_nothing_else(
    evaluation: Callable[[str], Evaluation], language: str, background: Background | None
) -> None:
    reader = read(render_report(evaluation(language), background=background))
    assert reader.open == []
    assert all(address.startswith("#") or address == "data:," for address in reader.addresses)
    assert "script" not in reader.tags


def test_every_link_of_the_page_leads_somewhere(evaluation: Callable[[str], Evaluation]) -> None:
    html = render_report(evaluation("en"), background=BACKGROUND)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert {address[1:] for address in read(html).addresses if address.startswith("#")} <= set(ids)
    assert len(ids) == len(set(ids))


def test_texts_of_the_dataset_are_escaped(evaluation: Callable[[str], Evaluation]) -> None:
    html = render_report(evaluation("en"))
    assert "<script>" not in html and "<b>revenue" not in html and "<model>" not in html
    assert "Revenue was $383 billion <script>alert(1)</script>." in "".join(read(html).words)


def test_the_verdict_comes_first(evaluation: Callable[[str], Evaluation]) -> None:
    text = "".join(read(render_report(evaluation("en"))).words).replace("\N{NO-BREAK SPACE}", " ")
    line = evaluation("en").verdict.text
    assert line in text
    assert text.index(line) < text.index("671 clusters")


def test_the_background_is_shown(evaluation: Callable[[str], Evaluation]) -> None:
    text = "".join(read(render_report(evaluation("en"), background=BACKGROUND)).words)
    assert BACKGROUND.recipe_yaml in text and BACKGROUND.commands[0] in text and "training loss" in text
    assert "training loss" not in "".join(read(render_report(evaluation("en"))).words)


def test_a_passage_not_found_and_an_unknown_interval_are_said_so(evaluation: Callable[[str], Evaluation]) -> None:
    text = "".join(read(render_report(evaluation("en"))).words)
    assert "rank > 100 → 1" in text and "rank 1 → > 100" in text
    assert "unknown: all questions hang together" in text


def test_one_contender_alone_makes_a_report(evaluation: Callable[[str], Evaluation], tmp_path: Path) -> None:
    found = evaluation("zh")
    alone = found.model_copy(
        update={
            "contenders": tuple(c.model_copy(update={"role": "reference"}) for c in found.contenders[1:2]),
            "rows": found.rows[1:4],
            "intervals": found.intervals[2:4],
            "comparisons": (),
            "slices": tuple(row.model_copy(update={"after": None, "delta": None}) for row in found.slices),
            "wins": (),
            "losses": (),
        }
    )
    write_report(alone, tmp_path / "report.html")
    text = "".join(read((tmp_path / "report.html").read_text(encoding="utf-8")).words)
    assert "0.720" in text and "Wins and losses" not in text
