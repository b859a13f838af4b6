"""Negatives that a person or a miner set beside a query are used exactly as given: all of them, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragtune.data.formats.importing import import_dataset
from ragtune.data.formats.options import ImportOptions
from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.scoring.targets import fill_targets
from ragtune.training.batches import BatchPlan
from ragtune.training.examples import TrainingSet

Build = Callable[..., TrainingSet]
Plan = Callable[..., BatchPlan]
KEEPS_FIXTURES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dataset_of(negatives: list[list[int]], *, doubtful: dict[int, list[int]] | None = None) -> Dataset:
    """Query i is answered by passage i and has the passages 100 + n beside it."""
    numbers = {100 + n for row in negatives for n in row} | {100 + n for r in (doubtful or {}).values() for n in r}
    count = len(negatives)
    listed = {
        f"q{i}": [
            *(Candidate(f"p{100 + n}", relevance=0.0) for n in row),
            *(Candidate(f"p{100 + n}", relevance=0.0, valid=False) for n in (doubtful or {}).get(i, [])),
        ]
        for i, row in enumerate(negatives)
    }
    return Dataset(
        info=DatasetInfo("d"),
        corpus={f"p{n}": Passage(f"p{n}", f"passage {n}") for n in [*range(count), *sorted(numbers)]},
        queries={f"q{i}": Query(f"q{i}", f"query {i}") for i in range(count)},
        qrels={"train": {f"q{i}": {f"p{i}": 1} for i in range(count)}},
        candidates=listed,
    )


def own_texts(plan: BatchPlan, *, epoch: int = 0) -> dict[str, list[str]]:
    """Query id -> the texts of its own candidates in an epoch, positives left out."""
    found: dict[str, list[str]] = {}
    for numbers in plan.epoch(epoch):
        for row in plan.batch(numbers, epoch=epoch).rows:
            own = [c for c in row.own if not (c.relevance or 0) > 0]
            found[row.query_id] = [plan.training_set.passages[int(c.passage_id)] for c in own]
    return found


@KEEPS_FIXTURES
@given(st.lists(st.lists(st.integers(0, 12), unique=True, max_size=6), min_size=1, max_size=8))
def test_with_room_for_all_every_given_negative_is_there_and_none_is_added(
    training_set: Build, plan_of: Plan, negatives: list[list[int]]
) -> None:
    plan = plan_of(training_set(dataset_of(negatives)), group_size=7, batch_size=3)
    for epoch in (0, 1):
        found = own_texts(plan, epoch=epoch)
        for i, row in enumerate(negatives):
            assert sorted(found[f"q{i}"]) == sorted(f"passage {100 + n}" for n in row)


@KEEPS_FIXTURES
@given(st.lists(st.lists(st.integers(0, 12), unique=True, max_size=9), min_size=1, max_size=5), st.integers(1, 5))
def test_with_less_room_they_are_drawn_from_the_given_ones_without_repetition(
    training_set: Build, plan_of: Plan, negatives: list[list[int]], group_size: int
) -> None:
    plan = plan_of(training_set(dataset_of(negatives)), group_size=group_size)
    found = own_texts(plan)
    for i, row in enumerate(negatives):
        texts = found[f"q{i}"]
        assert set(texts) <= {f"passage {100 + n}" for n in row}
        assert len(set(texts)) == len(texts) == min(group_size - 1, len(row))


def test_over_the_epochs_all_of_them_are_used(training_set: Build, plan_of: Plan) -> None:
    plan = plan_of(training_set(dataset_of([list(range(6))])), group_size=3)
    seen = {text for epoch in range(20) for text in own_texts(plan, epoch=epoch)["q0"]}
    assert seen == {f"passage {100 + n}" for n in range(6)}


def test_no_miner_runs_unless_the_recipe_names_one(training_set: Build, plan_of: Plan) -> None:
    plan = plan_of(training_set(dataset_of([[1, 2], []])), group_size=3)
    assert plan.miner is None
    assert own_texts(plan)["q1"] == []


def test_a_doubtful_negative_counts_nowhere_and_takes_no_place(training_set: Build, plan_of: Plan) -> None:
    """Also where another query brings it into the batch."""
    rows = training_set(dataset_of([[1, 2], [3, 4]], doubtful={0: [3]}))
    plan = plan_of(rows, group_size=3)
    (numbers,) = plan.epoch(0)
    batch = plan.batch(numbers, epoch=0)
    targets = fill_targets(batch.rows, batch.candidates)
    valid = {
        row.query_id: {rows.passages[int(c)] for c, ok in zip(batch.candidates, targets.valid_QC[q], strict=True) if ok}
        for q, row in enumerate(batch.rows)
    }
    everything = {rows.passages[int(c)] for c in batch.candidates}
    assert "passage 103" in everything
    assert valid == {"q0": everything - {"passage 103"}, "q1": everything}
    assert sorted(own_texts(plan)["q0"]) == ["passage 101", "passage 102"]


def test_mining_while_training_leaves_doubtful_ones_alone(training_set: Build) -> None:
    from ragtune.training.mining import _may_be_negative

    row = training_set(dataset_of([[1]], doubtful={0: [2]})).rows[0]
    places = list(range(4))
    assert _may_be_negative(row, places, [0.0] * 4, 1.0) == [
        p for p in places if str(p) not in {row.positives[0].passage_id, row.negatives[0].passage_id, *row.doubtful}
    ]


def imported(tmp_path: Path, rows: list[Any]) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return import_dataset(str(path), ImportOptions()).dataset


def test_triplets_that_share_a_query_lose_and_repeat_nothing(
    tmp_path: Path, training_set: Build, plan_of: Plan
) -> None:
    """A peer's own shape handling repeats or loses negatives where triplets share a query."""
    rows = [["q a", "good", f"bad {n}"] for n in range(5)] + [["q b", "fine", "bad 0"], ["q b", "well", "poor"]]
    dataset = imported(tmp_path, rows)
    found = own_texts(plan_of(training_set(dataset), group_size=8))
    texts = {dataset.queries[key].text: sorted(values) for key, values in found.items()}
    assert texts == {"q a": [f"bad {n}" for n in range(5)], "q b": ["bad 0", "poor"]}


def test_labelled_pairs_are_used_as_they_are(tmp_path: Path, training_set: Build, plan_of: Plan) -> None:
    rows = [["q a", "good", 1], ["q a", "bad", 0], ["q a", "worse", 0], ["q b", "fine", 1]]
    dataset = imported(tmp_path, rows)
    found = own_texts(plan_of(training_set(dataset), group_size=8))
    texts = {dataset.queries[key].text: sorted(values) for key, values in found.items()}
    assert texts == {"q a": ["bad", "worse"], "q b": []}
