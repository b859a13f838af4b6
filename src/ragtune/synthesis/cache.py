"""Replies on disk: append-only, one line each, so that a killed run loses nothing that was paid for."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, final

from ragtune.run import out_of_space_named
from ragtune.synthesis.llm import Reply


@final
class ReplyCache:
    """``replies.jsonl``: a reply under the hash of model, prompt, parameters and passage text.

    A last line without its line end was torn by a kill and is cut off; any other line that cannot be read is counted
    in ``unreadable`` and asked for again. Threads may share one.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.unreadable = 0
        self._replies: dict[str, Reply] = {}
        self._learnt: dict[str, Any] = {}
        self._lock = threading.Lock()
        if self.path.is_file():
            self._load()

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> Reply | None:
        """The reply under a key."""
        return self._replies.get(key)

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply, on disk at once."""
        row = {"key": key, "text": reply.text, "prompt_tokens": reply.prompt_tokens, "reply_tokens": reply.reply_tokens}
        if reply.refused:
            row["refused"] = True
        with self._lock:
            self._append(row)
            self._replies[key] = reply

    def learnt(self, name: str) -> Any:
        """What was learnt about a server; None = nothing."""
        return self._learnt.get(name)

    def learn(self, name: str, value: Any) -> None:
        """Remember something about a server."""
        with self._lock:
            if self._learnt.get(name) != value:
                self._append({"learnt": name, "value": value})
                self._learnt[name] = value

    def _append(self, row: dict[str, Any]) -> None:
        with out_of_space_named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _load(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            # what is appended next must begin a line of its own
            with open(self.path, "r+b") as file:
                file.truncate(whole)
        for line in data[:whole].splitlines():
            try:
                row = json.loads(line)
                if "learnt" in row:
                    self._learnt[row["learnt"]] = row["value"]
                else:
                    counted = int(row["prompt_tokens"]), int(row["reply_tokens"])
                    self._replies[row["key"]] = Reply(str(row["text"]), *counted, refused=bool(row.get("refused")))
            except (ValueError, KeyError, TypeError):
                self.unreadable += 1
