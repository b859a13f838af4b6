"""Who takes part, and with which settings. A row here and a file in ``workers/`` add a contestant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

QUERIES_PER_STEP = 32


@final
@dataclass(frozen=True, slots=True)
class Contestant:
    """One library with one setting."""

    title: str
    environment: str
    worker: str
    queries_per_step: int = QUERIES_PER_STEP
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    encodes_each_text_once: bool = False


CONTESTANTS: Mapping[str, Contestant] = {
    "ragtune": Contestant(
        title="ragtune, default settings",
        environment="ragtune",
        worker="ragtune_dense.py",
        note="its own loop, every setting as it comes (precision auto, no dropout, each distinct passage once)",
        encodes_each_text_once=True,
    ),
    "ragtune-dropout": Contestant(
        title="ragtune, dropout 0.1",
        environment="ragtune",
        worker="ragtune_dense.py",
        settings={"dropout": 0.1},
        note="as above, with the model's own dropout of 0.1, as the other libraries have it by default",
        encodes_each_text_once=True,
    ),
    "flagembedding": Contestant(
        title="FlagEmbedding 1.4.2, published recipe",
        environment="flagembedding",
        worker="flagembedding_dense.py",
        queries_per_step=8,
        settings={"gradient_checkpointing": True},
        note="its own runner, dataset, collator and trainer; fp32, batch 8, gradient checkpointing as published",
    ),
    "flagembedding-best": Contestant(
        title="FlagEmbedding 1.4.2, without gradient checkpointing",
        environment="flagembedding",
        worker="flagembedding_dense.py",
        queries_per_step=8,
        settings={"gradient_checkpointing": False},
        note="as above, its fastest way on a CPU; batch 8, since 32 does not fit 24 GB",
    ),
    "st-default": Contestant(
        title="sentence-transformers 6.2.0, default loss, bf16",
        environment="sentence_transformers",
        worker="sentence_transformers_dense.py",
        settings={"loss": "plain"},
        note="SentenceTransformerTrainer, MultipleNegativesRankingLoss, bf16=True",
    ),
    "st-best": Contestant(
        title="sentence-transformers 6.2.0, cached loss with a token budget, bf16",
        environment="sentence_transformers",
        worker="sentence_transformers_dense.py",
        settings={"loss": "cached", "mini_batch_num_tokens": 4096},
        note="SentenceTransformerTrainer, CachedMultipleNegativesRankingLoss(mini_batch_num_tokens=4096), bf16=True",
    ),
    "st-best-no-dropout": Contestant(
        title="sentence-transformers 6.2.0, cached loss with a token budget, bf16, no dropout",
        environment="sentence_transformers",
        worker="sentence_transformers_dense.py",
        settings={"loss": "cached", "mini_batch_num_tokens": 4096, "dropout": 0.0},
        note="as above, with the model's dropout set to 0, as ragtune has it by default",
    ),
}
