"""One request to an OpenAI-compatible endpoint: its dialect, and what each of its answers means."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, final
from urllib.parse import urlsplit

from ragtune.errors import MissingExtraError, ModelError, Problem, did_you_mean
from ragtune.recipe_synthesis import LlmRecipe
from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.llm import LlmError, Reply, Request, estimate_tokens

COME_AGAIN = (408, 409, 425, 429)
LONGEST_WAIT = 600.0
"""A server that says to come back later than this (seconds) is not waited for."""

Format = Literal["json_schema", "json_object", "text"]
LADDER: tuple[Format, ...] = ("json_schema", "json_object", "text")


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands, learnt from its refusals."""

    format: Format = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    sampling: bool = True

    def simpler(self, complaint: str, *, structured: bool) -> Dialect | None:
        """What to try after a refusal; None = nothing is left to leave out."""
        if "max_completion_tokens" in complaint and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if self.sampling and any(word in complaint for word in ("temperature", "top_p", "'seed'", '"seed"')):
            return replace(self, sampling=False)
        if structured and self.format != LADDER[-1]:
            return replace(self, format=LADDER[LADDER.index(self.format) + 1])
        return None

    def body(self, request: Request, *, model: str) -> dict[str, Any]:
        """The request in this dialect."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            self.limit: request.max_tokens,
        }
        if self.sampling:
            body |= {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
        if request.one_line:
            body["stop"] = ["\n"]
        if request.schema is not None and self.format == "json_schema":
            schema = {"name": request.schema_name, "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.schema is not None and self.format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body


@final
@dataclass(frozen=True, slots=True)
class Again:
    """The request may be sent again: after ``delay`` seconds, or when its sender sees fit."""

    why: str
    delay: float | None = None
    congested: bool = False
    refusal: bool = False
    """The dialect was refused and has been changed: send it again at once."""


@final
class Endpoint:
    """A chat-completions server under a base URL."""

    def __init__(self, recipe: LlmRecipe, *, cache: ReplyCache) -> None:
        self.url = _base_url(recipe.source)
        self._variable = recipe.key_variable
        self._key = os.environ.get(self._variable, "")
        self._client = _client(self.url, key=self._key, timeout=recipe.timeout)
        self._cache = cache
        self.model = recipe.model or self._only_model()
        self.identity = f"{self.url}#{self.model}"
        self._dialect = Dialect(**(cache.learnt(self.identity) or {}))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, request: Request) -> Reply | Again:
        """Send once. InputError or LlmError: no request to this server can succeed."""
        import openai
        from httpx2 import Response

        dialect = self._dialect
        body = dialect.body(request, model=self.model)
        try:
            response = self._client.post("/chat/completions", cast_to=Response, body=body)
        except openai.APITimeoutError:
            return Again("no answer in time", congested=True)
        except openai.APIConnectionError as error:
            return Again(self._scrubbed(f"no connection: {error.__cause__ or error}"))
        except openai.APIStatusError as error:
            return self._refused(error, request, dialect=dialect)
        reply = _reply(response, request)
        if isinstance(reply, Reply) and request.schema is not None:
            self._cache.learn(self.identity, asdict(dialect))
        return reply

    def _refused(self, error: Any, request: Request, *, dialect: Dialect) -> Reply | Again:
        status, said = int(error.status_code), self._scrubbed(_message(error))
        if status in (401, 403):
            raise self._wrong_key(status, said)
        if status == 404:
            raise self._wrong_place(said)
        if error.code == "insufficient_quota" or status == 402:
            raise LlmError(f"{self.url} has no credit left: {said}")
        if status in COME_AGAIN or status >= 500:
            delay = _retry_after(error.response.headers)
            if delay is not None and delay > LONGEST_WAIT:
                raise LlmError(f"{self.url} asks to come back in {delay:.0f} s (HTTP {status}): {said}")
            return Again(f"HTTP {status}: {said}", delay=delay, congested=status == 429)
        simpler = dialect.simpler(said, structured=request.schema is not None)
        if simpler is None:
            return Reply(f"HTTP {status}: {said}", request.prompt_tokens, 0, refused=True)
        if self._dialect == dialect:
            # others under way may have been refused for the same reason: one step for all of them
            self._dialect = simpler
        return Again(f"HTTP {status}: {said}", delay=0.0, refusal=True)

    def _wrong_key(self, status: int, said: str) -> ModelError:
        state = "is set" if self._key else "is not set"
        do = f"put the endpoint's key into {self._variable}"
        do += ", or name another variable: --set llm.key_variable=NAME"
        found = f"HTTP {status}: {said}; the environment variable {self._variable} {state}"
        return ModelError(Problem("the endpoint refuses the key", self.url, found, do))

    def _wrong_place(self, said: str) -> ModelError:
        known = self._models()
        do = did_you_mean(self.model, known) if known else "check the URL (it mostly ends in /v1) and --llm-model"
        return ModelError(Problem(f"the endpoint has no {self.model!r}", self.url, f"HTTP 404: {said}", do))

    def _only_model(self) -> str:
        known = self._models()
        if len(known) == 1:
            return known[0]
        found = f"{len(known)} models" if known else "no list of models"
        do = "name one with --llm-model" + (f": {', '.join(known[:20])}" if known else "")
        raise ModelError(Problem("which model is meant?", self.url, found, do))

    def _models(self) -> list[str]:
        """What the endpoint lists; empty where it lists nothing. ModelError: nobody answers there."""
        import openai
        from httpx2 import Response

        try:
            response = self._client.get("/models", cast_to=Response)
            return [str(row["id"]) for row in response.json()["data"]]
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._wrong_key(error.status_code, self._scrubbed(_message(error))) from error
            return []
        except openai.APIConnectionError as error:
            found = self._scrubbed(str(error.__cause__ or error))
            problem = Problem("nobody answers at this URL", self.url, found, "start the server, or check the URL")
            raise ModelError(problem) from error
        except (ValueError, KeyError, TypeError):
            return []

    def _scrubbed(self, text: str) -> str:
        """One line without the key: servers quote it in their answers."""
        text = " ".join(text.split())[:300]
        return text.replace(self._key, "***") if self._key else text


def _client(url: str, *, key: str, timeout: float) -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise MissingExtraError(package="openai", extra="llm", needed_for="a language model at a URL") from error
    # repeating is ours: it must count against the budget and slow all requests down together
    return openai.OpenAI(base_url=url, api_key=key or "none", timeout=timeout, max_retries=0)


def _base_url(source: str) -> str:
    parts = urlsplit(source)
    if parts.username or parts.password:
        do = "put the key into an environment variable (llm.key_variable)"
        raise ModelError(Problem("the URL holds a password", "--llm", f"{parts.scheme}://***@{parts.hostname}", do))
    if not parts.hostname:
        raise ModelError(Problem("the URL names no host", "--llm", source, "write http://localhost:8000/v1"))
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _message(error: Any) -> str:
    body = error.body
    if isinstance(body, Mapping):
        return str(body.get("message") or body.get("error") or body.get("detail") or error.message)
    return str(error.message)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait for: a number, or a date (RFC 9110, section 10.2.3)."""
    said = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None


def _reply(response: Any, request: Request) -> Reply | Again:
    """The first choice's text; an answer in no known form is as good as none."""
    try:
        said = response.json()
        message = said["choices"][0]["message"]
        text = message.get("content") or ""
        usage = said.get("usage") or {}
        counted = usage.get("prompt_tokens"), usage.get("completion_tokens")
        tokens_in = request.prompt_tokens if counted[0] is None else int(counted[0])
        tokens_out = estimate_tokens(text) if counted[1] is None else int(counted[1])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Again(f"HTTP {response.status_code} without a completion: {response.text[:100]!r}")
    return Reply(str(text), tokens_in, tokens_out, refused=bool(message.get("refusal")))
