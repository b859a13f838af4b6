"""Typed recipes: everything that can be set, in one closed tree that YAML, flags and code share.

Importable without torch. Types and ranges are checked here; what needs the disk or the model (paths, columns, loss
options, model family) is checked by the stage before its first expensive second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ragtune.recipe_encoders import LateRecipe, SparseRecipe
from ragtune.recipe_families import AdapterRecipe, PairRecipe, RerankRecipe, with_family_defaults
from ragtune.recipe_part import Part as Part
from ragtune.recipe_part import Positive as Positive
from ragtune.recipe_part import Share as Share

Family = Literal["dense", "late", "sparse", "reranker", "adapter"]
Pooling = Literal["cls", "mean", "last_token"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Storage = Literal["fp32", "fp16", "int8", "binary"]
Protocol = Literal["merged", "single-id"]
Direction = Literal["query_passage", "query_query", "passage_query", "passage_passage"]


@final
class LoraRecipe(Part):
    """Low-rank adapters (Hu et al. 2021, through PEFT) instead of full tuning."""

    rank: Positive = 16
    """Rank of the update."""
    alpha: Positive = 32
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Share = 0.0
    """Dropout before the adapter."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers that get an adapter; empty = every linear layer of the encoder."""
    merge: bool = True
    """Save merged weights (true) or the adapter alone, beside its base model's name (false)."""


@final
class FreezeRecipe(Part):
    """What training leaves as it was."""

    position_embeddings: bool = False
    """Freeze the position embeddings."""
    token_embeddings: bool = False
    """Freeze the token embedding table."""
    first_layers: Annotated[int, Field(ge=0)] = 0
    """Freeze the embeddings and the first N layers (0 = none)."""
    passage_side: bool = False
    """Passages are encoded by the untrained model; only queries move it, so vectors already stored stay right."""


@final
class ModelRecipe(Part):
    """Which model, and how it reads queries and passages."""

    name: str = "builtin:minilm"
    """``builtin:minilm``, a hub name or a local folder (sentence-transformers or bare Hugging Face)."""
    family: Family = "dense"
    """The model family."""
    revision: str | None = None
    """Hub revision."""
    config: str | None = None
    """Another config name or folder than the model's."""
    tokenizer: str | None = None
    """Another tokenizer name or folder than the model's."""
    cache_dir: Path | None = None
    """Where hub downloads are kept."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""
    token: str | None = Field(default=None, repr=False)
    """Hub access token; never written to disk or logs."""
    pooling: Pooling | None = None
    """cls / mean / last_token; none = what the folder says (mean for a bare encoder, last_token for a decoder)."""
    normalize: bool | None = None
    """L2-normalise vectors; none = what the folder says (true for a bare model)."""
    query_prompt: str | None = None
    """Text put before every query; none = what the folder says. A query's own ``metadata.prompt`` replaces it."""
    passage_prompt: str | None = None
    """Text put before every passage; none = what the folder says."""
    query_prompt_format: str = "{}{}"
    """How prompt and query are joined; the first {} is the prompt."""
    passage_prompt_format: str = "{}{}"
    """How prompt and passage are joined; the first {} is the prompt."""
    query_max_tokens: Positive | None = None
    """Longest query in tokens, special tokens included; none = the model's own limit."""
    passage_max_tokens: Positive | None = None
    """Longest passage in tokens, special tokens included; none = the model's own limit."""
    projection_dims: Positive | None = None
    """Add a linear projection head to this many dimensions (saved as a Dense module)."""
    projection_init: Literal["random", "principal_axes"] = "random"
    """Where that head starts; principal axes of the training passages make its first dimensions say most."""
    dropout: Share | None = 0.0
    """Dropout while training; none = the model config's own. 0 measured as good as 0.1 and faster (LOG.md)."""
    lora: LoraRecipe | None = None
    """Train low-rank adapters instead of all weights."""
    freeze: FreezeRecipe = FreezeRecipe()
    """What stays as it was."""
    late: LateRecipe = LateRecipe()
    """Late interaction's own settings (family late)."""
    sparse: SparseRecipe = SparseRecipe()
    """Vocabulary weights' own settings (family sparse)."""
    pair: PairRecipe = PairRecipe()
    """How a reranker reads a pair (family reranker)."""
    adapter: AdapterRecipe = AdapterRecipe()
    """The transform of query vectors (family adapter)."""

    @field_validator("query_prompt_format", "passage_prompt_format")
    @classmethod
    def _two_places(cls, value: str) -> str:
        if value.count("{}") != 2:
            raise ValueError("needs exactly two {}: the prompt and the text")
        return value.replace("\\n", "\n")


@final
class SourceRecipe(Part):
    """One dataset of a training run."""

    path: str
    """A dataset folder, or anything that ``ragtune import`` reads."""
    format: str = "auto"
    """A format name of ``ragtune import``; auto = detected and shown."""
    columns: dict[str, str] = Field(default={})
    """Column names: role (query, positive, negative, label ...) -> name in the file."""
    empty: Literal["error", "skip", "keep"] = "error"
    """A row with an empty text when importing: refuse, leave out, or keep (never trained on)."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often its rows are drawn, relative to its size."""
    max_examples: Positive | None = None
    """Use at most this many of its training queries (drawn by the seed)."""
    in_batch_negatives: bool = True
    """False: its queries see only their own candidates."""


@final
class DataRecipe(Part):
    """What is trained and evaluated on, and how batches are drawn."""

    sources: Annotated[tuple[SourceRecipe, ...], Field(min_length=1)]
    """The datasets; the first one's dev and test splits are the ones that are evaluated."""
    passage_title: str | None = None
    """Metadata key that titles the passages that have no title, such as a document's name; read before the text."""
    duplicates: Literal["merge", "keep"] = "keep"
    """When importing: one passage per distinct text, or one per row (evaluation merges equal texts either way)."""
    dev_fraction: Share = 0.1
    """Share of the training queries set aside as dev (by duplicate group) when there is no dev split."""
    dev_max_queries: Positive = 500
    """At most this many queries go into a dev split that is set aside."""
    test_fraction: Share = 0.1
    """Share set aside as test (by duplicate group) when there is no test split."""
    positives_per_query: Positive | Literal["all"] = 1
    """Positives a query brings into a step (drawn anew each epoch)."""
    group_size: Positive = 1
    """Positives + own hard negatives a query brings into a step; 1 = in-batch negatives only."""
    shuffle_ratio: Share = 0.0
    """Share of positives whose text is cut in three and shuffled (augmentation)."""
    batch_from: Literal["mixed", "one_dataset"] = "mixed"
    """Rows of a batch come from all datasets, or from one dataset."""
    small_threshold: Annotated[int, Field(ge=0)] = 0
    """Datasets with fewer training queries than this are merged into one."""
    drop_threshold: Annotated[int, Field(ge=0)] = 0
    """A merged set that is still smaller than this is dropped (and said so)."""

    @model_validator(mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        return {"sources": [{"path": str(value)}]} if isinstance(value, str | Path) else value

    @field_validator("sources", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple({"path": str(item)} if isinstance(item, str | Path) else item for item in items)

    @model_validator(mode="after")
    def _group(self) -> Self:
        if self.positives_per_query != "all" and self.group_size < self.positives_per_query:
            raise ValueError("data.group_size counts the positives too: make it at least data.positives_per_query")
        return self


@final
class LossRecipe(BaseModel):
    """One loss by its name in the loss table; further keys are its own options, checked against its signature."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = "softmax"
    """Name in the loss table."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of this loss in the sum."""

    @property
    def options(self) -> dict[str, Any]:
        """The loss's own options as given."""
        return dict(self.model_extra or {})


@final
class MatryoshkaRecipe(Part):
    """Train prefixes of the vector too (Kusupati et al. 2022)."""

    dims: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Prefix lengths; the full length is always added."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """One weight a prefix, then one for the full length; none = all 1."""

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.dims) + 1:
            raise ValueError(f"needs {len(self.dims) + 1} weights: one for each of dims, then one for the full length")
        return self


@final
class FalseNegativeRecipe(Part):
    """Mask in-batch candidates that look relevant to the model itself."""

    margin: float = 0.05
    """How far below the positive's score a candidate may come before it is masked."""
    relative: bool = False
    """The margin is a share of the positive's score instead of a difference."""


@final
class MiningRecipe(Part):
    """Hard negatives found by the model that is being trained, anew as it learns (Xiong et al. 2021, ANCE)."""

    negatives: Positive = 4
    """Mined negatives a query brings into a step, beside ``data.group_size``."""
    first_epoch: Annotated[int, Field(ge=0)] = 1
    """The epoch, counted from 0, before which the first mining happens; 0 mines with the untrained model."""
    every_epochs: Positive = 1
    """Mine again after this many epochs."""
    depth: Positive = 50
    """Ranks that negatives are drawn from."""
    margin: Share = 0.05
    """A passage that scores above (1 - margin) times the best positive may be relevant and is left alone."""


@final
class TrainRecipe(Part):
    """The training loop."""

    epochs: Annotated[float, Field(gt=0)] = 2.0
    """Passes over the training queries; fractions allowed."""
    max_steps: Positive | None = None
    """Stop after this many optimizer steps, whatever the epochs say."""
    batch_size: Positive = 128
    """Queries a process brings into a step."""
    accumulation_steps: Positive = 1
    """Batches summed before an optimizer step. In-batch negatives do not cross them: prefer a larger batch_size."""
    drop_last: bool = False
    """Leave out the last, smaller batch of an epoch."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What follows the warm-up."""
    warmup_ratio: Share = 0.1
    """Share of the steps in which the rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decay; not on biases and norms."""
    max_gradient_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this norm."""
    losses: Annotated[tuple[LossRecipe, ...], Field(min_length=1)] = (LossRecipe(),)
    """One or several losses, summed by weight."""
    directions: Annotated[tuple[Direction, ...], Field(min_length=1)] = ("query_passage",)
    """Which blocks of the score matrix the softmax loss reads (symmetric, query-query, passage-passage)."""
    partition: Literal["joint", "separate"] = "joint"
    """All directions in one softmax, or one softmax each."""
    distillation: bool = False
    """Teacher scores are needed: a row without them is an error, and a loss that reads them must be named."""
    false_negatives: FalseNegativeRecipe | None = None
    """Mask suspected false negatives by score."""
    mining: MiningRecipe | None = None
    """Mine hard negatives while training."""
    negatives_across_devices: bool = True
    """Passages of the other processes count as candidates too."""
    matryoshka: MatryoshkaRecipe | None = None
    """Train prefixes of the vector too."""
    precision: Precision = "auto"
    """auto = bf16 where the processor multiplies it natively, else fp32."""
    micro_batch_tokens: Positive = 4096
    """Tokens a forward pass sees at most (one longer text still goes alone)."""
    graph_tokens: Annotated[int, Field(ge=0)] = 12288
    """Tokens whose graphs are kept for backward; the rest of a step is recomputed. 0 = recompute all."""
    gradient_checkpointing: bool = False
    """Recompute layers in backward: less memory for long texts, slower."""
    pad_to_multiple_of: Positive | None = None
    """Pad to a multiple of this (padded attention only; the packed path pads nothing)."""
    evaluate_every_steps: Positive | None = None
    """Dev evaluation every N steps; none = after every epoch."""
    best_metric: str = "nDCG@10"
    """Dev measure that picks the best weights; ``nDCG@10:128`` is at 128 dimensions; ``none`` keeps the last."""
    average_epochs: Positive | None = None
    """Average the weights after each of the last N epochs (Izmailov et al. 2018); dev decides whether they are kept."""
    patience: Positive | None = None
    """Stop after this many dev evaluations without a better value."""
    save_every_steps: Positive | None = None
    """Checkpoint every N steps; none = after every epoch."""
    log_every_steps: Positive = 10
    """A line in log.jsonl every N steps."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Experiment trackers, through accelerate."""
    fsdp: bool = False
    """Shard weights, gradients and moments over the processes (FSDP2); ``torchrun`` must start two or more."""
    deepspeed: Path | None = None
    """Refused: DeepSpeed is not supported. Set ``fsdp`` instead."""

    @field_validator("losses", "directions", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(items)

    @field_validator("losses", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple({"name": item} if isinstance(item, str) else item for item in items)


@final
class EvaluateRecipe(Part):
    """What is measured."""

    split: str = "test"
    """The split that the verdict is about."""
    measures: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "nDCG@10", "MRR@10", "Recall@10", "nDCG@100", "MAP@100", "Recall@100", "P@10",
    )  # fmt: skip
    """Measures; the verdict is about the first."""
    top_k: Positive = 100
    """How many passages a query retrieves."""
    protocol: Protocol = "merged"
    """merged: passages of equal text count as one; single-id: only the judged id counts (as published numbers do)."""
    dims: tuple[Positive, ...] = ()
    """Vector prefixes to measure, beside the full length."""
    storages: Annotated[tuple[Storage, ...], Field(min_length=1)] = ("fp32",)
    """Vector storages to measure."""
    precision: Precision = "fp32"
    """Precision of encoding; auto is bf16 where the processor has it: faster, nDCG moves by about 0.001."""
    bm25: bool = True
    """Measure BM25 beside the models."""
    baseline: str | None = None
    """Another model to compare with; none = the untuned model."""
    resamples: Positive = 10_000
    """Bootstrap resamples and sign flips."""
    rerank: RerankRecipe = RerankRecipe()
    """What a reranker puts in order."""


@final
class Recipe(Part):
    """A whole run."""

    run: Path
    """The folder that holds the run."""
    data: DataRecipe
    """Data: a path, or the part in full."""
    model: ModelRecipe = ModelRecipe()
    """The model to tune."""
    train: TrainRecipe = TrainRecipe()
    """The training loop."""
    evaluate: EvaluateRecipe = EvaluateRecipe()
    """The proof."""
    seed: int = 13
    """Seed of every random choice."""
    overwrite: bool = False
    """Move another run in the folder aside instead of refusing."""

    @model_validator(mode="before")
    @classmethod
    def _of_family(cls, value: Any) -> Any:
        return with_family_defaults(value)

    @field_validator("run")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()
