"""sentence-transformers 6.2: its trainer for real, with the loss that the job names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer import losses
from torch import nn
from torch.utils.data import SequentialSampler
from trainer_turn import QUIET, run
from turn import Job, model_path, now, read_job

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "plain": losses.MultipleNegativesRankingLoss,
    "cached": losses.CachedMultipleNegativesRankingLoss,
}


def in_given_order(dataset: Dataset, **options: Any) -> DefaultBatchSampler:
    """The library's batch sampler over rows as they come, so that every contestant gets the same batches."""
    return DefaultBatchSampler(SequentialSampler(dataset), **options)


def load_model(*, dropout: float | None) -> SentenceTransformer:
    """The base model; ``dropout`` replaces its config's 0.1 where it is given."""
    names = ("attention_probs_dropout_prob", "hidden_dropout_prob") if dropout is not None else ()
    return SentenceTransformer(str(model_path()), device="cpu", config_kwargs=dict.fromkeys(names, dropout))


def training_rows(job: Job) -> Dataset:
    """Columns anchor, positive, negative_1 ... negative_n."""
    rows = [row for batch in job.batches for row in batch]
    columns: dict[str, list[str]] = {"anchor": [job.queries[row["query_id"]] for row in rows]}
    for place in range(len(rows[0]["passage_ids"])):
        name = f"negative_{place}" if place else "positive"
        columns[name] = [job.passages[row["passage_ids"][place]] for row in rows]
    return Dataset.from_dict(columns)


def main() -> None:
    started = now()
    job = read_job()
    options = dict(job.settings)
    model = load_model(dropout=options.pop("dropout", None))
    model.max_seq_length = job.max_length
    loss = LOSSES[options.pop("loss")](model, **options)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=job.scratch,
        per_device_train_batch_size=job.batch_rows,
        batch_sampler=in_given_order,
        bf16=True,
        **QUIET,
    )
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=training_rows(job), loss=loss)
    run(trainer, watched=model[0], job=job, started=started)


if __name__ == "__main__":
    main()
