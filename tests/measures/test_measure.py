from __future__ import annotations

import pytest

from ragtune.errors import InputError
from ragtune.measures import MEASURES, Measure, parse_measure, parse_measures


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("nDCG@10", Measure("nDCG", 10)),
        ("ndcg@10", Measure("nDCG", 10)),
        (" MAP ", Measure("MAP")),
        ("MRR@5", Measure("MRR", 5)),
        ("rr@5", Measure("MRR", 5)),
        ("Precision@3", Measure("P", 3)),
        ("R@3", Measure("Recall", 3)),
        ("hit_rate@1", Measure("HitRate", 1)),
        ("Success@1", Measure("HitRate", 1)),
        ("R-Precision", Measure("RPrec")),
    ],
)
def test_names_and_aliases_are_read(text: str, measure: Measure) -> None:
    assert parse_measure(text) == measure


@pytest.mark.parametrize("name", list(MEASURES))
def test_what_is_written_is_read_back(name: str) -> None:
    measure = Measure(name, None if MEASURES[name].cutoff == "no" else 7)
    assert parse_measure(str(measure)) == measure
    assert parse_measure(measure) is measure


def test_every_wrong_measure_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_measures(["nDGC@10", "MRR@10", "Recall", "RPrec@3", "P@0", "nDCG@10@3", ""])
    found = [problem.found for problem in caught.value.problems]
    assert found == ["'nDGC@10'", "'Recall'", "'RPrec@3'", "'P@0'", "'nDCG@10@3'", "''"]
    assert "did you mean 'nDCG'" in caught.value.problems[0].do
    assert caught.value.problems[1].do == "write for example 'Recall@10'"
    assert caught.value.problems[2].do == "write 'RPrec'"
