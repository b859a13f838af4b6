"""Equality with sentence-transformers, value and gradient, for every loss that both have.

Both sides start from the same vectors (or reranker scores); ours is the mean over the queries, which is what the
engine's one division gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.cross_encoder import losses as reranker_losses
from sentence_transformers.sentence_transformer import losses as dense_losses
from torch import Tensor, nn

from ragtune.scoring.directions import directional_loss, score_blocks
from ragtune.scoring.losses import LOSSES
from ragtune.scoring.similarity import cosine
from ragtune.scoring.targets import OwnCandidate, TargetRow, Targets, fill_targets

B, D = 5, 8


class Vectors(nn.Module):
    """Stands where a model is asked for; the losses below are handed vectors."""


class GivenScores(CrossEncoder):
    """A reranker whose score of the pair (query, text) is looked up in a table."""

    num_labels = 1

    def __init__(self, score_QC: Tensor) -> None:
        nn.Module.__init__(self)
        self.score_QC = score_QC

    @property
    def device(self) -> torch.device:
        return self.score_QC.device

    def preprocess(self, pairs: Sequence[tuple[str, str]], **_: object) -> dict[str, Tensor]:
        return {"pairs": torch.tensor([[int(query), int(text)] for query, text in pairs])}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        query_N, text_N = inputs["pairs"].T
        return {"scores": self.score_QC[query_N, text_N]}


def columns(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The vectors of ``count`` data columns (query, positive, negatives) for B rows, with gradients."""
    return [torch.randn(B, D, dtype=dtype, requires_grad=True) for _ in range(count)]


def row_targets(negatives: int, teacher_QC: Tensor | None = None) -> Targets:
    """Targets for rows of one positive and ``negatives`` own negatives; ids in the order of concatenated columns."""
    ids = [f"{row}/{column}" for column in range(1 + negatives) for row in range(B)]
    rows = [
        TargetRow(
            str(row),
            own=[
                OwnCandidate(
                    f"{row}/{column}",
                    relevance=float(column == 0),
                    teacher=None if teacher_QC is None else teacher_QC[row, column].item(),
                )
                for column in range(1 + negatives)
            ],
        )
        for row in range(B)
    ]
    return fill_targets(rows, ids)


def one_cell_a_row(label_B: Tensor) -> Targets:
    """Labelled pairs: row i and its own text i, nothing else counts."""
    eye = torch.eye(B, dtype=torch.bool)
    return Targets(torch.diag(label_B.float()), torch.ones_like(eye), own_QC=eye)


def assert_equal(ours: Tensor, theirs: Tensor, inputs: Sequence[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(value, inputs, retain_graph=True) for value in (ours, theirs)]
    for our_gradient, their_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient)


ST_DIRECTIONS = {
    "query_passage": "query_to_doc",
    "query_query": "query_to_query",
    "passage_query": "doc_to_query",
    "passage_passage": "doc_to_doc",
}


@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_softmax_is_multiple_negatives_ranking(negatives: int) -> None:
    vectors = columns(2 + negatives)
    targets = row_targets(negatives)
    score_QC = cosine(vectors[0], torch.cat(vectors[1:]))
    ours = LOSSES["softmax"].function(score_QC, targets, temperature=0.05).mean()
    theirs = dense_losses.MultipleNegativesRankingLoss(Vectors(), scale=20.0)
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, None), vectors)


@pytest.mark.parametrize(
    ("directions", "partition"),
    [
        (("query_passage", "passage_query"), "separate"),
        (("query_passage", "passage_query"), "joint"),
        (("query_passage", "query_query"), "joint"),
        (("query_passage", "passage_passage"), "joint"),
        (("query_passage", "query_query", "passage_query", "passage_passage"), "joint"),
    ],
)
@pytest.mark.parametrize("negatives", [0, 2])
def test_directions_and_partitions(directions, partition: str, negatives: int) -> None:
    vectors = columns(2 + negatives)
    targets = row_targets(negatives)
    blocks = score_blocks(vectors[0], torch.cat(vectors[1:]), targets, directions=directions, similarity=cosine)

    def loss(score_RN: Tensor, targets_RN: Targets) -> Tensor:
        return LOSSES["softmax"].function(score_RN, targets_RN, temperature=0.05)

    ours = directional_loss(loss, blocks, targets, directions=directions, partition=partition).mean()
    theirs = dense_losses.MultipleNegativesRankingLoss(
        Vectors(),
        scale=20.0,
        directions=tuple(ST_DIRECTIONS[name] for name in directions),
        partition_mode={"separate": "per_direction", "joint": "joint"}[partition],
    )
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, None), vectors)


@pytest.mark.parametrize("margin", [0.2, 0.9])
def test_triplet_is_triplet_on_cosine_distance(margin: float) -> None:
    vectors = columns(3)
    targets = row_targets(1)
    ours = LOSSES["triplet"].function(cosine(vectors[0], torch.cat(vectors[1:])), targets, margin=margin).mean()
    theirs = dense_losses.TripletLoss(Vectors(), dense_losses.TripletDistanceMetric.COSINE, triplet_margin=margin)
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, None), vectors)


def test_contrastive_is_contrastive() -> None:
    vectors, label_B = columns(2), torch.tensor([1, 0, 0, 1, 0])
    ours = LOSSES["contrastive"].function(cosine(*vectors), one_cell_a_row(label_B), margin=0.9).mean()
    theirs = dense_losses.ContrastiveLoss(Vectors(), margin=0.9)
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, label_B), vectors)


@pytest.mark.parametrize("labels", [[1, 0, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
def test_online_contrastive_is_online_contrastive(labels: list[int]) -> None:
    vectors, label_B = columns(2), torch.tensor(labels)
    # theirs is the sum over the batch
    ours = LOSSES["online_contrastive"].function(cosine(*vectors), one_cell_a_row(label_B), margin=1.2).sum()
    theirs = dense_losses.OnlineContrastiveLoss(Vectors(), margin=1.2)
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, label_B), vectors)


def test_cosine_similarity_is_cosine_similarity() -> None:
    vectors, label_B = columns(2, torch.float32), torch.tensor([0.9, 0.1, 0.5, -0.3, 0.0])
    ours = LOSSES["cosine_similarity"].function(cosine(*vectors), one_cell_a_row(label_B)).mean()
    theirs = dense_losses.CosineSimilarityLoss(Vectors())
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, label_B), vectors)


def test_cosent_is_cosent() -> None:
    vectors, label_B = columns(2), torch.tensor([0.9, 0.1, 0.5, 0.5, 0.0])
    ours = LOSSES["cosent"].function(cosine(*vectors), one_cell_a_row(label_B), temperature=0.05).mean()
    theirs = dense_losses.CoSENTLoss(Vectors(), scale=20.0)
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, label_B), vectors)


@pytest.mark.parametrize(("student", "teacher"), [(1.0, 1.0), (0.5, 2.0)])
def test_kl_divergence_is_distill_kl_div(student: float, teacher: float) -> None:
    vectors, teacher_QC = columns(5), torch.randn(B, 4) * 3
    targets = row_targets(3, teacher_QC)
    score_QC = vectors[0] @ torch.cat(vectors[1:]).T
    ours = LOSSES["kl_divergence"].function(
        score_QC, targets, temperature=student, teacher_temperature=teacher, hinton_scale=True
    )
    theirs = dense_losses.DistillKLDivLoss(Vectors(), student_temperature=student, teacher_temperature=teacher)
    assert_equal(ours.mean(), theirs.compute_loss_from_embeddings(vectors, teacher_QC.double()), vectors)


@pytest.mark.parametrize("negatives", [1, 3])
def test_margin_mse_is_margin_mse(negatives: int) -> None:
    vectors, teacher_QC = columns(2 + negatives), torch.randn(B, 1 + negatives) * 3
    targets = row_targets(negatives, teacher_QC)
    ours = LOSSES["margin_mse"].function(vectors[0] @ torch.cat(vectors[1:]).T, targets).mean()
    theirs = dense_losses.MarginMSELoss(Vectors())
    assert_equal(ours, theirs.compute_loss_from_embeddings(vectors, teacher_QC.double()), vectors)


def reranker_batch(sizes: Sequence[int]) -> tuple[Tensor, Targets, list[object], list[Tensor]]:
    """Scores, targets, and the same as sentence-transformers takes it: texts and labels by query."""
    width = max(sizes)
    score_QC = torch.randn(len(sizes), width, requires_grad=True)
    label_QC = torch.stack([torch.randperm(width) for _ in sizes]).float() / 2
    valid_QC = torch.arange(width) < torch.tensor(sizes)[:, None]
    inputs: list[object] = [[str(q) for q in range(len(sizes))], [[str(c) for c in range(n)] for n in sizes]]
    labels = [label_QC[q, :n] for q, n in enumerate(sizes)]
    return score_QC, Targets(label_QC, valid_QC), inputs, labels


def test_binary_cross_entropy_is_binary_cross_entropy() -> None:
    score_QC = torch.randn(B, B, requires_grad=True)
    label_B = torch.tensor([1.0, 0.0, 0.3, 1.0, 0.0])
    ours = LOSSES["binary_cross_entropy"].function(score_QC, one_cell_a_row(label_B), positive_weight=2.0).mean()
    theirs = reranker_losses.BinaryCrossEntropyLoss(GivenScores(score_QC), pos_weight=torch.tensor(2.0))
    texts = [str(i) for i in range(B)]
    assert_equal(ours, theirs([texts, texts], label_B), [score_QC])


def test_reranker_margin_mse_is_margin_mse() -> None:
    score_QC, teacher_QC = torch.randn(B, 3, requires_grad=True), torch.randn(B, 3)
    relevance_QC = torch.tensor([[1.0, 0.0, 0.0]]).expand(B, 3)
    targets = Targets(relevance_QC, torch.ones(B, 3, dtype=torch.bool), teacher_QC)
    theirs = reranker_losses.MarginMSELoss(GivenScores(score_QC))
    texts = [[str(column)] * B for column in range(3)]
    ours = LOSSES["margin_mse"].function(score_QC, targets).mean()
    assert_equal(ours, theirs([[str(q) for q in range(B)], *texts], teacher_QC), [score_QC])


def test_listnet_is_listnet() -> None:
    score_QC, targets, inputs, labels = reranker_batch([5, 3, 4])
    ours = LOSSES["listnet"].function(score_QC, targets).mean()
    assert_equal(ours, reranker_losses.ListNetLoss(GivenScores(score_QC))(inputs, labels), [score_QC])


# sentence-transformers divides by the number of pairs of the whole batch, we by each query's own: the same for
# lists of equal length (k = None) and for one query
@pytest.mark.parametrize(("sizes", "k"), [([5, 5, 5], None), ([6], 2), ([6], 4)])
def test_ranknet_is_ranknet(sizes: list[int], k: int | None) -> None:
    score_QC, targets, inputs, labels = reranker_batch(sizes)
    theirs = reranker_losses.RankNetLoss(GivenScores(score_QC), k=k, sigma=2.0, reduction_log="natural")
    if k is None:
        ours = LOSSES["ranknet"].function(score_QC, targets, temperature=0.5).mean()
        assert_equal(ours, theirs(inputs, labels), [score_QC])
    bits = reranker_losses.RankNetLoss(GivenScores(score_QC), k=k)
    ours = LOSSES["lambda"].function(score_QC, targets, weighting="none", k=k).mean()
    assert_equal(ours, bits(inputs, labels), [score_QC])


@pytest.mark.parametrize(
    ("weighting", "scheme"),
    [
        ("ndcg_loss2pp", reranker_losses.NDCGLoss2PPScheme(mu=10.0)),
        ("ndcg_loss2", reranker_losses.NDCGLoss2Scheme()),
        ("lambdarank", reranker_losses.LambdaRankScheme()),
        ("none", reranker_losses.NoWeightingScheme()),
    ],
)
@pytest.mark.parametrize(("sizes", "k"), [([5, 5, 5], None), ([6], 2), ([6], 4)])
def test_lambda_is_lambda_loss(weighting: str, scheme: nn.Module, sizes: list[int], k: int | None) -> None:
    score_QC, targets, inputs, labels = reranker_batch(sizes)
    ours = LOSSES["lambda"].function(score_QC, targets, weighting=weighting, k=k, temperature=0.5).mean()
    theirs = reranker_losses.LambdaLoss(GivenScores(score_QC), weighting_scheme=scheme, k=k, sigma=2.0)
    assert_equal(ours, theirs(inputs, labels), [score_QC])
