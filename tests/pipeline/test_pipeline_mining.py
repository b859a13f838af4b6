"""mine, score and seal on folders: what is refused before the work, what lies there afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from ragtune.data.folder import read_dataset, write_dataset
from ragtune.data.records import Query
from ragtune.data.sealing import seal_test
from ragtune.errors import DataError, InputError, ModelError
from ragtune.models import FamilySpec
from ragtune.pipeline import pair_models
from ragtune.pipeline.mining import mine_folder, score_folder, seal_folder
from ragtune.pipeline.running import begin_run
from ragtune.recipe_mining import MineRecipe, ScoreRecipe
from ragtune.run import RunFolder, read_json


@pytest.fixture
def folder(tmp_path: Path, tiny_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    return write_dataset(tiny_dataset(), tmp_path / "ds")


@pytest.fixture
def recipe(tiny_model: Path) -> Any:
    return lambda **more: MineRecipe(
        **{"models": [str(tiny_model)], "relative_margin": None, "precision": "fp32", **more}
    )


def test_mining_writes_candidates_and_an_audit(folder: Path, recipe: Any, tmp_path: Path) -> None:
    before = read_dataset(folder)
    done = mine_folder(folder, recipe(negatives=3), out=tmp_path / "mined")
    assert read_dataset(folder) == before
    mined = read_dataset(tmp_path / "mined")
    assert set(mined.candidates) == set(before.split("train"))
    assert all(len(listed) == 3 for listed in mined.candidates.values())
    assert replace(mined, candidates={}) == replace(before, candidates={})
    assert read_json(tmp_path / "mined" / "mining.json")["chosen"] == done.audit["chosen"] == 60
    page = (tmp_path / "mined" / "mining.md").read_text(encoding="utf-8")
    assert "## What was cut, and why" in page
    assert before.queries[done.audit["examples"][0]["query_id"]].text in page


def test_without_out_the_dataset_itself_gets_them(folder: Path, recipe: Any) -> None:
    (folder / "notes.txt").write_text("mine")
    assert mine_folder(folder, recipe()).folder == folder
    assert len(read_dataset(folder).candidates) == 20
    assert (folder / "notes.txt").read_text() == "mine"


def test_vectors_are_made_once(folder: Path, recipe: Any, tmp_path: Path) -> None:
    said: list[str] = []
    first = mine_folder(folder, recipe(), out=tmp_path / "a", say=said.append)
    assert sum("encoding" in line for line in said) == 1
    second = mine_folder(folder, recipe(), out=tmp_path / "b", say=said.append)
    assert sum("encoding" in line for line in said) == 1
    assert first.audit == second.audit
    half = mine_folder(folder, recipe(vectors="fp16"), out=tmp_path / "c", say=said.append)
    assert sum("encoding" in line for line in said) == 2
    assert half.audit["chosen"] == first.audit["chosen"]


def test_several_models_and_random(folder: Path, recipe: Any, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "other").symlink_to(tiny_model)
    both = mine_folder(folder, recipe(models=[str(tiny_model), str(tmp_path / "other")], bm25=False))
    assert set(both.audit["by_source"]) == {f"mined:{tiny_model}+{tmp_path / 'other'}"}
    drawn = mine_folder(folder, MineRecipe(random=True, models=["no such model"], negatives=2))
    assert set(drawn.audit["by_source"]) == {"mined:random"}


@pytest.mark.parametrize("where", [{"reranker": "r"}, {"verify": {"model": "r", "doubtful_from": 0.5}}])
def test_a_reranker_waits_for_its_family(
    folder: Path, recipe: Any, where: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_dense = {"dense": pair_models.FAMILIES["dense"]}
    monkeypatch.setattr(pair_models, "FAMILIES", MappingProxyType(only_dense))
    with pytest.raises(ModelError, match="no models of the family 'reranker'"):
        mine_folder(folder, recipe(**where))
    assert not (folder / "candidates.jsonl").exists()


def test_a_row_in_the_family_table_is_all_that_a_reranker_needs(
    folder: Path, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ByLength:
        device = torch.device("cpu")

        def score_pairs(self, queries: Any, passages: Any) -> Any:
            return [-float(len(passage.content)) for passage in passages]

    row = FamilySpec(load=lambda recipe: ByLength(), summary="", pairs=True)  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(pair_models, "FAMILIES", MappingProxyType({**pair_models.FAMILIES, "reranker": row}))
    mine_folder(folder, recipe(reranker="r", bm25=False, verify={"model": "r", "doubtful_from": -20.0}))
    dataset = read_dataset(folder)
    for listed in dataset.candidates.values():
        for candidate in listed:
            length = len(dataset.corpus[candidate.corpus_id].content)
            assert (candidate.score, candidate.valid) == (-length, -length < -20)


def test_wrong_outputs_are_refused_before_the_work(folder: Path, recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    said: list[str] = []
    with pytest.raises(DataError, match="taken"):
        mine_folder(folder, recipe(), out=tmp_path / "taken", say=said.append)
    with pytest.raises(DataError, match="taken"):
        score_folder(folder, ScoreRecipe(), out=folder, say=said.append)
    assert said == []


def leaking(dataset: Any) -> Any:
    """The sealed dataset with one of its test questions in train."""
    sealed = seal_test(dataset)
    text = sealed.queries[next(iter(sealed.split("test")))].text
    train = {**sealed.split("train"), "new": {"p0": 1}}
    return replace(
        sealed, queries={**sealed.queries, "new": Query("new", text)}, qrels={**sealed.qrels, "train": train}
    )


def test_sealed_questions_are_neither_mined_nor_trained_on(
    folder: Path, recipe: Any, tmp_path: Path, tiny_dataset: Any, quick_recipe: Any, tiny_model: Path
) -> None:
    write_dataset(leaking(tiny_dataset()), folder, overwrite=True)
    for refused in (
        lambda: mine_folder(folder, recipe()),
        lambda: score_folder(folder, ScoreRecipe(teacher={"name": str(tiny_model)})),
        lambda: begin_run(quick_recipe(tmp_path / "run", data=str(folder)), RunFolder(tmp_path / "run")),
    ):
        with pytest.raises(DataError, match=r"sealed test split[\s\S]*new"):
            refused()
    assert not (tmp_path / "run").exists()


def test_a_run_is_refused_when_the_seal_is_broken(tmp_path: Path, tiny_dataset: Any, quick_recipe: Any) -> None:
    sealed = seal_test(tiny_dataset())
    begin_run(quick_recipe(tmp_path / "good"), RunFolder(tmp_path / "good"), datasets=[sealed])
    _first, *rest = sealed.split("test").items()
    broken = replace(sealed, qrels={**sealed.qrels, "test": dict(rest)})
    with pytest.raises(DataError, match="not what it was"):
        begin_run(quick_recipe(tmp_path / "bad"), RunFolder(tmp_path / "bad"), datasets=[broken])


def test_the_split_that_a_run_makes_is_sealed(tmp_path: Path, tiny_dataset: Any, quick_recipe: Any) -> None:
    dataset = tiny_dataset()
    dataset.qrels = {"train": {f"q{i}": {f"p{i}": 1} for i in range(30)}}
    prepared = begin_run(quick_recipe(tmp_path / "run"), RunFolder(tmp_path / "run"), datasets=[dataset])
    assert prepared.datasets[0].seal is not None


def test_a_folder_is_sealed_once_or_again(folder: Path) -> None:
    sealed = seal_folder(folder, again=False)
    assert read_dataset(folder).seal == sealed.seal is not None
    with pytest.raises(DataError, match="a seal that holds"):
        seal_folder(folder, again=False)
    dataset = read_dataset(folder)
    dataset.qrels["test"].popitem()
    write_dataset(dataset, folder, overwrite=True)
    with pytest.raises(DataError, match="a seal that is broken"):
        seal_folder(folder, again=False)
    assert seal_folder(folder, again=True).seal != sealed.seal


def test_scores_are_the_teachers_and_resumed(folder: Path, recipe: Any, tiny_model: Path, tmp_path: Path) -> None:
    mine_folder(folder, recipe(negatives=2))
    settings = ScoreRecipe(teacher={"name": str(tiny_model)}, precision="fp32")
    out, done = score_folder(folder, settings, out=tmp_path / "taught")
    assert (done.pairs, done.known) == (60, 0)
    dataset = read_dataset(out)
    for listed in dataset.candidates.values():
        assert len(listed) == 3
        mined = [c for c in listed if c.source.startswith("mined:")]
        assert np.allclose([c.teacher for c in mined], [c.score for c in mined], atol=1e-5)
    assert score_folder(folder, settings)[1].known == 60
    other = ScoreRecipe(teacher={"name": str(tiny_model), "passage_max_tokens": 8}, precision="fp32")
    assert score_folder(folder, other)[1].known == 0


def test_a_family_that_cannot_score_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = FamilySpec(load=lambda recipe: object(), summary="")  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(pair_models, "FAMILIES", MappingProxyType({"dense": odd}))
    monkeypatch.setattr(pair_models, "FINDERS", MappingProxyType({}))
    with pytest.raises(InputError, match="cannot score pairs"):
        pair_models.load_teacher(ScoreRecipe().teacher, precision="fp32")
    with pytest.raises(InputError, match="no models of the family"):
        pair_models.load_pair_scorer(MineRecipe(), "r", used_as="reranker")
