"""Directions: what stands in the matrix, what may not, and what the parts add up to."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from ragtune.scoring.directions import DIRECTIONS, direction_problems, directional_loss, positive_pairs, score_blocks
from ragtune.scoring.losses.softmax import softmax
from ragtune.scoring.similarity import dot
from ragtune.scoring.targets import OwnCandidate, TargetRow, Targets, fill_targets

LOSS = partial(softmax, temperature=0.5)
SYMMETRIC = ("query_passage", "passage_query")


def batch() -> tuple[torch.Tensor, torch.Tensor, Targets]:
    """3 queries with an own positive and an own negative each; the third's positive answers the second too."""
    generator = torch.Generator().manual_seed(2)
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0), OwnCandidate("x", 0.0)]),
        TargetRow("q2", own=[OwnCandidate("b", 1.0), OwnCandidate("y", 0.0)], relevant={"c": 1}, weight=2.0),
        TargetRow("q3", own=[OwnCandidate("c", 1.0), OwnCandidate("z", 0.0, valid=False)]),
    ]
    targets = fill_targets(rows, ["a", "b", "c", "x", "y", "z"])
    return torch.randn(3, 4, generator=generator).double(), torch.randn(6, 4, generator=generator).double(), targets


def naive_joint(query, passage, targets, i, p, directions):
    """The denominator written out for one pair, with the rules on false negatives in words."""
    known, valid, own = targets.relevance_QC > 0, targets.valid_QC, targets.own_QC
    scores = []
    strangers = [j for j in range(3) if not (known[i] & known[j]).any() and bool(valid[i][known[j]].all())]
    if "query_passage" in directions:
        scores += [query[i] @ passage[c] for c in range(6) if c == p or (valid[i, c] and not known[i, c])]
    if "query_query" in directions:
        scores += [query[i] @ query[j] for j in strangers]
    if "passage_query" in directions:
        scores += [query[j] @ passage[p] for j in range(3) if j == i or (j in strangers and valid[j, p])]
    if "passage_passage" in directions:
        siblings = [c for c in range(6) if (known[:, p] & known[:, c]).any()]
        scores += [
            passage[p] @ passage[c] for c in range(6) if valid[i, c] and not own[i, c] and c not in siblings and c != p
        ]
    return torch.stack(scores).div(0.5).logsumexp(0) - query[i] @ passage[p] / 0.5


@pytest.mark.parametrize(
    "directions",
    [DIRECTIONS, SYMMETRIC, ("query_passage", "query_query"), ("passage_passage", "query_passage"), ("query_passage",)],
)
def test_joint_against_the_sum_written_out(directions) -> None:
    query, passage, targets = batch()
    blocks = score_blocks(query, passage, targets, directions=directions, similarity=dot)
    loss_Q = directional_loss(LOSS, blocks, targets, directions=directions)
    pairs = [[0], [1, 2], [2]]
    for i, weight in enumerate([1.0, 2.0, 1.0]):
        expected = sum(naive_joint(query, passage, targets, i, p, directions) for p in pairs[i]) / len(pairs[i])
        torch.testing.assert_close(loss_Q[i], weight * expected)


def test_one_direction_alone_is_the_plain_loss() -> None:
    query, passage, targets = batch()
    blocks = score_blocks(query, passage, targets, directions=["query_passage"], similarity=dot)
    for partition in ("joint", "separate"):
        loss_Q = directional_loss(LOSS, blocks, targets, directions=["query_passage"], partition=partition)
        torch.testing.assert_close(loss_Q, LOSS(blocks.score_QC, targets))


def test_separate_is_the_mean_of_the_two_ways() -> None:
    query, passage = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    eye = torch.eye(4)
    targets = Targets(eye, torch.ones(4, 4, dtype=torch.bool), own_QC=eye.bool())
    blocks = score_blocks(query, passage, targets, directions=SYMMETRIC, similarity=dot)
    loss_Q = directional_loss(LOSS, blocks, targets, directions=SYMMETRIC, partition="separate")
    there, back = LOSS(query @ passage.T, targets), LOSS(passage @ query.T, targets)
    torch.testing.assert_close(loss_Q, (there + back) / 2)


def test_the_added_negatives_carry_gradient() -> None:
    query, passage, targets = batch()
    query.requires_grad_(), passage.requires_grad_()

    def total(query, passage):
        blocks = score_blocks(query, passage, targets, directions=DIRECTIONS, similarity=dot)
        return directional_loss(LOSS, blocks, targets, directions=DIRECTIONS)

    assert torch.autograd.gradcheck(total, (query, passage))


def test_a_row_that_sees_its_own_cells_alone_gets_no_strangers() -> None:
    rows = [
        TargetRow("q1", own=[OwnCandidate("a", 1.0), OwnCandidate("x", 0.0)], in_batch_negatives=False),
        TargetRow("q2", own=[OwnCandidate("b", 1.0)]),
    ]
    targets = fill_targets(rows, ["a", "b", "x"])
    query, passage = torch.randn(2, 3), torch.randn(3, 3)
    blocks = score_blocks(query, passage, targets, directions=DIRECTIONS, similarity=dot)
    score = (passage[[0, 2]] @ query[0]) / 0.5
    # its own two candidates, and the positive once more from the passage's side
    expected = torch.stack([score[0], score[1], score[0]]).logsumexp(0) - score[0]
    torch.testing.assert_close(directional_loss(LOSS, blocks, targets, directions=DIRECTIONS)[0], expected)


def test_queries_without_a_positive_give_zero() -> None:
    targets = Targets(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.ones(2, 2, dtype=torch.bool))
    vectors = torch.randn(2, 3, requires_grad=True)
    for rows in ([0], [0, 1]):
        part = targets.rows(torch.tensor(rows))
        blocks = score_blocks(vectors[rows], vectors, part, directions=SYMMETRIC, similarity=dot)
        loss_Q = directional_loss(LOSS, blocks, part, directions=SYMMETRIC)
        assert loss_Q[0] == 0 and loss_Q.shape == (len(rows),)
        loss_Q.sum().backward()
        assert vectors.grad is not None and vectors.grad.isfinite().all()


def test_masked_cells_spread_nothing() -> None:
    query, passage, targets = batch()
    poisoned = passage.clone()
    poisoned[5] = math.nan
    targets = Targets(
        targets.relevance_QC,
        targets.valid_QC & (torch.arange(6) != 5),
        own_QC=targets.own_QC,
        weight_Q=targets.weight_Q,
    )
    values = []
    for vectors in (passage, poisoned):
        blocks = score_blocks(query, vectors, targets, directions=DIRECTIONS, similarity=dot)
        values.append(directional_loss(LOSS, blocks, targets, directions=DIRECTIONS))
    torch.testing.assert_close(*values)


def test_positive_pairs() -> None:
    targets = Targets(torch.tensor([[1.0, 0, 2], [0, 1, 0]]), torch.tensor([[True, True, False], [True, True, True]]))
    query_R, passage_R = positive_pairs(targets)
    assert list(zip(query_R.tolist(), passage_R.tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_right_directions_pass() -> None:
    assert not direction_problems(DIRECTIONS, "joint")
    assert not direction_problems(SYMMETRIC, "separate")


def test_all_problems_of_directions_come_at_once() -> None:
    problems = direction_problems(["passage_query", "query_doc", "query_query"], "per_direction")
    found = [problem.found for problem in problems]
    assert found == ["query_doc", "per_direction", "passage_query, query_doc, query_query"]
    assert "joint, separate" in problems[1].do
    assert direction_problems([], "joint")[0].found == "no direction"
