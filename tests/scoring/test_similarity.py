"""Scores by every similarity: closed forms, masks, precision, gradients, bounded memory."""

from __future__ import annotations

import math

import pytest
import torch

from ragtune.scoring.maxsim import maxsim
from ragtune.scoring.similarity import cosine, dot, sparse_dot

Q, C, S, T, D = 3, 5, 4, 6, 2


def naive_maxsim(token_QSD, mask_QS, token_CTD, mask_CT):
    score_QC = torch.zeros(len(token_QSD), len(token_CTD), dtype=token_QSD.dtype)
    for q, query in enumerate(token_QSD):
        for c, passage in enumerate(token_CTD):
            score_QC[q, c] = sum((query[mask_QS[q]] @ passage[mask_CT[c]].T).max(dim=1).values)
    return score_QC


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(3)
    mask_QS = torch.arange(S) < torch.tensor([4, 1, 2])[:, None]
    mask_CT = torch.arange(T) < torch.tensor([6, 3, 1, 5, 2])[:, None]
    query, passage = torch.randn(Q, S, D, generator=generator), torch.randn(C, T, D, generator=generator)
    return query.double(), mask_QS, passage.double(), mask_CT


def test_low_precision_vectors_are_widened_before_they_are_multiplied() -> None:
    query, passage = torch.rand(2, 64).bfloat16(), torch.rand(3, 64).bfloat16()
    exact = (query.double() @ passage.double().T).float()
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            score_QC = dot(query, passage)
        assert score_QC.dtype == torch.float32
        torch.testing.assert_close(score_QC, exact, rtol=1e-6, atol=1e-6)


def test_float64_stays_float64() -> None:
    assert dot(torch.ones(1, 2).double(), torch.ones(1, 2).double()).dtype == torch.float64


def test_cosine_does_not_see_lengths() -> None:
    query, passage = torch.randn(3, 4), torch.randn(2, 4)
    torch.testing.assert_close(cosine(query * 7, passage * 0.01), cosine(query, passage))


@pytest.mark.parametrize("query_sparse", [False, True])
@pytest.mark.parametrize("passage_sparse", [False, True])
def test_sparse_dot_is_the_dot_in_any_layout(query_sparse: bool, passage_sparse: bool) -> None:
    query, passage = torch.relu(torch.randn(3, 9)), torch.relu(torch.randn(4, 9))
    score_QC = sparse_dot(
        query.to_sparse() if query_sparse else query, passage.to_sparse() if passage_sparse else passage
    )
    torch.testing.assert_close(score_QC.to_dense(), query @ passage.T)


def test_maxsim_is_the_sum_of_each_query_tokens_best(tokens) -> None:
    torch.testing.assert_close(maxsim(*tokens), naive_maxsim(*tokens))
    mean_QC = naive_maxsim(*tokens) / tokens[1].sum(dim=1, keepdim=True)
    torch.testing.assert_close(maxsim(*tokens, over_query_tokens="mean"), mean_QC)


@pytest.mark.parametrize("block_cells", [1, S * T, 3 * S * T, 2 * C * S * T])
def test_maxsim_in_blocks_is_maxsim_at_once(tokens, block_cells: int) -> None:
    query, mask_QS, passage, mask_CT = tokens
    results = []
    for cells in (2**20, block_cells):
        query, passage = query.clone().requires_grad_(), passage.clone().requires_grad_()
        score_QC = maxsim(query, mask_QS, passage, mask_CT, block_cells=cells)
        results.append((score_QC, *torch.autograd.grad(score_QC.square().sum(), (query, passage))))
    for whole, blocked in zip(*results, strict=True):
        torch.testing.assert_close(whole, blocked)


def test_what_masked_tokens_hold_reaches_neither_score_nor_gradient(tokens) -> None:
    query, mask_QS, passage, mask_CT = tokens
    poisoned_query = query.masked_fill(~mask_QS[..., None], math.nan).requires_grad_()
    poisoned_passage = passage.masked_fill(~mask_CT[..., None], math.inf).requires_grad_()
    score_QC = maxsim(poisoned_query, mask_QS, poisoned_passage, mask_CT)
    torch.testing.assert_close(score_QC, naive_maxsim(*tokens))
    gradients = torch.autograd.grad(score_QC.sum(), (poisoned_query, poisoned_passage))
    for gradient, mask in zip(gradients, (mask_QS, mask_CT), strict=True):
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()


def test_padding_never_wins_where_all_similarities_are_negative() -> None:
    query, passage = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[-0.5, 0.0], [0.0, 0.0]]])
    score_QC = maxsim(query, torch.ones(1, 1, dtype=torch.bool), passage, torch.tensor([[True, False]]))
    assert score_QC.tolist() == [[-0.5]]


@pytest.mark.parametrize("passage_tokens", [0, 2])
def test_a_passage_without_tokens_scores_minus_infinity_and_has_no_gradient(passage_tokens: int) -> None:
    query = torch.ones(1, 2, 3, requires_grad=True)
    mask_CT = torch.zeros(1, passage_tokens, dtype=torch.bool)
    score_QC = maxsim(query, torch.ones(1, 2, dtype=torch.bool), torch.ones(1, passage_tokens, 3), mask_CT)
    assert score_QC.tolist() == [[-math.inf]]
    assert torch.autograd.grad(score_QC.sum(), query)[0].eq(0).all()


def test_a_query_without_tokens_scores_zero() -> None:
    none_QS, all_CT = torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    for over in ("sum", "mean"):
        score_QC = maxsim(torch.ones(1, 2, 3), none_QS, torch.ones(1, 2, 3), all_CT, over_query_tokens=over)
        assert score_QC.tolist() == [[0.0]]


def test_maxsim_gradient_is_exact(tokens) -> None:
    query, mask_QS, passage, mask_CT = tokens
    query.requires_grad_(), passage.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, p: maxsim(q, mask_QS, p, mask_CT, block_cells=30), (query, passage))


def test_maxsim_keeps_no_token_similarities_for_the_backward_pass() -> None:
    query, passage = torch.randn(4, 8, 2, requires_grad=True), torch.randn(16, 32, 2, requires_grad=True)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maxsim(query, torch.ones(4, 8, dtype=torch.bool), passage, torch.ones(16, 32, dtype=torch.bool))
    assert max(tensor.numel() for tensor in kept) < 4 * 8 * 16 * 32
