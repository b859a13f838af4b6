from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.errors import InputError
from ragtune.retrieval.fusion import fuse
from ragtune.retrieval.search import Ranking

orders = st.lists(st.permutations(list("abcdef")).map(lambda row: row[:4]), min_size=1, max_size=4)


def ranking_of(order: Sequence[str], query: str = "q") -> Ranking:
    return Ranking([query], [list(order)], [[float(-place) for place in range(len(order))]])


@given(rows=orders)
def test_scores_are_those_of_the_formula(rows: list[list[str]]) -> None:
    fused = fuse([ranking_of(row) for row in rows]).as_run()["q"]
    assert fused.keys() == set(itertools.chain(*rows))
    for passage, score in fused.items():
        assert score == pytest.approx(sum(1 / (61 + row.index(passage)) for row in rows if passage in row))


@given(rows=orders, data=st.data())
def test_the_order_of_the_rankings_means_nothing(rows: list[list[str]], data: st.DataObject) -> None:
    turned = data.draw(st.permutations(rows))
    assert fuse([ranking_of(row) for row in rows]) == fuse([ranking_of(row) for row in turned])


@given(row=st.permutations(list("abcdef")))
def test_one_ranking_keeps_its_order(row: list[str]) -> None:
    assert fuse([ranking_of(row)]).passage_ids == [row]


def test_queries_are_matched_by_id_and_top_cuts() -> None:
    one = Ranking(["q", "r"], [["a", "b"], ["c"]], [[2.0, 1.0], [1.0]])
    fused = fuse([one, ranking_of("ba", "r"), ranking_of("b", "q")], top=1)
    assert dict(zip(fused.query_ids, fused.passage_ids, strict=True)) == {"q": ["b"], "r": ["c"]}
    assert fuse([]).as_run() == {}


@pytest.mark.parametrize("options", [{"k": -1}, {"top": 0}])
def test_wrong_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError):
        fuse([ranking_of("ab")], **options)
