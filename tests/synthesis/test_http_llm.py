"""Asking an endpoint that misbehaves in every way that endpoints do."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from ragtune.errors import ModelError
from ragtune.recipe_synthesis import BudgetRecipe, LlmRecipe
from ragtune.synthesis.asking import Asker
from ragtune.synthesis.budget import Budget
from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.http_llm import HttpLanguageModel
from ragtune.synthesis.llm import LlmError, Reply, Request

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
Recipes = Callable[..., LlmRecipe]


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is for servers of other people."""
    monkeypatch.setattr("ragtune.synthesis.http_llm.FIRST_DELAY", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-7")


def questions(count: int, *, schema: Any = None) -> list[Request]:
    return [Request((("user", f"question {n}"),), max_tokens=20, schema=schema) for n in range(count)]


def ask(
    recipe: LlmRecipe, requests: list[Request], work: Path, *, budget: BudgetRecipe | None = None
) -> tuple[list[Reply | None], list[str], Budget]:
    """Replies, what was said, what was spent."""
    said: list[str] = []
    purse = Budget(budget or BudgetRecipe())
    cache = ReplyCache(work / "replies.jsonl")
    model = HttpLanguageModel(recipe, cache=cache)
    try:
        return Asker(model, cache=cache, budget=purse, say=said.append).ask(requests, label="test"), said, purse
    finally:
        model.close()


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def test_every_request_is_answered_once_in_any_order(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda number, body: server.says(prompt_of(body).upper(), delay=0.01)
    replies, _, budget = ask(llm(), questions(12), work)
    assert [reply.text for reply in replies if reply] == [f"QUESTION {n}" for n in range(12)]
    assert len(server.asked) == 12 == budget.spent.requests
    assert (budget.spent.prompt_tokens, budget.spent.reply_tokens) == (1200, 120)
    assert 1 < server.most_at_once <= 4


def test_nothing_is_asked_twice(server: Any, llm: Recipes, work: Path) -> None:
    ask(llm(), questions(3), work)
    replies, said, budget = ask(llm(), [*questions(5), *questions(5)], work)
    assert len(server.asked) == 5 and None not in replies
    assert budget.spent.requests == 2
    assert said[0] == "test: 3 of 5 were answered before"


@pytest.mark.parametrize("changed", [{"model": "other"}, {"max_tokens": 21}, {"temperature": 0.5}, {"seed": 1}])
def test_another_model_or_parameter_is_another_question(
    server: Any, llm: Recipes, work: Path, changed: dict[str, Any]
) -> None:
    ask(llm(), questions(1), work)
    model = {name: value for name, value in changed.items() if name == "model"}
    said = {"max_tokens": 20} | {name: value for name, value in changed.items() if name != "model"}
    ask(llm(**model), [Request((("user", "question 0"),), **said)], work)
    assert len(server.asked) == 2


def test_a_429_is_waited_for_as_long_as_it_says(server: Any, llm: Recipes, work: Path) -> None:
    times: list[float] = []

    def script(number: int, body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return server.fails(429, "slow down", Retry_After="0.4") if number == 1 else server.says("yes")

    server.script = script
    replies, _, _ = ask(llm(concurrency=1), questions(2), work)
    assert [reply.text for reply in replies if reply] == ["yes", "yes"]
    assert times[1] - times[0] >= 0.4
    assert len(server.asked) == 3


def test_a_date_to_come_back_at_is_understood(server: Any, llm: Recipes, work: Path) -> None:
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    server.script = lambda number, body: server.fails(429, "come tomorrow", Retry_After=later)
    with pytest.raises(LlmError, match=r"come back in 3[56]"):
        ask(llm(), questions(1), work)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_what_passes_is_tried_again(server: Any, llm: Recipes, work: Path, status: int) -> None:
    server.script = lambda number, body: server.fails(status, "busy") if number < 3 else server.says("yes")
    replies, _, budget = ask(llm(), questions(1), work)
    assert replies[0] is not None and replies[0].text == "yes"
    assert len(server.asked) == 3 == budget.spent.requests


def test_no_answer_in_time_is_tried_again(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda number, body: server.says("yes", delay=1.0 if number == 1 else 0.0)
    replies, _, _ = ask(llm(timeout=0.3), questions(1), work)
    assert replies[0] is not None and len(server.asked) == 2


@pytest.mark.parametrize("body", ["not json", "{}", '{"choices": []}', "[1]"])
def test_an_answer_without_a_completion_is_none(server: Any, llm: Recipes, work: Path, body: str) -> None:
    server.script = lambda number, asked: server.raw(body) if number == 1 else server.says("yes")
    replies, _, _ = ask(llm(), questions(1), work)
    assert replies[0] is not None and len(server.asked) == 2


def test_a_request_that_never_succeeds_does_not_stop_the_others(server: Any, llm: Recipes, work: Path) -> None:
    bad = "question 2"
    server.script = lambda n, body: server.fails(500, "boom") if prompt_of(body) == bad else server.says("yes")
    replies, said, _ = ask(llm(retries=2, concurrency=1), questions(4), work)
    assert [reply is None for reply in replies] == [False, False, True, False]
    assert len(server.asked) == 3 + 3
    assert "1 of 4 stayed without an answer" in " ".join(said)
    server.script = lambda n, body: server.says("at last")
    again, _, _ = ask(llm(), questions(4), work)
    assert again[2] is not None and len(server.asked) == 7


def test_a_server_that_is_gone_is_not_asked_for_ever(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda number, body: server.fails(503, "gone")
    with pytest.raises(LlmError, match="answers no more"):
        ask(llm(retries=1, concurrency=2), questions(40), work)
    assert len(server.asked) <= 2 * (5 + 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_said_at_once_and_never_shown(
    server: Any, llm: Recipes, work: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = lambda number, body: server.fails(status, "Incorrect API key: sk-very-secret-7")
    with pytest.raises(ModelError) as error:
        ask(llm(concurrency=1), questions(9), work)
    assert len(server.asked) == 1
    assert "OPENAI_API_KEY is set" in str(error.value) and f"HTTP {status}" in str(error.value)
    assert "secret" not in str(error.value)
    monkeypatch.delenv("OTHER_KEY", raising=False)
    with pytest.raises(ModelError, match="OTHER_KEY is not set"):
        ask(llm(key_variable="OTHER_KEY"), questions(1), work)


def test_the_key_is_sent_and_not_written(server: Any, llm: Recipes, work: Path) -> None:
    ask(llm(), questions(2), work)
    assert set(server.keys) == {"Bearer sk-very-secret-7"}
    assert "secret" not in "".join(path.read_text(encoding="utf-8") for path in work.iterdir())


def test_a_password_in_the_url_is_refused_without_showing_it(llm: Recipes, work: Path) -> None:
    with pytest.raises(ModelError, match="password") as error:
        ask(llm(source="http://me:hidden@127.0.0.1:9/v1"), questions(1), work)
    assert "hidden" not in str(error.value)


def test_an_unknown_model_is_named_with_those_that_are_there(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda number, body: server.fails(404, "no such model")
    with pytest.raises(ModelError, match="did you mean 'tiny-chat'"):
        ask(llm(model="tiny-chatt"), questions(1), work)


def test_the_only_model_of_a_server_needs_no_name(server: Any, llm: Recipes, work: Path) -> None:
    ask(llm(model=None), questions(1), work)
    assert server.asked[0]["model"] == "tiny-chat"
    server.models.append("other-chat")
    with pytest.raises(ModelError, match="--llm-model: tiny-chat, other-chat"):
        ask(llm(model=None), questions(1), work)


def test_nobody_at_the_url_is_said(llm: Recipes, work: Path) -> None:
    with pytest.raises(ModelError, match="nobody answers"):
        ask(llm(source="http://127.0.0.1:9", model=None), questions(1), work)


def test_no_credit_is_no_reason_to_wait(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda number, body: server.fails(429, "quota", code="insufficient_quota")
    with pytest.raises(LlmError, match="no credit"):
        ask(llm(), questions(1), work)
    assert len(server.asked) == 1


def formats(server: Any) -> list[str]:
    return [body.get("response_format", {}).get("type", "text") for body in server.asked]


def test_structured_output_goes_down_the_ladder_and_is_remembered(server: Any, llm: Recipes, work: Path) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        known = "response_format" not in body or body["response_format"]["type"] == "json_object"
        return server.says('{"n": 1}') if known else server.fails(400, "response_format json_schema is not supported")

    server.script = script
    ask(llm(concurrency=1), questions(3, schema=SCHEMA), work)
    assert formats(server) == ["json_schema", "json_object", "json_object", "json_object"]
    ask(llm(concurrency=1), questions(4, schema=SCHEMA), work)
    assert formats(server)[4:] == ["json_object"]


def test_the_last_rung_is_plain_text(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda n, body: server.fails(400, "no formats") if "response_format" in body else server.says("{}")
    replies, _, _ = ask(llm(concurrency=3), questions(3, schema=SCHEMA), work)
    assert None not in replies and formats(server)[-1] == "text"


def test_parameters_that_a_server_refuses_are_said_otherwise(server: Any, llm: Recipes, work: Path) -> None:
    def script(number: int, body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            return server.fails(400, "Unsupported parameter: 'max_tokens', use 'max_completion_tokens' instead")
        return server.fails(400, "temperature is fixed") if "temperature" in body else server.says("yes")

    server.script = script
    replies, _, _ = ask(llm(concurrency=1), questions(2), work)
    assert [reply.text for reply in replies if reply] == ["yes", "yes"]
    assert len(server.asked) == 4 and server.asked[-1]["max_completion_tokens"] == 20


def test_one_refused_request_is_remembered_as_such(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda n, body: server.fails(400, "unsafe") if "1" in prompt_of(body) else server.says("yes")
    replies, said, _ = ask(llm(), questions(3), work)
    assert [reply.refused for reply in replies if reply] == [False, True, False]
    assert "1 of 3 were refused, for example: HTTP 400: unsafe" in " ".join(said)
    ask(llm(), questions(3), work)
    assert len(server.asked) == 3


def test_if_all_are_refused_it_is_an_error(server: Any, llm: Recipes, work: Path) -> None:
    server.script = lambda number, body: server.fails(400, "context too long")
    with pytest.raises(LlmError, match="context too long"):
        ask(llm(), questions(3), work)


@pytest.mark.parametrize(
    ("cap", "answered"),
    [({"max_requests": 4}, 4), ({"max_tokens": 430}, 4), ({"max_cost": 0.5, "price_in": 1000.0}, 5)],
)
def test_a_cap_stops_the_work_and_the_next_call_goes_on(
    server: Any, llm: Recipes, work: Path, cap: dict[str, Any], answered: int
) -> None:
    budget = BudgetRecipe(**cap)
    with pytest.raises(LlmError, match="the budget is used up"):
        ask(llm(concurrency=1), questions(10), work, budget=budget)
    assert len(server.asked) == answered
    replies, _, _ = ask(llm(), questions(10), work)
    assert None not in replies
    assert len(server.asked) == 10


def test_a_slow_server_is_asked_less_at_a_time(server: Any, llm: Recipes, work: Path) -> None:
    lock, active, most_later = threading.Lock(), [0], [0]

    def script(number: int, body: dict[str, Any]) -> Any:
        with lock:
            active[0] += 1
            too_many = active[0] > 2
            most_later[0] = max(most_later[0], active[0]) if number > 40 else 0
        time.sleep(0.01)
        with lock:
            active[0] -= 1
        return server.fails(429, "too many at a time") if too_many else server.says("yes")

    server.script = script
    replies, _, _ = ask(llm(concurrency=8, retries=20), questions(60), work)
    assert None not in replies
    assert server.most_at_once > most_later[0]


def test_the_cache_is_json_lines(server: Any, llm: Recipes, work: Path) -> None:
    ask(llm(), questions(1), work)
    (row,) = map(json.loads, (work / "replies.jsonl").read_text(encoding="utf-8").splitlines())
    assert set(row) == {"key", "text", "prompt_tokens", "reply_tokens"}
