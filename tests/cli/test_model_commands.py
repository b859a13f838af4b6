"""train, run, evaluate, search from end to end on a tiny model: results, JSON, notes, doing nothing twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

QUICK = ("--set", "train.max_steps=1", "--set", "train.batch_size=16", "--set", "evaluate.resamples=100")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_dataset: Any) -> Path:
    """A run made by the library, to be evaluated and searched with."""
    from ragtune import Recipe, run_recipe

    folder = tmp_path_factory.mktemp("runs") / "trained"
    values = {
        "run": folder, "data": "tiny", "model": {"name": str(tiny_model)}, "train": {"max_steps": 2},
        "evaluate": {"resamples": 100},
    }  # fmt: skip
    run_recipe(Recipe.model_validate(values), datasets=[tiny_dataset()])
    return folder


# --- train and run ---


def test_training_ends_with_the_verdict(ragtune: Any, workplace: Path) -> None:
    done = ragtune("train", "--data", "ds", "--out", "runs/a", "--model", "base", *QUICK)
    assert done.code == 0, done.err
    model, report, verdict = done.out.splitlines()
    assert (model, report) == ("model:   runs/a/model", "report:  runs/a/report.html")
    assert verdict.startswith("tiny-mixed test, 5 questions: nDCG@10 ")
    assert [line.split(" ")[0] for line in done.err.splitlines()] == ["read", "training", "trained", "measuring"]
    assert (workplace / "runs" / "a" / "report.html").stat().st_size > 10_000


def test_json_is_all_there_is_on_stdout(ragtune: Any, workplace: Path) -> None:
    first = ragtune("train", "--data", "ds", "--out", "runs/a", "--model", "base", *QUICK, "--json")
    said = json.loads(first.out)
    assert set(said) == {"model", "report", "metrics", "verdict"}
    assert said["metrics"]["training"]["steps"] == 1
    again = ragtune("train", "--data", "ds", "--out", "runs/a", "--model", "base", *QUICK, "--json")
    assert json.loads(again.out) == said
    assert again.err.splitlines()[1:] == ["training: done before, not run again"]


def test_a_recipe_runs_and_again_does_nothing(ragtune: Any, workplace: Path) -> None:
    (workplace / "recipe.yaml").write_text(
        "run: runs/一\ndata: {sources: [taught], group_size: 3}\nmodel: {name: base}\n"
        "train: {max_steps: 2, losses: [softmax, {name: margin_mse, weight: 0.1}], distillation: true}\n"
        "evaluate: {resamples: 100, dims: [8], storages: [fp32, int8]}\n",
        encoding="utf-8",
    )
    first = ragtune("run", "recipe.yaml")
    assert first.code == 0, first.err
    stages = {path: path.read_bytes() for path in (workplace / "runs" / "一").glob("*/manifest.json")}
    assert len(stages) == 3
    again = ragtune("run", "recipe.yaml")
    assert again.out == first.out
    assert {path: path.read_bytes() for path in stages} == stages
    other = ragtune("run", "recipe.yaml", "--set", "evaluate.protocol=single-id")
    assert other.code == 0
    assert {path.parent.name for path in stages if path.read_bytes() != stages[path]} == {"evaluate"}
    refused = ragtune("run", "recipe.yaml", "--set", "train.max_steps=3")
    assert refused.code == 2
    moved = ragtune("run", "recipe.yaml", "--set", "train.max_steps=3", "--overwrite")
    assert moved.code == 0, moved.err
    assert (workplace / "runs" / "一.previous-1" / "model" / "modules.json").is_file()


def test_training_starts_from_a_recipe_with_flags_over_it(ragtune: Any, workplace: Path) -> None:
    (workplace / "recipe.yaml").write_text(
        "run: nowhere\ndata: {sources: [nothing], dev_max_queries: 7}\ntrain: {max_steps: 1}\n"
        "evaluate: {resamples: 100, measures: [MRR@10]}\n",
        encoding="utf-8",
    )
    done = ragtune("train", "--recipe", "recipe.yaml", "--out", "r", "--data", "ds", "--model", "base")
    assert done.code == 0, done.err
    assert " MRR@10 " in done.out
    resolved = (workplace / "r" / "recipe.yaml").read_text(encoding="utf-8")
    assert "dev_max_queries: 7" in resolved
    assert not (workplace / "nowhere").exists()


def test_a_file_is_trained_on_as_it_is(ragtune: Any, workplace: Path) -> None:
    rows = [{"query": f"question {n}", "pos": [f"passage {n}"], "neg": [f"other {n}"]} for n in range(30)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (workplace / "2024").mkdir()
    (workplace / "2024" / "train.jsonl").write_text(text)
    done = ragtune("train", "--data", "2024", "--out", "on", "--model", "base", *QUICK)
    assert done.code == 0, done.err
    assert "imported 2024 as flagembedding" in done.err
    assert "split by " in done.err
    assert "which data.group_size=1 leaves out" in done.err


# --- evaluate ---


def test_an_evaluation_writes_report_and_json(ragtune: Any, workplace: Path, trained: Path) -> None:
    done = ragtune(
        "evaluate", "ds", "--model", trained, "--baseline", "base", "--dims", "8", "--dims", "16",
        "--storage", "fp32", "--storage", "binary", "--measure", "MRR@10", "--measure", "nDCG@10",
        "--report", "out/report.html", "--json", "out/found.json", "--set", "evaluate.resamples=100",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads((workplace / "out" / "found.json").read_text(encoding="utf-8"))
    settings = {(row["contender"], row["dims"], row["storage"]) for row in found["rows"]}
    expected = {
        (name, dims, kind) for name in ("base", str(trained)) for dims in (8, 16, 32) for kind in ("fp32", "binary")
    }
    assert settings == expected | {("BM25", None, None)}
    assert done.out.splitlines()[-1] == found["verdict"]["text"]
    assert "MRR@10" in found["verdict"]["text"]
    assert "<html" in (workplace / "out" / "report.html").read_text(encoding="utf-8")
    assert "report: out/report.html" in done.err


def test_an_evaluation_as_json_is_all_there_is_on_stdout(ragtune: Any, workplace: Path) -> None:
    done = ragtune("evaluate", "ds", "--model", "base", "--no-bm25", "--split", "dev", "--json", "-")
    found = json.loads(done.out)
    assert [contender["name"] for contender in found["contenders"]] == ["base"]
    assert found["dataset"]["split"] == "dev"


def test_protocols_differ_where_passages_repeat(ragtune: Any, workplace: Path) -> None:
    with (workplace / "ds" / "corpus.jsonl").open("a", encoding="utf-8") as file:
        for line in (workplace / "taught" / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            file.write(json.dumps({**row, "_id": f"copy-{row['_id']}"}, ensure_ascii=False) + "\n")
    call = ("evaluate", "ds", "--model", "base", "--no-bm25", "--measure", "MRR@10", "--json", "-")
    merged = json.loads(ragtune(*call).out)
    single = json.loads(ragtune(*call, "--protocol", "single-id").out)
    assert (merged["dataset"]["protocol"], single["dataset"]["protocol"]) == ("merged", "single-id")
    assert merged["rows"][0]["scores"]["MRR@10"] > single["rows"][0]["scores"]["MRR@10"]


def test_a_model_folder_a_run_folder_and_settings_are_taken(ragtune: Any, workplace: Path, trained: Path) -> None:
    call = ("evaluate", "ds", "--no-bm25", "--json", "-", "--set", "evaluate.resamples=100", "--model")
    rows = [json.loads(ragtune(*call, model).out)["rows"][0]["scores"] for model in (trained, trained / "model")]
    assert rows[0] == rows[1]
    cut = json.loads(ragtune(*call, trained, "--set", "model.passage_max_tokens=4").out)
    assert cut["rows"][0]["scores"] != rows[0]


# --- search ---


@pytest.mark.parametrize("retriever", ["dense", "bm25", "fused"])
def test_a_search_shows_what_it_found(ragtune: Any, workplace: Path, trained: Path, retriever: str) -> None:
    question = "公司每年向税务局申报利润。"
    call = ("search", "ds", question, "--model", trained, "--retriever", retriever, "-k", "2")
    shown = ragtune(*call)
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[0].split()[0] == "1"
    assert question in shown.out.splitlines()[1]
    hits = json.loads(ragtune(*call, "--json").out)
    assert hits[0]["text"] == question
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


def test_a_search_that_finds_nothing_says_so(ragtune: Any, workplace: Path) -> None:
    done = ragtune("search", "ds", "xylophone", "--retriever", "bm25")
    assert (done.code, done.out) == (0, "")
    assert "no passage" in done.err
    assert json.loads(ragtune("search", "ds", "xylophone", "--retriever", "bm25", "--json").out) == []


# --- demo ---


def test_the_demos_dataset_and_recipe_fit(ragtune: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with a small corpus, the tiny model and one step."""
    from ragtune.documents import python_corpus

    build = python_corpus.build_python_dataset

    def few() -> Any:
        dataset = build()
        for split, qrels in dataset.qrels.items():
            dataset.qrels[split] = dict(list(qrels.items())[:40])
        kept = {pid for qrels in dataset.qrels.values() for row in qrels.values() for pid in row}
        dataset.corpus = {pid: dataset.corpus[pid] for pid in kept}
        dataset.queries = {qid: dataset.queries[qid] for qrels in dataset.qrels.values() for qid in qrels}
        return dataset

    monkeypatch.setattr(python_corpus, "build_python_dataset", few)
    fit = ("--set", "model.name=base", "--set", "model.passage_max_tokens=64", "--set", "evaluate.dims=[8]")
    done = ragtune("demo", *QUICK, *fit)
    assert done.code == 0, done.err
    assert "report:  runs/demo/report.html" in done.out
    assert "questions: nDCG@10" in done.out
    shutil.rmtree(workplace / "runs")
