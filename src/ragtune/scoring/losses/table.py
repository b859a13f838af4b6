"""What a row of the loss table holds, and how a recipe's options are checked against a loss's signature."""

from __future__ import annotations

import inspect
import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, final, get_args, get_origin, get_type_hints

from torch import Tensor

from ragtune.errors import Problem, did_you_mean


@final
@dataclass(frozen=True, slots=True)
class LossSpec:
    """A loss: ``function(score_QC, targets, *, options...) -> loss_Q``.

    ``needs_teacher``: it reads ``targets.teacher_QC``. ``couples_queries``: a query's value depends on other rows,
    so that all rows of a step have to be given together.
    """

    function: Callable[..., Tensor]
    summary: str
    needs_teacher: bool = False
    couples_queries: bool = False


@final
@dataclass(frozen=True, slots=True)
class LossOption:
    """A keyword-only argument of a loss: the types that it takes, its default, the words that it may be."""

    name: str
    types: tuple[type, ...]
    default: object
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What may be written there, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        limit = _LIMITS.get(self.name)
        words = [
            f"{_TYPE_WORDS[kind]} {limit.words}" if limit and kind in (int, float) else _TYPE_WORDS[kind]
            for kind in self.types
        ]
        return " or ".join(words)


@final
@dataclass(frozen=True, slots=True)
class _Limit:
    allows: Callable[[float], bool]
    words: str


_ABOVE_ZERO = _Limit(lambda value: 0 < value < math.inf, "above 0")
_NOT_BELOW_ZERO = _Limit(lambda value: 0 <= value < math.inf, "of 0 or more")

_LIMITS: Mapping[str, _Limit] = {
    "temperature": _ABOVE_ZERO,
    "teacher_temperature": _ABOVE_ZERO,
    "positive_weight": _ABOVE_ZERO,
    "margin": _NOT_BELOW_ZERO,
    "mu": _NOT_BELOW_ZERO,
    "k": _Limit(lambda value: value >= 1, "of 1 or more"),
}

_TYPE_WORDS: Mapping[type, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a word",
    type(None): "null",
}


@cache
def options_of(function: Callable[..., Tensor]) -> Mapping[str, LossOption]:
    """The options of a loss, read from its signature."""
    hints = get_type_hints(function)
    keyword_only = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return types.MappingProxyType({p.name: _option(p.name, hints[p.name], p.default) for p in keyword_only})


def _option(name: str, hint: Any, default: object) -> LossOption:
    if get_origin(hint) is Literal:
        return LossOption(name, (str,), default, tuple(get_args(hint)))
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    assert set(kinds) <= set(_TYPE_WORDS), f"option {name} has the unknown type {hint}"
    return LossOption(name, tuple(kinds), default)


def option_problems(
    loss: str, known: Mapping[str, LossOption], given: Mapping[str, object], where: str
) -> list[Problem]:
    """Every option that the loss does not have and every value that it cannot take."""
    problems = [
        Problem(
            what=f"the loss {loss} has no option {name!r}",
            where=where,
            found=name,
            do=did_you_mean(name, list(known)) if known else "leave it out; this loss has no options",
        )
        for name in given
        if name not in known
    ]
    return problems + [
        Problem(
            what=f"the option {name} of the loss {loss} cannot be that",
            where=where,
            found=repr(value),
            do=_advice(known[name], value),
        )
        for name, value in given.items()
        if name in known and not _accepts(known[name], value)
    ]


def _accepts(option: LossOption, value: object) -> bool:
    if option.choices:
        return isinstance(value, str) and value in option.choices
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value) in option.types
    if not isinstance(value, (int, float)):
        return False
    if not (float in option.types or (int in option.types and isinstance(value, int))):
        return False
    limit = _LIMITS.get(option.name)
    return math.isfinite(value) and (limit is None or limit.allows(value))


def _advice(option: LossOption, value: object) -> str:
    if option.choices and isinstance(value, str):
        return did_you_mean(value, option.choices)
    default = json.dumps(option.default).strip('"')
    return f"give {option.expected} (default: {default})"
