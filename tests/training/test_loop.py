"""The loop: what moves, what stays, what is kept as best, when it stops, and that the seed decides all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ragtune.data.records import Candidate, Dataset, Query
from ragtune.errors import NonFiniteLossError, RecipeError
from ragtune.models.base import Scorer
from ragtune.training.loop import TrainingJob, train

MakeJob = Callable[..., TrainingJob]


def weights(job: TrainingJob) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in job.model.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Bit by bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def log_lines(job: TrainingJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def scripted(*values: float, name: str = "nDCG@10") -> Callable[[Scorer], dict[str, float]]:
    """A dev measure that gives these values in turn."""
    left = list(values)
    return lambda model: {name: left.pop(0)}


def test_the_seed_decides_every_weight(job_of: MakeJob) -> None:
    results = []
    for name, seed in (("a", 13), ("b", 13), ("c", 14)):
        job = job_of(name=name, seed=seed, model={"dropout": 0.2}, data={"group_size": 2, "shuffle_ratio": 0.5})
        train(job)
        results.append(weights(job))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_seed_alone_draws_the_dropout(job_of: MakeJob) -> None:
    """Random numbers used elsewhere in the process change nothing."""
    jobs = [job_of(name=name, model={"dropout": 0.2}) for name in "ab"]
    train(jobs[0])
    torch.rand(3)
    train(jobs[1])
    assert same(weights(jobs[0]), weights(jobs[1]))


FREEZES: dict[str, tuple[dict[str, Any], Callable[[str], bool]]] = {
    "nothing": ({}, lambda name: False),
    "position embeddings": ({"freeze": {"position_embeddings": True}}, lambda name: "position_embeddings" in name),
    "token embeddings": ({"freeze": {"token_embeddings": True}}, lambda name: "word_embeddings" in name),
    "first layer": (
        {"freeze": {"first_layers": 1}},
        lambda name: ".embeddings." in name or "layer.0." in name,
    ),
    "all but adapters": ({"lora": {"rank": 2, "alpha": 4}}, lambda name: "lora_" not in name),
    "projection beside it": ({"projection_dims": 8}, lambda name: False),
}


@pytest.mark.parametrize("case", FREEZES)
def test_all_moves_but_what_is_frozen(case: str, job_of: MakeJob) -> None:
    model, stays = FREEZES[case]
    job = job_of(model=model)
    before = weights(job)
    train(job)
    after = weights(job)
    for name, weight in before.items():
        if "token_type_embeddings" in name:
            # only the row of the first segment is ever read
            weight, moved = weight[0], after[name][0]
        else:
            moved = after[name]
        still = stays(name) or "pooler" in name
        assert torch.equal(weight, moved) == still, name


def test_accumulated_batches_are_one_sum_divided_once(job_of: MakeJob) -> None:
    """With own candidates alone, two batches of 6 are one batch of 12; the small last batch counts by its rows."""
    losses = {"name": "softmax", "scope": "own", "temperature": 0.1}
    data = {"group_size": 3}
    one = job_of(name="one", data=data, losses=losses, batch_size=12)
    two = job_of(name="two", data=data, losses=losses, batch_size=6, accumulation_steps=2)
    assert len(one.training_set.rows) == 20
    outcomes = [train(one), train(two)]
    assert outcomes[0].steps == outcomes[1].steps == 2
    for name, weight in weights(one).items():
        torch.testing.assert_close(weight, weights(two)[name], rtol=1e-3, atol=3e-5, msg=name)
    for key in ("loss", "gradient_norm"):
        found, wanted = ([line[key] for line in log_lines(job)] for job in (two, one))
        assert found == pytest.approx(wanted, rel=1e-3), key


def test_best_weights_come_back(job_of: MakeJob) -> None:
    """Evaluations at steps 0 to 3; the second is the best, so a run of one step gives the same weights."""
    job = job_of(evaluate=scripted(0.1, 0.9, 0.5, 0.2), evaluate_every_steps=1, schedule="constant", warmup_ratio=0)
    outcome = train(job)
    short = job_of(name="short", max_steps=1, schedule="constant", warmup_ratio=0)
    train(short)
    assert (outcome.steps, outcome.best_step, outcome.best_value) == (3, 1, 0.9)
    assert same(weights(job), weights(short))
    assert [e["nDCG@10"] for e in outcome.evaluations] == [0.1, 0.9, 0.5, 0.2]


def test_untrained_weights_may_be_the_best(job_of: MakeJob) -> None:
    job = job_of(evaluate=scripted(0.9, 0.1, 0.1, 0.1), evaluate_every_steps=1)
    before = weights(job)
    assert train(job).best_step == 0
    assert same(weights(job), before)


def test_best_metric_none_keeps_the_last(job_of: MakeJob) -> None:
    job = job_of(evaluate=scripted(0.9, 0.1, 0.1, 0.1), evaluate_every_steps=1, best_metric="none")
    plain = job_of(name="plain")
    assert train(job).best_step is None
    train(plain)
    assert same(weights(job), weights(plain))


def test_best_metric_at_dimensions(job_of: MakeJob) -> None:
    def evaluate(model: Scorer) -> dict[str, float]:
        step = len(asked)
        asked.append(step)
        return {"nDCG@10": -step, "nDCG@10:16": 10.0 if step == 2 else 0.0}

    asked: list[int] = []
    job = job_of(evaluate=evaluate, evaluate_every_steps=1, best_metric="nDCG@10:16")
    assert train(job).best_step == 2


def test_a_metric_that_is_not_measured_is_refused_before_the_first_step(job_of: MakeJob) -> None:
    job = job_of(evaluate=scripted(0.5), best_metric="MAP@7")
    before = weights(job)
    with pytest.raises(RecipeError, match="MAP@7"):
        train(job)
    assert same(weights(job), before)


def test_patience_stops_early(job_of: MakeJob) -> None:
    job = job_of(evaluate=scripted(0.1, 0.5, 0.4, 0.5, 0.3, 0.9), evaluate_every_steps=1, epochs=5, patience=2)
    outcome = train(job)
    assert outcome.stopped_early
    assert (outcome.steps, outcome.best_step) == (3, 1)


def test_a_better_value_begins_patience_anew(job_of: MakeJob) -> None:
    values = (0.1, 0.0, 0.2, 0.1, 0.3, 0.2, 0.1)
    outcome = train(job_of(evaluate=scripted(*values), evaluate_every_steps=1, epochs=5, patience=2))
    assert (outcome.steps, outcome.best_step) == (6, 4)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_queries(job_of: MakeJob) -> None:
    job = job_of(learning_rate=1e30, warmup_ratio=0, max_gradient_norm=None, epochs=5)
    with pytest.raises(NonFiniteLossError, match=r"q\d+") as caught:
        train(job)
    assert "train.learning_rate" in str(caught.value)


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_is_saved(job_of: MakeJob) -> None:
    """A loss may be finite and its gradient not: here a vector's norm is 0 / 0 in backward alone."""
    job = job_of(save_every_steps=1)
    table = job.model.token_embedding.weight
    job.model.backbone.embeddings.LayerNorm.weight.register_hook(lambda gradient: gradient * float("nan"))
    assert table.requires_grad
    with pytest.raises(NonFiniteLossError, match=r"gradient of step 1 .* q\d+"):
        train(job)
    assert not list((job.folder / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(precision: str, job_of: MakeJob) -> None:
    job = job_of(precision=precision, epochs=12, losses={"name": "softmax", "temperature": 0.1})
    train(job)
    found = [line["loss"] for line in log_lines(job) if "loss" in line]
    assert sum(found[-3:]) < 0.6 * sum(found[:3])


@pytest.mark.parametrize("loss", ["cosent", "cosine_similarity"])
def test_scored_pairs_are_learnt(loss: str, job_of: MakeJob, tiny_dataset: Callable[..., Dataset]) -> None:
    """Each query with one passage and a score between 0 and 1, no in-batch negatives."""
    dataset = tiny_dataset()
    train_ids = list(dataset.qrels["train"])
    for place, query_id in enumerate(train_ids):
        (corpus_id,) = dataset.qrels["train"][query_id]
        dataset.candidates[query_id] = [Candidate(corpus_id=corpus_id, relevance=place % 5 / 4)]
    dataset.qrels["train"] = {query_id: {} for query_id in train_ids}
    dataset.info.in_batch_negatives = False
    job = job_of(dataset=dataset, epochs=15, losses=loss, batch_size=20)
    train(job)
    found = [line["loss"] for line in log_lines(job)]
    assert sum(found[-3:]) < 0.5 * sum(found[:3])


def test_texts_with_a_class_draw_together(job_of: MakeJob, tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset()
    for place, query_id in enumerate(dataset.qrels["train"]):
        query = dataset.queries[query_id]
        dataset.queries[query_id] = Query(id=query_id, text=query.text, metadata={"label": "abc"[place % 3]})
    job = job_of(dataset=dataset, epochs=20, batch_size=20, losses={"name": "softmax", "temperature": 0.1})
    train(job)
    rows = job.training_set.rows
    vectors = torch.from_numpy(job.model.encode([row.text for row in rows], kind="query"))
    passages = torch.from_numpy(job.model.encode(job.training_set.passages, kind="passage"))
    score_QC = vectors @ passages[[int(row.positives[0].passage_id) for row in rows]].T
    same_QC = torch.tensor([[a.label == b.label for b in rows] for a in rows])
    assert score_QC[same_QC].mean() > score_QC[~same_QC].mean() + 0.3


def test_bf16_is_close_to_fp32(job_of: MakeJob) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        job = job_of(name=precision, precision=precision, epochs=3, losses={"name": "softmax", "temperature": 0.1})
        train(job)
        losses.append([line["loss"] for line in log_lines(job)])
    assert losses[1] == pytest.approx(losses[0], abs=0.03)
    assert losses[1] != losses[0]


def test_fractions_of_epochs_and_max_steps_count_steps(job_of: MakeJob) -> None:
    assert train(job_of(name="a", epochs=1.5)).steps == 5
    assert train(job_of(name="b", epochs=4, max_steps=2)).steps == 2
    assert train(job_of(name="c", drop_last=True)).steps == 2


def test_a_run_without_rows_to_draw_does_nothing(job_of: MakeJob, tiny_dataset: Callable[..., Dataset]) -> None:
    job = job_of()
    empty = replace(job, training_set=replace(job.training_set, weights=(0.001,)))
    before = weights(job)
    assert train(empty).steps == 0
    assert same(weights(job), before)


def test_only_trained_weights_are_kept(job_of: MakeJob) -> None:
    from safetensors.torch import load_file

    job = job_of(model={"freeze": {"token_embeddings": True}}, evaluate=scripted(0.1, 0.2))
    train(job)
    saved = load_file(next(path for path in kept(job.folder)) / "weights.safetensors")
    assert saved.keys() == {name for name, p in job.model.named_parameters() if p.requires_grad}


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("best-*"))
