"""Drafts from a language model: requests for every planned passage, replies read, broken ones repaired once."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ragtune.data.records import Passage
from ragtune.recipe_synthesis import Style, SynthesisRecipe
from ragtune.synthesis.asking import Asker
from ragtune.synthesis.drafts import Draft, Rejected, Sieved
from ragtune.synthesis.llm import Reply, Request
from ragtune.synthesis.parsing import find_object
from ragtune.synthesis.planning import Plan, drawn_for
from ragtune.synthesis.prompts import Job, json_request, language_of, repair_request, simple_request
from ragtune.synthesis.styles import OPENINGS
from ragtune.synthesis.words import content_words


@final
@dataclass(frozen=True, slots=True)
class Order:
    """A request and what it was for."""

    request: Request
    passage_id: str
    jobs: tuple[Job, ...]
    neighbour_id: str = ""


def make_orders(
    plan: Plan,
    recipe: SynthesisRecipe,
    *,
    corpus: Mapping[str, Passage],
    neighbours: Mapping[str, str],
    examples: Sequence[str],
) -> list[Order]:
    """All requests of a plan, in its order."""
    orders = []
    for key, jobs in plan.jobs.items():
        text = corpus[key].content
        if not recipe.uses_json:
            for job in jobs:
                request = simple_request(text, job.style, recipe.llm, seed=recipe.seed)
                if request is not None:
                    orders.append(Order(request, key, (job,)))
            continue
        neighbour = neighbours.get(key, "")
        wanted = tuple(job for job in jobs if neighbour or job.style != "comparison")
        compares = any(job.style == "comparison" for job in wanted)
        neighbour = neighbour if recipe.contrast or compares else ""
        if wanted:
            shown = _some(examples, drawn_for(corpus[key], recipe.seed))
            request = json_request(
                text, wanted, recipe.llm, neighbour=corpus[neighbour].content if neighbour else "",
                contrast=recipe.contrast, examples=shown, seed=recipe.seed,
            )  # fmt: skip
            orders.append(Order(request, key, wanted, neighbour))
    return orders


EXAMPLES_SHOWN = 8
"""Promptagator's most (Dai et al. 2022); each passage sees others of a longer list."""


def _some(examples: Sequence[str], drawn: random.Random) -> list[str]:
    return drawn.sample(examples, min(EXAMPLES_SHOWN, len(examples)))


def generate(orders: Sequence[Order], asker: Asker, recipe: SynthesisRecipe) -> Sieved:
    """Drafts of all orders; what cannot be read, even after one repair, is rejected as ``unreadable``."""
    replies = asker.ask([order.request for order in orders], label="queries")
    origin = recipe.llm.model or recipe.llm.source
    if not recipe.uses_json:
        return _simple_drafts(orders, replies, origin=origin)
    readings = read_or_repair(
        asker, [order.request for order in orders], replies, key="queries", reader=read_queries, label="repairs"
    )
    drafts: list[Draft] = []
    rejected: list[Rejected] = []
    for order, reading in zip(orders, readings, strict=True):
        if isinstance(reading, str):
            lost = Draft("", (order.passage_id,), order.jobs[0].style, origin)
            rejected.append(Rejected(lost, "unreadable", reading))
        else:
            drafts += [_draft(row, order, origin=origin, recipe=recipe) for row in reading[: len(order.jobs)]]
    return drafts, rejected


def read_or_repair(
    asker: Asker, requests: Sequence[Request], replies: Sequence[Reply | None], *, key: str, reader: Any, label: str
) -> list[Any]:
    """What ``reader`` makes of each reply; a reply that it refuses is asked for once more. A text says what was wrong.

    ``reader`` takes the JSON object that has ``key`` and raises ValueError.
    """
    readings = [_read(reply, key=key, reader=reader) for reply in replies]
    broken = [
        place
        for place, reading in enumerate(readings)
        if isinstance(reading, str) and (reply := replies[place]) is not None and not reply.refused
    ]
    if broken:
        repairs = [
            repair_request(requests[place], reply=(replies[place] or _NOTHING).text, problem=readings[place])
            for place in broken
        ]
        for place, reply in zip(broken, asker.ask(repairs, label=label), strict=True):
            again = _read(reply, key=key, reader=reader)
            readings[place] = again if not isinstance(again, str) else readings[place]
    return readings


_NOTHING = Reply("", 0, 0)


def _read(reply: Reply | None, *, key: str, reader: Any) -> Any:
    if reply is None:
        return "no answer"
    if reply.refused:
        return f"refused: {reply.text[:200]}"
    try:
        return reader(find_object(reply.text, key=key))
    except ValueError as error:
        return str(error)


def read_queries(said: Mapping[str, Any]) -> list[dict[str, str]]:
    """The queries of a reply; ValueError: not a list of objects with a query each."""
    rows = said["queries"]
    if not isinstance(rows, list) or not rows:
        raise ValueError("'queries' is not a list with at least one query")
    found = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("query"), str):
            raise ValueError("each of 'queries' needs a text 'query'")
        found.append({name: value for name, value in row.items() if isinstance(value, str)})
    return found


def _draft(row: Mapping[str, str], order: Order, *, origin: str, recipe: SynthesisRecipe) -> Draft:
    ordered = {job.style for job in order.jobs}
    style = row.get("style", "")
    style = style if style in ordered else order.jobs[0].style
    both = style == "comparison" and order.neighbour_id
    negative = order.neighbour_id if recipe.contrast and not both else ""
    return Draft(
        text=" ".join(row["query"].split()),
        passage_ids=(order.passage_id, order.neighbour_id) if both else (order.passage_id,),
        style=style,
        origin=origin,
        answer=row.get("answer", "").strip(),
        quote=row.get("quote", "").strip(),
        negatives=(negative,) if negative else (),
    )


_LEADING = re.compile(r"^\s*(?:[-*•]|\d+[.)]|(?:question|query|q|问题|问)\s*[:：])\s*", re.IGNORECASE)


def _simple_drafts(orders: Sequence[Order], replies: Sequence[Reply | None], *, origin: str) -> Sieved:
    drafts: list[Draft] = []
    rejected: list[Rejected] = []
    for order, reply in zip(orders, replies, strict=True):
        style: Style = order.jobs[0].style
        if reply is None or reply.refused:
            lost = Draft("", (order.passage_id,), style, origin)
            rejected.append(Rejected(lost, "unreadable", "no answer" if reply is None else reply.text))
            continue
        text = _question(_LEADING.sub("", reply.text))
        if not text:
            lost = Draft(" ".join(reply.text.split()), (order.passage_id,), style, origin)
            rejected.append(Rejected(lost, "unfinished", "no question, or one that goes on and on"))
            continue
        opening = OPENINGS[language_of(order.request.messages[0][1])].get(style)
        if opening is not None and opening.derived:
            text = " ".join(content_words(text))
        drafts.append(Draft(text, (order.passage_id,), style, origin))
    return drafts, rejected


def _question(text: str) -> str:
    """The text up to its question mark, for a small model goes on after it; empty where there is none."""
    text = " ".join(text.split()).strip("\"'“”")
    end = re.search(r"[?？]", text)
    return text[: end.end()] if end else ""
