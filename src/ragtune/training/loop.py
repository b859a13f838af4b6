"""The training loop: from a model and its rows to the best weights found, resumable at any step."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, final

import numpy as np
import torch

from ragtune.errors import NonFiniteLossError, Problem, RecipeError
from ragtune.models.base import BiEncoder, Scorer
from ragtune.recipe import DataRecipe, TrainRecipe
from ragtune.run import progress as progress_bar
from ragtune.training.allocator import freed_memory_kept
from ragtune.training.averaging import WeightAverage
from ragtune.training.batches import BatchPlan
from ragtune.training.checkpoint import Checkpoints, Progress
from ragtune.training.distributed import World
from ragtune.training.examples import Texts, TrainingSet
from ragtune.training.mining import Miner
from ragtune.training.objective import Objective
from ragtune.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from ragtune.training.precision import check_precision, compute_dtype
from ragtune.training.sharding import placed
from ragtune.training.step import Step
from ragtune.training.telemetry import TrainLog, Window, log_record, matmul_ceiling, peak_memory_bytes

Evaluator = Callable[[Scorer], dict[str, float]]
Mirror = Callable[[dict[str, float], int], None]


@final
@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Everything a training stage works on. ``evaluate`` measures the model on dev; None = no evaluation."""

    model: Scorer
    training_set: TrainingSet
    texts: Texts
    recipe: TrainRecipe
    data: DataRecipe
    folder: Path
    seed: int
    evaluate: Evaluator | None = None
    world: World = field(default_factory=World)
    mirror: Mirror = lambda numbers, step: None


@final
@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How training went."""

    steps: int
    best_step: int | None
    best_value: float | None
    evaluations: list[dict[str, Any]]
    seconds: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    stopped_early: bool
    precision: str


def train(job: TrainingJob) -> TrainingOutcome:
    """Train ``job.model`` in place; it ends with the best weights (or the last, without evaluation)."""
    return _Training(job).run()


@final
class _Training:
    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        recipe, device = job.recipe, job.model.device
        check_precision(recipe.precision, device=device)
        self.dtype = compute_dtype(recipe.precision, device=device)
        self.miner = recipe.mining and Miner(
            recipe.mining, training_set=job.training_set, texts=job.texts, folder=job.folder / "mined"
        )
        self.plan = BatchPlan(
            training_set=job.training_set,
            recipe=job.data,
            batch_size=recipe.batch_size * job.world.size,
            world_size=job.world.size,
            drop_last=recipe.drop_last,
            seed=job.seed,
            miner=self.miner,
        )
        self.weights = placed(job.model, recipe=recipe, dtype=self.dtype, world=job.world)
        self.compute = self.weights.compute
        self.optimizer = build_optimizer(self.compute.model, recipe=recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.step = Step(
            self.compute,
            objective=Objective(job.model, recipe=recipe),
            texts=job.texts,
            recipe=recipe,
            world=job.world,
        )
        self.checkpoints = Checkpoints(job.folder / "checkpoints")
        self.progress = Progress(world_size=job.world.size)
        self.average = WeightAverage()
        self.batches_per_epoch = self.plan.steps_per_epoch
        self.steps_per_epoch = math.ceil(self.batches_per_epoch / recipe.accumulation_steps)
        planned = math.ceil(self.steps_per_epoch * recipe.epochs)
        self.total_steps = min(planned, recipe.max_steps or planned)
        self.interrupted = False
        self.window = Window()
        self.seconds_before = 0.0
        self.began = time.perf_counter()
        self.drawn: tuple[int, list[list[int]]] | None = None

    def run(self) -> TrainingOutcome:
        self._resume()
        ceiling = matmul_ceiling(self.dtype, device=self.job.model.device) * self.job.world.size
        log = self._log()
        if self.progress.step == 0 and self.job.evaluate is not None:
            self._evaluate(log)
        with self._interruptible(), freed_memory_kept():
            self._steps(log, ceiling)
        seconds = self._seconds()
        self.weights.finish()
        self._adopt_average(log)
        if self.progress.best_step is not None:
            self.checkpoints.load_best(self.job.model, step=self.progress.best_step)
        # totals of all processes, which also keeps the first from clearing up before the others have read the best
        (tokens,) = self.job.world.totals([self.progress.tokens])
        return TrainingOutcome(
            steps=self.progress.step,
            best_step=self.progress.best_step,
            best_value=self.progress.best_value,
            evaluations=self.progress.evaluations,
            seconds=seconds,
            tokens=tokens,
            tokens_per_second=tokens / seconds,
            peak_memory_bytes=peak_memory_bytes(self.job.model.device),
            stopped_early=self.progress.stopped_early,
            precision=str(self.dtype).removeprefix("torch."),
        )

    def _seconds(self) -> float:
        """Seconds that this run trained, earlier sittings included."""
        return self.seconds_before + time.perf_counter() - self.began

    def _resume(self) -> None:
        if self.job.world.rank == 0:
            self.checkpoints.sweep()
        newest = self.checkpoints.newest()
        if newest is not None:
            with self.weights.whole():
                self.progress = self.checkpoints.load(
                    newest,
                    self.job.model,
                    optimizer=self.weights.whole_state(self.optimizer),
                    scaler=self.scaler,
                    world_size=self.job.world.size,
                )
                self.weights.adopt()
            self.average.load(newest, count=self.progress.averaged)
            self.window = Window(**self.progress.window)
            self.seconds_before = self.progress.seconds

    def _log(self) -> TrainLog | None:
        if self.job.world.rank != 0:
            return None
        path = self.job.folder / "log.jsonl"
        return TrainLog(path, from_step=self.progress.step, mirror=self.job.mirror)

    def _steps(self, log: TrainLog | None, ceiling: float) -> None:
        recipe = self.job.recipe
        remaining = range(self.progress.step, self.total_steps)
        for step in progress_bar(remaining, label="training", total=len(remaining)):
            if self.progress.stopped_early:
                break
            began = time.perf_counter()
            rate = learning_rate(recipe, step=step, total_steps=self.total_steps)
            self._mine(step)
            self._one_step(step, rate)
            self.window.seconds += time.perf_counter() - began
            self.progress.step = step + 1
            last = self.progress.step == self.total_steps
            self._count_in(last)
            if self.progress.step % recipe.log_every_steps == 0 or last:
                self._write(log, rate=rate, ceiling=ceiling)
            if self.job.evaluate is not None and (last or self._due(recipe.evaluate_every_steps)):
                self._evaluate(log)
            interrupted = self.job.world.any(self.interrupted)
            if interrupted or last or self._due(recipe.save_every_steps):
                self._save()
            if interrupted:
                raise KeyboardInterrupt

    def _write(self, log: TrainLog | None, *, rate: float, ceiling: float) -> None:
        """Log what happened since the last line, over all processes; ``ceiling`` is that of all together."""
        window = self.window.over(self.job.world)
        if log is not None:
            log.write(log_record(window, model=self.job.model, step=self.progress.step, rate=rate, ceiling=ceiling))
        self.window = Window()

    def _due(self, every: int | None) -> bool:
        return self.progress.step % (every or self.steps_per_epoch) == 0

    def _one_step(self, step: int, rate: float) -> None:
        """Forward and backward over the step's batches, one division by the global count, one optimizer step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        accumulated = self.job.recipe.accumulation_steps
        batches = self._batches(epoch)[place * accumulated : (place + 1) * accumulated]
        divisor = sum(len(rows) for rows in batches)
        self._seed(step)
        self.compute.model.train()
        scale = float(self.scaler.scale(torch.ones((), device=self.job.model.device)))
        for rows in batches:
            result = self.step.run(
                self.plan.batch(rows, epoch=epoch), divisor=divisor, scale=scale, progress=step / self.total_steps
            )
            self.window.add(result)
            self.progress.tokens += result.tokens
        self.weights.sum_gradients()
        self.window.gradient_norm = self._update(rate)
        if not math.isfinite(self.window.gradient_norm) and not self.scaler.is_enabled():
            raise NonFiniteLossError(self._bad_gradient(batches))

    def _mine(self, step: int) -> None:
        """Negatives of the step's epoch, when the recipe mines; in the precision of training."""
        if self.miner is None:
            return
        if self.miner.is_ready(step // self.steps_per_epoch):
            return
        assert isinstance(self.job.model, BiEncoder)
        with self.weights.whole():
            self.job.model.encode_dtype = self.dtype
            self.miner.refresh(self.job.model, epoch=step // self.steps_per_epoch, writes=self.job.world.rank == 0)
            self.job.model.encode_dtype = torch.float32
        self.job.world.wait()

    def _batches(self, epoch: int) -> list[list[int]]:
        if self.drawn is None or self.drawn[0] != epoch:
            self.drawn = epoch, self.plan.epoch(epoch)
        return self.drawn[1]

    def _seed(self, step: int) -> None:
        """Dropout's random numbers by seed, step and process: resuming needs no state of a generator."""
        sequence = np.random.SeedSequence([self.job.seed, step, self.job.world.rank])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def _bad_gradient(self, batches: list[list[int]]) -> str:
        names = [self.job.training_set.rows[number].query_id for rows in batches for number in rows]
        return (
            f"the gradient of step {self.progress.step + 1} is not finite, though the loss is; queries: "
            f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}; lower train.learning_rate, set "
            "train.precision=fp32, or look at these queries"
        )

    def _update(self, rate: float) -> float:
        self.scaler.unscale_(self.optimizer)
        norm = self.weights.clip_gradients(self.job.recipe.max_gradient_norm or math.inf)
        set_learning_rate(self.optimizer, rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.weights.clear_gradients()
        self.compute.refresh()
        return norm

    def _count_in(self, last: bool) -> None:
        """At the end of each of the last ``average_epochs`` epochs the weights count in the average."""
        step, length = self.progress.step, self.steps_per_epoch
        first = self.total_steps - (self.job.recipe.average_epochs or 0) * length
        if step > first and (last or step % length == 0):
            with self.weights.whole():
                self.average.add(self.job.model)
            self.progress.averaged = self.average.count

    def _adopt_average(self, log: TrainLog | None) -> None:
        """The average is measured like any other weights, and is what stays where nothing is measured."""
        if self.average.count:
            began = time.perf_counter()
            self.average.put_into(self.job.model)
            if self.job.evaluate is not None:
                self._measure(log, began, averaged=self.average.count)

    def _evaluate(self, log: TrainLog | None) -> None:
        """Measure dev; keep the weights when they are the best so far."""
        assert self.job.evaluate is not None
        began = time.perf_counter()
        with self.weights.whole():
            self._measure(log, began)

    def _measure(self, log: TrainLog | None, began: float, averaged: int = 0) -> None:
        assert self.job.evaluate is not None
        values = self.job.evaluate(self.job.model)
        name = self.job.recipe.best_metric
        which = {"averaged": averaged} if averaged else {}
        self.progress.evaluations.append({"step": self.progress.step, **which, **values})
        if log is not None:
            dev = {f"dev_{key}": value for key, value in values.items()}
            seconds = round(time.perf_counter() - began, 3)
            log.write({"step": self.progress.step, **which, "evaluation_seconds": seconds, **dev})
        if name == "none":
            return
        value = self.job.world.same_everywhere(_wanted(values, name))
        if self.progress.best_value is None or value > self.progress.best_value:
            self.progress.best_value, self.progress.best_step = value, self.progress.step
            self.progress.evaluations_since_best = 0
            if self.job.world.rank == 0:
                self.checkpoints.save_best(self.job.model, step=self.progress.step)
            self.job.world.wait()
        else:
            self.progress.evaluations_since_best += 1
            patience = self.job.recipe.patience
            self.progress.stopped_early = patience is not None and self.progress.evaluations_since_best >= patience

    def _save(self) -> None:
        self.progress.window, self.progress.seconds = self.window.sums(), self._seconds()
        optimizer = self.weights.whole_state(self.optimizer)
        with self.weights.whole():
            if self.job.world.rank == 0:
                self.checkpoints.save(
                    self.job.model,
                    optimizer=optimizer,
                    progress=self.progress,
                    scaler=self.scaler,
                    average=self.average,
                )
        self.job.world.wait()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C ends the step and saves; a second one stops at once."""

        def note(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            before = signal.signal(signal.SIGINT, note)
        except ValueError:  # not the main thread: signals are not ours to handle
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _wanted(values: dict[str, float], name: str) -> float:
    if name not in values:
        raise RecipeError(
            Problem(
                what="train.best_metric is not among the dev measures",
                where="train.best_metric",
                found=name,
                do="choose one of " + ", ".join(values) + ", or none",
            )
        )
    return values[name]
