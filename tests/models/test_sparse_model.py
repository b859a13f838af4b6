"""Sparse encoders: the same weights as sentence-transformers, pruning, and the max-pooled head without its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragtune.errors import ModelError
from ragtune.models import load_model
from ragtune.models.base import KINDS, TokenBatch
from ragtune.models.sparse import SparseModel
from ragtune.recipe import ModelRecipe

TEXTS = ["Green tea is not fermented, so it stays green.", "tea", "绿茶不经过发酵，所以茶汤是绿色的。", ""]


def loaded(folder: Path, **settings: Any) -> SparseModel:
    model = load_model(ModelRecipe.model_validate({"name": str(folder), "family": "sparse", **settings}))
    assert isinstance(model, SparseModel)
    return model


def test_sentence_transformers_gives_the_same_weights_before_and_after_saving(tiny_mlm: Path, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    model = loaded(tiny_mlm)
    model.save(tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    for folder in (tiny_mlm, tmp_path / "saved"):
        other = SparseEncoder(str(folder), device="cpu")
        wanted = other.encode_query(TEXTS).to_dense().numpy()
        np.testing.assert_allclose(model.encode(TEXTS, kind="query").toarray(), wanted, atol=1e-5)
    for kind in KINDS:
        assert (model.encode(TEXTS, kind=kind) != again.encode(TEXTS, kind=kind)).nnz == 0


def test_only_the_heaviest_terms_are_kept_by_kind(tiny_mlm: Path, tmp_path: Path) -> None:
    whole, few = loaded(tiny_mlm), loaded(tiny_mlm, sparse={"query_terms": 3, "passage_terms": 10})
    few.save(tmp_path / "saved")
    for model in (few, loaded(tmp_path / "saved")):
        for kind, terms in (("query", 3), ("passage", 10)):
            found, all_ = (m.encode(TEXTS[:3], kind=kind).toarray() for m in (model, whole))
            assert (np.count_nonzero(found, axis=1) == terms).all()
            np.testing.assert_array_equal(np.sort(found, axis=1)[:, -terms:], np.sort(all_, axis=1)[:, -terms:])


def test_packed_and_padded_are_the_same_and_company_changes_nothing(tiny_mlm: Path) -> None:
    packed, padded = loaded(tiny_mlm), loaded(tiny_mlm)
    padded.backbone.set_attn_implementation("eager")
    padded.packed = False
    assert packed.packed
    sequences = packed.tokenize(TEXTS, kind="passage")
    with torch.inference_mode():
        wanted = torch.cat([padded(TokenBatch.of([s], device=torch.device("cpu"))) for s in sequences])
        for model in (packed, padded):
            found = model(TokenBatch.of(sequences, device=torch.device("cpu")))
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_model_without_its_masked_language_head_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="family 'sparse'"):
        loaded(tiny_model)
