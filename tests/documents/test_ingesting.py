"""Documents into a dataset, and what a second ingest changes: only what changed, and nothing judged in silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.folder import read_dataset, write_dataset
from ragtune.data.records import Candidate, Query
from ragtune.documents.ingesting import Ingestion, IngestOptions, ingest
from ragtune.documents.linear import document_text
from ragtune.documents.readers import read_document
from ragtune.errors import DataError, InputError, MissingExtraError, WorkError

GUIDE = "# Guide\n\nTurn the key to the left.\n\n## Oil\n\nFill in oil once a month.\n"
CHINESE = "# 说明\n\n每个月加一次油，然后把钥匙向左转。\n"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for name, text in (("guide.md", GUIDE), ("sub/说明.md", CHINESE), ("prices.csv", "part,price\nbolt,2\nnut,1\n")):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    return tmp_path / "docs"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "ds"


def take(docs: Path, out: Path, **options: Any) -> Ingestion:
    return ingest([str(docs)], out, IngestOptions(workers=1, **options))


def states(done: Ingestion) -> dict[str, str]:
    return {outcome.document: outcome.state for outcome in done.files}


def corpus_lines(out: Path) -> dict[str, str]:
    lines = (out / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["_id"]: line for line in lines}


# --- the first time


def test_a_folder_becomes_a_corpus(docs: Path, out: Path) -> None:
    done = take(docs, out)
    dataset = read_dataset(out)
    assert states(done) == {"guide.md": "new", "prices.csv": "new", "sub/说明.md": "new"}
    assert {p.metadata["document"] for p in dataset.corpus.values()} == set(states(done))
    assert [source["file"] for source in dataset.info.sources] == sorted(states(done))
    assert all(len(source["sha256"]) == 64 for source in dataset.info.sources)
    oil = next(p for p in dataset.corpus.values() if "once a month" in p.text)
    assert oil.metadata["heading_path"] == ["Guide", "Oil"]
    assert (done.passages, done.added) == (len(dataset.corpus),) * 2


def test_spans_point_at_the_source(docs: Path, out: Path) -> None:
    take(docs, out)
    for passage in read_dataset(out).corpus.values():
        text = document_text(read_document(docs / passage.metadata["document"]))
        start, end = passage.metadata["span"]
        assert text[start:end] == passage.text[passage.metadata.get("repeated", 0) :]


@pytest.mark.parametrize(("texts", "language"), [([GUIDE], "en"), ([CHINESE], "zh")])
def test_the_language_is_detected(tmp_path: Path, out: Path, texts: list[str], language: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(texts[0], encoding="utf-8")
    assert take(tmp_path / "docs", out).language == language
    assert read_dataset(out).info.language == language


def test_passages_keep_the_budget(docs: Path, out: Path) -> None:
    from ragtune.documents.token_counting import token_counter, tokenizer_place

    (docs / "long.txt").write_text("A sentence of seven words is here. " * 200, encoding="utf-8")
    take(docs, out, chunks={"max_tokens": 40})
    contents = [passage.content for passage in read_dataset(out).corpus.values()]
    assert 30 < max(token_counter(tokenizer_place("builtin:minilm"))(contents)) <= 40


def test_tokens_are_those_of_the_model(tiny_model: Path) -> None:
    from ragtune.documents.token_counting import token_counter, tokenizer_place
    from ragtune.models import load_model
    from ragtune.recipe import ModelRecipe

    texts = ["A cat sleeps.", "蜜蜂跳舞", "", "word " * 300]
    place = tokenizer_place(str(tiny_model))
    expected = [
        len(ids)
        for ids in load_model(ModelRecipe(name=str(tiny_model))).tokenize(texts, kind="passage", truncate=False)
    ]
    assert token_counter(place)(texts) == expected
    assert token_counter(place.parent)(texts) == expected


def test_several_processes_give_the_same(docs: Path, out: Path, tmp_path: Path) -> None:
    take(docs, out)
    ingest([str(docs)], tmp_path / "two", IngestOptions(workers=2))
    assert corpus_lines(out) == corpus_lines(tmp_path / "two")


# --- files that cannot be read


def test_bad_files_are_listed_and_the_rest_goes_on(docs: Path, out: Path) -> None:
    (docs / "empty.pdf").touch()
    (docs / "cut.docx").write_bytes(b"PK\x03\x04 cut off")
    (docs / "blank.txt").write_text(" \n", encoding="utf-8")
    done = take(docs, out)
    said = {o.document: o.problem.what for o in done.files if o.problem}
    assert said == {"empty.pdf": "the file is empty", "cut.docx": "the file is cut off or broken"}
    assert next(o for o in done.files if o.document == "blank.txt").notices == ("no text in it",)
    assert done.passages == sum(o.passages for o in done.files) > 0


def test_nothing_readable_is_an_error(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.pdf").touch()
    with pytest.raises(WorkError, match=r"not one of 1 files could be read\n.*empty"):
        ingest([str(tmp_path / "a.pdf")], out)
    assert not out.exists()


def test_no_text_at_all_is_an_error(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(WorkError, match="no text in any"):
        ingest([str(tmp_path / "a.txt")], out)
    assert not out.exists()


def test_a_file_that_was_read_before_keeps_its_passages(docs: Path, out: Path) -> None:
    take(docs, out)
    before = corpus_lines(out)
    (docs / "guide.md").write_bytes(b"\x00\x01\x02\x03" * 99)
    done = take(docs, out)
    outcome = next(o for o in done.files if o.document == "guide.md")
    assert (outcome.state, outcome.notices) == ("failed", ("its passages of before are kept",))
    assert corpus_lines(out) == before


def test_a_reader_that_brings_its_process_down_is_listed(
    docs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parser in C may crash: here one of three files does so, by a reader put in the way of new processes."""
    crash = docs.parent / "sitecustomize.py"
    crash.write_text(
        "import os, ragtune.documents.read_markdown as m\n"
        "read = m.read\n"
        "m.read = lambda path: os._exit(9) if path.name == 'guide.md' else read(path)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(docs.parent), *sys.path]))
    done = ingest([str(docs)], out, IngestOptions(workers=2))
    assert states(done) == {"guide.md": "failed", "prices.csv": "new", "sub/说明.md": "new"}
    assert "sudden end" in str(done.files[0].problem)


# --- the second time


def test_unchanged_files_are_not_read_again(docs: Path, out: Path) -> None:
    take(docs, out)
    before = (out / "corpus.jsonl").stat()
    os.utime(docs / "guide.md", (1, 1))
    done = take(docs, out)
    assert set(states(done).values()) == {"unchanged"}
    assert (out / "corpus.jsonl").stat() == before
    assert all(o.coverage == 1 and o.seconds == 0 for o in done.files)


def test_only_what_changed_changes(docs: Path, out: Path) -> None:
    take(docs, out)
    before = corpus_lines(out)
    (docs / "guide.md").write_text(GUIDE.replace("once a month", "twice a month"), encoding="utf-8")
    (docs / "new.txt").write_text("A new sentence.", encoding="utf-8")
    (docs / "prices.csv").unlink()
    done = take(docs, out)
    after = corpus_lines(out)
    assert states(done) == {
        "guide.md": "changed",
        "new.txt": "new",
        "prices.csv": "removed",
        "sub/说明.md": "unchanged",
    }
    assert "prices.csv" not in " ".join(after)
    assert {key for key in before if before[key] == after.get(key)} >= {k for k in before if k.startswith("sub/")}
    assert any("twice a month" in line for line in after.values())
    assert (done.added, done.removed) == (len(after.keys() - before.keys()), len(before.keys() - after.keys()))


def test_other_settings_read_every_file_again(docs: Path, out: Path) -> None:
    take(docs, out)
    assert set(states(take(docs, out, chunks={"max_tokens": 100})).values()) == {"changed"}


def test_one_more_file_leaves_the_others(docs: Path, out: Path, tmp_path: Path) -> None:
    take(docs, out)
    before = corpus_lines(out)
    (tmp_path / "more.md").write_text("# More\n\nOne more text.\n", encoding="utf-8")
    done = ingest([str(tmp_path / "more.md")], out, IngestOptions(workers=1))
    assert states(done) == {"more.md": "new"}
    assert corpus_lines(out).items() > before.items()


def test_files_of_one_name_are_two_documents(docs: Path, out: Path, tmp_path: Path) -> None:
    take(docs, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "guide.md").write_text("# Other\n\nAnother guide.\n", encoding="utf-8")
    for _ in range(2):
        done = ingest([str(tmp_path / "other")], out, IngestOptions(workers=1))
        (name,) = states(done)
        assert name.startswith("guide.md~")
    assert states(done) == {name: "unchanged"}


@pytest.mark.parametrize("given", ["docs", "docs/guide.md", "docs/*.md"])
def test_a_file_that_is_gone_takes_its_passages(docs: Path, out: Path, given: str) -> None:
    take(docs, out)
    (docs / "guide.md").unlink()
    if given == "docs/*.md":
        (docs / "other.md").write_text("Other text.", encoding="utf-8")
    done = ingest([str(docs.parent / given)], out, IngestOptions(workers=1))
    assert states(done)["guide.md"] == "removed"
    assert not any(key.startswith("guide.md") for key in corpus_lines(out))


def test_both_folders_may_move_together(docs: Path, out: Path, tmp_path: Path) -> None:
    take(docs, out)
    (tmp_path / "moved").mkdir()
    docs.rename(tmp_path / "moved" / "docs")
    out.rename(tmp_path / "moved" / "ds")
    assert set(states(take(tmp_path / "moved" / "docs", tmp_path / "moved" / "ds")).values()) == {"unchanged"}


def test_what_is_not_of_ingest_stays(docs: Path, out: Path, tiny_dataset: Callable[..., Any]) -> None:
    write_dataset(tiny_dataset("en"), out)
    before = corpus_lines(out)
    take(docs, out)
    (docs / "guide.md").unlink()
    take(docs, out)
    assert corpus_lines(out).items() > before.items()
    assert read_dataset(out).qrels == tiny_dataset("en").qrels


# --- judged passages


@pytest.fixture
def judged(docs: Path, out: Path) -> str:
    """The id of a passage of ``guide.md`` that a query is judged on; the query has a second passage elsewhere."""
    take(docs, out)
    dataset = read_dataset(out)
    oil = next(key for key, p in dataset.corpus.items() if "once a month" in p.text)
    other = next(key for key in dataset.corpus if key.startswith("prices"))
    dataset.queries["q"] = Query("q", "how often is oil filled in")
    dataset.queries["only"] = Query("only", "oil?")
    dataset.qrels["test"] = {"q": {oil: 1, other: 0}, "only": {oil: 1}}
    dataset.candidates["q"] = [Candidate(oil, relevance=1.0)]
    write_dataset(dataset, out, overwrite=True)
    (docs / "guide.md").write_text(GUIDE.replace("once", "twice"), encoding="utf-8")
    return oil


def test_judged_passages_do_not_go_in_silence(docs: Path, out: Path, judged: str) -> None:
    before = {file.name: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(DataError) as caught:
        take(docs, out)
    (problem,) = caught.value.problems
    assert "3 judgements and candidates of 2 queries" in problem.found and judged in problem.found
    assert "--drop-orphans" in problem.do
    assert {file.name: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_judgements_go_when_told_so(docs: Path, out: Path, judged: str) -> None:
    done = take(docs, out, drop_orphans=True)
    dataset = read_dataset(out)
    assert done.dropped_judgements == 3
    assert set(dataset.queries) == {"q", "only"}
    assert list(dataset.qrels["test"]) == ["q"] and judged not in dataset.qrels["test"]["q"]
    assert dataset.candidates == {}


# --- wrong calls, kills, full disks


def test_a_folder_of_other_things_is_left_alone(docs: Path, out: Path) -> None:
    out.mkdir()
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="taken"):
        take(docs, out)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]


def test_a_path_that_leads_nowhere(out: Path) -> None:
    with pytest.raises(InputError, match="no files to read"):
        ingest(["nowhere/*.pdf"], out)


@pytest.mark.parametrize("reader", ["docling", "unstructured"])
def test_a_reader_that_is_not_installed_is_said_before_the_work(docs: Path, out: Path, reader: str) -> None:
    import importlib.util

    if importlib.util.find_spec(reader):
        pytest.skip(f"{reader} is installed")
    with pytest.raises(MissingExtraError, match=rf"ragtune\[{reader}\]"):
        take(docs, out, reader=reader)


SLOW = """
import sys
import ragtune.documents.read_text as m
from ragtune.documents.ingesting import IngestOptions, ingest
read = m.read
def slow(path):
    print("reading", flush=True)
    while path.name == "z.txt":
        pass
    return read(path)
m.read = slow
ingest([sys.argv[1]], sys.argv[2], IngestOptions(workers=1))
"""


@pytest.mark.parametrize(("end", "kept"), [(signal.SIGKILL, False), (signal.SIGINT, True)])
def test_a_run_that_is_ended(docs: Path, out: Path, end: signal.Signals, kept: bool) -> None:
    """Killed: what was there before is untouched. Interrupted: what was finished is kept too."""
    take(docs, out)
    before = corpus_lines(out)
    for name in ("a.txt", "z.txt"):
        (docs / name).write_text(f"Text of {name}.", encoding="utf-8")
    child = subprocess.Popen([sys.executable, "-c", SLOW, docs, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout and child.stderr
    for _ in range(2):
        child.stdout.readline()
    time.sleep(0.1)
    child.send_signal(end)
    child.communicate(timeout=60)
    after = corpus_lines(out)
    assert after.items() >= before.items()
    assert any(key.startswith("a.txt") for key in after) is kept
    done = take(docs, out)
    assert states(done)["z.txt"] == "new"
    assert states(done)["a.txt"] == ("unchanged" if kept else "new")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a limit on file sizes as Linux has it")
def test_a_disk_that_takes_no_more_leaves_the_old_dataset(docs: Path, out: Path) -> None:
    take(docs, out)
    before = corpus_lines(out)
    (docs / "long.txt").write_text("A sentence of seven words is here. " * 2000, encoding="utf-8")
    command = f"ulimit -f 8; exec {sys.executable} -m ragtune ingest {docs} --out {out} --workers 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert corpus_lines(out) == before
    assert [file.name for file in out.parent.iterdir() if file.name.startswith(".")] == []
