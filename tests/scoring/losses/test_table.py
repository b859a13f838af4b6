"""The table of losses and the check of a recipe's options."""

from __future__ import annotations

import inspect
import math

import pytest

from ragtune.scoring.losses import LOSSES, loss_options, validate_loss_options


def test_the_names_that_recipes_use() -> None:
    assert set(LOSSES) == {
        "softmax",
        "triplet",
        "circle",
        "contrastive",
        "online_contrastive",
        "cosine_similarity",
        "cosent",
        "binary_cross_entropy",
        "ranknet",
        "listnet",
        "lambda",
        "kl_divergence",
        "m3_distillation",
        "margin_mse",
    }


@pytest.mark.parametrize("name", LOSSES)
def test_every_option_is_keyword_only_has_a_default_that_it_accepts_and_is_explained(name: str) -> None:
    function = LOSSES[name].function
    parameters = list(inspect.signature(function).parameters.values())
    assert [p.name for p in parameters[:2]] == ["score_QC", "targets"]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[2:])
    assert not validate_loss_options(name, {option.name: option.default for option in loss_options(name).values()})
    text = inspect.getdoc(function) or ""
    assert ">>>" in text and "loss" in text
    assert LOSSES[name].summary


def test_options_are_read_from_the_signature() -> None:
    options = loss_options("lambda")
    assert list(options) == ["temperature", "weighting", "k", "mu", "scope"]
    assert options["k"].types == (int, type(None)) and options["k"].default is None
    assert options["temperature"].types == (float,) and options["temperature"].default == 1.0
    assert options["weighting"].choices == ("ndcg_loss2pp", "ndcg_loss2", "lambdarank", "none")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("softmax", {"temperature": 1}),
        ("softmax", {"temperature": 0.05, "scope": "own", "positives": "sum"}),
        ("triplet", {"margin": 0}),
        ("lambda", {"k": 10}),
        ("lambda", {"k": None}),
        ("kl_divergence", {"hinton_scale": True}),
        ("cosine_similarity", {}),
    ],
)
def test_right_options_pass(name: str, options: dict[str, object]) -> None:
    assert not validate_loss_options(name, options)


@pytest.mark.parametrize(
    ("name", "options", "do"),
    [
        ("softmax", {"temperature": 0}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": -1.0}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": math.nan}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": math.inf}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": "0.02"}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": True}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": None}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"temperature": [0.1]}, "give a number above 0 (default: 0.02)"),
        ("softmax", {"scope": "bath"}, "did you mean 'batch'? known: batch, own"),
        ("softmax", {"scope": 3}, "give one of batch, own (default: batch)"),
        ("softmax", {"scope": ["own"]}, "give one of batch, own (default: batch)"),
        ("triplet", {"margin": -0.1}, "give a number of 0 or more (default: 0.2)"),
        ("lambda", {"k": 0}, "give a whole number of 1 or more or null (default: null)"),
        ("lambda", {"k": 2.5}, "give a whole number of 1 or more or null (default: null)"),
        ("kl_divergence", {"hinton_scale": 1}, "give true or false (default: false)"),
    ],
)
def test_a_wrong_value_says_what_may_stand_there(name: str, options: dict[str, object], do: str) -> None:
    (problem,) = validate_loss_options(name, options, where="recipe.yaml:3")
    assert problem.where == "recipe.yaml:3"
    assert problem.found == repr(next(iter(options.values())))
    assert problem.do == do


def test_all_problems_come_at_once() -> None:
    problems = validate_loss_options("circle", {"gamma": 80, "margin": "a", "temperature": 0.1})
    assert [problem.found for problem in problems] == ["gamma", "'a'"]


def test_an_unknown_loss_names_the_nearest() -> None:
    (problem,) = validate_loss_options("info_nce", {"x": 1})
    assert problem.found == "info_nce" and "softmax" in problem.do
    assert validate_loss_options("softmx", {})[0].do.startswith("did you mean 'softmax'?")
