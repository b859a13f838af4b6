"""Search over a dataset folder: every retriever, Chinese, vectors kept between calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.data.folder import write_dataset
from ragtune.data.records import Dataset, DatasetInfo, Passage
from ragtune.errors import InputError, WorkError
from ragtune.models import load_model
from ragtune.pipeline.searching import RETRIEVERS, cache_folder, search_dataset
from ragtune.recipe import ModelRecipe


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, tiny_dataset: Any) -> Path:
    return Path(write_dataset(tiny_dataset("mixed"), tmp_path / "ds"))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_the_right_passage_is_found(folder: Path, tiny_model: Path, retriever: str) -> None:
    question = "A deposit is returned within thirty days after moving out."
    hits = search_dataset(folder, question, model=str(tiny_model), retriever=retriever, k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].passage.text == question
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert set(hits[0].as_dict()) == {"rank", "score", "id", "title", "text", "metadata"}


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_chinese_is_found(tmp_path: Path, tiny_dataset: Any, tiny_model: Path, retriever: str) -> None:
    folder = write_dataset(tiny_dataset("zh"), tmp_path / "中文")
    hits = search_dataset(folder, "退房以后三十天内退还押金", model=str(tiny_model), retriever=retriever, k=1)
    assert [hit.passage.text for hit in hits] == ["退房以后三十天内退还押金。"]


@pytest.mark.usefixtures("cache")
def test_dense_scores_are_those_of_the_vectors(folder: Path, tiny_dataset: Any, tiny_model: Path) -> None:
    model = load_model(ModelRecipe(name=str(tiny_model)))
    texts = [passage.content for passage in tiny_dataset("mixed").corpus.values()]
    score_N = model.encode(texts, kind="passage") @ model.encode(["when do cats hunt"], kind="query")[0]
    hits = search_dataset(folder, "when do cats hunt", model=str(tiny_model), retriever="dense", k=30)
    assert [hit.passage.id for hit in hits[:3]] == [f"p{n}" for n in np.argsort(-score_N)[:3]]
    assert [hit.score for hit in hits] == pytest.approx(sorted(score_N.tolist(), reverse=True), abs=1e-5)


def test_more_than_there_is_gives_all(tmp_path: Path, cache: Path, tiny_model: Path) -> None:
    dataset = Dataset(DatasetInfo("one"), {"p": Passage("p", "bread rises")}, {})
    folder = write_dataset(dataset, tmp_path / "one")
    for retriever in RETRIEVERS:
        assert len(search_dataset(folder, "bread", model=str(tiny_model), retriever=retriever, k=10)) == 1


def test_vectors_are_kept_until_corpus_or_model_change(
    folder: Path, cache: Path, tiny_dataset: Any, tiny_model: Path
) -> None:
    def vectors() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (cache / "vectors").glob("*.npy")}

    def search(retriever: str = "dense") -> None:
        search_dataset(folder, "tea", model=str(tiny_model), retriever=retriever, k=1)

    search("bm25")
    assert not cache.exists()
    search()
    first = vectors()
    assert len(first) == 1
    search()
    search("fused")
    assert vectors() == first
    write_dataset(tiny_dataset("en"), folder, overwrite=True)
    search()
    assert len(vectors()) == 2
    assert first.items() <= vectors().items()


def test_a_cache_that_cannot_be_written_is_said(
    folder: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WorkError, match="RAGTUNE_CACHE"):
        search_dataset(folder, "tea", model=str(tiny_model), retriever="dense", k=1)


def test_the_cache_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGTUNE_CACHE", raising=False)
    assert cache_folder() == Path(os.path.expanduser("~/.cache/ragtune"))


@pytest.mark.parametrize(("text", "retriever"), [("tea", "bm52"), (" \n", "bm25")])
def test_a_wrong_question_is_refused(folder: Path, text: str, retriever: str) -> None:
    with pytest.raises(InputError):
        search_dataset(folder, text, model="builtin:minilm", retriever=retriever, k=1)
