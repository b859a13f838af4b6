"""What is looked for in recipe and models before a run begins; everything at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ragtune.errors import InputError, MissingExtraError, OutOfSpaceError, RecipeError
from ragtune.pipeline.checks import check_measured_split, check_models, check_recipe, together


def problems(error: pytest.ExceptionInfo[InputError]) -> dict[str, str]:
    return {problem.where: problem.found for problem in error.value.problems}


def test_all_checks_speak_together() -> None:
    def wrong(name: str) -> None:
        from ragtune.errors import DataError, Problem

        raise DataError(Problem(what=name, where=name, found="", do=""))

    with pytest.raises(RecipeError) as error:
        together(lambda: wrong("a"), lambda: None, lambda: wrong("b"))
    assert [problem.what for problem in error.value.problems] == ["a", "b"]
    together(lambda: None)


def test_one_error_keeps_its_kind(quick_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="ragtune\\[wandb\\]"):
        check_recipe(quick_recipe(tmp_path / "r", train={"trackers": ["wandb"]}), sources_given=True)


def test_a_good_recipe_passes(quick_recipe: Any, tmp_path: Path, tiny_dataset: Any) -> None:
    recipe = quick_recipe(tmp_path / "r", train={"best_metric": "none"}, data="owner/name")
    check_recipe(recipe)
    check_models(recipe)
    check_measured_split(recipe, tiny_dataset())
    assert not (tmp_path / "r").exists()


def test_everything_wrong_in_a_recipe_is_told_at_once(quick_recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = quick_recipe(
        tmp_path / "file" / "r",
        train={
            "losses": ["sofmax", {"name": "softmax", "temperatur": 1}],
            "best_metric": "nDCG@10:x",
            "deepspeed": "x.json",
        },
        data={"sources": ["nowhere", "~nobody/x"]},
        model={"freeze": {"passage_side": True}, "projection_dims": 8},
        evaluate={"measures": ["nDCG@10", "Recall@1000"]},
    )
    with pytest.raises(RecipeError) as error:
        check_recipe(recipe)
    assert {
        "train.losses.0 (sofmax)", "train.losses.1 (softmax)", "train.best_metric", "train.deepspeed",
        "data.sources.0.path", "data.sources.1.path", f"run: {tmp_path / 'file' / 'r'}", "evaluate.top_k",
        "model.freeze.passage_side",
    } == set(problems(error))  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "advice"),
    [("ndcg@10", "write nDCG@10"), ("nDCG@10:", "nDCG@10:128"), ("nDCG@10:-3", "nDCG@10:128"),
     ("nDCG@10:０", "nDCG@10:128"),
     ("nDGC@10", "did you mean 'nDCG'"), ("none:8", "unknown measure|known:")],
)  # fmt: skip
def test_the_best_metric_is_a_measure(quick_recipe: Any, tmp_path: Path, metric: str, advice: str) -> None:
    with pytest.raises(InputError, match=advice):
        check_recipe(quick_recipe(tmp_path / "r", train={"best_metric": metric}), sources_given=True)


def test_patience_needs_a_metric(quick_recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train\.patience"):
        check_recipe(quick_recipe(tmp_path / "r", train={"best_metric": "none", "patience": 2}), sources_given=True)


def test_everything_that_does_not_fit_the_model_is_told_at_once(quick_recipe: Any, tmp_path: Path) -> None:
    recipe = quick_recipe(
        tmp_path / "r",
        train={"matryoshka": {"dims": [8, 32, 40]}, "best_metric": "nDCG@10:32"},
        evaluate={"dims": [16, 33]},
        model={"freeze": {"first_layers": 3}},
    )
    with pytest.raises(RecipeError) as error:
        check_models(recipe)
    found = problems(error)
    assert set(found) == {
        "train.matryoshka.dims", "train.best_metric", "evaluate.dims", "model.freeze.first_layers",
    }  # fmt: skip
    assert found["train.matryoshka.dims"].startswith("32, 40;")
    assert found["evaluate.dims"].startswith("33;")


def test_dims_are_those_of_the_projection_and_of_the_base(quick_recipe: Any, tmp_path: Path) -> None:
    check_models(quick_recipe(tmp_path / "r", model={"projection_dims": 16}, evaluate={"dims": [16]}))
    check_models(quick_recipe(tmp_path / "r", model={"projection_dims": 64}, train={"matryoshka": {"dims": [48]}}))
    with pytest.raises(RecipeError, match="32 dimensions"):
        check_models(quick_recipe(tmp_path / "r", model={"projection_dims": 64}, evaluate={"dims": [48]}))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"query_max_tokens": 129}, "model.query_max_tokens"),
        ({"lora": {"targets": ["no_such_layer"]}}, "model.lora.targets"),
        ({"tokenizer": "./nowhere"}, "nowhere"),
    ],
)
def test_what_the_model_does_not_have_is_refused(quick_recipe: Any, tmp_path: Path, model: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_models(quick_recipe(tmp_path / "r", model=model))


def test_the_baseline_is_looked_at_too(quick_recipe: Any, tmp_path: Path, tiny_model: Path) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "reranker"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(InputError, match="not of the family"):
        check_models(quick_recipe(tmp_path / "r", evaluate={"baseline": str(other)}))


def test_too_small_a_disk_is_said_before_training(
    quick_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(OutOfSpaceError, match="GB free"):
        check_models(quick_recipe(tmp_path / "deep" / "r"))


def test_the_measured_split_must_have_judgements(quick_recipe: Any, tmp_path: Path, tiny_dataset: Any) -> None:
    dataset = tiny_dataset()
    dataset.qrels["empty"] = {}
    for split, said in (("empty", "an empty split"), ("nowhere", "no such split")):
        with pytest.raises(InputError, match=said):
            check_measured_split(quick_recipe(tmp_path / "r", evaluate={"split": split}), dataset)


def test_a_start_needs_a_head(quick_recipe: Any, tmp_path: Path) -> None:
    recipe = quick_recipe(tmp_path / "r", model={"projection_init": "principal_axes"})
    with pytest.raises(RecipeError, match=r"model\.projection_init(.|\n)*set model\.projection_dims"):
        check_recipe(recipe, sources_given=True)
