"""`ragtune synthesize`: structure without a model, settings, estimates, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.folder import write_dataset
from ragtune.data.folder_reading import read_dataset
from ragtune.data.records import Dataset, DatasetInfo, Passage

BODY = "Money goes back to the card that paid, no later than {} days after the parcel has arrived at our warehouse."
NAMES = ["shoes", "coats", "lamps", "chairs", "tables", "clocks", "books", "bicycles", "kettles", "sofas"]


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset ``rules`` of ten documents with one heading each, in the current folder."""
    monkeypatch.chdir(tmp_path)
    corpus = {
        name: Passage(name, BODY.format(n + 3), title=f"Rules > Deadline for {name}", metadata={"document": name})
        for n, name in enumerate(NAMES)
    }
    write_dataset(Dataset(info=DatasetInfo(name="rules"), corpus=corpus, queries={}), tmp_path / "rules")
    return tmp_path


PLAIN = ("--set", "filters.near_duplicate=null", "--set", "filters.round_trip_k=null")


def test_structure_gives_pairs_without_a_model(ragtune: Any, rules: Path) -> None:
    outcome = ragtune("synthesize", "rules", "--llm", "none", "--out", "asked", *PLAIN)
    assert outcome.code == 0, outcome.err
    assert "10 of 10 queries kept" in outcome.out and "rejected.jsonl" in outcome.out
    done = read_dataset(rules / "asked")
    assert sorted(query.text for query in done.queries.values()) == sorted(f"Deadline for {name}" for name in NAMES)
    assert {passage.title for passage in done.corpus.values()} == {"Rules"}
    assert done.seal is not None and done.split("train")
    assert (rules / "asked.synthesis" / "report.json").is_file()


def test_without_out_the_dataset_itself_is_replaced(ragtune: Any, rules: Path) -> None:
    (rules / "rules" / "notes.txt").write_text("mine", encoding="utf-8")
    outcome = ragtune("synthesize", "rules", "--llm", "none", "--json", *PLAIN)
    assert json.loads(outcome.out)["kept"] == 10
    assert len(read_dataset(rules / "rules").queries) == 10
    assert (rules / "rules" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_taken_folder_is_refused_before_anything_is_asked(ragtune: Any, rules: Path) -> None:
    (rules / "asked").mkdir()
    (rules / "asked" / "x").write_text("", encoding="utf-8")
    outcome = ragtune("synthesize", "rules", "--llm", "http://127.0.0.1:9/v1", "--out", "asked")
    assert outcome.code == 2
    assert "the output folder is taken" in outcome.err


def test_a_recipe_and_its_errors(ragtune: Any, rules: Path) -> None:
    (rules / "s.yaml").write_text(
        "llm: {source: none}\nfilters:\n  near_duplicate: null\n  roundtrip: 3\n", encoding="utf-8"
    )
    outcome = ragtune(
        "synthesize", "rules", "--recipe", "s.yaml", "--set", "per_passage=0", "--styles", "question,howto"
    )
    assert outcome.code == 2
    assert "s.yaml:4 (filters.roundtrip)" in outcome.err and "did you mean 'round_trip_k'?" in outcome.err
    assert "--set per_passage=0 (per_passage)" in outcome.err
    assert "--styles" in outcome.err and "'howto'" in outcome.err


def test_a_dry_run_says_the_price_and_writes_nothing(ragtune: Any, rules: Path) -> None:
    pytest.importorskip("openai")
    call = ("synthesize", "rules", "--llm", "http://127.0.0.1:9/v1", "--llm-model", "m", "--dry-run", "--out", "asked")
    outcome = ragtune(*call, "--set", "min_passage_words=5", "--price-in", 1, "--price-out", 2, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["passages"] == 10 and found["writing"]["requests"] == 10 and found["total"]["cost"] > 0
    assert sorted(path.name for path in rules.iterdir()) == ["rules"]
    assert "30 queries for 10 passages" in ragtune(*call, "--set", "min_passage_words=5").out


def test_nobody_at_the_url_is_an_error_of_the_call(ragtune: Any, rules: Path) -> None:
    pytest.importorskip("openai")
    outcome = ragtune(
        "synthesize", "rules", "--llm", "http://127.0.0.1:9/v1", "--set", "min_passage_words=5", "--out", "asked"
    )
    assert outcome.code == 2
    assert "nobody answers at this URL" in outcome.err and "Traceback" not in outcome.err
