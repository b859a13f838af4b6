"""The recipe's losses on representations: weights, prefixes, masks, directions; and what is refused beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ragtune.errors import RecipeError
from ragtune.models.base import Representation
from ragtune.models.dense import DenseModel
from ragtune.recipe import TrainRecipe
from ragtune.scoring.losses import LOSSES
from ragtune.scoring.targets import Targets
from ragtune.training.encoding import Scored
from ragtune.training.objective import Objective, ObjectiveValue, check_objective


@pytest.fixture
def vectors() -> tuple[Tensor, Tensor, Targets]:
    """Four queries, six passages of 32 dimensions; passage i answers query i."""
    draw = torch.Generator().manual_seed(3)
    query_QD, passage_CD = (F.normalize(torch.randn(n, 32, generator=draw), dim=-1) for n in (4, 6))
    return query_QD, passage_CD, Targets(torch.eye(4, 6), torch.ones(4, 6, dtype=torch.bool))


@pytest.fixture
def value_of(load: Callable[..., DenseModel], vectors: tuple[Tensor, Tensor, Targets]) -> Callable[..., ObjectiveValue]:
    def computed(**train: Any) -> ObjectiveValue:
        query, passage = (Representation.one_each(side) for side in vectors[:2])
        model = load()
        scored = Scored(model.score(query, passage), sides=(query, passage))
        return Objective(model, recipe=TrainRecipe.model_validate(train))(scored, vectors[2])

    return computed


def softmax(query_QD: Tensor, passage_CD: Tensor, temperature: float) -> Tensor:
    return F.cross_entropy(query_QD @ passage_CD.T / temperature, torch.arange(len(query_QD)), reduction="none")


def test_prefixes_are_weighted_means_of_renormalised_vectors(
    value_of: Callable[..., ObjectiveValue], vectors: tuple[Tensor, Tensor, Targets]
) -> None:
    value = value_of(losses={"name": "softmax", "temperature": 0.1}, matryoshka={"dims": [8, 16], "weights": [1, 2, 5]})
    query_QD, passage_CD, _ = vectors
    parts = {
        dims: softmax(F.normalize(query_QD[:, :dims], dim=-1), F.normalize(passage_CD[:, :dims], dim=-1), 0.1)
        for dims in (8, 16, 32)
    }
    torch.testing.assert_close(value.loss_Q, (parts[8] + 2 * parts[16] + 5 * parts[32]) / 8)
    assert value.parts.keys() == {"softmax@8", "softmax@16", "softmax@32"}
    for dims, part_Q in parts.items():
        torch.testing.assert_close(value.parts[f"softmax@{dims}"], part_Q)


def test_weights_of_losses_multiply(value_of: Callable[..., ObjectiveValue]) -> None:
    parts = {name: value_of(losses=name).loss_Q for name in ("softmax", "triplet")}
    both = value_of(losses=[{"name": "softmax", "weight": 2.0}, {"name": "triplet", "weight": 0.5}])
    torch.testing.assert_close(both.loss_Q, 2 * parts["softmax"] + 0.5 * parts["triplet"])


def test_suspected_false_negatives_are_masked(
    value_of: Callable[..., ObjectiveValue], vectors: tuple[Tensor, Tensor, Targets]
) -> None:
    query_QD, passage_CD, _ = vectors
    score_QC = query_QD @ passage_CD.T
    best_Q = score_QC.diagonal()
    absolute = value_of(false_negatives={"margin": 0.1}).targets.valid_QC
    relative = value_of(false_negatives={"margin": 0.1, "relative": True}).targets.valid_QC
    diagonal = torch.eye(4, 6, dtype=torch.bool)
    assert torch.equal(absolute, diagonal | (score_QC <= best_Q[:, None] - 0.1))
    assert torch.equal(relative, diagonal | (score_QC <= (best_Q - 0.1 * best_Q.abs())[:, None]))
    assert value_of().targets.valid_QC.all()


@pytest.mark.parametrize("partition", ["joint", "separate"])
def test_directions_are_read(partition: str, value_of: Callable[..., ObjectiveValue]) -> None:
    plain = value_of().loss_Q
    both = value_of(directions=["query_passage", "passage_query"], partition=partition).loss_Q
    assert both.shape == plain.shape
    assert not torch.allclose(both, plain)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown loss": ({"losses": "softmx"}, "did you mean 'softmax'"),
    "an unknown option": ({"losses": {"name": "softmax", "temprature": 1}}, "temperature"),
    "an option of the wrong kind": ({"losses": {"name": "softmax", "temperature": "warm"}}, "temperature"),
    "a teacher that nothing reads": ({"distillation": True}, "no loss reads teacher scores"),
    "a teacher that may be missing": ({"losses": "kl_divergence"}, "train.distillation=true"),
    "directions that nothing reads": (
        {"losses": "triplet", "directions": ["query_passage", "query_query"]},
        "train.directions",
    ),
    "a direction alone that has no positive": ({"directions": ["query_query"]}, "direction"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_is_refused(case: str) -> None:
    settings, said = WRONG[case]
    with pytest.raises(RecipeError, match=said):
        check_objective(TrainRecipe.model_validate(settings))


def test_all_that_is_wrong_is_told_at_once() -> None:
    losses = [{"name": "softmx"}, {"name": "triplet", "marge": 1}, {"name": "kl_divergence"}]
    with pytest.raises(RecipeError) as caught:
        check_objective(TrainRecipe.model_validate({"losses": losses}))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_passes_with_its_defaults(name: str) -> None:
    check_objective(TrainRecipe.model_validate({"losses": name, "distillation": LOSSES[name].needs_teacher}))
