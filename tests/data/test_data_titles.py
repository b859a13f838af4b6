"""A metadata key becomes the title where there is none, and nothing else changes."""

from __future__ import annotations

import pytest

from ragtune.data.records import Dataset, DatasetInfo, Passage, Query
from ragtune.data.titles import titled
from ragtune.errors import DataError


def dataset(*passages: Passage) -> Dataset:
    return Dataset(
        info=DatasetInfo(name="filings"),
        corpus={passage.id: passage for passage in passages},
        queries={"q": Query(id="q", text="谁的收入?")},
        qrels={"test": {"q": {"1": 1}}},
    )


def test_a_title_comes_from_the_key_only_where_there_is_none() -> None:
    before = dataset(
        Passage(id="1", text="收入增长。", metadata={"ticker": "腾讯"}),
        Passage(id="2", text="b", title="own", metadata={"ticker": "X"}),
        Passage(id="3", text="c", metadata={"ticker": ""}),
        Passage(id="4", text="d", metadata={"year": 2023}),
        Passage(id="5", text="e", metadata={"ticker": 7}),
    )
    after = titled(before, key="ticker")
    assert [passage.title for passage in after.corpus.values()] == ["腾讯", "own", "", "", "7"]
    assert [p.text for p in after.corpus.values()] == [p.text for p in before.corpus.values()]
    assert (after.queries, after.qrels, after.info) == (before.queries, before.qrels, before.info)
    assert before.corpus["1"].title == ""


def test_a_key_that_nothing_has_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(DataError, match=r"'tiker', while passages have ticker.*\n.*ticker"):
        titled(dataset(Passage(id="1", text="a", metadata={"ticker": "A"})), key="tiker")
    with pytest.raises(DataError, match=r"leave data\.passage_title out"):
        titled(dataset(Passage(id="1", text="a")), key="ticker")


def test_titles_of_an_import_are_enough() -> None:
    before = dataset(Passage(id="1", text="a", title="A"))
    assert titled(before, key="ticker") == before
