from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragtune.errors import InputError
from ragtune.retrieval.exact import exact_top_k
from ragtune.retrieval.vectors import STORAGES, VectorStore, calibrate, prefix

vectors = arrays(np.float32, (7, 11), elements=st.floats(-4, 4, width=32))


def clustered(rows: int = 400, dims: int = 64) -> tuple[Any, Any, list[str]]:
    """Queries near one passage each."""
    rng = np.random.default_rng(0)
    passage_ND = prefix(np.c_[rng.normal(size=(rows, dims)), np.zeros(rows)].astype(np.float32), dims)
    query_QD = prefix(np.c_[passage_ND[:50] + 0.1 * rng.normal(size=(50, dims)), np.zeros(50)].astype(np.float32), dims)
    return query_QD, passage_ND, [f"p{number}" for number in range(rows)]


def decoded(store: VectorStore) -> Any:
    return store.kept.block(0, len(store), torch.float32, torch.device("cpu")).numpy()


@given(vector_ND=vectors)
def test_fp32_keeps_every_bit_and_fp16_rounds(vector_ND: Any) -> None:
    ids = list("abcdefg")
    assert np.array_equal(decoded(VectorStore.build(vector_ND, ids)), vector_ND)
    half = decoded(VectorStore.build(vector_ND, ids, storage="fp16"))
    assert np.array_equal(half, vector_ND.astype(np.float16).astype(np.float32))


@given(vector_ND=vectors)
def test_int8_is_off_by_half_a_step_at_most(vector_ND: Any) -> None:
    store = VectorStore.build(vector_ND, list("abcdefg"), storage="int8")
    low_D, high_D = calibrate(vector_ND)
    off_ND = np.abs(decoded(store) - vector_ND.astype(np.float64))
    assert (off_ND <= (high_D - low_D) / 510 + 2e-6).all()
    assert (np.linalg.norm(decoded(store).astype(np.float64), axis=1) <= store.kept.longest * (1 + 1e-6)).all()


@given(vector_ND=vectors)
def test_binary_keeps_the_signs(vector_ND: Any) -> None:
    store = VectorStore.build(vector_ND, list("abcdefg"), storage="binary")
    assert np.array_equal(decoded(store), np.where(vector_ND > 0, 1.0, -1.0))


def test_ranges_from_elsewhere_cut_off_what_lies_outside() -> None:
    ranges = np.float32([-1, 0]), np.float32([1, 2])
    store = VectorStore.build(np.float32([[-5, 1], [5, 1]]), ["a", "b"], storage="int8", ranges=ranges)
    assert decoded(store)[:, 0].tolist() == pytest.approx([-1, 1])


@pytest.mark.parametrize(
    ("storage", "expected"), [("fp32", 44), ("fp16", 22), ("int8", 11), ("binary", 2), ("binary+int8", 13)]
)
def test_bytes_per_vector(storage: Any, expected: int) -> None:
    store = VectorStore.build(np.ones((2, 11), np.float32), ["a", "b"], storage=storage)
    assert store.bytes_per_vector == expected


@pytest.mark.parametrize("storage", list(STORAGES))
def test_the_near_passage_is_found_from_every_storage(storage: Any) -> None:
    query_QD, passage_ND, ids = clustered()
    found = VectorStore.build(passage_ND, ids, storage=storage).search(query_QD, k=3)
    assert (found.index_Qk[:, 0] == np.arange(50)).mean() >= 0.98


def test_rescored_scores_are_those_of_the_query_against_what_is_kept() -> None:
    query_QD, passage_ND, ids = clustered()
    for storage in ("binary", "binary+int8"):
        store = VectorStore.build(passage_ND, ids, storage=storage)
        found = store.search(query_QD, k=5)
        score_QN = query_QD.astype(np.float64) @ decoded(store).astype(np.float64).T
        expected = np.take_along_axis(score_QN, found.index_Qk, axis=1).astype(np.float32)
        assert np.array_equal(found.score_Qk, expected)


def test_rescoring_everything_is_the_search_of_what_is_kept() -> None:
    query_QD, passage_ND, ids = clustered(rows=60)
    whole = VectorStore.build(passage_ND, ids, storage="int8").search(query_QD, k=5)
    found = VectorStore.build(passage_ND, ids, storage="binary+int8", rescore_multiplier=12).search(query_QD, k=5)
    assert np.array_equal(found.index_Qk, whole.index_Qk)


def test_a_larger_multiplier_finds_more() -> None:
    query_QD, passage_ND, ids = clustered()
    query_QD = prefix(np.c_[query_QD + np.random.default_rng(1).normal(size=(50, 64)), np.zeros(50)], 64)
    best = exact_top_k(query_QD, passage_ND, k=10).index_Qk
    shares = []
    for multiplier in (1, 4, 40):
        store = VectorStore.build(passage_ND, ids, storage="binary+int8", rescore_multiplier=multiplier)
        found = store.search(query_QD, k=10).index_Qk
        shares.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best, found, strict=True)]))
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.95


@pytest.mark.parametrize("storage", list(STORAGES))
@pytest.mark.parametrize("dims", [None, 13])
def test_blocks_change_nothing(storage: Any, dims: int | None) -> None:
    query_QD, passage_ND, ids = clustered(rows=120)
    store = VectorStore.build(passage_ND, ids, storage=storage, dims=dims)
    whole, cut = store.search(query_QD, k=7), store.search(query_QD, k=7, block_bytes=9000)
    assert np.array_equal(whole.index_Qk, cut.index_Qk)
    assert np.array_equal(whole.score_Qk, cut.score_Qk)


@pytest.mark.parametrize("storage", list(STORAGES))
def test_equal_vectors_are_ordered_by_id(storage: Any) -> None:
    store = VectorStore.build(np.ones((30, 9), np.float32), [str(number) for number in range(30)], storage=storage)
    found = store.search(np.ones((1, 9), np.float32), k=4)
    assert [store.ids[row] for row in found.index_Qk[0]] == ["9", "8", "7", "6"]


def test_autocast_does_not_round_the_hamming_distance() -> None:
    rng = np.random.default_rng(2)
    near_ND = (rng.normal(size=1000) + 0.5 * rng.normal(size=(200, 1000))).astype(np.float32)
    store = VectorStore.build(near_ND, [str(number) for number in range(200)], storage="binary", rescore_multiplier=1)
    plain = store.search(near_ND[:5], k=10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = store.search(near_ND[:5], k=10)
    assert np.array_equal(plain.index_Qk, cast.index_Qk)


def test_a_prefix_is_normalised_on_both_sides() -> None:
    query_QD, passage_ND, ids = clustered()
    store = VectorStore.build(passage_ND, ids, dims=8)
    assert (store.dims, store.model_dims, store.bytes_per_vector) == (8, 64, 32)
    found = store.search(query_QD, k=1)
    cosine_QN = prefix(query_QD, 8) @ prefix(passage_ND, 8).T
    assert found.score_Qk[:, 0] == pytest.approx(cosine_QN.max(axis=1), abs=1e-6)
    assert decoded(VectorStore.build(np.float32([[0, 0, 1]]), ["a"], dims=2)).tolist() == [[0.0, 0.0]]


def test_all_dimensions_are_left_as_they_are() -> None:
    long_ND = np.float32([[3, 4], [30, 40]])
    assert np.array_equal(decoded(VectorStore.build(long_ND, ["a", "b"], dims=2)), long_ND)


@pytest.mark.parametrize("storage", list(STORAGES))
def test_an_empty_corpus_finds_nothing(storage: Any) -> None:
    store = VectorStore.build(np.zeros((0, 4), np.float32), [], storage=storage)
    assert store.search(np.ones((2, 4), np.float32), k=3).index_Qk.shape == (2, 0)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        VectorStore.build(
            np.ones((3, 4), np.float32),
            ["a", "a"],
            storage="int4",  # type: ignore[arg-type]
            dims=5,
            rescore_multiplier=0,
        )
    assert [problem.found for problem in caught.value.problems] == [
        "'int4'",
        "5",
        "2 ids, 3 vectors",
        "1 ids are there twice",
        "0",
    ]
    assert "did you mean 'int8'" in caught.value.problems[0].do


def test_vectors_that_no_storage_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match="use fp32"):
        VectorStore.build(np.float32([[1e5]]), ["a"], storage="fp16")
    with pytest.raises(InputError, match="NaN or infinite"):
        VectorStore.build(np.float32([[np.nan]]), ["a"])
    with pytest.raises(InputError, match="do not fit"):
        VectorStore.build(np.ones((2, 4), np.float32), ["a", "b"], dims=2).search(np.ones((1, 2), np.float32), k=1)
