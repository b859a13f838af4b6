"""A real chat-completions server on this machine that can be told to misbehave, and a corpus to ask about."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pytest

from ragtune.data.language import units
from ragtune.data.records import Dataset, DatasetInfo, Passage
from ragtune.recipe_synthesis import LlmRecipe

PASSAGE = re.compile(r'"""\n(.*?)\n"""', re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What the server sends: a completion's text, or a body as it stands."""

    text: str = ""
    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


Script = Callable[[int, dict[str, Any]], Answer]


@final
class ChatServer:
    """Counts what it is asked; ``script`` takes the number of the request (from 1) and its body."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.models = ["tiny-chat"]
        self.script: Script = lambda number, body: Answer(reply_to(body))
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def says(self, text: str, *, delay: float = 0.0) -> Answer:
        """A completion."""
        return Answer(text, delay=delay)

    def model(self, body: dict[str, Any]) -> Answer:
        """A completion as a good model writes it."""
        return Answer(reply_to(body))

    def fails(self, status: int, message: str = "", *, code: str = "", **headers: str) -> Answer:
        """An error."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Answer(status=status, body=json.dumps({"error": {"message": message, "code": code}}), headers=named)

    def raw(self, body: str) -> Answer:
        """Something that is no completion."""
        return Answer(body=body)

    def prompts(self) -> list[str]:
        """The first message of every request."""
        return [body["messages"][0]["content"] for body in self.asked]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, body: dict[str, Any]) -> Answer:
        with self._lock:
            self.asked.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            number = len(self.asked)
        try:
            answer = self.script(number, body)
            time.sleep(answer.delay)
            return answer
        finally:
            with self._lock:
                self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *values: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.send(200, json.dumps({"data": [{"id": name} for name in server.models]}), {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.keys.append(self.headers.get("Authorization", ""))
                answer = server.take(body)
                self.send(
                    answer.status, completion(answer.text) if answer.body is None else answer.body, answer.headers
                )

            def send(self, status: int, text: str, headers: dict[str, str]) -> None:
                try:
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    data = text.encode()
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # the client has stopped waiting

        return Handler


def completion(text: str) -> str:
    """A chat completion's body."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


def reply_to(body: dict[str, Any]) -> str:
    """What a good model would say: queries with real quotes, true verdicts, passages that hold the query's words."""
    prompt = body["messages"][0]["content"]
    passages = PASSAGE.findall(prompt)
    styles = re.findall(r'style "(\w+)": ', prompt) or re.findall(r'类型 "(\w+)"：', prompt)
    if styles:
        rows = [query_for(passages[0], style, place) for place, style in enumerate(styles)]
        return json.dumps({"queries": rows}, ensure_ascii=False)
    if "self_contained" in prompt:
        return json.dumps(dict.fromkeys(("self_contained", "clear", "mentioned", "answered"), True))
    query = re.search(r"(?:Query: |查询：)(.*)", prompt)
    asked = set(units(query[1])) if query else set()
    return json.dumps({"answering": [n for n, p in enumerate(passages, 1) if asked <= set(units(p))]})


def query_for(passage: str, style: str, place: int) -> dict[str, str]:
    words = passage.split() if " " in passage.strip() else list(passage)
    chosen = words[1:2] + words[place * 2 + 3 : place * 2 + 7] + words[-2:]
    joined = (" " if " " in passage.strip() else "").join(chosen)
    return {"style": style, "query": joined.strip(".。") + "?", "answer": words[-1], "quote": passage[:20]}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server that answers well until it is told otherwise."""
    running = ChatServer()
    yield running
    running.close()


@pytest.fixture
def llm(server: ChatServer) -> Callable[..., LlmRecipe]:
    """A recipe for the server, quick to lose patience."""

    def make(**settings: Any) -> LlmRecipe:
        return LlmRecipe(**{"source": server.url, "model": "tiny-chat", "timeout": 5.0, "concurrency": 4} | settings)

    return make


@final
class WordEncoder:
    """An embedder without weights: a text is the bag of its words, hashed into 256 places."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: Literal["query", "passage"],
        label: str = "",
        prompts: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        vector_ND = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in enumerate(texts):
            for unit in units(text):
                vector_ND[row, int(hashlib.md5(unit.encode()).hexdigest()[:4], 16) % 256] += 1
        return vector_ND / np.maximum(np.linalg.norm(vector_ND, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


SUBJECTS = ["heron", "kettle", "harbour", "lantern", "violin", "orchard", "glacier", "saddle", "mortar", "beacon"]


@pytest.fixture
def corpus_dataset() -> Dataset:
    """Ten documents of two passages each, every passage about a subject and a part of its own."""
    corpus = {}
    for number, subject in enumerate(SUBJECTS):
        for part, verb in enumerate(("repaired", "painted")):
            text = (
                f"The {subject} of model {100 + number}{part} is {verb} every {number + 2} weeks by its guild, "
                f"which keeps {subject}{part} records in drawer {number}{part} of its cellar."
            )
            key = f"{subject}-{part}"
            corpus[key] = Passage(key, text, metadata={"document": subject})
    return Dataset(info=DatasetInfo(name="things"), corpus=corpus, queries={})


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "out.synthesis"
