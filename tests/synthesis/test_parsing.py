"""JSON out of what models say."""

from __future__ import annotations

from typing import Any

import pytest

from ragtune.synthesis.generating import read_queries
from ragtune.synthesis.judging import read_numbers, read_verdict
from ragtune.synthesis.parsing import find_object

ROWS = [{"query": "a"}, {"query": "b"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"queries": [{"query": "a"}, {"query": "b"}]}',
        'Here you are:\n```json\n{"queries": [{"query": "a"}, {"query": "b"}]}\n```\nAnything else?',
        '[{"query": "a"}, {"query": "b"}]',
        'As in [1]: {"queries": [{"query": "a"}, {"query": "b"}, {"que',
        '{"thought": {"x": 1}} {"queries": [{"query": "a"}, {"query": "b"}]}',
        '<think>{"no": 1}</think>{"queries": [{"query": "a"}, {"query": "b"}',
    ],
)
def test_what_is_whole_is_found(text: str) -> None:
    assert find_object(text, key="queries") == {"queries": ROWS}


@pytest.mark.parametrize("text", ["", "no json", "{", '{"other": 1}', '{"queries": [{"qu', "[1, 2]", "[]"])
def test_what_is_not_there_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        find_object(text, key="queries")


@pytest.mark.parametrize("said", [{"queries": []}, {"queries": "a"}, {"queries": ["a"]}, {"queries": [{"q": "a"}]}])
def test_queries_of_another_shape_are_a_value_error(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="queries"):
        read_queries(said)


def test_verdicts_in_words_are_understood() -> None:
    said = {"self_contained": "yes", "clear": "No", "mentioned": True, "answered": "是", "reason": "…"}
    assert read_verdict(said) == {"self_contained": True, "clear": False, "mentioned": True, "answered": True}
    with pytest.raises(ValueError, match="clear"):
        read_verdict(said | {"clear": 7})


def test_numbers_are_numbers() -> None:
    assert read_numbers({"answering": [1, 3]}) == [1, 3]
    with pytest.raises(ValueError, match="answering"):
        read_numbers({"answering": ["one"]})
