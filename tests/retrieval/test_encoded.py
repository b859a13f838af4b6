"""Search over token vectors and over term weights: exact, in any block size, ties as trec_eval breaks them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from ragtune.models.token_vectors import TokenVectors
from ragtune.retrieval.encoded import bytes_per_text, scores_of, take, top_k_of, width
from ragtune.retrieval.late import late_top_k

IDS = [f"p{number}" for number in range(60)]


def token_vectors(count: int, *, seed: int, dtype: type = np.float32) -> TokenVectors:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, size=count)
    return TokenVectors(rng.standard_normal((lengths.sum(), 8)).astype(dtype), lengths)


def written_out(query: TokenVectors, passages: TokenVectors) -> np.ndarray:
    sides = [np.split(side.rows_ND.astype(np.float64), np.cumsum(side.lengths_B)[:-1]) for side in (query, passages)]
    return np.array([[(q @ p.T).max(axis=1).sum() for p in sides[1]] for q in sides[0]], dtype=np.float32)


def in_order(score_QC: np.ndarray, k: int) -> list[list[int]]:
    """trec_eval's order: score descending, then id descending."""
    return [sorted(range(len(row)), key=lambda i, row=row: (row[i], IDS[i]), reverse=True)[:k] for row in score_QC]


@pytest.mark.parametrize("block_bytes", [64, 4096, 1 << 28])
def test_late_search_is_exact_in_any_block_size(block_bytes: int) -> None:
    query, passages = token_vectors(7, seed=1), token_vectors(60, seed=2, dtype=np.float16)
    wanted = written_out(query, passages)
    for k in (1, 10, 60, 99):
        found = late_top_k(query, passages, k=k, ids=IDS, block_bytes=block_bytes)
        assert found.index_Qk.tolist() == in_order(wanted, k)
        np.testing.assert_allclose(found.score_Qk, np.take_along_axis(wanted, found.index_Qk, axis=1), rtol=1e-6)


def test_copies_of_a_passage_tie_and_come_by_id() -> None:
    few = token_vectors(6, seed=3)
    copies = few.take(np.tile(np.arange(6), 10))
    found = late_top_k(token_vectors(4, seed=4), copies, k=60, ids=IDS)
    for places, scores in zip(found.index_Qk, found.score_Qk, strict=True):
        assert len(set(scores.tolist())) == 6
        assert [(-s, IDS[p]) for p, s in zip(places, scores, strict=True)] == [
            (-s, i) for s, i in sorted(((s, IDS[p]) for p, s in zip(places, scores, strict=True)), reverse=True)
        ]


def test_sparse_search_is_exact_with_passages_that_share_no_term() -> None:
    rng = np.random.default_rng(5)
    query, passages = ((rng.random((n, 40)) * (rng.random((n, 40)) < 0.1)).astype(np.float32) for n in (9, 60))
    wanted = (query.astype(np.float64) @ passages.astype(np.float64).T).astype(np.float32)
    assert (wanted == 0).any(axis=1).all()
    for k in (1, 10, 60, 99):
        found = top_k_of(csr_matrix(query), csr_matrix(passages), k=k, ids=IDS)
        assert found.index_Qk.tolist() == in_order(wanted, k)


@pytest.mark.parametrize("kind", ["vectors", "tokens", "terms"])
def test_what_a_model_makes_of_texts_is_chosen_and_scored_alike(kind: str) -> None:
    if kind == "tokens":
        query, passages = token_vectors(3, seed=6), token_vectors(20, seed=7)
        wanted = written_out(query, passages)
    else:
        query, passages = (np.random.default_rng(n).random((n, 8), dtype=np.float32) for n in (3, 20))
        wanted = query @ passages.T
    if kind == "terms":
        query, passages = csr_matrix(query), csr_matrix(passages)
    places = [4, 0, 19]
    np.testing.assert_allclose(scores_of(take(query, [1]), take(passages, places))[0], wanted[1, places], rtol=1e-5)
    found = top_k_of(query, passages, k=5, ids=IDS[:20])
    assert found.index_Qk.tolist() == in_order(wanted, 5)
    assert width(passages) == 8
    assert bytes_per_text(passages) > 0
