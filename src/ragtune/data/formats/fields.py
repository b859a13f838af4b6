"""One row under its roles: texts, lists, numbers and labels, each checked as it is taken."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

from ragtune.data.formats.columns import Columns
from ragtune.data.formats.containers import Row
from ragtune.data.formats.options import ImportOptions
from ragtune.data.validation import Problems, as_id, as_number, shown

EMPTY_DO = "write a text; or leave such rows out (empty=skip) or in (empty=keep)"


@final
class Fields:
    """The values of one row by role. What cannot be used is None, with the problem or the notice noted.

    ``number`` counts the rows of the source from 0.
    """

    def __init__(
        self,
        row: Row,
        number: int,
        *,
        columns: Columns,
        required: Collection[str],
        options: ImportOptions,
        problems: Problems,
    ) -> None:
        values = row.value if isinstance(row.value, dict) else {str(place): one for place, one in enumerate(row.value)}
        used = {name for names in columns.values() for name in names}
        self.at, self.split, self.number = row.at, row.split, number
        self.extras = {
            name: plain for name, one in values.items() if name not in used and (plain := plain_value(one)) is not None
        }
        self._required, self._options, self._problems = required, options, problems
        self._columns = {role: names[0] for role, names in columns.items()}
        self._values = {role: _value(values, names) for role, names in columns.items()}

    def column(self, role: str) -> str:
        """What the role's column is called in the file."""
        return self._columns.get(role, role)

    def problem(self, what: str, *, found: str, do: str) -> None:
        """Note a problem of this row."""
        self._problems.add(what, at=self.at, found=found, do=do)

    def note(self, what: str) -> None:
        """Note something odd but usable of this row."""
        self._problems.note(what, self.at)

    def id(self, role: str) -> str | None:
        """The given id; None where the row gives none."""
        value = self._values.get(role)
        if value is None or value == "":
            return None
        return as_id(value, field=self.column(role), at=self.at, problems=self._problems)

    def text(self, role: str) -> str | None:
        """One text."""
        value = self._values.get(role)
        if isinstance(value, str):
            return self._allowed(value, role)
        column = self.column(role)
        what = f"the field {column!r} is missing" if value is None else f"the field {column!r} is not a text"
        self.problem(what, found=shown(value), do=f'write "{column}": "..."')
        return None

    def optional_text(self, role: str) -> str:
        """One text, or "" where the row gives none."""
        value = self._values.get(role)
        return "" if value is None or value == "" else self.text(role) or ""

    def texts(self, role: str, *, list_expected: bool = False) -> list[str] | None:
        """A list of texts; one text is a list of one (with a notice where a list was expected)."""
        found = self.scored_texts(role, "", list_expected=list_expected)
        return None if found is None else [text for text, _ in found]

    def scored_texts(
        self, role: str, score_role: str, *, list_expected: bool = False
    ) -> list[tuple[str, float | None]] | None:
        """Texts, each with its score where the row has scores."""
        value = self._values.get(role)
        column = self.column(role)
        if role not in self._required and (value is None or value == ""):
            return []
        if isinstance(value, str):
            if list_expected:
                self.note(f"{column!r} is one text, read as a list of one")
            value = [value]
        if not isinstance(value, list):
            what = (
                f"the field {column!r} is missing" if value is None else f"the field {column!r} is not a list of texts"
            )
            self.problem(what, found=shown(value), do=f'write "{column}": ["...", "..."]')
            return None
        scores = self._scores(score_role, len(value), of=column)
        if scores is None or not self._all_texts(value, column):
            return None
        allowed = [(self._allowed(text, role), score) for text, score in zip(value, scores, strict=True)]
        kept = [(text, score) for text, score in allowed if text is not None]
        return None if value and not kept else kept

    def number_of(self, role: str) -> float | None:
        """A finite number."""
        return as_number(self._values.get(role), field=self.column(role), at=self.at, problems=self._problems)

    def is_positive(self, role: str) -> bool | None:
        """Whether the label says positive."""
        value = self._values.get(role)
        labels = {plain_label(self._options.positive_label): True, plain_label(self._options.negative_label): False}
        if value is not None and plain_label(value) in labels:
            return labels[plain_label(value)]
        known = " or ".join(labels)
        do = f"write {known}, or name the labels (positive_label, negative_label)"
        if isinstance(value, float | int):
            do += "; for similarity scores use format scored-pairs"
        self.problem(f"the label is not {known}", found=shown(value), do=do)
        return None

    def class_label(self, role: str, names: Mapping[str, Sequence[str]]) -> str | None:
        """A class as a text; a number that stands for a named class gives its name."""
        value, column = self._values.get(role), self.column(role)
        if isinstance(value, int) and column in names and 0 <= value < len(names[column]):
            return names[column][value]
        if isinstance(value, str | int) and str(value).strip():
            return str(value)
        self.problem(
            f"the field {column!r} is not a class", found=shown(value), do="write the class as a text or a whole number"
        )
        return None

    def may_be_bare(self) -> bool:
        """Whether a query without any passage is to be kept; else it is a problem, or left out with a notice."""
        policy = self._options.empty
        if policy == "error":
            self.problem("the row has neither positives nor negatives", found="no passage", do=EMPTY_DO)
        elif policy == "skip":
            self.note("left out: a query without any passage")
        return policy == "keep"

    def metadata(self) -> dict[str, Any]:
        """What goes beside the query: answer, prompt and every column without a role."""
        named = {role: plain_value(self._values.get(role)) for role in ("answer", "prompt")}
        return {role: value for role, value in named.items() if value not in (None, "")} | self.extras

    def _allowed(self, text: str, role: str) -> str | None:
        if text.strip():
            return text
        column = self.column(role)
        if self._options.empty == "error":
            self.problem(f"the field {column!r} holds an empty text", found=shown(text), do=EMPTY_DO)
            return None
        if self._options.empty == "skip":
            self.note(f"left out: an empty text in {column!r}")
            return None
        self.note(f"kept: an empty text in {column!r}")
        return text

    def _all_texts(self, values: Sequence[Any], column: str) -> bool:
        wrong = [one for one in values if not isinstance(one, str)]
        if wrong:
            what = f"the list {column!r} holds something that is not a text"
            self.problem(what, found=shown(wrong[0]), do="write texts in quotes")
        return not wrong

    def _scores(self, role: str, count: int, *, of: str) -> Sequence[float | None] | None:
        values = self._values.get(role)
        column = self.column(role)
        if values is None:
            return [None] * count
        if isinstance(values, int | float) and count == 1:
            values = [values]
        if not isinstance(values, list) or len(values) != count:
            found = f"{len(values)} scores for {count} texts" if isinstance(values, list) else shown(values)
            self.problem(f"{column!r} and {of!r} do not have the same length", found=found, do="write one score a text")
            return None
        scores = [as_number(one, field=column, at=self.at, problems=self._problems) for one in values]
        return None if None in scores else scores


def _value(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    if len(names) == 1:
        return values.get(names[0])
    return [value for name in names if (value := values.get(name)) is not None]


def plain_label(value: Any) -> str:
    """A label without its type.

    >>> plain_label(1), plain_label("1"), plain_label(1.0), plain_label(True), plain_label("ja ")
    ('1', '1', '1', '1', 'ja')
    """
    if isinstance(value, bool | int | float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def plain_value(value: Any) -> Any:
    """A value that JSON can hold: dates and decimals become texts, numbers that are not finite None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal | bytes):
        return str(value)
    return value
