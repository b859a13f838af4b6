from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragtune.errors import InputError
from ragtune.measures import trec_order
from ragtune.retrieval import exact
from ragtune.retrieval.exact import exact_top_k

# Sixteenths: their products and sums are exact in float32, so that equal scores are equal in the reference too.
sixteenths = st.integers(-16, 16).map(lambda value: value / 16)


def tables(rows: st.SearchStrategy[int], dims: int = 5) -> Any:
    return rows.flatmap(lambda count: arrays(np.float32, (count, dims), elements=sixteenths))


def random_vectors(seed: int, rows: int, dims: int) -> Any:
    vector_ND = np.random.default_rng(seed).normal(size=(rows, dims)).astype(np.float32)
    return vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)


def in_trec_order(query_QD: Any, passage_ND: Any, ids: list[str], k: int) -> list[list[str]]:
    score_QN = query_QD.astype(np.float64) @ passage_ND.astype(np.float64).T
    return [trec_order(dict(zip(ids, row.tolist(), strict=True)))[:k] for row in score_QN]


@settings(max_examples=80, deadline=None)
@given(
    query_QD=tables(st.integers(0, 4)),
    passage_ND=tables(st.integers(0, 12)),
    k=st.integers(1, 15),
    block_bytes=st.sampled_from([1, 700, 2000, 1 << 20]),
    screened=st.booleans(),
)
def test_any_block_gives_the_order_of_trec_eval(
    query_QD: Any, passage_ND: Any, k: int, block_bytes: int, screened: bool
) -> None:
    ids = [str(number) for number in range(len(passage_ND))]
    with pytest.MonkeyPatch.context() as patch:
        if screened:
            patch.setattr(exact, "_SCREEN_ABOVE", 0)
            patch.setattr(exact, "_SPARE", 1)
        found = exact_top_k(query_QD, passage_ND, k=k, ids=ids, block_bytes=block_bytes, device="cpu")
    assert [[ids[row] for row in rows] for rows in found.index_Qk] == in_trec_order(query_QD, passage_ND, ids, k)
    score_QN = (query_QD.astype(np.float64) @ passage_ND.astype(np.float64).T).astype(np.float32)
    assert np.array_equal(found.score_Qk, np.take_along_axis(score_QN, found.index_Qk, axis=1))


@pytest.mark.parametrize("block_bytes", [20_000, 300_000, 1 << 28])
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_threads_and_paths_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, block_bytes: int, threads: int
) -> None:
    query_QD, passage_ND = random_vectors(0, 20, 48), random_vectors(1, 900, 48)
    passage_ND[300:400] = passage_ND[7]  # a hundred copies, more than the screen can spare
    query_QD[3] = passage_ND[7]
    ids = [f"p{number}" for number in range(900)]
    plain = exact_top_k(query_QD, passage_ND, k=10, ids=ids, device="cpu")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        direct = exact_top_k(query_QD, passage_ND, k=10, ids=ids, block_bytes=block_bytes, device="cpu")
        monkeypatch.setattr(exact, "_SCREEN_ABOVE", 0)
        screened = exact_top_k(query_QD, passage_ND, k=10, ids=ids, block_bytes=block_bytes, device="cpu")
    finally:
        torch.set_num_threads(before)
    copies = sorted(["p7", *(f"p{number}" for number in range(300, 400))], reverse=True)
    assert [ids[row] for row in plain.index_Qk[3]] == copies[:10]
    for found in (direct, screened):
        assert np.array_equal(found.index_Qk, plain.index_Qk)
        assert np.array_equal(found.score_Qk, plain.score_Qk)


def test_scores_are_those_of_float64_rounded_once() -> None:
    query_QD, passage_ND = random_vectors(2, 5, 384), random_vectors(3, 200, 384)
    found = exact_top_k(query_QD, passage_ND, k=200, device="cpu")
    expected = np.sort((query_QD.astype(np.float64) @ passage_ND.astype(np.float64).T).astype(np.float32))[:, ::-1]
    assert np.array_equal(found.score_Qk, expected)


def test_without_ids_the_smaller_row_comes_first() -> None:
    found = exact_top_k(np.ones((1, 2), np.float32), np.ones((5, 2), np.float32), k=3)
    assert found.index_Qk.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(("queries", "passages", "width"), [(0, 3, 2), (2, 0, 0), (0, 0, 0), (2, 1, 1)])
def test_fewer_passages_than_k_and_no_input_at_all(queries: int, passages: int, width: int) -> None:
    found = exact_top_k(random_vectors(4, queries, 3), random_vectors(5, passages, 3), k=2)
    assert found.index_Qk.shape == found.score_Qk.shape == (queries, width)
    assert (found.index_Qk.dtype, found.score_Qk.dtype) == (np.int64, np.float32)


def alike(spread: float) -> tuple[Any, Any]:
    """Passages whose order bfloat16 cannot tell, and float32 can."""
    query_QD, passage_ND = random_vectors(6, 40, 64), random_vectors(7, 1, 64) + spread * random_vectors(8, 3000, 64)
    return query_QD, passage_ND.astype(np.float32)


def test_autocast_does_not_change_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    query_QD, passage_ND = alike(0.1)
    plain = exact_top_k(query_QD, passage_ND, k=5, device="cpu")
    monkeypatch.setattr(exact, "_SCREEN_ABOVE", 0)
    monkeypatch.setattr(exact, "_SPARE", 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = exact_top_k(query_QD, passage_ND, k=5, device="cpu")
    assert np.array_equal(plain.index_Qk, cast.index_Qk)


def test_lower_float32_precision_is_not_trusted_to_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    query_QD, passage_ND = alike(0.001)
    plain = exact_top_k(query_QD, passage_ND, k=5, device="cpu")
    monkeypatch.setattr(exact, "_SCREEN_ABOVE", 0)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        found = exact_top_k(query_QD, passage_ND, k=5, device="cpu")
    finally:
        torch.set_float32_matmul_precision(before)
    assert np.array_equal(found.index_Qk, plain.index_Qk)


def test_float16_queries_are_widened() -> None:
    query_QD, passage_ND = random_vectors(6, 3, 32).astype(np.float16), random_vectors(7, 40, 32)
    half, widened = (exact_top_k(query, passage_ND, k=5) for query in (query_QD, query_QD.astype(np.float32)))
    assert np.array_equal(half.score_Qk, widened.score_Qk)


def test_the_two_zeros_of_a_float_are_one_score() -> None:
    tiny = np.float32([[-1e-30], [1e-30], [-1e-30]])  # products too small for float32: -0, 0, -0
    found = exact_top_k(np.float32([[1e-30]]), tiny, k=3, ids=["c", "b", "a"], device="cpu")
    assert found.index_Qk.tolist() == [[0, 1, 2]]


def test_vectors_may_stay_on_disk(tmp_path: Path) -> None:
    query_QD, passage_ND = random_vectors(10, 4, 16), random_vectors(11, 50, 16)
    np.save(tmp_path / "vectors.npy", passage_ND)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    for found, plain in zip(
        exact_top_k(query_QD, mapped, k=3, block_bytes=5000), exact_top_k(query_QD, passage_ND, k=3), strict=True
    ):
        assert np.array_equal(found, plain)


@pytest.mark.parametrize(
    ("query_QD", "passage_ND", "options", "what"),
    [
        (np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), {"k": 0}, "k must be 1 or more"),
        (np.ones((1, 3), np.float32), np.ones((3, 2), np.float32), {"k": 1}, "different dimensions"),
        (np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), {"k": 1, "ids": ["a"]}, "ids do not fit"),
        (np.ones((1, 2), np.int64), np.ones((3, 2), np.float32), {"k": 1}, "not a table of vectors"),
        (np.ones((1, 2), np.float32), np.ones(2, np.float32), {"k": 1}, "not a table of vectors"),
        (np.float32([[0, np.nan]]), np.ones((3, 2), np.float32), {"k": 1}, "NaN or infinite"),
        (np.ones((1, 2), np.float32), np.float32([[0, 0], [np.inf, 0]]), {"k": 1}, "passage_ND, row 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(query_QD: Any, passage_ND: Any, options: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        exact_top_k(query_QD, passage_ND, **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    query_QD, passage_ND = random_vectors(12, 64, 384), random_vectors(13, 20_000, 384)
    passage_ND[500:700] = passage_ND[3]
    plain = exact_top_k(query_QD, passage_ND, k=50, device="cpu")
    direct = exact_top_k(query_QD, passage_ND, k=50, device="cuda")
    monkeypatch.setattr(exact, "_SCREEN_ABOVE", 0)
    screened = exact_top_k(query_QD, passage_ND, k=50, device="cuda", block_bytes=1 << 22)
    for found in (direct, screened):
        assert np.array_equal(found.index_Qk, plain.index_Qk)
        assert np.array_equal(found.score_Qk, plain.score_Qk)
