"""The error tree: everything ragtune raises on purpose.

``InputError`` and its children mean that the call was wrong (exit code 2); ``WorkError`` and its children mean
that the work failed (exit code 1). An ``InputError`` carries every problem that was found, each with the four
parts *what / where / found / do*, so that a user mends all of them in one go.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the user's input.

    >>> print(Problem(what="label is not 0 or 1", where="pairs.jsonl:3", found="2", do="write 1 or 0"))
    label is not 0 or 1
      where: pairs.jsonl:3
      found: 2
      do:    write 1 or 0
    """

    what: str
    where: str
    found: str
    do: str

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  found: {self.found}\n  do:    {self.do}"


class RagtuneError(Exception):
    """Base of every error that ragtune raises on purpose."""

    exit_code: ClassVar[int] = 1


class WorkError(RagtuneError):
    """The call was right, but the work could not be finished (exit code 1)."""


class NonFiniteLossError(WorkError):
    """A loss became NaN or infinite; the message names the batch."""


class OutOfSpaceError(WorkError):
    """The disk is full; what was there before is untouched."""


class InputError(RagtuneError, ValueError):
    """The call was wrong (exit code 2). ``problems`` holds every problem found, in the order of the input."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        assert self.problems, "an InputError needs at least one problem"
        super().__init__("\n".join(map(str, self.problems)))


class RecipeError(InputError):
    """A recipe (YAML, flags or code) is wrong."""


class DataError(InputError):
    """A dataset or an imported file is wrong."""


class UnreadableFileError(InputError):
    """A document cannot be read: encrypted, broken, empty, or of a kind that nothing here reads."""


class ModelError(InputError):
    """A model folder or name is wrong."""


class RunFolderError(InputError):
    """An output folder cannot be used, for example because another run lives in it."""


class MissingExtraError(InputError):
    """An optional part of the package is not installed; the problem names the extra."""

    def __init__(self, *, package: str, extra: str, needed_for: str) -> None:
        super().__init__(
            Problem(
                what=f"{needed_for} needs the package {package!r}",
                where="this Python environment",
                found=f"{package} is not installed",
                do=f"pip install 'ragtune[{extra}]'",
            )
        )


def did_you_mean(found: str, known: Sequence[str]) -> str:
    """An ending for a ``do`` line: the nearest known name, then all of them.

    >>> did_you_mean("temperatur", ["temperature", "margin"])
    "did you mean 'temperature'? known: margin, temperature"
    """
    near = difflib.get_close_matches(found, known, n=1)
    listing = "known: " + ", ".join(sorted(known))
    return f"did you mean {near[0]!r}? {listing}" if near else listing
