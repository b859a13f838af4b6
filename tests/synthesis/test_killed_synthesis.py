"""A command that is killed, or interrupted, in the middle: what was answered is not asked again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from ragtune.data.folder import write_dataset
from ragtune.data.records import Dataset

SETTINGS = ["judge.enabled=false", "min_passage_words=5", "filters.near_duplicate=null", "filters.round_trip_k=null"]


def start(folder: Path, url: str) -> subprocess.Popen[str]:
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "ragtune",
        "synthesize",
        "ds",
        "--llm",
        url,
        "--llm-model",
        "tiny-chat",
        "--out",
        "o",
    ]
    environment = {**os.environ, "OPENAI_API_KEY": "k"}
    return subprocess.Popen([*command, *options], cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_what_was_answered_is_not_asked_again(
    server: Any, tmp_path: Path, corpus_dataset: Dataset, signal_number: int
) -> None:
    write_dataset(corpus_dataset, tmp_path / "ds")
    replies = tmp_path / "o.synthesis" / "replies.jsonl"
    stopped = threading.Event()

    def answer(number: int, body: dict[str, Any]) -> Any:
        """Six answers at once; the others come when the signal was sent, and late enough for it to be met."""
        late = number > 6 and stopped.wait(60)
        return server.says(server.model(body).text, delay=1.0 if late else 0.0)

    server.script = answer
    process = start(tmp_path, server.url)
    deadline = time.monotonic() + 30
    while lines(replies) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal_number)
    stopped.set()
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal.SIGKILL), said
    assert "Traceback" not in said
    assert not (tmp_path / "o").exists()
    asked, kept = len(server.asked), lines(replies)
    assert 5 <= kept < 20
    if signal_number == signal.SIGINT:
        # what was under way was waited for
        assert kept == asked + 1, "one line more: what was learnt of the server"
    server.script = lambda number, body: server.model(body)
    process = start(tmp_path, server.url)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    answered = sum('"key"' in line for line in replies.read_text(encoding="utf-8").splitlines())
    assert answered == 20
    assert len(server.asked) - asked == 20 - (kept - 1)
    assert (tmp_path / "o" / "queries.jsonl").is_file()
