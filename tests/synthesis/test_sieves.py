"""Duplicates, round trip, the cut of what is too easy, and what the judge is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ragtune.data.records import Dataset, Query
from ragtune.recipe_synthesis import FilterRecipe
from ragtune.retrieval.search import Ranking, Retriever
from ragtune.synthesis.assembling import drop_asked, drop_shared
from ragtune.synthesis.drafts import Draft
from ragtune.synthesis.pool import Pool
from ragtune.synthesis.sieves import drop_duplicates, round_trip, too_easy


def draft(text: str, *passages: str, **more: Any) -> Draft:
    return Draft(text, passages, "question", "x", **more)


def test_equal_words_are_one_query_whatever_their_dress(corpus_dataset: Dataset, encoder: Any) -> None:
    drafts = [
        draft("Why repair a heron?", "heron-0"),
        draft("why repair a HERON", "heron-1"),
        draft("Why?", "kettle-0"),
    ]
    kept, rejected = drop_duplicates(drafts, corpus_dataset, Pool(corpus_dataset, lambda: encoder), near=None)
    assert [item.text for item in kept] == ["Why repair a heron?", "Why?"]
    assert kept[0].unsure == ("heron-1",)
    assert (rejected[0].reason, rejected[0].score) == ("says the same as: Why repair a heron?", 1.0)


def test_near_queries_are_one_by_their_cosine(corpus_dataset: Dataset, encoder: Any) -> None:
    drafts = [
        draft("how often is the heron repaired", "heron-0"),
        draft("how often is the heron repaired again", "heron-1"),
    ]
    pool = Pool(corpus_dataset, lambda: encoder)
    cosine = float(np.prod([encoder.encode([d.text], kind="query")[0] for d in drafts], axis=0).sum())
    assert len(drop_duplicates(drafts, corpus_dataset, pool, near=cosine + 0.01)[0]) == 2
    kept, rejected = drop_duplicates(drafts, corpus_dataset, pool, near=cosine - 0.01)
    assert len(kept) == 1 and abs((rejected[0].score or 0) - cosine) < 1e-5


def test_a_query_that_the_dataset_has_already_is_dropped(corpus_dataset: Dataset, encoder: Any) -> None:
    given = replace(corpus_dataset, queries={"mine": Query("mine", "why repair a heron")})
    kept, rejected = drop_duplicates(
        [draft("Why repair a heron?", "heron-0")], given, Pool(given, lambda: encoder), near=None
    )
    assert not kept and len(rejected) == 1


def test_many_duplicates_over_several_blocks(corpus_dataset: Dataset, encoder: Any) -> None:
    drafts = [
        draft(f"{'abcdefghij'[n % 10] * 6} {'klmnopqrst'[n // 10 % 10] * 6} {n % 3}", "heron-0") for n in range(3000)
    ]
    kept, rejected = drop_duplicates(drafts, corpus_dataset, Pool(corpus_dataset, lambda: encoder), near=0.999)
    assert len(kept) + len(rejected) == 3000
    assert len({item.text for item in kept}) == len(kept) <= 300
    assert kept[0] is drafts[0] or kept[0].text == drafts[0].text


def test_a_source_that_search_does_not_find_is_lost(corpus_dataset: Dataset, encoder: Any) -> None:
    drafts = [draft("heron repaired weeks", "heron-0"), draft("heron repaired weeks", "violin-1")]
    lost = round_trip(drafts, Pool(corpus_dataset, lambda: encoder), k=2)
    assert [item.draft.passage_ids for item in lost] == [("violin-1",)]
    assert round_trip(drafts, Pool(corpus_dataset, lambda: encoder), k=20) == []


def test_a_duplicate_of_the_source_is_the_source(corpus_dataset: Dataset, encoder: Any) -> None:
    corpus = dict(corpus_dataset.corpus)
    corpus["copy"] = replace(corpus["heron-0"], id="copy")
    pool = Pool(replace(corpus_dataset, corpus=corpus), lambda: encoder)
    assert round_trip([draft("heron model 1000 repaired", "copy")], pool, k=1) == []


def test_words_that_all_stand_in_the_passage_are_too_easy(corpus_dataset: Dataset, encoder: Any) -> None:
    drafts = [draft("heron repaired weeks", "heron-0"), draft("heron maintenance interval", "heron-0")]
    pool = Pool(corpus_dataset, lambda: encoder)
    easy = too_easy(drafts, corpus_dataset, pool, FilterRecipe(max_overlap=0.9))
    assert [(item.draft.text, item.score) for item in easy] == [("heron repaired weeks", 1.0)]


def test_a_source_far_ahead_is_too_easy(corpus_dataset: Dataset, encoder: Any) -> None:
    text = corpus_dataset.corpus["heron-0"].text
    drafts = [draft(text, "heron-0"), draft("weeks", "heron-0")]
    easy = too_easy(drafts, corpus_dataset, Pool(corpus_dataset, lambda: encoder), FilterRecipe(max_lead=0.05))
    assert [item.draft.text for item in easy] == [text]
    assert 0.05 < (easy[0].score or 0) < 1


class Fixed(Retriever):
    """Finds one passage, whatever is asked."""

    def retrieve(self, queries: Sequence[Query], *, k: int) -> Ranking:
        return Ranking([query.id for query in queries], [["glacier-1"]] * len(queries), [[1.0]] * len(queries))


def test_the_judge_sees_what_any_search_finds(corpus_dataset: Dataset, encoder: Any) -> None:
    query = draft("heron repaired weeks", "heron-0").as_query()
    plain = Pool(corpus_dataset, lambda: encoder).candidates([query], k=2)[query.id]
    assert "heron-0" in plain and "glacier-1" not in plain and len(plain) <= 4
    wider = Pool(corpus_dataset, lambda: encoder, others=[Fixed()]).candidates([query], k=2)[query.id]
    assert set(wider) == {*plain, "glacier-1"}
    scored = Pool(corpus_dataset, lambda: encoder, scorer=lambda q, p: [float("violin1" in text) for text in p])
    assert "violin-1" in scored.candidates([query], k=2)[query.id]


def test_neighbours_are_near_and_no_duplicates(corpus_dataset: Dataset, encoder: Any) -> None:
    corpus = dict(corpus_dataset.corpus)
    corpus["copy"] = replace(corpus["heron-0"], id="copy")
    found = Pool(replace(corpus_dataset, corpus=corpus), lambda: encoder).neighbours(["heron-0", "copy", "violin-0"])
    vector_ND = encoder.encode([passage.content for passage in corpus.values()], kind="passage")
    cosine = dict(zip(corpus, (vector_ND @ vector_ND[0]).tolist(), strict=True))
    others = {key: value for key, value in cosine.items() if key not in ("heron-0", "copy")}
    assert next(iter(corpus)) == "heron-0"
    assert found["heron-0"] == found["copy"]
    assert others[found["heron-0"]] == max(others.values())
    assert found["violin-0"] != "violin-0"


def test_a_passage_of_test_stays_out_of_train(corpus_dataset: Dataset) -> None:
    groups = {key: key for key in corpus_dataset.corpus}
    tested = draft("one", "heron-0", more={"kettle-0": 1, "violin-0": 0})
    source = draft("two", "kettle-0")
    gained = draft("three", "saddle-0", more={"heron-0": 1, "mortar-0": 1})
    split_of = {tested.id: "test", source.id: "train", gained.id: "train"}
    kept, rejected = drop_shared([source, gained, tested], split_of, corpus_dataset, groups)
    assert [item.draft.text for item in rejected] == ["two"]
    assert [item.text for item in kept] == ["three", "one"]
    assert (kept[0].more, kept[0].unsure) == ({"mortar-0": 1}, ("heron-0",))
    assert kept[1] == tested


def test_a_question_of_test_stays_out_of_train(corpus_dataset: Dataset) -> None:
    words = "how often is the grey heron of the harbour repaired and painted"
    drafts = [draft(words, "heron-0"), draft(f"{words}?", "kettle-0"), draft("another one", "violin-0")]
    split_of = dict(zip([item.id for item in drafts], ["test", "train", "train"], strict=True))
    kept, rejected = drop_asked(drafts, split_of, corpus_dataset)
    assert [item.text for item in kept] == [words, "another one"]
    assert rejected[0].filter == "shared question"
