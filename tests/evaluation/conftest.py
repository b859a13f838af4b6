"""A whole evaluation made by hand, in English and in Chinese, for what reads one; encoders without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ragtune.data.records import Dataset, DatasetInfo, Passage, Query
from ragtune.data.statistics import dataset_statistics
from ragtune.evaluation.results import (
    Comparison,
    ContenderFacts,
    DatasetFacts,
    Evaluation,
    Example,
    RankedPassage,
    Row,
    ScoreDistribution,
    ScoreInterval,
    SliceRow,
)
from ragtune.evaluation.verdict import verdict_of
from ragtune.recipe import EvaluateRecipe

MEANS = {"BM25": 0.70, "base <model>": 0.72, "tuned": 0.85}
TREES = ("alder", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ironwood", "juniper", "kapok", "larch")
TEXTS = {
    "en": ("What was the <b>revenue</b> & why?", "Revenue was $383 billion <script>alert(1)</script>."),
    "zh": ("公司2023年的净利润是多少？", "公司在2023财年实现净利润383亿元，同比下降百分之三。"),
}


def make_evaluation(language: str = "en") -> Evaluation:
    plan = EvaluateRecipe(measures=("nDCG@10", "MRR@10"), dims=(128,), storages=("fp32", "binary"))
    facts = DatasetFacts(
        name="财报问答" if language == "zh" else "filings", language=language, hash="ab" * 32, split="test",
        protocol="merged", queries=700, judgements=700, clusters=671, statistics=dataset_statistics(make_doubled()),
    )  # fmt: skip
    change = {"before": 0.72, "after": 0.85, "delta": 0.13, "low": 0.112, "high": 0.161, "p": 0.00009999}
    counts = {"wins": 190, "losses": 60, "ties": 450, "outcome": "better"}
    comparisons = [
        Comparison(before_name=before, after_name="tuned", measure=measure, **change, **counts)
        for before, measure in (("base <model>", "nDCG@10"), ("base <model>", "MRR@10"), ("BM25", "nDCG@10"))
    ]
    query, passage = TEXTS[language]
    wrong = RankedPassage(id="p2", text=passage, relevant=False, rank_of_relevant=None, value=0.0)
    right = RankedPassage(id="p1", text=passage, relevant=True, rank_of_relevant=1, value=1.0)
    return Evaluation(
        verdict=verdict_of(comparisons[0], dataset=facts),
        plan=plan,
        seed=13,
        dataset=facts,
        contenders=tuple(
            ContenderFacts(name=name, role=role, kind=kind, dims=dims, seconds={"passages": 3.1}, judged_at_10=0.1)
            for name, role, kind, dims in (
                ("BM25", "reference", "retriever", None),
                ("base <model>", "before", "encoder", 384),
                ("tuned", "after", "encoder", 384),
            )
        ),
        rows=tuple(_rows()),
        intervals=tuple(
            ScoreInterval(contender=name, measure=measure, mean=mean, low=mean - 0.02, high=mean + 0.02)
            for name, mean in MEANS.items()
            for measure in plan.measures
        ),
        comparisons=tuple(comparisons),
        slices=(
            SliceRow(slice="Document", part="unseen", n=500, before=0.7, after=0.8, delta=0.1, low=0.05, high=0.15),
            SliceRow(slice="Document", part="seen", n=200, before=0.7, after=0.9, delta=0.2, low=None, high=None),
        ),
        wins=(Example(query_id="q1", query=query, relevant_id="p1", relevant=passage, before=wrong, after=right),),
        losses=(Example(query_id="q2", query=query, relevant_id="p1", relevant=passage, before=right, after=wrong),),
        distributions=tuple(
            ScoreDistribution(
                contender=name, edges=(0.0, 0.5, 1.0), positives=(1, 3), negatives=(3, 1),
                positive_mean=0.7, negative_mean=0.3, separated=0.8,
            )
            for name in ("base <model>", "tuned")
        ),
        per_query={"tuned": {"q1": 1.0, "q2": 0.0}},
        seconds=12.5,
        created_at="2026-11-22T11:00:00+0000",
        versions={"python": "3.11.2", "ragtune": "0.1.0"},
    )  # fmt: skip


def _rows() -> list[Row]:
    rows = [Row(contender="BM25", scores={"nDCG@10": 0.70, "MRR@10": 0.70})]
    for name in ("base <model>", "tuned"):
        for dims, storage, size, loss in ((384, "fp32", 1536, 0), (384, "binary", 48, 0.01), (128, "fp32", 512, 0.02)):
            scores = dict.fromkeys(("nDCG@10", "MRR@10"), MEANS[name] - loss)
            full = (dims, storage) == (384, "fp32")
            rows.append(
                Row(contender=name, dims=dims, storage=storage, bytes_per_passage=size, full=full, scores=scores)
            )
    return rows


@pytest.fixture(scope="session")
def evaluation() -> Callable[[str], Evaluation]:
    """A factory: ``evaluation("en")``, ``evaluation("zh")``."""
    return make_evaluation


class HashEncoder:
    """Vectors from the bytes of words (or CJK characters): texts that share words are near; no model, no randomness.

    ``blur`` mixes in a vector of the whole text, so that a larger one makes a worse model.
    """

    def __init__(self, *, dims: int = 32, blur: float = 0.0) -> None:
        self.dims, self.blur = dims, blur
        self.calls: list[tuple[str, int]] = []

    def encode(
        self, texts: Sequence[str], *, kind: str, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        self.calls.append((kind, len(texts)))
        own = prompts or [None] * len(texts)
        vectors = np.stack([self._vector((prompt or "") + text) for text, prompt in zip(texts, own, strict=True)])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _vector(self, text: str) -> np.ndarray:
        words = text.lower().split() if text.isascii() else list(text)
        own = sum((self._random(word) for word in words), start=np.zeros(self.dims))
        return own + self.blur * len(words) ** 0.5 * self._random(text)

    def _random(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        return np.random.default_rng(seed).standard_normal(self.dims)


@pytest.fixture
def hash_encoder() -> type[HashEncoder]:
    """The class of encoders made of hashes."""
    return HashEncoder


@pytest.fixture
def doubled_dataset() -> Dataset:
    """Twelve passages, every third also there a second time under another id; the copy is the one that is judged."""
    return make_doubled()


def make_doubled() -> Dataset:
    corpus = {f"p{i}": Passage(id=f"p{i}", text=f"the {tree} grows in soil number {i}") for i, tree in enumerate(TREES)}
    corpus |= {f"z{i}": Passage(id=f"z{i}", text=corpus[f"p{i}"].text + " ") for i in range(0, 12, 3)}
    queries = {f"q{i}": Query(id=f"q{i}", text=f"where grows the {tree}") for i, tree in enumerate(TREES)}
    qrels = {f"q{i}": {f"z{i}" if i % 3 == 0 else f"p{i}": 1} for i in range(12)}
    split = {"train": dict(list(qrels.items())[:2]), "test": dict(list(qrels.items())[2:])}
    return Dataset(info=DatasetInfo(name="trees"), corpus=corpus, queries=queries, qrels=split)
