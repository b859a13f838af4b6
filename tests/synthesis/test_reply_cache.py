"""Replies on disk survive kills and torn lines."""

from __future__ import annotations

import threading
from pathlib import Path

from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.llm import Reply


def filled(path: Path) -> ReplyCache:
    cache = ReplyCache(path)
    for name in "abc":
        cache.put(name, Reply(f"答 {name}\n", 3, 2, refused=name == "c"))
    return cache


def test_replies_are_read_again(tmp_path: Path) -> None:
    filled(tmp_path / "r.jsonl")
    again = ReplyCache(tmp_path / "r.jsonl")
    assert again.get("a") == Reply("答 a\n", 3, 2)
    assert again.get("c") == Reply("答 c\n", 3, 2, refused=True)
    assert (len(again), again.unreadable, again.get("d")) == (3, 0, None)


def test_a_torn_last_line_is_cut_off_and_what_follows_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path)
    whole = path.read_bytes()
    for torn in (whole[:-1], whole[:-5], whole + b'{"key": "d", "te', whole + "答".encode()[:1]):
        path.write_bytes(torn)
        cache = ReplyCache(path)
        cache.put("e", Reply("new", 1, 1))
        again = ReplyCache(path)
        assert again.unreadable == 0
        assert again.get("e") == Reply("new", 1, 1) and again.get("a") is not None


def test_a_broken_line_in_the_middle_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"key": 1\n[]\n' + lines[2])
    cache = ReplyCache(path)
    assert (len(cache), cache.unreadable) == (2, 2)


def test_what_was_learnt_of_a_server_is_kept(tmp_path: Path) -> None:
    cache = filled(tmp_path / "r.jsonl")
    cache.learn("server", {"format": "text"})
    cache.learn("server", {"format": "text"})
    assert ReplyCache(tmp_path / "r.jsonl").learnt("server") == {"format": "text"}
    assert (tmp_path / "r.jsonl").read_text(encoding="utf-8").count("learnt") == 1


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "r.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [cache.put(f"{n}-{i}", Reply("x" * 3000, 1, 1)) for i in range(30)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = ReplyCache(tmp_path / "r.jsonl")
    assert (len(again), again.unreadable) == (120, 0)
