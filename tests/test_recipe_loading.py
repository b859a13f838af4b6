"""Recipes from YAML and --set: every error at once, with its line and the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.errors import Problem, RecipeError
from ragtune.recipe import LossRecipe, Recipe
from ragtune.recipe_loading import Setting, dump_recipe, load_recipe, parse_recipe

BASE: dict[str, Any] = {"run": "r", "data": "d"}
WHOLE = """\
run: runs/一
data:
  sources:
    - path: first
      weight: 2
    - second
  group_size: 8
model:
  query_prompt: "query: "
  lora: {rank: 8}
train:
  learning_rate: 2e-5
  losses:
    - {name: softmax, temperature: 2e-2}
    - cosent
evaluate:
  measures: [MRR@10]
"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a recipe file and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(*overrides: str | Setting, values: dict[str, Any] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as error:
        parse_recipe(values or BASE, overrides=overrides, origin="code")
    return error.value.problems


def changed(*overrides: str | Setting, **more: Any) -> Recipe:
    return parse_recipe({**BASE, **more}, overrides=overrides)


# --- files ---


def test_a_whole_recipe_is_read(written: Any) -> None:
    recipe = load_recipe(written(WHOLE))
    assert recipe.run == Path("runs/一")
    assert [(s.path, s.weight) for s in recipe.data.sources] == [("first", 2.0), ("second", 1.0)]
    assert recipe.train.learning_rate == 2e-5
    assert recipe.train.losses == (LossRecipe(name="softmax", temperature=0.02), LossRecipe(name="cosent"))  # type: ignore[call-arg]
    assert recipe.model.lora is not None
    assert recipe.model.lora.rank == 8


def test_all_errors_come_at_once_with_their_lines(written: Any) -> None:
    path = written(
        "run: r\n"
        "dta: d\n"
        "model:\n"
        "  poolling: cls\n"
        "  lora:\n"
        "    rank: 0\n"
        "train:\n"
        "  learning_rate: fast\n"
        "  losses:\n"
        "    - name: softmax\n"
        "      weight: -1\n"
        "    - {name: 3}\n"
    )
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    found = {problem.where: problem for problem in error.value.problems}
    assert set(found) == {
        f"{path} (data)",
        f"{path}:2 (dta)",
        f"{path}:4 (model.poolling)",
        f"{path}:6 (model.lora.rank)",
        f"{path}:8 (train.learning_rate)",
        f"{path}:11 (train.losses.0.weight)",
        f"{path}:12 (train.losses.1.name)",
    }
    assert "did you mean 'data'" in found[f"{path}:2 (dta)"].do
    assert "did you mean 'pooling'" in found[f"{path}:4 (model.poolling)"].do
    assert found[f"{path} (data)"].what == "data is missing"
    assert found[f"{path}:8 (train.learning_rate)"].found == "'fast'"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("run: r\ndata: [d\nseed: 1\n", 3, "not valid YAML"),
        ("run: r\n\tdata: d\n", 2, "not valid YAML"),
        ('run: "r\n', 2, "not valid YAML"),
        ("run: r\n---\nrun: s\n", 2, "not valid YAML"),
        ("run: *nowhere\n", 1, "not valid YAML"),
        ("? [a]\n: b\n", 1, "not valid YAML"),
        ("", 1, "a mapping of keys"),
        ("- run\n", 1, "a mapping of keys"),
        ("run\n", 1, "a mapping of keys"),
        ("run: &a [*a]\n", 1, "holds itself"),
        ("run: r\ndata: d\nseed: 1\nseed: 2\n", 4, "'seed' stands there twice"),
        ("run: r\ndata: d\ntrain:\n  epochs: 1\n  epochs: 2\n", 5, "'epochs' stands there twice"),
        ("run: r\ndata: d\n1: 2\n", 3, "unknown key '1'"),
        ("run: r\ndata: d\ntrain: fast\n", 3, "train is wrong"),
        ("run: r\ndata: d\nseed:\n", 3, "seed is wrong"),
        ("run: 2024-01-01\ndata: d\n", 1, "run is wrong"),
    ],
)
def test_a_broken_recipe_is_named_by_its_line(written: Any, text: str, line: int, what: str) -> None:
    path = written(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert [problem.where.split(" ")[0] for problem in error.value.problems] == [f"{path}:{line}"]
    assert what in error.value.problems[0].what


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("run: caf\xe9".encode("latin-1"))
    for name, what in (("none.yaml", "cannot be read"), (".", "cannot be read"), ("latin.yaml", "not UTF-8")):
        with pytest.raises(RecipeError, match=what) as error:
            load_recipe(tmp_path / name)
        assert error.value.problems[0].where == str(tmp_path / name)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xef\xbb\xbf" + WHOLE.encode())
    assert load_recipe(tmp_path / "recipe.yaml").run == Path("runs/一")


def test_overrides_go_over_the_file(written: Any) -> None:
    recipe = load_recipe(
        written(WHOLE),
        overrides=["train.losses.0.temperature=3e-2", "model.lora.rank=16", "data.sources.1.weight=3", "seed=5"],
    )
    assert recipe.train.losses[0].options == {"temperature": 0.03}
    assert (recipe.model.lora and recipe.model.lora.rank, recipe.seed) == (16, 5)
    assert [(s.path, s.weight) for s in recipe.data.sources] == [("first", 2.0), ("second", 3.0)]


def test_another_path_leaves_the_rest_of_the_data_part(written: Any) -> None:
    data = load_recipe(written(WHOLE), overrides=["data=other"]).data
    assert [(s.path, s.weight) for s in data.sources] == [("other", 1.0)]
    assert data.group_size == 8


def test_an_error_of_an_override_names_the_override(written: Any) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(written(WHOLE), overrides=["train.epochs=many", "train.losses.0.weight=-1"])
    assert {problem.where for problem in error.value.problems} == {
        "--set train.epochs=many (train.epochs)",
        "--set train.losses.0.weight=-1 (train.losses.0.weight)",
    }


# --- overrides ---


@pytest.mark.parametrize(
    ("text", "value"),
    [("2e-5", 2e-5), ("2E-5", 2e-5), ("1e3", 1000.0), ("2.5e-05", 2.5e-5), (".5", 0.5), ("1", 1.0), ("0.1", 0.1)],
)
def test_numbers_may_be_written_as_numbers_are(text: str, value: float) -> None:
    assert changed(f"train.learning_rate={text}").train.learning_rate == value
    assert changed(f"train.losses.temperature={text}").train.losses[0].options == {"temperature": value}


@given(value=st.floats(min_value=1e-12, max_value=1e6))
def test_every_number_that_python_prints_is_read(value: float) -> None:
    assert changed(f"train.losses.temperature={value}").train.losses[0].options == {"temperature": value}


def test_lists_quotes_and_null_are_yaml() -> None:
    recipe = changed(
        "evaluate.dims=[64, 128]",
        'model.query_prompt="query: "',
        "evaluate.storages=[fp32, int8]",
        "train.patience=null",
    )
    assert recipe.evaluate.dims == (64, 128)
    assert recipe.model.query_prompt == "query: "
    assert recipe.evaluate.storages == ("fp32", "int8")
    assert recipe.train.patience is None
    assert changed("model.query_prompt=为这个句子生成表示：").model.query_prompt == "为这个句子生成表示："
    assert changed("model.query_prompt='a=b'").model.query_prompt == "a=b"


def test_parts_that_are_not_there_are_made() -> None:
    recipe = parse_recipe({}, overrides=["run=r", "data.sources=[a, b]", "data.group_size=2", "model.lora.rank=4"])
    assert [source.path for source in recipe.data.sources] == ["a", "b"]
    assert recipe.model.lora is not None
    assert changed("train.matryoshka.dims=[8]").train.matryoshka is not None


def test_short_forms_are_written_out_where_a_key_is_set_below_them() -> None:
    assert changed("data.group_size=3").data.sources[0].path == "d"
    assert changed("data.sources.0.weight=2").data.sources[0].weight == 2
    assert changed("data.sources.weight=2").data.sources[0].path == "d"
    loss = changed("train.losses.margin=1", train={"losses": "triplet"}).train.losses[0]
    assert (loss.name, loss.options) == ("triplet", {"margin": 1})
    assert changed("data.group_size=3", "data=other").data.group_size == 3


def test_the_given_values_are_left_as_they_are() -> None:
    values = {"run": "r", "data": {"sources": ["d"]}, "train": {"losses": ["softmax"]}}
    parse_recipe(values, overrides=["train.losses.temperature=1", "data=x"])
    assert values == {"run": "r", "data": {"sources": ["d"]}, "train": {"losses": ["softmax"]}}


def test_a_list_of_several_needs_the_number() -> None:
    values = {**BASE, "train": {"losses": ["softmax", "cosent"]}}
    for key in ("train.losses.temperature", "train.losses.7.temperature"):
        (problem,) = problems(f"{key}=1", values=values)
        assert problem.what == "train.losses is a list of 2"
        assert problem.where == f"--set {key}=1"


def test_unknown_keys_have_their_nearest_name() -> None:
    found = problems("train.epoch=3", "modle.name=x", "data.source=x", "evaluate.dim=[3]", "model.lora.rnk=3")
    near = {problem.where.split(" (")[0]: problem.do.split("?")[0] for problem in found}
    assert near == {
        "--set train.epoch=3": "did you mean 'epochs'",
        "--set modle.name=x": "did you mean 'model'",
        "--set data.source=x": "did you mean 'sources'",
        "--set evaluate.dim=[3]": "did you mean 'dims'",
        "--set model.lora.rnk=3": "did you mean 'rank'",
    }


def test_every_override_that_cannot_be_read_is_named() -> None:
    found = problems("train.epochs", "=3", "a..b=1", "seed=[", "model.name.x=1", "model=x")
    assert [problem.where for problem in found] == [
        "--set train.epochs",
        "--set =3",
        "--set a..b=1",
        "--set seed=[",
    ]
    (clash,) = problems("model.name=x", "model.name.first=y")
    assert clash.what == "model.name has no keys"


def test_a_union_is_one_problem() -> None:
    (problem,) = problems("data.positives_per_query=some")
    assert problem.where == "--set data.positives_per_query=some (data.positives_per_query)"
    assert " or " in problem.do


def test_a_part_that_is_no_part_says_how_to_write_one() -> None:
    assert "model.name" in problems("model=some-model")[0].do


# --- settings as they stand ---


@pytest.mark.parametrize("value", ["2024", "null", "~", "on", "1e5", "a: b", "#x", "[x", "'", "模型"])
def test_a_flag_is_taken_as_it_stands(value: str) -> None:
    assert changed(Setting("model.name", value, "--model")).model.name == value
    assert changed(Setting("data", value, "--data")).data.sources[0].path == value


def test_an_error_of_a_flag_names_the_flag() -> None:
    (problem,) = problems(Setting("model.family", "sparce", "--family"))
    assert problem.where == "--family (model.family)"


# --- writing ---


def test_a_dumped_recipe_is_the_same_recipe(written: Any) -> None:
    recipe = load_recipe(written(WHOLE))
    assert load_recipe(written(dump_recipe(recipe))) == recipe
    assert load_recipe(written(dump_recipe(changed()))) == changed()


def test_the_token_is_never_written(written: Any) -> None:
    recipe = changed("model.token=hf_secret", "seed=7")
    text = dump_recipe(recipe)
    assert "hf_secret" not in text
    assert "token:" not in text
    assert load_recipe(written(text)).seed == 7
