"""A turn of a library that trains with the Hugging Face ``Trainer``: its clock, and how its tokens are counted."""

from __future__ import annotations

from typing import Any, final

from token_meter import TokenMeter
from torch import nn
from transformers import Trainer, TrainerCallback
from turn import Job, Step, now, rss_bytes, write_result

# Shared by both trainers: nothing is saved, reported or drawn, and a NaN loss is shown rather than replaced.
QUIET: dict[str, Any] = {
    "use_cpu": True,
    "num_train_epochs": 1,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


def from_attention_mask(positional: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[int, int]:
    """Real tokens and all positions of a call with the tokenizer's output, as keywords or as one mapping."""
    attention_mask = (positional[0] if positional else keywords)["attention_mask"]
    return int(attention_mask.sum()), attention_mask.numel()


@final
class StepClock(TrainerCallback):
    """Times whole steps, from the end of one to the end of the next: collating, forward, backward, optimizer."""

    def __init__(self, meter: TokenMeter, *, warmup_steps: int, turn_seconds: float) -> None:
        self.meter = meter
        self.warmup_steps = warmup_steps
        self.turn_seconds = turn_seconds
        self.steps: list[Step] = []
        self.mark = 0.0
        self.timing_since = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.mark = now()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Close a step; stop the training when the turn's time is up."""
        ended = now()
        self.steps.append(Step(ended - self.mark, float("nan"), *self.meter.take()))
        self.mark = ended
        if len(self.steps) == self.warmup_steps:
            self.timing_since = ended
        if len(self.steps) > self.warmup_steps and ended - self.timing_since >= self.turn_seconds:
            control.should_training_stop = True

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Take the step's loss from the log."""
        if logs is not None and "loss" in logs:
            self.steps[state.global_step - 1].loss = float(logs["loss"])


def run(trainer: Trainer, *, watched: nn.Module, job: Job, started: float) -> None:
    """Train through the job's batches and write the result."""
    warmup_steps = len(job.warmup)
    meter = TokenMeter(watched, from_attention_mask)
    clock = StepClock(meter, warmup_steps=warmup_steps, turn_seconds=job.turn_seconds)
    trainer.add_callback(clock)
    ready, rss_ready_bytes = now(), rss_bytes()
    trainer.train()
    write_result(clock.steps, warmup_steps=warmup_steps, started=started, ready=ready, rss_ready_bytes=rss_ready_bytes)
