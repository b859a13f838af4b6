"""What every loss of the table promises, whatever it computes. Closed forms stand in the files of the losses."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ragtune.scoring.losses import LOSSES, loss_options
from ragtune.scoring.targets import Targets

Loss = Callable[[Tensor, Targets], Tensor]


def variants() -> list[tuple[str, dict[str, str]]]:
    """Every loss with every combination of its words."""
    found = []
    for name in LOSSES:
        words = {option.name: option.choices for option in loss_options(name).values() if option.choices}
        found += [(name, dict(zip(words, chosen, strict=True))) for chosen in itertools.product(*words.values())]
    return found


VARIANTS = variants()


def over(chosen: list[tuple[str, dict[str, str]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "options"), chosen, ids=["-".join([name, *options.values()]) for name, options in chosen]
    )


every_loss = over(VARIANTS)
own_losses = over([(name, options) for name, options in VARIANTS if options["scope"] == "own"])
# the weights of the circle loss carry no gradient, and CoSENT's act inside the sum: see test_pairwise.py
plain_gradient_losses = over([(name, options) for name, options in VARIANTS if name != "circle"])
plainly_weighted_losses = over([(name, options) for name, options in VARIANTS if name != "cosent"])
GENTLE = {"temperature": 0.5}
"""A temperature at which finite differences see every cell."""


def loss_of(name: str, options: dict[str, str]) -> Loss:
    gentle = {key: value for key, value in GENTLE.items() if key in loss_options(name)}
    return partial(LOSSES[name].function, **options, **gentle)


@pytest.fixture
def matrix() -> tuple[Tensor, Targets]:
    """4 queries x 6 candidates in float64: graded, partly masked, partly taught; the last query has nothing usable."""
    generator = torch.Generator().manual_seed(11)
    score_QC = torch.rand(4, 6, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    # in order when seen alone, with a negative that is hard for the batch
    score_QC[2] = torch.tensor([-0.3, -0.5, 0.85, -0.2, 0.6, 0.1])
    relevance_QC = torch.tensor([[1, 0, 0, 0, 1, 0], [2, 1, 0, 0, 0, 0.5], [0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]])
    valid_QC = torch.ones(4, 6, dtype=torch.bool)
    valid_QC[0, 2] = valid_QC[1, 3] = False
    valid_QC[3] = False
    teacher_QC = torch.rand(4, 6, generator=generator) * 2 - 1
    teacher_QC[0, 5] = teacher_QC[1, 4] = teacher_QC[2, 0] = math.nan
    own_QC = torch.ones(4, 6, dtype=torch.bool)
    own_QC[0, 3] = own_QC[1, 5] = own_QC[2, 1] = False
    return score_QC, Targets(relevance_QC, valid_QC, teacher_QC, own_QC, torch.tensor([1.0, 0.5, 2.0, 1.0]))


def value_and_gradient(loss: Loss, score_QC: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    score_QC = score_QC.detach().clone().requires_grad_()
    loss_Q = loss(score_QC, targets)
    (gradient_QC,) = torch.autograd.grad(loss_Q.sum(), score_QC)
    return loss_Q.detach(), gradient_QC


def assert_same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@every_loss
def test_the_matrix_of_these_tests_says_something(name: str, options: dict[str, str], matrix) -> None:
    loss_Q, gradient_QC = value_and_gradient(loss_of(name, options), *matrix)
    assert (loss_Q[:3].sum() > 0) and gradient_QC.isfinite().all() and gradient_QC.abs().sum() > 0
    assert loss_Q.shape == (4,) and loss_Q.dtype == torch.float64


@plain_gradient_losses
def test_gradients_are_exact(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    assert torch.autograd.gradcheck(lambda s: loss_of(name, options)(s, targets), score_QC.requires_grad_())


@every_loss
def test_the_order_of_candidates_and_queries_means_nothing(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    loss = loss_of(name, options)
    columns, rows = torch.tensor([3, 0, 5, 2, 4, 1]), torch.tensor([2, 0, 3, 1])
    loss_Q, gradient_QC = value_and_gradient(loss, score_QC, targets)
    shuffled = value_and_gradient(loss, score_QC[rows][:, columns], targets.rows(rows).columns(columns))
    assert_same(shuffled, (loss_Q[rows], gradient_QC[rows][:, columns]))


@every_loss
@pytest.mark.parametrize("held", [math.nan, math.inf, -math.inf, 1e30])
def test_masked_cells_have_no_gradient_and_spread_nothing(
    name: str, options: dict[str, str], held: float, matrix
) -> None:
    score_QC, targets = matrix
    plain = value_and_gradient(loss_of(name, options), score_QC, targets)
    poisoned = value_and_gradient(
        loss_of(name, options),
        score_QC.masked_fill(~targets.valid_QC, held),
        dataclasses.replace(targets, relevance_QC=targets.relevance_QC.masked_fill(~targets.valid_QC, 1.0)),
    )
    assert_same(poisoned, plain)
    assert (poisoned[1][~targets.valid_QC] == 0).all()


@every_loss
def test_padding_candidates_change_nothing(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    loss_Q, gradient_QC = value_and_gradient(loss_of(name, options), score_QC, targets)
    assert targets.teacher_QC is not None and targets.own_QC is not None
    padded = Targets(
        torch.cat([targets.relevance_QC, torch.ones(4, 3)], dim=1),
        torch.cat([targets.valid_QC, torch.zeros(4, 3, dtype=torch.bool)], dim=1),
        torch.cat([targets.teacher_QC, torch.full((4, 3), math.inf)], dim=1),
        torch.cat([targets.own_QC, torch.ones(4, 3, dtype=torch.bool)], dim=1),
        targets.weight_Q,
    )
    wide = value_and_gradient(
        loss_of(name, options), torch.cat([score_QC, score_QC.new_full((4, 3), math.nan)], 1), padded
    )
    assert_same(wide, (loss_Q, torch.cat([gradient_QC, torch.zeros(4, 3)], dim=1)))


@every_loss
def test_a_query_without_a_usable_cell_gives_exactly_zero(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    loss_Q, gradient_QC = value_and_gradient(loss_of(name, options), score_QC, targets)
    assert loss_Q[3] == 0 and (gradient_QC[3] == 0).all()


@every_loss
@pytest.mark.parametrize("held", [0.3, math.nan])
def test_an_all_masked_matrix_gives_zero(name: str, options: dict[str, str], held: float) -> None:
    targets = Targets(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool), torch.ones(2, 3))
    loss_Q, gradient_QC = value_and_gradient(loss_of(name, options), torch.full((2, 3), held), targets)
    assert (loss_Q == 0).all() and (gradient_QC == 0).all()


@every_loss
def test_no_queries_give_no_values(name: str, options: dict[str, str]) -> None:
    targets = Targets(torch.ones(0, 3), torch.ones(0, 3, dtype=torch.bool), torch.ones(0, 3))
    assert loss_of(name, options)(torch.ones(0, 3), targets).shape == (0,)


@every_loss
def test_a_cell_that_scores_minus_infinity_counts_as_masked(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    unscored_QC = torch.zeros_like(targets.valid_QC)
    unscored_QC[0, 1] = unscored_QC[1, 1] = True
    masked = dataclasses.replace(targets, valid_QC=targets.valid_QC & ~unscored_QC)
    loss = loss_of(name, options)
    assert_same(
        value_and_gradient(loss, score_QC.masked_fill(unscored_QC, -math.inf), targets),
        value_and_gradient(loss, score_QC, masked),
    )


@every_loss
def test_queries_are_coupled_exactly_where_the_table_says_so(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    together, _ = value_and_gradient(loss_of(name, options), score_QC, targets)
    alone = [
        value_and_gradient(loss_of(name, options), score_QC[[q]], targets.rows(torch.tensor([q])))[0] for q in range(4)
    ]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9) is not LOSSES[name].couples_queries


@plainly_weighted_losses
def test_weights_multiply(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    loss = loss_of(name, options)
    heavy = dataclasses.replace(targets, weight_Q=torch.full((4,), 3.0))
    plain = dataclasses.replace(targets, weight_Q=None)
    torch.testing.assert_close(loss(score_QC, heavy), 3 * loss(score_QC, plain))


@every_loss
def test_the_teacher_is_read_exactly_where_the_table_says_so(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    untaught = dataclasses.replace(targets, teacher_QC=None)
    if LOSSES[name].needs_teacher:
        with pytest.raises(AssertionError, match="teacher"):
            loss_of(name, options)(score_QC, untaught)
    else:
        assert_same(
            value_and_gradient(loss_of(name, options), score_QC, untaught),
            value_and_gradient(loss_of(name, options), score_QC, targets),
        )


@own_losses
def test_own_scope_is_a_mask(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    assert targets.own_QC is not None
    masked = dataclasses.replace(targets, valid_QC=targets.valid_QC & targets.own_QC)
    assert_same(
        value_and_gradient(loss_of(name, options), score_QC, targets),
        value_and_gradient(loss_of(name, options | {"scope": "batch"}), score_QC, masked),
    )


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_scores_are_summed_in_fp32(name: str, options: dict[str, str], dtype: torch.dtype) -> None:
    targets = Targets(torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool), torch.rand(1, 3))
    score_QC = torch.tensor([[0.5, 0.25, -0.75]], dtype=dtype)
    loss_Q = LOSSES[name].function(score_QC, targets, **options)
    assert loss_Q.dtype == torch.float32
    torch.testing.assert_close(loss_Q, LOSSES[name].function(score_QC.float(), targets, **options))


@every_loss
@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extreme_scores_stay_finite(name: str, options: dict[str, str], size: float, sign: float) -> None:
    targets = Targets(torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool), torch.rand(1, 3))
    score_QC = torch.tensor([[size, -size, 0.0]]) * sign
    loss_Q, gradient_QC = value_and_gradient(partial(LOSSES[name].function, **options), score_QC, targets)
    assert loss_Q.isfinite().all() and gradient_QC.isfinite().all()


@every_loss
def test_equal_scores_and_equal_relevance_stay_finite(name: str, options: dict[str, str]) -> None:
    for relevance in (0.0, 1.0):
        targets = Targets(torch.full((2, 3), relevance), torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3))
        loss_Q, gradient_QC = value_and_gradient(loss_of(name, options), torch.zeros(2, 3), targets)
        assert loss_Q.isfinite().all() and gradient_QC.isfinite().all()


@every_loss
def test_a_step_down_the_gradient_lowers_the_loss(name: str, options: dict[str, str], matrix) -> None:
    score_QC, targets = matrix
    loss = loss_of(name, options)
    loss_Q, gradient_QC = value_and_gradient(loss, score_QC, targets)
    assert loss(score_QC - 1e-4 * gradient_QC, targets).sum() < loss_Q.sum()
