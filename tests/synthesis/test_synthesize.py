"""Synthesis from end to end against a real server: plan, write, filter, judge, complete, split, seal, resume."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from ragtune.data.records import Dataset, Passage, Query
from ragtune.data.sealing import is_broken
from ragtune.errors import DataError, RecipeError
from ragtune.recipe_synthesis import SynthesisRecipe
from ragtune.synthesis.llm import LlmError
from ragtune.synthesis.synthesize import Synthesis, Synthesizer

Recipes = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragtune.synthesis.http_llm.FIRST_DELAY", 0.01)


def recipe_for(llm: Any, **settings: Any) -> SynthesisRecipe:
    said = {"per_passage": 2, "styles": ("question", "keywords"), "judge": {"enabled": False}, "min_passage_words": 5}
    return SynthesisRecipe(llm=llm, **(said | settings))


def run(
    dataset: Dataset, recipe: SynthesisRecipe, work: Path, encoder: Any, said: list[str] | None = None
) -> Synthesis:
    say = said.append if said is not None else (lambda line: None)
    return Synthesizer(dataset, recipe, work=work, say=say, encoder=encoder).run()


def test_queries_become_a_dataset(server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any) -> None:
    done = run(corpus_dataset, recipe_for(llm()), work, encoder)
    assert len(server.asked) == 20
    assert done.dataset.corpus == corpus_dataset.corpus
    kept = [query for split in done.dataset.qrels.values() for query in split]
    assert len(kept) == len(set(kept)) == done.report["kept"] == len(done.dataset.queries)
    assert done.report["made"] == 40 == done.report["kept"] + len(done.rejected)
    query = done.dataset.queries[kept[0]]
    assert query.metadata["origin"] == "tiny-chat" and query.metadata["style"] in ("question", "keywords")
    (source,) = done.dataset.qrels["train"][kept[0]]
    assert query.metadata["quote"] in done.dataset.corpus[source].text


def test_splits_are_made_by_document_and_test_is_sealed(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    done = run(corpus_dataset, recipe_for(llm(), split={"dev": 0.2, "test": 0.2}), work, encoder).dataset
    documents = {
        split: {done.corpus[p].metadata["document"] for grades in qrels.values() for p in grades}
        for split, qrels in done.qrels.items()
    }
    assert set(documents) == {"train", "dev", "test"}
    assert not documents["train"] & documents["test"] and not documents["train"] & documents["dev"]
    assert done.seal is not None and not is_broken(done)


def test_a_broken_reply_is_repaired_once(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        mended = len(body["messages"]) == 3
        if "heron" in body["messages"][0]["content"]:
            return server.model(body) if mended else server.says('{"queries": "none"}')
        if "kettle" in body["messages"][0]["content"]:
            return server.says('{"quer')
        return server.model(body)

    server.script = script
    done = run(corpus_dataset, recipe_for(llm()), work, encoder)
    assert len(server.asked) == 20 + 4
    unreadable = [item for item in done.rejected if item.filter == "unreadable"]
    assert {item.draft.passage_ids[0] for item in unreadable} == {"kettle-0", "kettle-1"}
    repairs = [body["messages"][-1]["content"] for body in server.asked if len(body["messages"]) == 3]
    assert all("valid JSON" in text for text in repairs)
    sources = {p for qrels in done.dataset.qrels.values() for grades in qrels.values() for p in grades}
    assert {"heron-0", "heron-1"} <= sources and "kettle-0" not in sources


def test_a_torn_list_gives_what_is_whole(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def torn(number: int, body: dict[str, Any]) -> Any:
        text = server.model(body).text
        return server.says(text[: text.rindex('"quote"')])

    server.script = torn
    done = run(corpus_dataset, recipe_for(llm()), work, encoder)
    assert done.report["made"] == 20 == len(server.asked)


def test_what_is_cut_is_kept_with_its_reason(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        said = json.loads(server.model(body).text)
        said["queries"][0]["quote"] = "this stands nowhere"
        said["queries"][1]["query"] = "what does the passage say about weeks"
        return server.says(json.dumps(said) if "heron" in str(body) else server.model(body).text)

    server.script = script
    done = run(corpus_dataset, recipe_for(llm()), work, encoder)
    rows = [json.loads(line) for line in (work / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(done.rejected)
    assert sum(row["filter"] == "quote" for row in rows) == 2 == done.report["rejected"]["quote"]
    assert {row["filter"] for row in rows if "passage say" in row["query"]} == {"mentions source"}
    assert all(row["reason"] and row["passages"] for row in rows)
    assert json.loads((work / "report.json").read_text(encoding="utf-8"))["kept"] == done.report["kept"]


def test_equal_queries_stand_once_and_the_other_passage_is_left_open(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        said = json.loads(server.model(body).text)
        said["queries"][0]["query"] = "How often is the heron repaired by its guild?"
        return server.says(json.dumps(said))

    server.script = script
    settings = {"filters": {"round_trip_k": None}, "split": {"dev": 0, "test": 0}, "max_passages": 6}
    done = run(corpus_dataset, recipe_for(llm(concurrency=1), **settings), work, encoder)
    equal = [query for query in done.dataset.queries.values() if "heron repaired by" in query.text]
    assert len(equal) == 1
    beside = done.dataset.candidates[equal[0].id]
    assert len(beside) == 5 and not any(row.valid for row in beside)


def test_the_round_trip_is_for_train_alone(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def stray(number: int, body: dict[str, Any]) -> Any:
        said = json.loads(server.model(body).text)
        for place, row in enumerate(said["queries"]):
            row["query"] = f"beacon guild cellar drawer z{chr(96 + number)}{place}z"
        return server.says(json.dumps(said))

    server.script = stray
    done = run(
        corpus_dataset, recipe_for(llm(concurrency=1), filters={"round_trip_k": 2}, split={"test": 0.3}), work, encoder
    )
    cut = [item for item in done.rejected if item.filter == "round trip"]
    assert cut and all(item.score == 2.0 for item in cut)
    assert len(done.dataset.split("test")) >= 6
    sources = {p for grades in done.dataset.split("train").values() for p in grades}
    assert sources <= {"beacon-0", "beacon-1"}


def test_the_judge_cuts_and_completes(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        prompt = body["messages"][0]["content"]
        if "self_contained" in prompt and "kettle" in prompt:
            verdict = {"self_contained": True, "clear": True, "mentioned": True, "answered": False}
            return server.says(json.dumps(verdict))
        return server.model(body)

    server.script = script
    done = run(corpus_dataset, recipe_for(llm(), judge={"enabled": True}, split={"test": 0.3}), work, encoder)
    judged = [item for item in done.rejected if item.filter == "judge"]
    assert {item.draft.passage_ids[0].split("-")[0] for item in judged} == {"kettle"}
    assert {(item.reason, item.score) for item in judged} == {("the passage does not answer it in full", 0.75)}
    labels = done.report["labels"]
    assert labels["judged"] == labels["source_confirmed"] > 0
    for query, grades in done.dataset.split("test").items():
        assert 1 in grades.values() and 0 in grades.values(), done.dataset.queries[query]
    train = done.dataset.split("train")
    assert train and all(grade == 1 for grades in train.values() for grade in grades.values())
    assert all(row.relevance == 0.0 for query in train for row in done.dataset.candidates[query] if row.valid)


def test_no_passage_answers_on_both_sides(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    def generous(number: int, body: dict[str, Any]) -> Any:
        prompt = body["messages"][0]["content"]
        everything = "Which of them answer it" in prompt
        return server.says(json.dumps({"answering": list(range(1, 30))})) if everything else server.model(body)

    server.script = generous
    settings = {"judge": {"enabled": True, "pool": 2}, "split": {"test": 0.3}}
    done = run(corpus_dataset, recipe_for(llm(), **settings), work, encoder).dataset
    positives = {
        split: {p for grades in qrels.values() for p, grade in grades.items() if grade > 0}
        for split, qrels in done.qrels.items()
    }
    assert not positives["test"] & positives.get("train", set())


def test_a_contrast_shows_the_neighbour_and_keeps_it_as_a_negative(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    settings = {"contrast": True, "split": {"dev": 0, "test": 0}, "filters": {"round_trip_k": None}}
    done = run(corpus_dataset, recipe_for(llm(), **settings), work, encoder)
    assert all("Passage B" in prompt for prompt in server.prompts())
    for query, grades in done.dataset.split("train").items():
        (negative,) = [row for row in done.dataset.candidates[query] if row.source == "contrast"]
        assert negative.relevance == 0.0 and negative.corpus_id not in grades


def test_a_comparison_has_two_sources(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    settings = {"styles": ("comparison",), "per_passage": 1, "split": {"dev": 0, "test": 0}}
    done = run(corpus_dataset, recipe_for(llm(), **settings), work, encoder)
    assert all(len(grades) == 2 for grades in done.dataset.split("train").values()) and done.report["kept"]


def test_examples_are_shown(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any, tmp_path: Path
) -> None:
    path = tmp_path / "examples.txt"
    path.write_text('heron broken pls help\n{"text": "下一次维修"}\n', encoding="utf-8")
    run(corpus_dataset, recipe_for(llm(), examples=path, max_passages=2), work, encoder)
    for prompt in server.prompts():
        assert "- heron broken pls help\n" in prompt and "- 下一次维修\n" in prompt
    path.write_text('{"no": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"examples\.txt:1"):
        Synthesizer(corpus_dataset, recipe_for(llm(), examples=path), work=work, say=print)


def test_chinese_passages_get_chinese_prompts(server: Any, llm: Recipes, work: Path, encoder: Any) -> None:
    text = "租客退房以后，房东应在三十天内退还押金，逾期每天支付百分之一的违约金，直到付清为止。"
    corpus = {str(n): Passage(str(n), f"第{n}条规定如下，甲{n}方须知。{text}") for n in range(3)}
    dataset = Dataset(info=replace(_info(), language="zh"), corpus=corpus, queries={})
    run(dataset, recipe_for(llm(), max_passages=1), work, encoder)
    assert "请写出 2 个互不相同" in server.prompts()[0] and "个字" in server.prompts()[0]


def test_the_same_run_again_asks_nothing(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    recipe = recipe_for(llm(), judge={"enabled": True})
    first = run(corpus_dataset, recipe, work, encoder)
    asked = len(server.asked)
    again = run(corpus_dataset, recipe, work, encoder)
    assert len(server.asked) == asked
    assert again.dataset == first.dataset


def test_a_changed_corpus_is_noticed_and_only_the_change_is_asked(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    run(corpus_dataset, recipe_for(llm()), work, encoder)
    asked, said = len(server.asked), []
    corpus = dict(corpus_dataset.corpus)
    corpus["heron-0"] = replace(corpus["heron-0"], text=corpus["heron-0"].text + " It stands on one leg.")
    del corpus["violin-1"]
    run(replace(corpus_dataset, corpus=corpus), recipe_for(llm()), work, encoder, said)
    assert len(server.asked) == asked + 1
    assert "1 passages are new or other, 1 are gone" in said[0]


def test_a_budget_stops_it_and_more_of_it_goes_on(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    with pytest.raises(LlmError, match="max_requests = 7"):
        run(corpus_dataset, recipe_for(llm(), budget={"max_requests": 7}), work, encoder)
    assert len(server.asked) == 7
    assert not (work / "report.json").exists()
    run(corpus_dataset, recipe_for(llm()), work, encoder)
    assert len(server.asked) == 20


def test_an_estimate_asks_and_writes_nothing(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    recipe = recipe_for(llm(), judge={"enabled": True}, budget={"price_in": 1.0, "price_out": 2.0})
    found = Synthesizer(corpus_dataset, recipe, work=work, say=print).estimate()
    assert not server.asked and not work.exists()
    assert (found["passages"], found["queries"], found["writing"]["requests"]) == (20, 40, 20)
    assert found["judging"]["requests"] == 80
    total = found["total"]
    assert total["cost"] == pytest.approx((total["prompt_tokens"] + 2 * total["reply_tokens"]) / 1e6, abs=1e-4)
    run(corpus_dataset, recipe_for(llm()), work, encoder)
    again = Synthesizer(corpus_dataset, recipe, work=work, say=print).estimate()
    assert (again["writing"]["requests"], again["answered_before"]) == (0, 20)


def test_what_test_asks_for_already_is_not_asked_for_in_train(
    server: Any, llm: Recipes, work: Path, corpus_dataset: Dataset, encoder: Any
) -> None:
    given = replace(
        corpus_dataset,
        queries={"mine": Query("mine", "when is the heron repaired")},
        qrels={"test": {"mine": {"heron-0": 1}}},
    )
    done = run(given, recipe_for(llm()), work, encoder)
    assert "heron-0" not in {p for grades in done.dataset.split("train").values() for p in grades}
    assert done.dataset.split("test") == {"mine": {"heron-0": 1}}
    assert done.report["passages_skipped"] == {"asked for by dev or test": 1}


def test_structure_alone_needs_no_model(work: Path, encoder: Any, tiny_dataset: Callable[..., Dataset]) -> None:
    body = "Money goes back to the card that paid, no later than ten days after the parcel number {} has arrived."
    corpus = {
        str(n): Passage(str(n), body.format(n), title=f"Rules > Deadline for {name}", metadata={"document": name})
        for n, name in enumerate(["shoes", "coats", "lamps", "chairs", "tables", "clocks"])
    }
    dataset = Dataset(info=_info(), corpus=corpus, queries={})
    recipe = SynthesisRecipe(llm={"source": "none"}, filters={"near_duplicate": None}, split={"dev": 0, "test": 2})
    done = run(dataset, recipe, work, encoder)
    assert done.report["kept_by_style"] == {"heading": 6}
    assert {query.metadata["origin"] for query in done.dataset.queries.values()} == {"structure"}
    assert not any(re.search("shoes|coats", passage.title) for passage in done.dataset.corpus.values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"styles": ["identifier"]}, "simple prompts know none of these styles"),
        ({"contrast": True}, "simple prompts know no contrast"),
        ({"llm": {"source": "none"}, "judge": {"enabled": True}}, "no language model to judge"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    settings: dict[str, Any], said: str, work: Path, corpus_dataset: Dataset
) -> None:
    with pytest.raises(RecipeError, match=said):
        Synthesizer(corpus_dataset, SynthesisRecipe(**settings), work=work, say=print)


def test_a_corpus_without_a_usable_passage_is_refused(llm: Recipes, work: Path, corpus_dataset: Dataset) -> None:
    with pytest.raises(DataError, match="20 short"):
        Synthesizer(corpus_dataset, recipe_for(llm(), min_passage_words=500), work=work, say=print).run()


def _info() -> Any:
    from ragtune.data.records import DatasetInfo

    return DatasetInfo(name="rules")
