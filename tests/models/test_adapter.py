"""Query adapters: the identity before training, the same transform in a model folder, vectors from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragtune.data.records import Dataset, Passage
from ragtune.errors import InputError, ModelError
from ragtune.models import load_model
from ragtune.models.adapter import AdapterModel, QueryTransform, read_transform
from ragtune.models.adapter_loading import adapter_over, stored_vectors
from ragtune.models.dense import DenseModel
from ragtune.recipe import ModelRecipe

KINDS = ("linear", "low_rank", "mlp")


def adapter(folder: Path, kind: str = "linear", **settings: Any) -> AdapterModel:
    values = {"name": str(folder), "family": "adapter", "adapter": {"kind": kind, "rank": 4}, **settings}
    model = load_model(ModelRecipe.model_validate(values))
    assert isinstance(model, AdapterModel)
    return model


def shaken(model: AdapterModel) -> AdapterModel:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.transform.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def files(folder: Path, dataset: Dataset, vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Vector files of a dataset's queries and passages."""
    ids = {"query": list(dataset.queries), "passage": list(dataset.corpus)}
    for kind, keys in ids.items():
        np.save(folder / f"{kind}.npy", vectors[kind])
        (folder / f"{kind}.txt").write_text("\n".join(keys), encoding="utf-8")
    return {f"{kind}_vectors": {"vectors": folder / f"{kind}.npy", "ids": folder / f"{kind}.txt"} for kind in ids}


@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_as_the_identity(tiny_model: Path, texts: list[str], kind: str) -> None:
    base: Any = load_model(ModelRecipe(name=str(tiny_model)))
    model = adapter(tiny_model, kind)
    for side in ("query", "passage"):
        assert np.allclose(model.encode(texts, kind=side), base.encode(texts, kind=side), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_transformers_loads_the_query_side(
    tiny_model: Path, tmp_path: Path, texts: list[str], kind: str
) -> None:
    from sentence_transformers import SentenceTransformer

    model = shaken(adapter(tiny_model, kind, query_prompt="tides: "))
    wanted = model.encode(texts, kind="query")
    model.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert np.allclose(theirs.encode(texts, prompt_name="query"), wanted, atol=1e-5)
    again = load_model(ModelRecipe(name=str(tmp_path / "saved")))
    assert isinstance(again, DenseModel)
    assert again.notes["passage_model"] == str(tiny_model)
    assert np.allclose(again.encode(texts, kind="query"), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_of_a_vector_passes_through(kind: str) -> None:
    """So that normalising before or after gives the same, as in the saved folder."""
    transform = QueryTransform(kind, dims=6, rank=3)  # type: ignore[arg-type]
    torch.manual_seed(0)
    for parameter in transform.parameters():
        torch.nn.init.normal_(parameter)
    vector_BD = torch.randn(4, 6)
    assert torch.allclose(transform(7 * vector_BD), 7 * transform(vector_BD), atol=1e-4)


def test_a_text_is_encoded_once(tiny_model: Path) -> None:
    model = adapter(tiny_model)
    inner: Any = model.source.inner
    asked: list[int] = []
    inner.register_forward_hook(lambda module, given, out: asked.append(len(out)))
    model.encode(["a cat", "a cat", "the moon"], kind="query")
    model.encode(["the moon", "a cat"], kind="query")
    assert sum(asked) == 2
    model.encode(["the moon"], kind="passage")
    assert sum(asked) == 3


# Vectors from files


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_of_an_index_are_enough(tiny_dataset: Callable[..., Dataset], tmp_path: Path, dtype: str) -> None:
    dataset = tiny_dataset()
    rng = np.random.default_rng(0)
    vectors = {
        k: rng.normal(size=(n, 5)) for k, n in (("query", len(dataset.queries)), ("passage", len(dataset.corpus)))
    }
    unit = {k: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(dtype) for k, v in vectors.items()}
    recipe = ModelRecipe.model_validate({"family": "adapter", "adapter": files(tmp_path, dataset, unit)})
    source = stored_vectors(recipe, [dataset])
    model = shaken(adapter_over(source, recipe))
    assert model.normalize
    query = list(dataset.queries.values())[3]
    found = model.encode([query.text], kind="query")[0]
    expected = model.transform.whole_DD.detach().numpy() @ unit["query"][3].astype(np.float32)
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-5)
    model.save(tmp_path / "saved")
    again = read_transform(tmp_path / "saved")
    assert np.allclose(again.transformed(unit["query"][3:4].astype(np.float32))[0], found, atol=1e-6)
    with pytest.raises(ModelError, match="no model that reads texts"):
        again.encode(["a"], kind="query")
    with pytest.raises(InputError, match="no stored vector"):
        model.encode(["unheard of"], kind="query")


def test_vectors_that_are_not_normalised_stay_so(tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = tiny_dataset()
    vectors = {"query": np.ones((len(dataset.queries), 3)), "passage": 2 * np.ones((len(dataset.corpus), 3))}
    recipe = ModelRecipe.model_validate({"family": "adapter", "adapter": files(tmp_path, dataset, vectors)})
    assert not adapter_over(stored_vectors(recipe, [dataset]), recipe).normalize


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        (lambda q, p: (q[:-1], p), "29 rows and 30 ids"),
        (lambda q, p: (q[:, 0], p), "an array of 1 dimensions"),
        (lambda q, p: (q.astype(np.int64), p), "values of type int64"),
        (lambda q, p: (q * np.nan, p), "NaN or infinite"),
        (lambda q, p: (q[:, :2], p), "vectors of different length"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tiny_dataset: Callable[..., Dataset], tmp_path: Path, break_: Any, message: str
) -> None:
    dataset = tiny_dataset()
    query, passage = break_(np.ones((30, 4)), np.ones((30, 4)))
    given = files(tmp_path, dataset, {"query": query, "passage": passage})
    with pytest.raises((InputError, ModelError), match=message):
        stored_vectors(ModelRecipe.model_validate({"family": "adapter", "adapter": given}), [dataset])


def test_an_empty_passage_has_its_vector_too(tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = tiny_dataset()
    dataset.corpus = {**dataset.corpus, "p3": Passage("p3", "")}
    given = files(tmp_path, dataset, {"query": np.ones((30, 4)), "passage": np.arange(120.0).reshape(30, 4)})
    source = stored_vectors(ModelRecipe.model_validate({"family": "adapter", "adapter": given}), [dataset])
    assert source.encode([""], kind="passage")[0].tolist() == [12.0, 13.0, 14.0, 15.0]


def test_a_missing_vector_is_named(tiny_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = tiny_dataset()
    given = files(tmp_path, dataset, {"query": np.ones((30, 4)), "passage": np.ones((30, 4))})
    (tmp_path / "passage.txt").write_text("\n".join(f"other{i}" for i in range(30)), encoding="utf-8")
    with pytest.raises(InputError, match="30 of 30 passage ids have no vector"):
        stored_vectors(ModelRecipe.model_validate({"family": "adapter", "adapter": given}), [dataset])
