"""Who meets whom in a step: drawn by the seed, each passage once, nothing repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.scoring.targets import fill_targets
from ragtune.training.batches import SHUFFLE_MIN_CHARS, Batch, BatchPlan
from ragtune.training.examples import TrainingSet

Build = Callable[..., TrainingSet]
Plan = Callable[..., BatchPlan]


def dataset_of(size: int, *, positives: int = 1, negatives: int = 0, name: str = "d", first: int = 0) -> Dataset:
    """Queries with their own positives and negatives; row i has ``negatives + i % 2`` negatives."""
    dataset = Dataset(info=DatasetInfo(name=name), corpus={}, queries={}, qrels={"train": {}})
    for i in range(first, first + size):
        dataset.queries[f"q{i}"] = Query(id=f"q{i}", text=f"query {i}")
        good = {f"p{i}.{n}": 1 for n in range(positives)}
        bad = [f"n{i}.{n}" for n in range(negatives + i % 2 if negatives else 0)]
        dataset.corpus |= {key: Passage(id=key, text=f"passage {key} " + "word " * 5) for key in (*good, *bad)}
        dataset.qrels["train"][f"q{i}"] = good
        dataset.candidates[f"q{i}"] = [Candidate(corpus_id=key, relevance=0.0) for key in bad]
    return dataset


def all_batches(plan: BatchPlan, epoch: int = 0) -> list[Batch]:
    return [plan.batch(numbers, epoch=epoch) for numbers in plan.epoch(epoch)]


def test_an_epoch_draws_every_row_once_in_an_order_of_its_own(training_set: Build, plan_of: Plan) -> None:
    plan = plan_of(training_set(dataset_of(21)), batch_size=4)
    first, second = ([n for numbers in plan.epoch(e) for n in numbers] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(21))
    assert first != second != sorted(second)
    assert [len(numbers) for numbers in plan.epoch(0)] == [4] * 5 + [1]
    assert plan.epoch(0) == plan.epoch(0) != plan_of(plan.training_set, batch_size=4, seed=14).epoch(0)


def test_drop_last_leaves_out_the_small_batch(training_set: Build, plan_of: Plan) -> None:
    plan = plan_of(training_set(dataset_of(21)), batch_size=4, drop_last=True)
    assert [len(numbers) for numbers in plan.epoch(0)] == [4] * 5
    assert len(plan_of(plan.training_set, batch_size=50, drop_last=True).epoch(0)) == 1


@pytest.mark.parametrize(("weight", "wanted"), [(1.0, 10), (2.0, 20), (0.3, 3), (1.5, 15)])
def test_a_source_is_drawn_by_its_weight(weight: float, wanted: int, training_set: Build, plan_of: Plan) -> None:
    rows = training_set(dataset_of(10), dataset_of(7, first=50), sources=[{"weight": weight}, {}])
    plan = plan_of(rows)
    counts = Counter(n for numbers in plan.epoch(0) for n in numbers)
    assert sum(counts[n] for n in rows.groups[0]) == wanted
    assert {counts[n] for n in rows.groups[0]} <= {int(weight), int(weight) + 1}
    assert all(counts[n] == 1 for n in rows.groups[1])
    drawn = [{n for numbers in plan.epoch(e) for n in numbers} for e in (0, 1)]
    assert (drawn[0] != drawn[1]) == (weight < 1)


def test_batches_of_one_dataset_do_not_mix(training_set: Build, plan_of: Plan) -> None:
    rows = training_set(dataset_of(11), dataset_of(9, first=50))
    groups = [set(group) for group in rows.groups]

    def mixed(batch_from: str) -> list[bool]:
        return [
            not any(set(n) <= group for group in groups)
            for n in plan_of(rows, batch_size=4, batch_from=batch_from).epoch(0)
        ]

    assert not any(mixed("one_dataset"))
    assert any(mixed("mixed"))
    order = plan_of(rows, batch_size=4, batch_from="one_dataset").epoch(0)
    assert sorted(n for numbers in order for n in numbers) == list(range(20))
    assert [numbers[0] < 11 for numbers in order] != sorted([numbers[0] < 11 for numbers in order], reverse=True)


def test_groups_never_repeat_a_candidate(training_set: Build, plan_of: Plan) -> None:
    """Rows of two or three negatives, asked for five: each brings what it has."""
    plan = plan_of(training_set(dataset_of(8, negatives=2)), group_size=6)
    for batch in all_batches(plan):
        for number, row in zip(batch.row_numbers, batch.rows, strict=True):
            ids = [own.passage_id for own in row.own]
            assert len(ids) == len(set(ids)) == 1 + 2 + number % 2


def test_negatives_are_drawn_anew_each_epoch(training_set: Build, plan_of: Plan) -> None:
    plan = plan_of(training_set(dataset_of(1, negatives=20)), group_size=4)
    drawn = [{own.passage_id for own in plan.batch([0], epoch=epoch).rows[0].own} for epoch in range(6)]
    assert all(len(ids) == 4 for ids in drawn)
    assert len({frozenset(ids) for ids in drawn}) > 3
    assert drawn[2] == {own.passage_id for own in plan.batch([0], epoch=2).rows[0].own}


@pytest.mark.parametrize(
    ("wanted", "group_size", "positives", "in_all"),
    [(1, 1, 1, 1), (2, 4, 2, 4), (9, 9, 5, 9), ("all", 6, 5, 6), ("all", 1, 5, 5)],
)
def test_positives_per_query(
    wanted: int | str, group_size: int, positives: int, in_all: int, training_set: Build, plan_of: Plan
) -> None:
    rows = training_set(dataset_of(2, positives=5, negatives=10))
    (batch,) = all_batches(plan_of(rows, positives_per_query=wanted, group_size=group_size))
    for row in batch.rows:
        assert sum((own.relevance or 0) > 0 for own in row.own) == positives
        assert len(row.own) == in_all


def test_other_positives_of_a_query_are_never_its_negatives(training_set: Build, plan_of: Plan) -> None:
    """One positive is drawn; another that a neighbour brings counts as relevant all the same."""
    dataset = dataset_of(2, positives=2)
    dataset.qrels["train"]["q1"] = {"p0.0": 1, "p0.1": 1}
    rows = training_set(dataset)
    for epoch in range(8):
        (batch,) = all_batches(plan_of(rows), epoch)
        assert (fill_targets(batch.rows, batch.candidates).relevance_QC > 0).all()


def test_without_in_batch_negatives_a_row_sees_its_own_alone(training_set: Build, plan_of: Plan) -> None:
    rows = training_set(
        dataset_of(4, negatives=2), dataset_of(4, negatives=2, first=50), sources=[{"in_batch_negatives": False}, {}]
    )
    (batch,) = all_batches(plan_of(rows, group_size=3))
    targets = fill_targets(batch.rows, batch.candidates)
    assert targets.own_QC is not None
    for place, number in enumerate(batch.row_numbers):
        alone = number in rows.groups[0]
        assert targets.valid_QC[place].sum() == (3 if alone else len(batch.candidates))
        assert (targets.valid_QC[place] >= targets.own_QC[place]).all()


def test_augmentation_cuts_long_positives_alone(training_set: Build, plan_of: Plan) -> None:
    dataset = dataset_of(40, negatives=1)
    long_text = " ".join(f"w{n}" for n in range(SHUFFLE_MIN_CHARS))
    for key in (key for i in range(0, 40, 2) for key in (f"p{i}.0", f"n{i}.0")):
        dataset.corpus[key] = Passage(id=key, text=f"{key} {long_text}")
    rows = training_set(dataset)

    def changed(ratio: float, *, seed: int = 13, epoch: int = 0) -> dict[str, str]:
        plan = plan_of(rows, batch_size=40, group_size=2, shuffle_ratio=ratio, seed=seed)
        return all_batches(plan, epoch)[0].changed

    everything = changed(1.0)
    long_positives = {row.positives[0].passage_id for n, row in enumerate(rows.rows) if n % 2 == 0}
    assert everything.keys() == long_positives
    for place, text in everything.items():
        before = rows.passages[int(place)]
        assert text != before
        assert Counter(text.replace(" ", "")) == Counter(before.replace(" ", ""))
    assert changed(0.0) == {}
    assert 4 <= len(changed(0.5)) <= 16
    assert changed(0.5) == changed(0.5) != changed(0.5, seed=14)
    assert changed(0.5) != changed(0.5, epoch=1)


def test_a_passage_with_the_label_of_a_query_counts_as_relevant(training_set: Build, plan_of: Plan) -> None:
    dataset = dataset_of(6)
    for i in range(6):
        dataset.queries[f"q{i}"] = Query(id=f"q{i}", text=f"query {i}", metadata={"label": "ab"[i % 2]})
    (batch,) = all_batches(plan_of(training_set(dataset)))
    relevance_QC = fill_targets(batch.rows, batch.candidates).relevance_QC
    for place, row in enumerate(batch.row_numbers):
        for column, other in enumerate(batch.row_numbers):
            assert bool(relevance_QC[place, column] > 0) == (row % 2 == other % 2)


def test_scored_pairs_keep_their_fractions(training_set: Build, plan_of: Plan) -> None:
    dataset = dataset_of(4)
    dataset.qrels = {"train": {f"q{i}": {} for i in range(4)}}
    scores = [0.0, 0.25, 0.5, 1.0]
    dataset.candidates = {f"q{i}": [Candidate(corpus_id=f"p{i}.0", relevance=s)] for i, s in enumerate(scores)}
    (batch,) = all_batches(plan_of(training_set(dataset)))
    targets = fill_targets(batch.rows, batch.candidates)
    found = {n: float(targets.relevance_QC[place, place]) for place, n in enumerate(batch.row_numbers)}
    assert found == dict(enumerate(scores))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_a_batch_in_equal_parts(world_size: int, training_set: Build, plan_of: Plan) -> None:
    rows = training_set(dataset_of(7, negatives=1))
    one = all_batches(plan_of(rows, batch_size=7, group_size=2))[0]
    batch = all_batches(plan_of(rows, batch_size=7, group_size=2, world_size=world_size))[0]
    assert (batch.row_numbers, batch.rows, batch.candidates) == (one.row_numbers, one.rows, one.candidates)
    counts = Counter(batch.rank_Q)
    assert sorted(batch.rank_Q) == batch.rank_Q and max(counts.values()) == -(-7 // world_size)
    for rank, row in zip(batch.rank_Q, batch.rows, strict=True):
        for own in row.own:
            assert rank in batch.brought[batch.candidates.index(own.passage_id)]
