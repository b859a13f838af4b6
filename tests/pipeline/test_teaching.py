"""A loss that would learn nothing from the data is refused; what fits badly is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.formats.importing import import_dataset
from ragtune.data.records import Dataset
from ragtune.errors import DataError
from ragtune.pipeline.teaching import check_training_data
from ragtune.scoring.losses import LOSSES


def imported(*rows: Any) -> Dataset:
    return import_dataset([row for row in rows]).dataset


PAIRS = imported(*({"query": f"q{n}", "passage": f"p{n}"} for n in range(12)))
NEGATIVES = imported(*({"query": f"q{n}", "positive": f"p{n}", "negative": f"n{n}"} for n in range(12)))
GRADED = imported(*({"sentence1": f"a{n}", "sentence2": f"b{n}", "score": n % 5} for n in range(12)))
TAUGHT = imported(
    *(
        {"query": f"q{n}", "pos": [f"p{n}"], "neg": [f"n{n}"], "pos_scores": [0.9], "neg_scores": [0.1]}
        for n in range(12)
    )
)
CLASSES = imported(*({"text": f"t{n}", "label": f"c{n % 3}"} for n in range(12)))

IN_BATCH = {"softmax", "circle"}
TEACHER = {name for name, spec in LOSSES.items() if spec.needs_teacher}
# with nothing but positives of one grade these have a gradient, all of it pulling together
PULLING = {"contrastive", "online_contrastive", "cosine_similarity", "binary_cross_entropy"}


@pytest.fixture
def notes(quick_recipe: Any, tmp_path: Path) -> Callable[..., list[str]]:
    """What is said about a dataset under settings."""

    def check(dataset: Dataset, loss: Any = "softmax", *, group_size: int = 1, **train: Any) -> list[str]:
        dataset.qrels.setdefault("dev", dict(list(dataset.split("train").items())[:1]))
        teacher = LOSSES[loss["name"] if isinstance(loss, dict) else loss].needs_teacher
        recipe = quick_recipe(
            tmp_path / "r",
            data={"sources": ["x"], "group_size": group_size},
            train={"losses": loss, "distillation": teacher, **train},
        )
        return check_training_data(recipe, [dataset])

    return check


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_from_negatives_with_scores(notes: Callable[..., list[str]], loss: str) -> None:
    assert notes(TAUGHT, loss, group_size=2) == []


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - TEACHER))
def test_pairs_teach_only_losses_that_read_the_batch(notes: Callable[..., list[str]], loss: str) -> None:
    if loss in IN_BATCH:
        assert notes(PAIRS, loss) == []
    elif loss in PULLING:
        assert "nothing but positives" in " ".join(notes(PAIRS, loss))
    else:
        with pytest.raises(DataError, match=f"the loss {loss} can learn nothing") as error:
            notes(PAIRS, loss)
        assert "0 of 12 queries have negatives" in error.value.problems[0].found


def test_in_batch_scope_makes_pairs_enough(notes: Callable[..., list[str]]) -> None:
    assert notes(PAIRS, {"name": "triplet", "scope": "batch"}) == []
    with pytest.raises(DataError, match="softmax"):
        notes(PAIRS, {"name": "softmax", "scope": "own"})


@pytest.mark.parametrize("loss", ["cosent", "cosine_similarity"])
def test_scores_teach_the_losses_of_scores(notes: Callable[..., list[str]], loss: str) -> None:
    assert notes(GRADED, loss) == []


def test_classes_teach(notes: Callable[..., list[str]]) -> None:
    assert notes(CLASSES) == []


@pytest.mark.parametrize("loss", sorted(TEACHER))
def test_losses_of_a_teacher_need_one(notes: Callable[..., list[str]], loss: str) -> None:
    with pytest.raises(DataError, match="needs teacher scores"):
        notes(NEGATIVES, loss, group_size=2)


def test_every_loss_that_learns_nothing_is_named(quick_recipe: Any, tmp_path: Path) -> None:
    recipe = quick_recipe(tmp_path / "r", train={"losses": ["softmax", "triplet", "cosent"]})
    with pytest.raises(DataError) as error:
        check_training_data(recipe, [PAIRS])
    assert [problem.where for problem in error.value.problems] == ["train.losses.1", "train.losses.2"]


def test_a_batch_of_one_teaches_nothing(notes: Callable[..., list[str]]) -> None:
    with pytest.raises(DataError, match=r"train\.batch_size"):
        notes(PAIRS, batch_size=1)


def test_queries_that_teach_nothing_are_counted(notes: Callable[..., list[str]]) -> None:
    mixed = imported(
        *({"query": f"q{n}", "pos": [f"p{n}"], **({"neg": [f"n{n}"]} if n < 3 else {})} for n in range(12))
    )
    assert "the loss triplet learns nothing from 75% of the queries" in notes(mixed, "triplet", group_size=2)


def test_a_group_that_cannot_be_filled_is_said(notes: Callable[..., list[str]]) -> None:
    assert notes(PAIRS, group_size=8) == [
        "data.group_size=8, but no query has negatives of its own: in-batch ones only"
    ]
    assert notes(NEGATIVES, group_size=8) == []


def test_negatives_that_are_left_out_are_said(notes: Callable[..., list[str]]) -> None:
    (note,) = notes(NEGATIVES)
    assert note.startswith("12 of 12 queries have negatives of their own")
    assert "set it to 2 or more" in note


def test_a_missing_dev_split_is_said(quick_recipe: Any, tmp_path: Path) -> None:
    bare = imported({"query": "q", "passage": "p"}, {"query": "r", "passage": "s"})
    assert "the last weights are kept" in " ".join(check_training_data(quick_recipe(tmp_path / "r"), [bare]))
    for setting in ({"patience": 1}, {"evaluate_every_steps": 5}):
        with pytest.raises(DataError, match="need a dev split"):
            check_training_data(quick_recipe(tmp_path / "r", train=setting), [bare])


def test_measuring_the_training_split_is_said(
    notes: Callable[..., list[str]], quick_recipe: Any, tmp_path: Path
) -> None:
    recipe = quick_recipe(tmp_path / "r", evaluate={"split": "train"})
    assert "evaluate.split=train measures what training saw" in check_training_data(recipe, [PAIRS])


def test_more_positives_than_there_are_is_said(quick_recipe: Any, tmp_path: Path) -> None:
    data = {"sources": ["x"], "positives_per_query": 3, "group_size": 3}
    said = check_training_data(quick_recipe(tmp_path / "r", data=data), [PAIRS])
    assert any("no query has more than 1" in line for line in said)
