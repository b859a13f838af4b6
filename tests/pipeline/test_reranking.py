"""A reranker's run from recipe to verdict, and rerankers behind an embedder in an evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.folder import write_dataset
from ragtune.data.records import Dataset
from ragtune.errors import InputError
from ragtune.models import load_model
from ragtune.models.reranker import Reranker
from ragtune.pipeline.proof import measure_models
from ragtune.pipeline.reranking import DevReranking
from ragtune.pipeline.running import run_recipe
from ragtune.recipe import ModelRecipe, Recipe
from ragtune.training import telemetry

QUICK = {"max_steps": 2, "batch_size": 8, "precision": "fp32"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(telemetry, "CEILING_SIZE", 64)
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe_of(tiny_model: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A reranker's recipe behind BM25; keyword arguments go over its parts."""

    def made(**parts: Any) -> Recipe:
        values: dict[str, Any] = {
            "run": tmp_path / "run",
            "data": "tiny",
            "model": {"name": str(tiny_model), "family": "reranker"},
            "train": QUICK,
            "evaluate": {
                "resamples": 100, "measures": ["nDCG@10"], "bm25": False,
                "rerank": {"first_stage": "bm25", "depth": 10, "dev_depth": 5},
            },
        }  # fmt: skip
        for part, more in parts.items():
            values[part] = {**values[part], **more} if isinstance(values.get(part), dict) else more
        return Recipe.model_validate(values)

    return made


def test_a_rerankers_defaults_are_its_own(recipe_of: Callable[..., Recipe]) -> None:
    recipe = recipe_of()
    assert recipe.data.group_size == 16
    assert [(loss.name, loss.options) for loss in recipe.train.losses] == [("softmax", {"temperature": 1.0})]
    own = recipe_of(train={"losses": [{"name": "softmax", "temperature": 0.5}, "ranknet"]}, data={"sources": "x"})
    assert [loss.options for loss in own.train.losses] == [{"temperature": 0.5}, {}]
    assert Recipe(run=Path("x"), data="y").train.losses[0].options == {}  # type: ignore[arg-type]


def test_a_run_measures_the_first_stage_alone_and_with_the_tuned_reranker(
    recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    """A fresh head orders at random, so that the first stage alone is what the tuned one is compared with."""
    result = run_recipe(recipe_of(), datasets=[tiny_dataset(with_candidates=True)])
    assert [row["contender"] for row in result.metrics["rows"]] == ["bm25", "bm25 + tuned"]
    saved = load_model(ModelRecipe(name=str(result.model), family="reranker"))
    assert isinstance(saved, Reranker) and not saved.fresh_head
    log = [json.loads(line) for line in (tmp_path / "run" / "train" / "log.jsonl").read_text().splitlines()]
    assert {"positive_scores", "negative_scores"} <= next(line for line in log if "loss" in line).keys()
    dev = next(line for line in log if "dev_nDCG@10" in line)
    assert {"dev_positive_p50", "dev_negative_p95", "dev_spread", "dev_in_order", "dev_collapsed"} <= dev.keys()
    assert "reranker" in result.report.read_text(encoding="utf-8")


def test_a_tuned_reranker_is_compared_with_the_one_it_began_as(
    recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    first = run_recipe(recipe_of(), datasets=[tiny_dataset(with_candidates=True)])
    again = recipe_of(run=tmp_path / "second", model={"name": str(first.model)})
    result = run_recipe(again, datasets=[tiny_dataset(with_candidates=True)])
    names = [row["contender"] for row in result.metrics["rows"]]
    assert names == ["bm25", f"bm25 + {first.model}", "bm25 + tuned"]
    assert (result.metrics["comparisons"][0]["before_name"], result.metrics["comparisons"][0]["after_name"]) == (
        f"bm25 + {first.model}",
        "bm25 + tuned",
    )


def test_rerankers_stand_behind_an_embedder(
    recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset], tmp_path: Path, tiny_model: Path
) -> None:
    model = load_model(ModelRecipe(name=str(tiny_model), family="reranker"))
    for name in ("one", "two"):
        model.save(tmp_path / name)
    write_dataset(tiny_dataset(), tmp_path / "data")
    plan = recipe_of().evaluate.model_dump() | {"measures": ["nDCG@10", "Recall@10"], "top_k": 20}

    def measured(*rerankers: str, **rerank: Any) -> Any:
        names = [str(tmp_path / name) for name in rerankers]
        recipe = Recipe.model_validate(
            {
                "run": ".",
                "data": str(tmp_path / "data"),
                "model": {"name": str(tiny_model)},
                "evaluate": {**plan, "rerank": {"models": names, "depth": 10, **rerank}},
            }
        )
        return measure_models(recipe, tmp_path / "data", say=lambda line: None)

    one = measured("one")
    alone, behind = str(tiny_model), f"{tiny_model} + {tmp_path / 'one'}"
    assert {c.name: c.role for c in one.contenders} == {alone: "before", behind: "after"}
    # what is reread are the same ten passages
    assert one.scores(alone)["Recall@10"] == one.scores(behind)["Recall@10"]
    two = measured("one", "two")
    assert [c.role for c in two.contenders] == ["reference", "before", "after"]
    assert two.comparisons[0].delta == 0.0
    lexical = measured("one", first_stage="bm25")
    assert [c.name for c in lexical.contenders][1:] == [
        "bm25 (first stage)",
        f"bm25 (first stage) + {tmp_path / 'one'}",
    ]
    with pytest.raises(InputError, match="named twice"):
        measured("one", "one")


def test_the_tail_behind_the_depth_keeps_its_order(
    tiny_dataset: Callable[..., Dataset], recipe_of: Callable[..., Recipe], tiny_model: Path
) -> None:
    from ragtune.retrieval.bm25 import BM25Retriever
    from ragtune.retrieval.search import search
    from ragtune.retrieval.two_stage import TwoStage

    dataset = tiny_dataset("en")
    first = BM25Retriever(dataset.corpus, language="en")
    model: Any = load_model(ModelRecipe(name=str(tiny_model), family="reranker"))
    queries = list(dataset.queries.values())
    found = search(first, queries, k=12)
    ranked = search(TwoStage(first, model, passages=dataset.corpus, depth=3), queries, k=12)
    for before, after in zip(found.passage_ids, ranked.passage_ids, strict=True):
        assert sorted(before[:3]) == sorted(after[:3]) and before[3:] == after[3:]


def test_given_candidates_join_those_of_the_first_stage_on_dev(
    recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset]
) -> None:
    dataset = tiny_dataset(with_candidates=True)
    counts = []
    for given in (True, False):
        recipe = recipe_of(evaluate={"rerank": {"first_stage": "bm25", "dev_depth": 1, "given": given}})
        dev = DevReranking(dataset, recipe, measures=["nDCG@10"], say=lambda line: None)
        counts.append({query: len(found) for query, found in dev._candidates.items()})
    assert all(counts[0][query] in (3, 4) and counts[1][query] <= 1 for query in counts[0])


def test_a_collapse_is_told(recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset]) -> None:
    said: list[str] = []
    dev = DevReranking(tiny_dataset(), recipe_of(), measures=["nDCG@10"], say=said.append)
    model: Any = load_model(recipe_of().model)
    assert dev(model)["collapsed"] == 0.0 and not said
    for parameter in model.network.classifier.parameters():
        parameter.data.zero_()
    assert dev(model)["collapsed"] == 1.0
    assert said == [
        "warning: the scores have collapsed: a question's candidates score alike (median spread 0, less than 0.001)"
    ]


def test_a_collapse_is_in_the_report(
    recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Weights that decay to nothing: the last evaluation finds all candidates alike."""
    recipe = recipe_of(
        train={"learning_rate": 1.0, "weight_decay": 1.0, "warmup_ratio": 0.0, "best_metric": "none", "max_steps": 6,
               "evaluate_every_steps": 6, "schedule": "constant"}
    )  # fmt: skip
    result = run_recipe(recipe, datasets=[tiny_dataset(with_candidates=True)])
    assert result.metrics["warnings"][0].startswith("step 6: the scores have collapsed: a question's candidates")
    assert "the scores have collapsed" in result.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ({"model": {"pooling": "cls"}}, "model.pooling"),
        ({"model": {"projection_dims": 8}}, "model.projection_dims"),
        ({"model": {"lora": {"merge": False}}}, "model.lora.merge=false"),
        ({"train": {"matryoshka": {"dims": [8]}}}, "train.matryoshka"),
        ({"train": {"mining": {}}}, "train.mining"),
        ({"evaluate": {"rerank": {"models": ["x"]}}}, "evaluate.rerank.models"),
        ({"train": {"best_metric": "nDCG@10:8"}}, "train.best_metric"),
        ({"evaluate": {"dims": [8]}}, "evaluate.dims"),
        ({"data": {"sources": "tiny", "group_size": 1}}, "data.group_size"),
    ],
)
def test_what_a_reranker_does_not_read_is_refused(
    recipe_of: Callable[..., Recipe], tiny_dataset: Callable[..., Dataset], parts: dict[str, Any], where: str
) -> None:
    with pytest.raises(InputError) as caught:
        run_recipe(recipe_of(**parts), datasets=[tiny_dataset()])
    assert [problem.where for problem in caught.value.problems] == [where]


def test_a_reranker_judges_candidates_and_teaches(
    tiny_dataset: Callable[..., Dataset], tiny_model: Path, tmp_path: Path
) -> None:
    from ragtune.data.folder_reading import read_dataset
    from ragtune.pipeline.mining import mine_folder, score_folder
    from ragtune.recipe_mining import MineRecipe, ScoreRecipe

    model = load_model(ModelRecipe(name=str(tiny_model), family="reranker"))
    assert isinstance(model, Reranker)
    model.save(tmp_path / "reranker")
    dataset = tiny_dataset("en")
    write_dataset(dataset, tmp_path / "data")
    recipe = MineRecipe(
        models=(), bm25=True, reranker=str(tmp_path / "reranker"), negatives=2, precision="fp32", relative_margin=None
    )
    mine_folder(tmp_path / "data", recipe, out=tmp_path / "mined")
    teacher = ModelRecipe(name=str(tmp_path / "reranker"), family="reranker")
    score_folder(tmp_path / "mined", ScoreRecipe(teacher=teacher, precision="fp32"), out=tmp_path / "scored")
    scored = read_dataset(tmp_path / "scored")
    pairs = [(scored.queries[q], scored.corpus[c.corpus_id], c) for q, cs in scored.candidates.items() for c in cs]
    wanted = model.score_pairs([query for query, _, _ in pairs], [passage for _, passage, _ in pairs])
    assert [c.teacher for _, _, c in pairs] == pytest.approx(wanted.tolist(), abs=1e-4)
    assert any(c.relevance == 0.0 for _, _, c in pairs)
