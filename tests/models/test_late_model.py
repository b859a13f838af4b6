"""Late interaction: which tokens count, folders of all three kinds, the same vectors as sentence-transformers gives."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ragtune.models import load_model
from ragtune.models.base import KINDS, Kind, Representation, TokenBatch
from ragtune.models.late import LateModel
from ragtune.recipe import ModelRecipe

SHAPES: dict[str, dict[str, Any]] = {
    "expansion seen": {},
    "expansion unseen": {"attend_to_expansion": False},
    "no expansion": {"expansion_tokens": 0, "dims": 16},
    "no head, nothing skipped": {"dims": None, "skip_punctuation": False, "markers": False},
    "pooled": {"pool_factor": 2.0},
}
TEXTS = ["Green tea is not fermented, so it stays green.", "tea", "绿茶不经过发酵，所以茶汤是绿色的。", "bees (dance)!"]


def loaded(folder: Path, **settings: Any) -> LateModel:
    model = load_model(ModelRecipe.model_validate({"name": str(folder), "family": "late", **settings}))
    assert isinstance(model, LateModel)
    return model


def by_text(model: LateModel, texts: list[str], kind: Kind) -> list[np.ndarray]:
    vectors = model.encode(texts, kind=kind)
    return np.split(vectors.rows_ND.astype(np.float32), np.cumsum(vectors.lengths_B)[:-1])


def assert_as_sentence_transformers(model: LateModel, folder: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    other = MultiVectorEncoder(str(folder), device="cpu")
    for kind, encode in (("query", other.encode_query), ("passage", other.encode_document)):
        for own, theirs in zip(by_text(model, TEXTS, kind), encode(TEXTS), strict=True):
            # pooled vectors come in another order, which MaxSim does not see; passages are kept in fp16
            wanted = np.asarray(theirs)
            assert own.shape == wanted.shape
            order = [np.lexsort(np.round(rows, 2).T) for rows in (own, wanted)]
            near = np.abs(own - wanted).max() < 1e-3 or np.abs(own[order[0]] - wanted[order[1]]).max() < 2e-2
            assert near


@pytest.mark.parametrize("shape", SHAPES)
def test_sentence_transformers_loads_what_is_saved_with_the_same_vectors(
    shape: str, tiny_model: Path, tmp_path: Path
) -> None:
    model = loaded(tiny_model, late=SHAPES[shape])
    model.save(tmp_path / "saved")
    assert_as_sentence_transformers(model, tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    for kind in KINDS:
        for before, after in zip(by_text(model, TEXTS, kind), by_text(again, TEXTS, kind), strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_and_padded_are_the_same_and_company_changes_nothing(shape: str, tiny_model: Path) -> None:
    packed, padded = loaded(tiny_model, late=SHAPES[shape]), loaded(tiny_model, late=SHAPES[shape])
    padded.backbone.set_attn_implementation("eager")
    padded.packed = False
    kinds: list[Kind] = ["query", "passage", "query", "passage"]
    sequences = [packed.tokenize([text], kind=kind)[0] for text, kind in zip(TEXTS, kinds, strict=True)]
    batch = TokenBatch.of(sequences, device=torch.device("cpu"), kinds=kinds)
    with torch.inference_mode():
        wanted = torch.cat([
            padded(TokenBatch.of([s], device=torch.device("cpu"), kinds=[kind]))
            for s, kind in zip(sequences, kinds, strict=True)
        ])  # fmt: skip
        for model in (packed, padded):
            torch.testing.assert_close(model(batch), wanted, rtol=1e-4, atol=1e-5)
            assert len(model(batch)) == int(model.row_counts(batch).sum())


def test_unseen_expansion_tokens_leave_the_querys_own_tokens_as_they_are(tiny_model: Path) -> None:
    """They see the query and are seen by nothing, however many they are."""
    unseen = loaded(tiny_model, late={"attend_to_expansion": False})
    none = loaded(tiny_model, late={"expansion_tokens": 0})
    for few, many in zip(by_text(none, TEXTS, "query"), by_text(unseen, TEXTS, "query"), strict=True):
        assert len(many) == max(32, len(few))
        np.testing.assert_allclose(many[: len(few)], few, atol=1e-5)
    seen = loaded(tiny_model)
    assert np.abs(by_text(seen, TEXTS, "query")[1][:2] - by_text(none, TEXTS, "query")[1][:2]).max() > 1e-3


def test_punctuation_counts_in_queries_alone_and_the_tokens_behind_it_stay(tiny_model: Path) -> None:
    """A mask turned into a length would count punctuation and drop the passage's last tokens."""
    model = loaded(tiny_model, late={"expansion_tokens": 0})
    text = "bees ( dance ) ! tea"
    ids = model.tokenize([text], kind="passage")[0]
    signs = [i for i, token in enumerate(ids) if model.tokenizer.convert_ids_to_tokens(int(token)) in "()!"]
    assert len(signs) == 3
    kept = np.delete(np.arange(len(ids)), signs)
    whole = loaded(tiny_model, late={"expansion_tokens": 0, "skip_punctuation": False})
    np.testing.assert_allclose(by_text(model, [text], "passage")[0], by_text(whole, [text], "passage")[0][kept])
    assert len(by_text(model, [text], "query")[0]) == len(ids)


def test_words_outside_the_vocabulary_do_not_make_unknown_tokens_skipped(tiny_model: Path) -> None:
    model = loaded(tiny_model)
    assert model.tokenizer.unk_token_id not in model.reading.skipped
    ids = model.tokenize(["\u2603 \u2603 tea"], kind="passage")[0]
    assert (ids == model.tokenizer.unk_token_id).sum() == 2
    assert len(by_text(model, ["\u2603 \u2603 tea"], "passage")[0]) == len(ids)


def test_a_passage_of_punctuation_alone_can_still_be_scored(tiny_model: Path) -> None:
    model = loaded(tiny_model)
    special = [i for i in model.tokenizer.all_special_ids if i is not None]
    ids = np.array([i for i in model.tokenize(["!!"], kind="passage")[0] if i not in special], dtype=np.int32)
    batch = TokenBatch.of([ids], device=torch.device("cpu"), kinds=["passage"])
    assert model.row_counts(batch).tolist() == [2]


def test_passages_cost_their_own_length_whatever_the_limit(tiny_model: Path) -> None:
    """Nothing is filled up to the passage limit, nor to another passage."""
    model = loaded(tiny_model)
    short, long = model.tokenize(["tea", "green tea"], kind="passage")
    assert len(short) < len(long) < model.settings["passage"].max_tokens
    assert model.tokenizer.pad_token_id not in [*short, *long]
    assert model.encode(["tea", "green tea"], kind="passage").lengths_B.tolist() == [len(short), len(long)]


def test_a_new_head_nearly_keeps_similarities_and_is_the_same_each_time(tiny_model: Path) -> None:
    first, second = loaded(tiny_model), loaded(tiny_model)
    for a, b in zip(first.projections.parameters(), second.projections.parameters(), strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(first.projections[0].linear.weight.T @ first.projections[0].linear.weight, torch.eye(32))


def test_pooling_keeps_about_one_vector_for_its_factor(tiny_model: Path) -> None:
    whole, fewer = loaded(tiny_model), loaded(tiny_model, late={"pool_factor": 3.0})
    for all_, some in zip(by_text(whole, TEXTS, "passage"), by_text(fewer, TEXTS, "passage"), strict=True):
        assert len(some) == 1 + max(1, (len(all_) - 1) // 3)
        np.testing.assert_allclose(np.linalg.norm(some, axis=1), 1, atol=1e-3)
    for all_, some in zip(by_text(whole, TEXTS, "query"), by_text(fewer, TEXTS, "query"), strict=True):
        np.testing.assert_array_equal(all_, some)


@pytest.fixture
def stanford(tiny_model: Path, tmp_path: Path) -> Path:
    """A ColBERT checkpoint as Stanford's trainer writes it."""
    folder = tmp_path / "colbert"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("modules.json", "*Pooling", "config_sentence*"))
    state = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(1)
    save_file({**state, "linear.weight": torch.randn(16, 32)}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    said = {"query_token_id": "tea", "doc_token_id": "bees", "query_maxlen": 16, "doc_maxlen": 40}
    (folder / "artifact.metadata").write_text(json.dumps(said))
    return folder


def test_a_stanford_checkpoint_is_read_as_sentence_transformers_reads_it(stanford: Path) -> None:
    model = loaded(stanford)
    assert (model.dims, model.reading.expansion.length, model.reading.expansion.attend) == (16, 16, False)
    assert model.settings["passage"].max_tokens == 40
    assert set(model.reading.skipped_words) <= set(string.punctuation)
    assert_as_sentence_transformers(model, stanford)


@pytest.mark.parametrize("residual", [False, True])
def test_a_pylate_folder_is_read_as_sentence_transformers_reads_it(
    residual: bool, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pylate"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*Pooling", "*Normalize"))
    types = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(types.items())]
    dense = {"in_features": 32, "out_features": 16, "bias": False, "use_residual": residual}
    flat = {
        "model_type": "ColBERT",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 20,
        "document_length": 50,
        "attend_to_expansion_tokens": True,
        "skiplist_words": ["!", ","],
    }
    (folder / "1_Dense").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(flat))
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense | identity))
    torch.manual_seed(2)
    state = {"linear.weight": torch.randn(16, 32)} | ({"residual.weight": torch.randn(16, 32)} if residual else {})
    save_file(state, folder / "1_Dense" / "model.safetensors")
    model = loaded(folder)
    assert (model.reading.expansion.length, model.reading.expansion.attend) == (20, True)
    assert_as_sentence_transformers(model, folder)
    model.save(tmp_path / "again")
    assert_as_sentence_transformers(loaded(tmp_path / "again"), tmp_path / "again")


def test_scores_are_maxsim(tiny_model: Path) -> None:
    model = loaded(tiny_model)
    query, passage = torch.randn(5, 128), torch.randn(7, 128)
    sides = Representation(query, torch.tensor([2, 3])), Representation(passage, torch.tensor([4, 3]))
    wanted = [[float((q @ p.T).max(dim=1).values.sum()) for p in passage.split([4, 3])] for q in query.split([2, 3])]
    torch.testing.assert_close(model.score(*sides), torch.tensor(wanted))
