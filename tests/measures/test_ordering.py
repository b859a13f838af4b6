from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragtune.measures import tie_ranks, trec_order


@given(st.lists(st.text(max_size=4), unique=True))
def test_tie_ranks_are_the_order_of_equal_scores(ids: list[str]) -> None:
    ordered = trec_order(dict.fromkeys(ids, 1.0))
    assert [ordered.index(passage) for passage in ids] == tie_ranks(ids).tolist()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), unique=True))
def test_ids_are_ordered_as_their_bytes(ids: list[str]) -> None:
    assert trec_order(dict.fromkeys(ids, 0.0)) == sorted(ids, key=lambda passage: passage.encode(), reverse=True)
