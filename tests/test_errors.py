"""The error tree: exit codes, all problems at once, four parts each."""

from __future__ import annotations

import pytest

from ragtune import errors
from ragtune.errors import (
    DataError,
    InputError,
    MissingExtraError,
    Problem,
    RagtuneError,
    RecipeError,
    RunFolderError,
    WorkError,
    did_you_mean,
)

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RagtuneError)]
FIRST = Problem(what="标签不对", where="a.jsonl:3", found="2", do="write 1 or 0")
SECOND = Problem(what="no text", where="a.jsonl:4", found='""', do="write one")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_the_calls_or_the_works(kind: type[RagtuneError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, InputError) else 1)
    assert kind.__doc__
    assert kind is RagtuneError or issubclass(kind, InputError) != issubclass(kind, WorkError)


def test_an_input_error_tells_everything() -> None:
    error = DataError(iter([FIRST, SECOND]))
    assert error.problems == (FIRST, SECOND)
    assert str(error) == f"{FIRST}\n{SECOND}"
    assert isinstance(error, ValueError)
    assert [line.split(":")[0].strip() for line in str(FIRST).splitlines()] == ["标签不对", "where", "found", "do"]


def test_one_problem_needs_no_list() -> None:
    assert RecipeError(FIRST).problems == (FIRST,)


def test_an_error_without_a_problem_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError):
        RunFolderError([])


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = MissingExtraError(package="wandb", extra="wandb", needed_for="train.trackers=wandb")
    assert "pip install 'ragtune[wandb]'" in str(error)
    assert "train.trackers=wandb" in error.problems[0].what


def test_the_nearest_name_comes_first() -> None:
    assert did_you_mean("epoch", ["epochs", "batch_size"]) == "did you mean 'epochs'? known: batch_size, epochs"
    assert did_you_mean("zzz", ["epochs"]) == "known: epochs"
