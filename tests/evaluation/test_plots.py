from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from ragtune.evaluation import plots
from ragtune.evaluation.results import Evaluation
from ragtune.evaluation.svg import COLOURS

LOG = [
    {"step": step, "loss": 3.0 / (step + 1), "learning_rate": 1e-5, "tokens_per_second": 2900.0} for step in range(9)
]
LOG += [{"step": 4, "dev_nDCG@10": 0.7}, {"step": 8, "dev_nDCG@10": 0.8}]


def all_plots(evaluation: Evaluation) -> dict[str, plots.Plot]:
    drawn = {
        "metrics": plots.metric_bars(evaluation),
        "scores": plots.score_histograms(evaluation),
        "sizes": plots.size_curves(evaluation),
        "training": plots.training_curves(LOG, measure="nDCG@10"),
    }
    assert all(drawn.values())
    return {name: plot for name, plot in drawn.items() if plot}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pictures_are_well_formed_and_described(evaluation: Callable[[str], Evaluation], language: str) -> None:
    for name, plot in all_plots(evaluation(language)).items():
        root = ET.fromstring(plot.svg)
        title, description = root.find("title"), root.find("desc")
        assert title is not None and title.text
        assert description is not None and description.text
        assert root.get("aria-labelledby") == f"{name}-title {name}-desc"


def test_pictures_take_colour_and_font_from_the_page(evaluation: Callable[[str], Evaluation]) -> None:
    for plot in all_plots(evaluation("en")).values():
        assert not re.search(r"#[0-9a-fA-F]{6}\b", plot.svg)
        assert "font-family" not in plot.svg and "DejaVu" not in plot.svg
        assert set(re.findall(r"var\(--([\w-]+)\)", plot.svg)) <= set(COLOURS)


def test_pictures_carry_no_address_and_share_no_id(evaluation: Callable[[str], Evaluation]) -> None:
    ids: list[str] = []
    for plot in all_plots(evaluation("en")).values():
        assert "http" not in plot.svg
        own = re.findall(r'\bid="([^"]+)"', plot.svg)
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', plot.svg)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_names_are_text_never_markup_or_formulas(evaluation: Callable[[str], Evaluation]) -> None:
    found = evaluation("en")
    renamed = found.to_json().replace("base <model>", "$a_b$ <model>")
    plot = plots.score_histograms(Evaluation.from_json(renamed))
    assert plot is not None
    titles = [text.text for text in ET.fromstring(plot.svg).iter() if text.tag.endswith("text")]
    assert "$a_b$ <model>: 80% of questions separated" in titles


def test_bars_show_every_value(evaluation: Callable[[str], Evaluation]) -> None:
    svg = plots.metric_bars(evaluation("en")).svg
    assert [svg.count(f">{value}<") for value in ("0.700", "0.720", "0.850")] == [2, 2, 2]


def test_before_and_after_keep_their_colours(evaluation: Callable[[str], Evaluation]) -> None:
    expected = {"BM25": "reference", "base <model>": "before", "tuned": "after"}
    assert plots.contender_colours(evaluation("en")) == expected


def test_training_shows_only_what_the_log_holds() -> None:
    assert plots.training_curves([], measure="nDCG@10") is None
    assert plots.training_curves([{"step": 1, "loss": 2.0}], measure="nDCG@10") is None
    plot = plots.training_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], measure="nDCG@10")
    assert plot is not None
    assert "training loss" in plot.svg and "learning rate" not in plot.svg


def test_a_single_setting_needs_no_size_curve(evaluation: Callable[[str], Evaluation]) -> None:
    found = evaluation("en")
    assert plots.size_curves(found.model_copy(update={"rows": tuple(row for row in found.rows if row.full)})) is None
