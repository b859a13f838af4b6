from __future__ import annotations

import json

import numpy as np
import pytest

from ragtune.errors import InputError
from ragtune.measures import compare


def values(seed: int, *, effect: float = 0.0, queries: int = 200) -> dict[str, float]:
    noise = np.random.default_rng(seed).random(queries)
    return {f"q{number}": float(value + effect) for number, value in enumerate(noise)}


@pytest.mark.parametrize(("effect", "verdict"), [(0.3, "better"), (-0.3, "worse"), (0.0, "no proof of a difference")])
def test_verdict(effect: float, verdict: str) -> None:
    result = compare(values(0), values(1, effect=effect), measure="nDCG@10")
    assert result.verdict == verdict
    assert str(result).endswith(f"200 queries): {verdict}")
    assert result.delta == pytest.approx(result.after - result.before)


def test_queries_are_matched_by_id() -> None:
    before, after = values(0), values(1)
    turned = dict(reversed(after.items()))
    assert compare(before, after, measure="MRR@10") == compare(before, turned, measure="MRR@10")


def test_wins_losses_and_ties_are_counted() -> None:
    result = compare({"a": 0.0, "b": 1.0, "c": 0.5, "d": 0.5}, {"a": 1.0, "b": 0.0, "c": 0.5, "d": 1.0}, measure="P@1")
    assert (result.wins, result.losses, result.ties, result.queries, result.groups) == (2, 1, 1, 4, 4)


def test_one_group_is_no_proof_and_still_plain_json() -> None:
    before, after = values(0, queries=5), values(0, queries=5, effect=0.4)
    result = compare(before, after, measure="MAP", groups=dict.fromkeys(before, "one document"))
    assert result.verdict == "no proof of a difference"
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (written["low"], written["high"], written["groups"], written["p"]) == (None, None, 1, 1.0)


def test_four_queries_that_all_rise_are_no_proof() -> None:
    before = dict.fromkeys("abcd", 0.0)
    result = compare(before, dict.fromkeys("abcd", 1.0), measure="MAP")
    assert result.interval.excludes_zero
    assert result.verdict == "no proof of a difference"


def test_lacking_queries_are_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        compare({"a": 0.0, "b": 0.0}, {"b": 0.0, "c": 1.0}, measure="MAP", groups={"a": 1})
    assert [(problem.where, problem.found) for problem in caught.value.problems] == [
        ("after", "a"),
        ("before", "c"),
        ("groups", "b"),
    ]
