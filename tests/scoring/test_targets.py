"""Targets are filled by id: what each cell says, and that positions mean nothing."""

from __future__ import annotations

import math
import random

import pytest
import torch

from ragtune.scoring.targets import OwnCandidate, TargetRow, Targets, fill_targets, mask_false_negatives


def test_own_candidates_and_everything_else() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0, teacher=3.0), OwnCandidate("x", 0.0, teacher=1.0)]),
        TargetRow("q2", own=[OwnCandidate("b", 2.0)]),
    ]
    targets = fill_targets(rows, ["a", "b", "x"])
    assert targets.relevance_QC.tolist() == [[1, 0, 0], [0, 2, 0]]
    assert targets.own_QC is not None and targets.own_QC.tolist() == [[True, False, True], [False, True, False]]
    assert targets.valid_QC.all()
    assert targets.teacher_QC is not None
    assert targets.teacher_QC.nan_to_num(-1).tolist() == [[3, -1, 1], [-1, -1, -1]]
    assert targets.weight_Q is None
    assert targets.relevance_QC.dtype == targets.teacher_QC.dtype == torch.float32


def test_another_querys_positive_that_answers_this_one_too_is_relevant() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0)], relevant={"a": 1, "b": 3, "elsewhere": 1, "n": 0}),
        TargetRow("q2", own=[OwnCandidate("b", 1.0), OwnCandidate("n", 0.0)]),
    ]
    targets = fill_targets(rows, ["a", "b", "n"])
    assert targets.relevance_QC.tolist() == [[1, 3, 0], [0, 1, 0]]
    assert targets.own_QC is not None and targets.own_QC.tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize(
    ("said", "known", "filled"), [(None, 2, 2.0), (None, 0, 0.0), (0.0, 2, 2.0), (0.35, 1, 0.35), (-1.0, 0, -1.0)]
)
def test_relevance_of_an_own_candidate(said: float | None, known: float, filled: float) -> None:
    targets = fill_targets([TargetRow("q", own=[OwnCandidate("a", said)], relevant={"a": known})], ["a"])
    assert targets.relevance_QC.item() == pytest.approx(filled)


def test_a_suspected_false_negative_is_masked_for_its_own_query_alone() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0), OwnCandidate("n", 0.0, valid=False)]),
        TargetRow("q2", own=[OwnCandidate("b", 1.0), OwnCandidate("n", 0.0)]),
    ]
    assert fill_targets(rows, ["a", "b", "n"]).valid_QC.tolist() == [[True, True, False], [True, True, True]]


def test_a_candidate_that_is_the_query_itself_is_masked() -> None:
    rows = [TargetRow("q1", own=[OwnCandidate("a", 1.0)], text_id="t9"), TargetRow("q2", own=[OwnCandidate("b", 1.0)])]
    targets = fill_targets(rows, ["a", "b", "copy"], candidate_text_ids=["t1", "t9", "t9"])
    assert targets.valid_QC.tolist() == [[True, False, False], [True, True, True]]
    by_id = fill_targets([TargetRow("q", own=[OwnCandidate("a", 1.0)], text_id="c")], ["a", "c"])
    assert by_id.valid_QC.tolist() == [[True, False]]


def test_a_row_without_in_batch_negatives_sees_its_own_cells_alone() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0)], in_batch_negatives=False),
        TargetRow("q2", own=[OwnCandidate("b", 1.0)]),
    ]
    assert fill_targets(rows, ["a", "b"]).valid_QC.tolist() == [[True, False], [True, True]]


def test_positives_of_the_same_label_are_relevant_to_each_other() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0), OwnCandidate("n", 0.0)], label="sport"),
        TargetRow("q2", own=[OwnCandidate("b", 1.0), OwnCandidate("m", 0.0)], label="sport"),
        TargetRow("q3", own=[OwnCandidate("c", 1.0)], label="經濟"),
        TargetRow("q4", own=[OwnCandidate("d", 1.0)]),
    ]
    targets = fill_targets(rows, ["a", "b", "c", "d", "n", "m"])
    assert targets.relevance_QC.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
    ]


def test_an_own_negative_stays_one_though_another_row_of_the_label_has_it_as_a_positive() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0), OwnCandidate("b", 0.0)], label="x"),
        TargetRow("q2", own=[OwnCandidate("b", 1.0)], label="x"),
    ]
    assert fill_targets(rows, ["a", "b"]).relevance_QC.tolist() == [[1, 0], [1, 1]]


def test_weights() -> None:
    rows = [TargetRow("q1", own=[OwnCandidate("a", 1.0)], weight=0.5), TargetRow("q2", own=[OwnCandidate("a", 1.0)])]
    weight_Q = fill_targets(rows, ["a"]).weight_Q
    assert weight_Q is not None and weight_Q.tolist() == [0.5, 1.0]


def test_positions_mean_nothing() -> None:
    chance = random.Random(5)
    ids = [f"p{n}" for n in range(12)]
    rows = [
        TargetRow(
            f"q{n}",
            own=[OwnCandidate(p, chance.choice([None, 0.0, 1.0]), chance.random()) for p in chance.sample(ids, 4)],
            relevant={p: chance.randint(0, 2) for p in chance.sample(ids, 3)},
            label=chance.choice([None, "x", "y"]),
        )
        for n in range(6)
    ]
    row_order, column_order = chance.sample(range(6), 6), chance.sample(range(12), 12)
    plain = fill_targets(rows, ids)
    shuffled = fill_targets([rows[n] for n in row_order], [ids[n] for n in column_order])
    expected = plain.rows(torch.tensor(row_order)).columns(torch.tensor(column_order))
    for name in ("relevance_QC", "valid_QC", "teacher_QC", "own_QC"):
        torch.testing.assert_close(getattr(shuffled, name), getattr(expected, name), equal_nan=True)


def test_nothing_at_all() -> None:
    assert fill_targets([], []).relevance_QC.shape == (0, 0)
    assert fill_targets([TargetRow("q", own=[])], ["a"]).relevance_QC.tolist() == [[0.0]]


def test_a_passage_stands_in_one_column_only() -> None:
    with pytest.raises(AssertionError, match="one column"):
        fill_targets([], ["a", "a"])


def suspects(score: list[float], relevance: list[float], **options: object) -> list[bool]:
    targets = Targets(torch.tensor([relevance]), torch.ones(1, len(score), dtype=torch.bool))
    return (~mask_false_negatives(torch.tensor([score]), targets, **options).valid_QC[0]).tolist()  # type: ignore[arg-type]


def test_false_negatives_by_an_absolute_margin() -> None:
    assert suspects([0.8, 0.76, 0.74, 0.9], [1, 0, 0, 0], margin=0.05) == [False, True, False, True]


def test_false_negatives_by_a_relative_margin() -> None:
    assert suspects([0.8, 0.77, 0.75], [1, 0, 0], margin=0.05, mode="relative") == [False, True, False]
    assert suspects([-0.8, -0.83, -0.85], [1, 0, 0], margin=0.05, mode="relative") == [False, True, False]


def test_the_best_positive_decides_and_no_positive_is_masked() -> None:
    assert suspects([0.8, 0.2, 0.5], [1, 1, 0], margin=0.1) == [False, False, False]


def test_a_masked_positive_does_not_decide() -> None:
    targets = Targets(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[True, False, True]]))
    masked = mask_false_negatives(torch.tensor([[0.2, 0.9, 0.5]]), targets, margin=0.0)
    assert masked.valid_QC.tolist() == [[True, False, False]]


def test_a_row_without_a_positive_keeps_its_cells() -> None:
    assert suspects([0.5, math.inf], [0, 0], margin=0.1) == [False, False]


def test_own_negatives_can_be_spared() -> None:
    targets = Targets(
        torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool), own_QC=torch.tensor([[True, True, False]])
    )
    masked = mask_false_negatives(torch.tensor([[0.5, 0.9, 0.9]]), targets, margin=0.0, keep_own=True)
    assert masked.valid_QC.tolist() == [[True, True, False]]
