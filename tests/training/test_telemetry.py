"""What the log tells, against counts by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ragtune.errors import OutOfSpaceError
from ragtune.models.dense import DenseModel
from ragtune.training.loop import TrainingJob, train
from ragtune.training.telemetry import TrainLog, matmul_ceiling, quantiles, useful_flops

MakeJob = Callable[..., TrainingJob]

FIELDS = {
    "step", "loss", "parts", "learning_rate", "gradient_norm", "tokens_per_second", "padding_share",
    "recomputed_share", "flops_per_second", "share_of_ceiling", "peak_memory_bytes", "positive_scores",
    "negative_scores",
}  # fmt: skip


def log_of(job: TrainingJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_useful_flops_are_those_counted_by_hand(load: Callable[..., DenseModel]) -> None:
    """Two layers of width 32: four 32 x 32 projections and two 32 x 64 ones each; 2 FLOPs a weight, three passes."""
    model = load()
    per_token = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    lengths = [7, 5]
    linear = 3 * 2 * per_token * sum(lengths)
    # attention: scores and weighted sum, each 2 * width FLOPs for every pair of tokens, in two layers
    attention = 3 * 2 * sum(2 * (2 * 32) * n * n for n in lengths)
    squared = sum(n * n for n in lengths)
    assert useful_flops(model, tokens=12, squared_tokens=squared) == linear + attention


def test_useful_flops_agree_with_torch(load: Callable[..., DenseModel]) -> None:
    """PyTorch's own counter over a padded forward and backward of equally long texts."""
    from torch.utils.flop_counter import FlopCounterMode

    from ragtune.models.base import TokenBatch

    model = load(padded=True)
    batch = TokenBatch(ids_N=torch.arange(5, 45), lengths_B=torch.tensor([20, 20]))
    with FlopCounterMode(display=False) as counter:
        model(batch).sum().backward()
    assert counter.get_total_flops() == pytest.approx(useful_flops(model, tokens=40, squared_tokens=800), rel=0.01)


def test_every_line_holds_everything(job_of: MakeJob) -> None:
    job = job_of(losses=["softmax", "triplet"], matryoshka={"dims": [8]})
    train(job)
    lines = log_of(job)
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert line.keys() == FIELDS
        assert line["parts"].keys() == {"softmax@8", "softmax@32", "triplet@8", "triplet@32"}
        assert line["loss"] == pytest.approx(sum(line["parts"].values()) / 2, abs=1e-5)
        assert line["padding_share"] == 0
        assert 0 < line["tokens_per_second"] < line["flops_per_second"]
        assert line["share_of_ceiling"] > 0
        assert 5e7 < line["peak_memory_bytes"] < 5e10
        for name in ("positive_scores", "negative_scores"):
            assert len(line[name]) == 5 and line[name] == sorted(line[name])


def test_positive_and_negative_scores_draw_apart(job_of: MakeJob) -> None:
    job = job_of(epochs=8, data={"group_size": 3}, losses={"name": "softmax", "temperature": 0.1})
    train(job)
    gaps = [line["positive_scores"][2] - line["negative_scores"][2] for line in log_of(job)]
    assert gaps[-1] > gaps[0] + 0.2


def test_a_line_sums_the_steps_since_the_last_one(job_of: MakeJob) -> None:
    each, sums = job_of(name="each", epochs=2), job_of(name="sums", epochs=2, log_every_steps=4)
    train(each), train(sums)
    single, together = log_of(each), log_of(sums)
    assert [line["step"] for line in together] == [4, 6]
    # batches of 8, 8, 4, 8 queries
    mean = sum(line["loss"] * n for line, n in zip(single, (8, 8, 4, 8), strict=False)) / 28
    assert together[0]["loss"] == pytest.approx(mean, abs=1e-5)
    assert together[0]["gradient_norm"] == single[3]["gradient_norm"]


def test_recomputed_and_padded_tokens_are_told(job_of: MakeJob) -> None:
    recomputed = job_of(name="recomputed", graph_tokens=0)
    train(recomputed)
    assert {line["recomputed_share"] for line in log_of(recomputed)} == {1.0}
    shares = {}
    for multiple in (None, 64):
        job = job_of(name=f"padded{multiple}", model={"padded": True}, pad_to_multiple_of=multiple, epochs=1)
        train(job)
        shares[multiple] = log_of(job)[0]["padding_share"]
    assert 0 < shares[None] < shares[64] < 1


def test_clipping_is_told_by_the_norm_before_it(job_of: MakeJob) -> None:
    """Plain gradient descent cannot be told from Adam here, so the norm that is left is asked of the parameters."""
    norms: dict[float | None, float] = {}
    for limit in (None, 1e-3):
        job = job_of(name=f"clip{limit}", max_gradient_norm=limit, max_steps=1)
        left: list[float] = []
        watched = [p for p in job.model.parameters() if p.requires_grad]
        before = torch.optim.AdamW.step

        def step(self: Any, *rest: Any, watched: Any = watched, left: Any = left, before: Any = before) -> Any:
            left.append(
                float(torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in watched if p.grad is not None])))
            )
            return before(self, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", step)
            train(job)
        norms[limit] = left[0]
        assert log_of(job)[0]["gradient_norm"] == pytest.approx(norms[None], rel=1e-3)
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)


def test_numbers_are_mirrored_with_their_step(job_of: MakeJob) -> None:
    seen: list[tuple[dict[str, float], int]] = []
    job = replace(job_of(), mirror=lambda numbers, step: seen.append((numbers, step)))
    train(job)
    assert [step for _, step in seen] == [1, 2, 3]
    assert [numbers["loss"] for numbers, _ in seen] == [line["loss"] for line in log_of(job)]


def test_lines_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\n{"step": 2}\n{"step": 4}\n{"st', encoding="utf-8")
    log = TrainLog(path, from_step=2, mirror=lambda numbers, step: None)
    log.write({"step": 3, "text": "茶"})
    assert path.read_text(encoding="utf-8") == '{"step": 0}\n{"step": 2}\n{"step": 3, "text": "茶"}\n'
    TrainLog(path, from_step=0, mirror=lambda numbers, step: None)
    assert path.read_text(encoding="utf-8") == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_that_cannot_grow_says_so(tmp_path: Path) -> None:
    log = TrainLog(tmp_path / "log.jsonl", from_step=0, mirror=lambda numbers, step: None)
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutOfSpaceError, match=r"log\.jsonl"):
        log.write({"step": 1})


def test_quantiles() -> None:
    assert quantiles(torch.arange(101.0)) == [5.0, 25.0, 50.0, 75.0, 95.0]
    assert quantiles(torch.empty(0)) == []
    assert quantiles(torch.arange(1_000_001.0) / 1e6) == pytest.approx([0.05, 0.25, 0.5, 0.75, 0.95], abs=1e-3)


def test_the_ceiling_is_a_rate() -> None:
    found = matmul_ceiling(torch.float32, device=torch.device("cpu"))
    assert 1e7 < found < 1e15
