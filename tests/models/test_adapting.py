"""Adapters, frozen parts and the frozen passage side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragtune.errors import RecipeError
from ragtune.models import load_model
from ragtune.models.adapting import TwoSided, prepare_for_training, save_trained
from ragtune.models.base import TokenBatch
from ragtune.models.dense import DenseModel
from ragtune.recipe import FreezeRecipe, LoraRecipe, ModelRecipe

ARCHITECTURES = ["bert", "roberta", "electra", "distilbert", "mpnet", "deberta-v2", "modernbert", "qwen3", "llama"]


def recipe_for(folder: Path, **settings: Any) -> ModelRecipe:
    return ModelRecipe(name=str(folder), **settings)


def prepared(recipe: ModelRecipe) -> DenseModel:
    model = load_model(recipe)
    assert isinstance(model, DenseModel)
    return prepare_for_training(model, recipe)


def trainable(model: DenseModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def train_a_little(model: DenseModel, texts: list[str]) -> None:
    """Two plain steps that move every trainable weight."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    torch.manual_seed(0)
    goal_BD = torch.randn(len(texts), model.dims)
    for _ in range(2):
        optimizer.zero_grad()
        vectors = model(TokenBatch.of(model.tokenize(texts, kind="query"), device=model.device))
        (vectors - goal_BD).square().sum().backward()
        optimizer.step()


def refusal(recipe: ModelRecipe) -> str:
    with pytest.raises(RecipeError) as caught:
        prepared(recipe)
    (problem,) = caught.value.problems
    return str(problem)


# Adapters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_adapters_are_trained_and_every_one_of_them(zoo: Callable[..., Path], texts: list[str], name: str) -> None:
    model = prepared(recipe_for(zoo(name), lora=LoraRecipe(rank=2, alpha=4)))
    assert trainable(model) and all("lora_" in key for key in trainable(model))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    packed = load_model(recipe_for(zoo(name))).packed
    assert model.packed == packed
    train_a_little(model, texts)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == trainable(model)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_merged_and_separate_adapters_give_the_trained_vectors(
    zoo: Callable[..., Path], texts: list[str], tmp_path: Path, name: str
) -> None:
    for merge in (False, True):
        recipe = recipe_for(zoo(name), projection_dims=8, lora=LoraRecipe(rank=2, alpha=8, merge=merge))
        torch.manual_seed(1)
        model = prepared(recipe)
        train_a_little(model, texts)
        trained = model.encode(texts, kind="query")
        folder = tmp_path / f"merged-{merge}"
        save_trained(model, folder, recipe=recipe)
        again = load_model(recipe_for(folder))
        np.testing.assert_allclose(again.encode(texts, kind="query"), trained, atol=2e-5)
        assert again.dims == 8 and not any("lora" in key for key, _ in again.named_parameters())
        assert (folder / "model.safetensors").exists() == merge
        assert (folder / "adapter_model.safetensors").exists() != merge


def test_adapters_change_the_vectors(zoo: Callable[..., Path], texts: list[str]) -> None:
    recipe = recipe_for(zoo("bert"), lora=LoraRecipe(rank=2))
    model = prepared(recipe)
    before = model.encode(texts, kind="query")
    np.testing.assert_allclose(before, load_model(recipe_for(zoo("bert"))).encode(texts, kind="query"), atol=1e-6)
    train_a_little(model, texts)
    assert np.abs(model.encode(texts, kind="query") - before).max() > 1e-3


@pytest.mark.parametrize("name", ["bert", "llama", "modernbert"])
def test_sentence_transformers_loads_an_adapter_folder(
    zoo: Callable[..., Path], texts: list[str], tmp_path: Path, name: str
) -> None:
    from sentence_transformers import SentenceTransformer

    recipe = recipe_for(zoo(name), query_prompt="find: ", lora=LoraRecipe(rank=2, merge=False))
    model = prepared(recipe)
    train_a_little(model, texts)
    save_trained(model, tmp_path / "adapter", recipe=recipe)
    said = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(zoo(name).resolve())
    peer = SentenceTransformer(str(tmp_path / "adapter"), device="cpu")
    np.testing.assert_allclose(peer.encode_query(texts), model.encode(texts, kind="query"), atol=1e-5)
    np.testing.assert_allclose(peer.encode_document(texts), model.encode(texts, kind="passage"), atol=1e-5)


def test_an_adapter_of_the_builtin_names_what_others_can_load(texts: list[str], tmp_path: Path) -> None:
    recipe = ModelRecipe(lora=LoraRecipe(rank=1, targets=("query",), merge=False))
    model = prepared(recipe)
    model.notes = {"base_model": recipe.name}
    train_a_little(model, texts[:2])
    save_trained(model, tmp_path / "adapter", recipe=recipe)
    said = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    again = load_model(recipe_for(tmp_path / "adapter"))
    np.testing.assert_allclose(again.encode(texts, kind="query"), model.encode(texts, kind="query"), atol=1e-5)


def test_an_adapter_without_its_base_is_refused(zoo: Callable[..., Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(zoo("bert"), base)
    recipe = recipe_for(base, lora=LoraRecipe(rank=1, merge=False))
    save_trained(prepared(recipe), tmp_path / "adapter", recipe=recipe)
    shutil.rmtree(base)
    with pytest.raises(ValueError, match="does not exist"):
        load_model(recipe_for(tmp_path / "adapter"))
    (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        load_model(recipe_for(tmp_path / "adapter"))


def test_chosen_targets_are_the_only_ones_and_unknown_ones_are_refused(zoo: Callable[..., Path]) -> None:
    model = prepared(recipe_for(zoo("bert"), lora=LoraRecipe(rank=2, targets=("query", "value"))))
    assert {key.split(".lora_")[0].rpartition(".")[2] for key in trainable(model)} == {"query", "value"}
    text = refusal(recipe_for(zoo("bert"), lora=LoraRecipe(targets=("q_proj",))))
    assert "q_proj" in text and "query" in text


def test_the_pooler_is_no_part_of_the_model(zoo: Callable[..., Path]) -> None:
    assert not [key for key in trainable(prepared(recipe_for(zoo("bert")))) if "pooler" in key]
    lora = prepared(recipe_for(zoo("bert"), lora=LoraRecipe(targets=("dense",))))
    assert trainable(lora) and not [key for key in trainable(lora) if "pooler" in key]


def test_a_new_projection_is_trained_beside_adapters(zoo: Callable[..., Path]) -> None:
    model = prepared(recipe_for(zoo("bert"), projection_dims=8, lora=LoraRecipe(rank=2)))
    assert {key for key in trainable(model) if "lora_" not in key} == {"heads.0.0.weight"}


# Freezing


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_first_layers_stay_and_the_others_are_trained(
    zoo: Callable[..., Path], texts: list[str], name: str, layers: int
) -> None:
    recipe = recipe_for(zoo(name), projection_dims=4, freeze=FreezeRecipe(first_layers=layers))
    model = prepared(recipe)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    train_a_little(model, texts)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed <= trainable(model)
    in_layer = [{key for key in changed if f".{i}." in key.replace("heads.0.0", "")} for i in range(2)]
    assert [bool(keys) for keys in in_layer] == [i >= layers for i in range(2)]
    assert any("embed" in key and "rel_" not in key for key in changed) == (layers == 0)
    assert "heads.0.0.weight" in changed


def test_position_and_token_embeddings_stay(zoo: Callable[..., Path], texts: list[str]) -> None:
    whole = trainable(prepared(recipe_for(zoo("roberta"))))
    position, token = "backbone.embeddings.position_embeddings.weight", "backbone.embeddings.word_embeddings.weight"
    for freeze, kept in (
        (FreezeRecipe(position_embeddings=True), {position}),
        (FreezeRecipe(token_embeddings=True), {token}),
        (FreezeRecipe(position_embeddings=True, token_embeddings=True), {position, token}),
    ):
        model = prepared(recipe_for(zoo("roberta"), freeze=freeze))
        assert whole - trainable(model) == kept
        before = {key: model.state_dict()[key].clone() for key in kept}
        train_a_little(model, texts)
        assert all(torch.equal(model.state_dict()[key], before[key]) for key in kept)


@pytest.mark.parametrize("name", ["modernbert", "qwen3"])
def test_a_model_without_position_embeddings_says_so(zoo: Callable[..., Path], name: str) -> None:
    text = refusal(recipe_for(zoo(name), freeze=FreezeRecipe(position_embeddings=True)))
    assert "model.freeze.position_embeddings" in text and "leave" in text


def test_too_much_frozen_is_refused(zoo: Callable[..., Path]) -> None:
    assert "freeze at most 2" in refusal(recipe_for(zoo("bert"), freeze=FreezeRecipe(first_layers=3)))
    assert "nothing is left" in refusal(recipe_for(zoo("bert"), freeze=FreezeRecipe(first_layers=2)))


def test_adapters_of_frozen_layers_stay_too(zoo: Callable[..., Path]) -> None:
    recipe = recipe_for(zoo("bert"), lora=LoraRecipe(rank=2), freeze=FreezeRecipe(first_layers=1))
    names = trainable(prepared(recipe))
    assert names and all(".layer.1." in key for key in names)


def test_with_a_frozen_passage_side_only_queries_move(zoo: Callable[..., Path], texts: list[str]) -> None:
    recipe = recipe_for(zoo("bert"), freeze=FreezeRecipe(passage_side=True))
    frozen, model = load_model(recipe), prepared(recipe)
    assert isinstance(frozen, DenseModel)
    sides = TwoSided(query=model, passage=frozen)
    before = {kind: sides.encode(texts, kind=kind) for kind in ("query", "passage")}
    train_a_little(model, texts)
    assert np.array_equal(sides.encode(texts, kind="passage"), before["passage"])
    assert np.abs(sides.encode(texts, kind="query") - before["query"]).max() > 1e-3
    own = sides.encode(["a cat"], kind="query", prompts=["tides "])
    assert np.array_equal(own, model.encode(["tides a cat"], kind="query"))
