"""JSON out of what language models really say: fences, chatter around it, a torn end."""

from __future__ import annotations

import json
from typing import Any

_DECODER = json.JSONDecoder(strict=False)


def find_object(text: str, *, key: str) -> dict[str, Any]:
    r"""The first JSON object in a text that has ``key``; ValueError says what is wrong.

    A bare list counts as the key's value. Where the end is torn off, what is whole of a list under the key is taken.

    >>> find_object('Sure! ```json\n{"queries": [{"query": "a"}, {"query": "b', key="queries")
    {'queries': [{'query': 'a'}]}
    """
    places = [place for place, character in enumerate(text) if character in "{["]
    if not places:
        raise ValueError("there is no JSON object")
    problem = f"no object with the key {key!r}"
    end = 0
    for place in places:
        if place < end:
            continue
        try:
            found, end = _DECODER.raw_decode(text, place)
        except ValueError as error:
            problem = f"the JSON is broken: {error}"
            continue
        if isinstance(found, dict) and key in found:
            return found
        if isinstance(found, list) and found and isinstance(found[0], dict):
            torn = _torn(text, key=key)
            return torn if torn is not None else {key: found}
    torn = _torn(text, key=key)
    if torn is not None:
        return torn
    raise ValueError(problem)


def _torn(text: str, *, key: str) -> dict[str, Any] | None:
    """The whole items of a list under ``key`` whose end is missing; None where there are none."""
    start = text.find(f'"{key}"')
    place = text.find("[", start)
    items: list[Any] = []
    while start >= 0 and place >= 0:
        place = text.find("{", place)
        if place < 0:
            break
        try:
            item, place = _DECODER.raw_decode(text, place)
        except ValueError:
            break
        items.append(item)
    return {key: items} if items else None
