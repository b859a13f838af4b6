"""ragtune: its own training loop, with every setting as it comes unless the job names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from token_meter import TokenMeter
from turn import Job, Step, now, read_job, rss_bytes, write_result

from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.models import load_model
from ragtune.models.base import Scorer, TokenBatch
from ragtune.models.tokens import token_store
from ragtune.recipe import DataRecipe, ModelRecipe, SourceRecipe, TrainRecipe
from ragtune.training.batches import BatchPlan
from ragtune.training.examples import Source, Texts, TrainingSet, build_training_set
from ragtune.training.loop import TrainingJob, train

SEED = 13
JobBatch = list[dict[str, Any]]


@final
class StepClock:
    """Times whole steps, from one log line to the next: the loop logs every step and hands its numbers here."""

    def __init__(self, meter: TokenMeter) -> None:
        self.meter = meter
        self.steps: list[Step] = []
        self.mark = now()

    def __call__(self, numbers: dict[str, float], _step: int) -> None:
        """Close a step."""
        ended = now()
        self.steps.append(Step(ended - self.mark, numbers["loss"], *self.meter.take()))
        self.mark = ended


def dataset_of(batch: JobBatch, job: Job) -> Dataset:
    """A dataset of one batch: the first passage of a row is its positive, the others are its negatives."""
    passage_ids = {passage_id for row in batch for passage_id in row["passage_ids"]}
    return Dataset(
        info=DatasetInfo(name="batch"),
        corpus={pid: Passage(id=pid, text=job.passages[pid]) for pid in passage_ids},
        queries={row["query_id"]: Query(id=row["query_id"], text=job.queries[row["query_id"]]) for row in batch},
        qrels={"train": {row["query_id"]: {row["passage_ids"][0]: 1} for row in batch}},
        candidates={
            row["query_id"]: [Candidate(pid, relevance=0.0) for pid in row["passage_ids"][1:]] for row in batch
        },
    )


def training_set_of(batches: Sequence[JobBatch], job: Job, recipe: DataRecipe) -> TrainingSet:
    """One source a batch."""
    sources = [Source(recipe.sources[0], dataset_of(batch, job)) for batch in batches]
    return build_training_set(sources, recipe=recipe, seed=SEED, distillation=False)


def in_given_order(job: Job, recipe: DataRecipe) -> TrainingSet:
    """The training set whose plan, which orders its batches by the seed, runs them as the job lists them."""
    drawn = BatchPlan(
        training_set=training_set_of(job.batches, job, recipe),
        recipe=recipe,
        batch_size=job.batch_rows,
        world_size=1,
        drop_last=False,
        seed=SEED,
    )
    placed: dict[int, JobBatch] = {}
    for batch, row_numbers in zip(job.batches, drawn.epoch(0), strict=True):
        placed[row_numbers[0] // job.batch_rows] = batch
    return training_set_of([placed[place] for place in range(len(placed))], job, recipe)


def tokenised(model: Scorer, training_set: TrainingSet, folder: Path) -> Texts:
    """Every distinct text once, as ragtune's training stage does before its first step."""
    queries = [row.text for row in training_set.rows]
    return Texts(
        queries=token_store(model, queries, kind="query", folder=folder),
        passages=token_store(model, training_set.passages, kind="passage", folder=folder),
    )


def read_tokens(positional: tuple[Any, ...], _keywords: dict[str, Any]) -> tuple[int, int]:
    """Real tokens and all positions of a packed micro-batch: the same number."""
    (batch,) = positional
    assert isinstance(batch, TokenBatch)
    return batch.tokens, batch.tokens


def main() -> None:
    started = now()
    job = read_job()
    folder = Path(job.scratch)
    group_size = len(job.timed[0][0]["passage_ids"])
    data = DataRecipe(sources=(SourceRecipe(path="job"),), group_size=group_size, batch_from="one_dataset")
    model = load_model(ModelRecipe(query_max_tokens=job.max_length, passage_max_tokens=job.max_length, **job.settings))
    assert model.packed, "a padded run would have to count its padding"
    training_set = in_given_order(job, data)
    texts = tokenised(model, training_set, folder / "tokens")
    ready, rss_ready_bytes = now(), rss_bytes()
    clock = StepClock(TokenMeter(model, read_tokens))
    recipe = TrainRecipe(epochs=1, batch_size=job.batch_rows, log_every_steps=1, best_metric="none")
    run = folder / "run"
    run.mkdir()
    train(TrainingJob(model, training_set, texts, recipe, data, run, SEED, mirror=clock))
    write_result(
        clock.steps, warmup_steps=len(job.warmup), started=started, ready=ready, rss_ready_bytes=rss_ready_bytes
    )


if __name__ == "__main__":
    main()
