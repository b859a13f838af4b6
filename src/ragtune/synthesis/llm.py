"""What a language model is to synthesis: requests in, replies out as they come, within a budget."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from ragtune.data.language import CJK
from ragtune.errors import WorkError
from ragtune.run import hash_json

if TYPE_CHECKING:
    from ragtune.synthesis.budget import Budget

Message = tuple[str, str]
"""Role (system, user, assistant) and text."""

_CJK = re.compile(f"[{CJK}]")


class LlmError(WorkError):
    """The language model could not be asked any further; what it answered is kept for the next call."""


@final
@dataclass(frozen=True, slots=True)
class Request:
    """One question to a language model.

    ``schema`` is the JSON schema of the reply; None = plain text. ``opening`` is what the reply begins with (models
    that run here only). ``one_line`` ends the reply at the first line break.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    schema: Mapping[str, Any] | None = None
    schema_name: str = "reply"
    opening: str = ""
    one_line: bool = False
    seed: int = 0

    def key(self, model: str) -> str:
        """What the reply depends on, as a hash: the model, the prompt with the passage in it, the parameters."""
        parts = (self.messages, self.max_tokens, self.temperature, self.top_p, self.schema, self.opening)
        return hash_json([model, *parts, self.one_line, self.seed])

    def then(self, *messages: Message) -> Request:
        """The same question with more said."""
        return replace(self, messages=(*self.messages, *messages))

    @property
    def prompt_tokens(self) -> int:
        """An estimate; the schema counts too where a server writes it into the prompt."""
        return sum(estimate_tokens(text) + 4 for _, text in self.messages) + estimate_tokens(self.opening)


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """What a language model said, with the tokens that it counted. ``refused``: it will not answer this at all."""

    text: str
    prompt_tokens: int
    reply_tokens: int
    refused: bool = False


Keep = Callable[[int, Reply], None]
"""Is handed every reply the moment it is there, perhaps from another thread."""


class LanguageModel(ABC):
    """Something that answers requests."""

    identity: str
    """Name of the model in cache keys: another model, another identity."""

    @abstractmethod
    def answer(self, requests: Sequence[Request], *, budget: Budget, keep: Keep) -> Generator[int, None, None]:
        """Answer in any order; yields a request's place when it is answered or given up.

        Ends early when the budget allows no more. LlmError or InputError: asking on is useless.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections or memory."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text, roughly: four letters each, or 1.4 CJK characters (assumption: common BPE vocabularies).

    >>> estimate_tokens("a text of some words"), estimate_tokens("检索模型")
    (6, 4)
    """
    cjk = len(_CJK.findall(text))
    return round(cjk / 1.4 + (len(text) - cjk) / 4) + (1 if text else 0)
