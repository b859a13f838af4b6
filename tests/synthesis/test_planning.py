"""Which passages are asked about, and how."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ragtune.data.records import Dataset, DatasetInfo, Passage
from ragtune.recipe_synthesis import SynthesisRecipe
from ragtune.synthesis.planning import make_plan

LONG = "The guild of {} keeps its records in a drawer of the cellar and opens it once in every year for all to see."


def recipe(**settings: object) -> SynthesisRecipe:
    return SynthesisRecipe(**{"llm": {"source": "http://x/v1"}, "min_passage_words": 10} | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Too short.", "short"),
        (" ".join(f"{n}.5 1,2{n}0 | 77%" for n in range(30)), "few letters"),
        (
            "\n".join(f"Chapter {name} on some matter ........ {n}" for n, name in enumerate("abcdefgh")),
            "table of contents",
        ),
        (LONG.format("bakers"), "duplicate"),
    ],
)
def test_what_cannot_be_asked_about_is_skipped(text: str, reason: str) -> None:
    corpus = {"good": Passage("good", LONG.format("bakers")), "bad": Passage("bad", text)}
    plan = make_plan(Dataset(info=DatasetInfo(name="x"), corpus=corpus, queries={}), recipe())
    assert list(plan.jobs) == ["good"]
    assert plan.skipped == {reason: 1}


def test_passages_are_spread_over_the_documents(corpus_dataset: Dataset) -> None:
    plan = make_plan(corpus_dataset, recipe(max_passages=10))
    assert Counter(corpus_dataset.corpus[key].metadata["document"] for key in plan.jobs).most_common(1)[0][1] == 1
    assert plan.skipped["not drawn"] == 10
    other = make_plan(corpus_dataset, recipe(max_passages=10, seed=5))
    assert set(other.jobs) != set(plan.jobs)


def test_what_is_drawn_hangs_on_the_passage_alone(corpus_dataset: Dataset) -> None:
    whole = make_plan(corpus_dataset, recipe()).jobs
    corpus = dict(list(corpus_dataset.corpus.items())[5:])
    part = make_plan(replace(corpus_dataset, corpus=corpus), recipe()).jobs
    assert part == {key: jobs for key, jobs in whole.items() if key in corpus}


def test_styles_are_dealt_in_turn(corpus_dataset: Dataset) -> None:
    plan = make_plan(corpus_dataset, recipe(per_passage=3, styles=("question", "keywords", "problem")))
    for jobs in plan.jobs.values():
        assert {job.style for job in jobs} == {"question", "keywords", "problem"}
    small = make_plan(corpus_dataset, recipe(llm={"source": "builtin:smollm2"}, styles=("identifier", "question")))
    assert {job.style for jobs in small.jobs.values() for job in jobs} == {"question"}
