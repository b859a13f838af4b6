"""FlagEmbedding 1.4.2: its own runner, dataset, collator, model and trainer, with its published recipe's settings.

Left out of the recipe (examples/finetune/embedder/encoder_only/base.sh), as impossible here: DeepSpeed, fp16 (a GPU's)
and cross-device negatives (one process). Its gradient checkpointing (a second forward) is a setting of the contestant.
"""

from __future__ import annotations

import json
from pathlib import Path

from FlagEmbedding.finetune.embedder.encoder_only.base import (
    EncoderOnlyEmbedderDataArguments,
    EncoderOnlyEmbedderModelArguments,
    EncoderOnlyEmbedderRunner,
    EncoderOnlyEmbedderTrainingArguments,
)
from trainer_turn import QUIET, run
from turn import Job, model_path, now, read_job


def write_training_rows(job: Job, path: Path) -> int:
    """Write the rows in FlagEmbedding's form; gives the group size (1 positive and its negatives)."""
    rows = [row for batch in job.batches for row in batch]
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            positive, *negatives = (job.passages[passage_id] for passage_id in row["passage_ids"])
            record = {"query": job.queries[row["query_id"]], "pos": [positive], "neg": negatives}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return len(rows[0]["passage_ids"])


def make_runner(job: Job) -> EncoderOnlyEmbedderRunner:
    """The library's runner over the job's rows, taken in the order of the file."""
    scratch = Path(job.scratch)
    train_file = scratch / "train.jsonl"
    group_size = write_training_rows(job, train_file)
    return EncoderOnlyEmbedderRunner(
        EncoderOnlyEmbedderModelArguments(model_name_or_path=str(model_path())),
        EncoderOnlyEmbedderDataArguments(
            train_data=[str(train_file)],
            cache_path=str(scratch / "cache"),
            train_group_size=group_size,
            query_max_len=job.max_length,
            passage_max_len=job.max_length,
            pad_to_multiple_of=8,
        ),
        EncoderOnlyEmbedderTrainingArguments(
            output_dir=str(scratch / "out"),
            learning_rate=1e-5,
            warmup_steps=0.1,
            temperature=0.02,
            sentence_pooling_method="cls",
            normalize_embeddings=True,
            per_device_train_batch_size=job.batch_rows,
            dataloader_drop_last=True,
            train_sampling_strategy="sequential",
            gradient_checkpointing=job.settings["gradient_checkpointing"],
            **QUIET,
        ),
    )


def main() -> None:
    started = now()
    job = read_job()
    runner = make_runner(job)
    run(runner.trainer, watched=runner.model.model, job=job, started=started)


if __name__ == "__main__":
    main()
