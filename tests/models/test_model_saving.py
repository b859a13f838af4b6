"""A saved folder is the same model to ragtune, to sentence-transformers and to plain transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragtune.models import load_model
from ragtune.models.dense import DenseModel
from ragtune.recipe import ModelRecipe

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "as it is": ("bert", {}),
    "cls": ("roberta", {"pooling": "cls"}),
    "not normalised": ("bert", {"normalize": False}),
    "projection": ("bert", {"projection_dims": 12}),
    "projection not normalised": ("mpnet", {"projection_dims": 48, "normalize": False}),
    "prompts": ("bert", {"query_prompt": "find: ", "passage_prompt": "读：", "query_prompt_format": "{}- {}"}),
    "one prompt": ("xlm-roberta", {"query_prompt": "query: "}),
    "decoder": ("llama", {"query_prompt": "Instruct: find\nQuery:"}),
    "decoder mean": ("qwen3", {"pooling": "mean"}),
    "windows": ("modernbert", {}),
    "bias in attention": ("deberta-v2", {}),
    "distilbert": ("distilbert", {"projection_dims": 16}),
    "electra": ("electra", {"pooling": "cls"}),
}


def loaded(folder: Path, **settings: Any) -> DenseModel:
    model = load_model(ModelRecipe(name=str(folder), **settings))
    assert isinstance(model, DenseModel)
    return model


@pytest.fixture(scope="module")
def saved(
    zoo: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[DenseModel, Path]]:
    """A factory: the model of a form, and the folder it was saved in."""
    made: dict[str, tuple[DenseModel, Path]] = {}

    def of(form: str) -> tuple[DenseModel, Path]:
        if form not in made:
            name, settings = FORMS[form]
            folder = tmp_path_factory.mktemp("saved") / "模型"
            torch.manual_seed(3)
            model = loaded(zoo(name), **settings)
            model.tokenize(["a short call before saving"], kind="query")
            model.save(folder)
            made[form] = model, folder
        return made[form]

    return of


Saved = Callable[[str], tuple[DenseModel, Path]]


@pytest.mark.parametrize("form", FORMS)
def test_ragtune_loads_the_same_model(saved: Saved, texts: list[str], form: str) -> None:
    model, folder = saved(form)
    again = loaded(folder)
    assert (again.settings, again.head, again.dims, again.packed) == (
        model.settings,
        model.head,
        model.dims,
        model.packed,
    )
    for kind in ("query", "passage"):
        assert np.array_equal(again.encode(texts, kind=kind), model.encode(texts, kind=kind))


@pytest.mark.parametrize("form", FORMS)
def test_sentence_transformers_gives_the_same_vectors(saved: Saved, texts: list[str], form: str) -> None:
    from sentence_transformers import SentenceTransformer

    model, folder = saved(form)
    peer = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(peer.encode_query(texts), model.encode(texts, kind="query"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(peer.encode_document(texts), model.encode(texts, kind="passage"), rtol=1e-5, atol=1e-6)
    assert peer.get_embedding_dimension() == model.dims
    assert str(peer.similarity_fn_name) == ("cosine" if model.head.normalize else "dot")
    assert peer.max_seq_length == model.settings["passage"].max_tokens


@pytest.mark.parametrize("form", FORMS)
def test_plain_transformers_gives_the_same_states(saved: Saved, texts: list[str], form: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, folder = saved(form)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    backbone = AutoModel.from_pretrained(folder).eval()
    ours = model.backbone.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in backbone.state_dict().items())
    joined = [model.settings["query"].joined(text) for text in texts]
    limit = model.settings["query"].max_tokens
    ids = tokenizer(joined, truncation=True, max_length=limit)["input_ids"]
    assert ids == [own.tolist() for own in model.tokenize(texts, kind="query")]
    assert "ragtune" not in (folder / "config.json").read_text(encoding="utf-8")


def test_the_folder_says_how_it_is_to_be_read(saved: Saved) -> None:
    _, folder = saved("prompts")
    own = json.loads((folder / "ragtune.json").read_text(encoding="utf-8"))
    expected = {
        "family": "dense",
        "pooling": "mean",
        "normalize": True,
        "dims": 32,
        "query_prompt": "find: ",
        "passage_prompt": "读：",
        "query_prompt_format": "{}- {}",
        "passage_prompt_format": "{}{}",
        "query_max_tokens": 128,
        "passage_max_tokens": 128,
    }
    assert {key: own[key] for key in expected} == expected
    peers = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    assert peers["prompts"] == {"query": "find: - ", "document": "读：", "passage": "读："}
    assert {p.name for p in folder.parent.iterdir()} == {"模型"}


def test_two_limits_are_kept_and_the_longer_one_is_the_peers(
    tiny_model: Path, tmp_path: Path, texts: list[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    model = loaded(tiny_model, query_max_tokens=8, passage_max_tokens=40)
    model.save(tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    assert (again.settings["query"].max_tokens, again.settings["passage"].max_tokens) == (8, 40)
    peer = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert peer.max_seq_length == 40
    np.testing.assert_allclose(peer.encode_document(texts), again.encode(texts, kind="passage"), atol=1e-6)
    # the recipe may still say otherwise
    assert loaded(tmp_path / "saved", query_max_tokens=20).settings["query"].max_tokens == 20


def test_the_saved_tokenizer_neither_cuts_nor_pads(saved: Saved) -> None:
    _, folder = saved("as it is")
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert (definition["truncation"], definition["padding"]) == (None, None)


def test_saving_twice_replaces_the_whole_folder(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    loaded(tiny_model, projection_dims=8).save(folder)
    loaded(tiny_model, normalize=False).save(folder)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"1_Pooling"}
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_failed_save_leaves_the_old_folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "saved"
    model = loaded(tiny_model)
    model.save(folder)
    before = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(model.tokenizer, "save_pretrained", _no_space)
    with pytest.raises(Exception, match="no space left"):
        model.save(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def _no_space(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("form", ["projection", "not normalised", "decoder", "prompts"])
def test_what_sentence_transformers_saves_is_read_back(
    saved: Saved, texts: list[str], tmp_path: Path, form: str
) -> None:
    """Its present form: other type names, one pooling key, prompts of its own."""
    from sentence_transformers import SentenceTransformer

    model, folder = saved(form)
    SentenceTransformer(str(folder), device="cpu").save_pretrained(str(tmp_path / "peer"))
    assert not (tmp_path / "peer" / "ragtune.json").exists()
    again = loaded(tmp_path / "peer")
    assert again.head == model.head
    for kind in ("query", "passage"):
        np.testing.assert_allclose(again.encode(texts, kind=kind), model.encode(texts, kind=kind), atol=1e-6)
