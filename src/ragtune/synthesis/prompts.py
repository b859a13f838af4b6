"""Prompts: jinja templates in English and Chinese, filled with passages."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import jinja2

from ragtune.data.language import detect_language
from ragtune.recipe_synthesis import LlmRecipe, Style
from ragtune.synthesis.llm import Request
from ragtune.synthesis.styles import OPENINGS, SHOT_TEXTS, STYLES

SAMPLING = 0.7
"""Temperature of json prompts where none is set: Promptagator's (Dai et al. 2022, section 4)."""
JUDGE_TOKENS = 300
SIMPLE_TOKENS = 36
LONGEST_PASSAGE = 12_000
"""Characters of a passage that a prompt holds (assumption: some 3,000 tokens, more than chunks for retrieval have)."""


@final
@dataclass(frozen=True, slots=True)
class Job:
    """One query that is ordered: its style and length (words; characters in Chinese)."""

    style: Style
    fewest: int
    most: int


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT, _YES = {"type": "string"}, {"type": "boolean"}
CRITERIA = ("self_contained", "clear", "mentioned", "answered")
JUDGE_SCHEMA = _object(dict.fromkeys(CRITERIA, _YES))
COMPLETE_SCHEMA = _object({"answering": {"type": "array", "items": {"type": "integer"}}})
QUERY_FIELDS = ("style", "query", "answer", "quote")


def query_schema(styles: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a reply with queries."""
    fields: dict[str, Any] = {"style": {"type": "string", "enum": sorted(set(styles))}}
    fields |= dict.fromkeys(QUERY_FIELDS[1:], _TEXT)
    return _object({"queries": {"type": "array", "items": _object(fields)}})


def language_of(text: str) -> str:
    """Which templates a passage gets."""
    return "zh" if detect_language([text]) == "zh" else "en"


def json_request(
    passage: str,
    jobs: Sequence[Job],
    llm: LlmRecipe,
    *,
    neighbour: str = "",
    contrast: bool = False,
    examples: Sequence[str] = (),
    seed: int = 0,
) -> Request:
    """One call for several queries with answers and quotes."""
    language = language_of(passage)
    orders = [
        {
            "style": job.style,
            "description": STYLES[job.style].chinese if language == "zh" else STYLES[job.style].english,
            "fewest": job.fewest,
            "most": job.most,
        }
        for job in jobs
    ]
    comparing = any(job.style == "comparison" for job in jobs)
    prompt = _render(
        f"{language}/queries.jinja", jobs=orders, passage=_cut(passage), neighbour=_cut(neighbour), contrast=contrast,
        comparing=comparing, examples=list(examples),
    )  # fmt: skip
    return Request(
        (("user", prompt),),
        max_tokens=llm.max_reply_tokens,
        temperature=SAMPLING if llm.temperature is None else llm.temperature,
        top_p=llm.top_p,
        schema=query_schema([job.style for job in jobs]),
        schema_name="queries",
        seed=seed,
    )


def simple_request(passage: str, style: Style, llm: LlmRecipe, *, seed: int = 0) -> Request | None:
    """One call for one query, for small models; None where such a model cannot write the style."""
    language = language_of(passage)
    opening = OPENINGS[language].get(style)
    if opening is None:
        return None
    pairs = zip(SHOT_TEXTS[language], opening.questions, strict=True)
    shots = [{"text": text, "question": question} for text, question in pairs]
    # a text without blank lines: a small model takes the end of a paragraph for the end of the text
    prompt = _render(f"{language}/simple.jinja", shots=shots, passage=" ".join(_cut(passage).split()))
    return Request(
        (("text", prompt),),
        max_tokens=SIMPLE_TOKENS,
        temperature=llm.temperature or 0.0,
        top_p=llm.top_p,
        opening=f" {opening.word}" if opening.word else "",
        one_line=True,
        seed=seed,
    )


def judge_request(query: str, passage: str) -> Request:
    """One call: can the query be understood, and does the passage answer it?"""
    prompt = _render(f"{language_of(query)}/judge.jinja", query=query, passage=_cut(passage))
    return Request((("user", prompt),), max_tokens=JUDGE_TOKENS, schema=JUDGE_SCHEMA, schema_name="verdict")


def complete_request(query: str, passages: Sequence[str]) -> Request:
    """One call: which of the passages answer the query?"""
    cut = [_cut(passage) for passage in passages]
    prompt = _render(f"{language_of(query)}/complete.jinja", query=query, passages=cut)
    return Request((("user", prompt),), max_tokens=JUDGE_TOKENS, schema=COMPLETE_SCHEMA, schema_name="answering")


def repair_request(request: Request, *, reply: str, problem: str) -> Request:
    """The same question once more, with what was wrong with the reply."""
    language = language_of(request.messages[-1][1])
    return request.then(("assistant", reply or "-"), ("user", _render(f"{language}/repair.jinja", problem=problem)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_PASSAGE else text[:LONGEST_PASSAGE] + " …"


@functools.cache
def _templates() -> jinja2.Environment:
    # prompts are plain text: nothing is escaped
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ragtune.synthesis"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def _render(name: str, **values: Any) -> str:
    return _templates().get_template(name).render(**values).strip()
