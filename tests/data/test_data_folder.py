"""The dataset folder: what is written is read again, and everything wrong in it is told with its line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.data.folder import dataset_hash, read_dataset, write_dataset
from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.errors import DataError

Files = dict[str, str | bytes]

CORPUS = '{"_id": "a", "title": "", "text": "one"}\n{"_id": "b", "text": "two"}\n'
QUERIES = '{"_id": "q", "text": "which"}\n{"_id": "r", "text": "what"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq\ta\t1\n"
GOOD: Files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/train.tsv": QRELS}


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def told(folder: Path) -> list[tuple[str, str, str]]:
    """(what, where below the folder, found) of every problem; each says what to do, and the files stay as they are."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DataError) as caught:
        read_dataset(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert all(problem.do for problem in caught.value.problems)
    return [
        (problem.what, problem.where.removeprefix(str(folder) + "/"), problem.found)
        for problem in caught.value.problems
    ]


# -- what is written is read again ------------------------------------------------------------------------------------

TEXT = st.text(min_size=1, max_size=20).filter(str.strip) | st.sampled_from(
    ["中文\n第二行", 'tab\tquote"', "\u2028", "a\r\nb"]
)
IDS = st.text("abc-_中 0123\u2028", min_size=1, max_size=4).filter(str.strip)
METADATA = st.dictionaries(TEXT, st.none() | TEXT | st.integers() | st.lists(TEXT, max_size=2), max_size=2)
SCORE = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    corpus = {
        key: Passage(key, draw(TEXT), draw(st.just("") | TEXT), draw(METADATA))
        for key in draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    }
    queries = {key: Query(key, draw(TEXT), draw(METADATA)) for key in draw(st.lists(IDS, max_size=3, unique=True))}
    passage_ids = st.sampled_from(list(corpus))
    qrels = {
        split: {key: draw(st.dictionaries(passage_ids, st.integers(-1, 3), min_size=1, max_size=2)) for key in queries}
        for split in draw(st.lists(st.sampled_from(["train", "dev", "test", "all"]), unique=True))
    }
    candidate = st.builds(
        Candidate, passage_ids, SCORE, SCORE, SCORE, st.just("") | TEXT, st.none() | st.integers(), st.booleans()
    )
    candidates = {key: draw(st.lists(candidate, max_size=2, unique_by=lambda one: one.corpus_id)) for key in queries}
    info = DatasetInfo(name=draw(TEXT), query_instruction=draw(TEXT), sources=[{"file": draw(TEXT)}])
    order = [split for split in ("train", "dev", "test", "all") if split in qrels]
    return Dataset(info, corpus, queries, {split: qrels[split] for split in order}, candidates)


@given(dataset=datasets())
def test_round_trip(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round") / "set"
    write_dataset(dataset, folder)
    again = read_dataset(folder)
    assert again == dataset
    assert dataset_hash(folder) == dataset_hash(dataset)
    write_dataset(again, folder.with_name("again"))
    assert [path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()] == [
        path.read_bytes() for path in sorted(folder.with_name("again").rglob("*.*")) if path.is_file()
    ]


def test_the_hash_depends_on_content_only(tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset(with_candidates=True)
    from_elsewhere = replace(dataset, info=replace(dataset.info, sources=[{"file": "x.csv"}]))
    assert dataset_hash(from_elsewhere) == dataset_hash(dataset)
    for changed in (
        replace(dataset, info=replace(dataset.info, query_instruction="other")),
        replace(dataset, corpus=dataset.corpus | {"new": Passage("new", "text")}),
        replace(dataset, candidates={}),
        replace(dataset, qrels={"train": dataset.qrels["train"]}),
    ):
        assert dataset_hash(changed) != dataset_hash(dataset)


def test_dataset_json_counts_everything(tmp_path: Path, tiny_dataset: Callable[..., Dataset]) -> None:
    write_dataset(tiny_dataset("zh"), tmp_path / "set")
    info = json.loads((tmp_path / "set/dataset.json").read_text(encoding="utf-8"))
    assert info["language"] == "zh"
    assert info["counts"]["passages"] == 14
    assert info["counts"]["qrels"]["train"] == {"queries": 10, "judgements": 10}


# -- plain BEIR folders -----------------------------------------------------------------------------------------------


def test_a_beir_folder_without_info(tmp_path: Path) -> None:
    corpus = '{"_id": 7, "title": null, "text": "深度学习用于检索", "url": "u", "metadata": {"page": 3}}\n'
    files: Files = {
        "corpus.jsonl": b"\xef\xbb\xbf" + corpus.replace("\n", "\r\n\r\n").encode(),
        "queries.jsonl": '{"_id": "q", "text": "检索", "answers": ["x"]}',
        "qrels/all.tsv": "corpus-id\tscore\tquery-id\r\n7\t2\tq\r\n",
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq\t7\t2\n",
    }
    dataset = read_dataset(write(tmp_path / "news", files))
    assert (dataset.info.name, dataset.info.language) == ("news", "zh")
    assert dataset.corpus == {"7": Passage("7", "深度学习用于检索", metadata={"url": "u", "page": 3})}
    assert dataset.queries["q"].metadata == {"answers": ["x"]}
    assert list(dataset.qrels) == ["test", "all"]
    assert dataset.qrels["all"] == {"q": {"7": 2}}


def test_a_corpus_alone_is_a_dataset(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path, {"corpus.jsonl": CORPUS}))
    assert len(dataset.corpus) == 2
    assert not dataset.queries


def test_blank_texts_are_kept_and_told(tmp_path: Path) -> None:
    files: Files = {"corpus.jsonl": CORPUS + '{"_id": "c", "text": " "}', "queries.jsonl": '{"_id": "q", "text": ""}\n'}
    dataset = read_dataset(write(tmp_path, files))
    assert dataset.notices == (
        f"passage without text, kept as it is (1): {tmp_path}/corpus.jsonl:3",
        f"query without text, kept as it is (1): {tmp_path}/queries.jsonl:1",
    )
    assert dataset.corpus["c"].text == " "
    assert dataset.queries["q"].text == ""


def test_real_sets(shared_data: Path) -> None:
    folders = [path.parent for path in shared_data.glob("*/corpus.jsonl")]
    assert folders
    for folder in folders:
        dataset = read_dataset(folder)
        assert dataset.corpus and dataset.queries and dataset.qrels["test"]
        assert dataset.info.language == ("zh" if folder.name in ("cmrc2018", "dureader-robust") else "en")


# -- everything wrong is told at once ---------------------------------------------------------------------------------

BAD_LINES = [
    ("corpus.jsonl", '{"_id": "c", "text": "x"', "the line is not JSON"),
    ("corpus.jsonl", '["c", "x"]', "the line is not an object"),
    ("corpus.jsonl", '{"text": "x"}', "the field '_id' is missing"),
    ("corpus.jsonl", '{"_id": 1.5, "text": "x"}', "the field '_id' is not an id"),
    ("corpus.jsonl", '{"_id": "a\\tb", "text": "x"}', "the field '_id' is not an id"),
    ("corpus.jsonl", '{"_id": "c"}', "the field 'text' is missing"),
    ("corpus.jsonl", '{"_id": "c", "text": ["x"]}', "the field 'text' is not a text"),
    ("corpus.jsonl", '{"_id": "c", "text": "x", "title": 3}', "the field 'title' is not a text"),
    ("corpus.jsonl", '{"_id": "c", "text": "x", "metadata": [1]}', "the field 'metadata' is not an object"),
    ("corpus.jsonl", '{"_id": "a", "text": "x"}', "the same id twice"),
    ("corpus.jsonl", '{"_id": "c", "text": "\\ud83d"}', "half a Unicode surrogate pair"),
    ("corpus.jsonl", '{"_id": "c", "text": "x", "p": NaN}', "the number is not finite"),
    ("corpus.jsonl", b'{"_id": "c", "text": "\xd6\xd0"}', "the line is not UTF-8"),
    ("queries.jsonl", '{"_id": "q", "text": "x"}', "the same id twice"),
    ("queries.jsonl", '{"_id": "s", "text": null}', "the field 'text' is missing"),
    ("qrels/train.tsv", "q\ta", "2 columns instead of 3"),
    ("qrels/train.tsv", "q\tb\t1.0", "the grade is not a whole number"),
    ("qrels/train.tsv", "q\ta\t2", "two grades for one pair"),
    ("qrels/train.tsv", "q\tzzz\t1", "unknown passage id"),
    ("qrels/train.tsv", "zzz\ta\t1", "unknown query id"),
]


@pytest.mark.parametrize(("name", "line", "what"), BAD_LINES)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, name: str, line: str | bytes, what: str) -> None:
    good = str(GOOD[name])
    raw = line if isinstance(line, bytes) else line.encode()
    found = told(write(tmp_path, GOOD | {name: good.encode() + raw + b"\n"}))
    assert [(one[0], one[1]) for one in found] == [(what, f"{name}:3")]


BAD_CANDIDATES = [
    ('{"query_id": "q", "candidates": {"a": 1}}', "the field 'candidates' is not a list of objects"),
    ('{"query_id": "q", "candidates": ["a"]}', "the field 'candidates' is not a list of objects"),
    ('{"candidates": []}', "the field 'query_id' is missing"),
    ('{"query_id": "zzz", "candidates": []}', "unknown query id"),
    ('{"query_id": "q", "candidates": [{"corpus_id": "zzz"}]}', "unknown passage id"),
    ('{"query_id": "q", "candidates": [{"corpus_id": "a"}, {"corpus_id": "a"}]}', "one candidate twice for a query"),
    ('{"query_id": "q", "candidates": [{"corpus_id": "a", "score": NaN}]}', "the number is not finite"),
    (
        '{"query_id": "q", "candidates": [{"corpus_id": "a", "teacher": 1e999}]}',
        "the field 'teacher' is not a finite number",
    ),
    (
        '{"query_id": "q", "candidates": [{"corpus_id": "a", "relevance": "high"}]}',
        "the field 'relevance' is not a finite number",
    ),
    ('{"query_id": "q", "candidates": [{"corpus_id": "a", "relevence": 1}]}', "unknown field 'relevence'"),
    ('{"query_id": "q", "candidates": [{"corpus_id": "a", "valid": "yes"}]}', "the field 'valid' is not true or false"),
    ('{"query_id": "q", "candidates": [{"corpus_id": "a", "rank": 1.5}]}', "the field 'rank' is not a whole number"),
]


@pytest.mark.parametrize(("line", "what"), BAD_CANDIDATES)
def test_a_bad_candidate_is_told(tmp_path: Path, line: str, what: str) -> None:
    found = told(write(tmp_path, GOOD | {"candidates.jsonl": line}))
    assert [(one[0], one[1]) for one in found] == [(what, "candidates.jsonl:1")]


def test_a_message_in_full(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {"qrels/train.tsv": QRELS + "q\tb\thigh\n"})
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == (
        "the grade is not a whole number\n"
        f"  where: {tmp_path}/qrels/train.tsv:3\n"
        '  found: "high"\n'
        "  do:    write 0, 1, 2 ..."
    )


def test_broken_utf8_names_the_byte(tmp_path: Path) -> None:
    broken = "中".encode("gb18030")
    found = told(write(tmp_path, {"corpus.jsonl": CORPUS.encode() + b'{"_id": "c", "text": "' + broken + b'"}\n'}))
    assert found == [("the line is not UTF-8", "corpus.jsonl:3", f"byte 0xd6 at offset {len(CORPUS) + 22} of the file")]


def test_all_files_are_told_at_once_and_a_lost_id_is_not_told_twice(tmp_path: Path) -> None:
    files: Files = {
        "corpus.jsonl": '{"_id": "a", "text": 1}\n{broken\n{"_id": "b"}\n',
        "queries.jsonl": '{"_id": "q", "text": 2}\n',
        "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq\tlost\tx\nr\ta\t1\n",
    }
    assert [one[:2] for one in told(write(tmp_path, files))] == [
        ("the field 'text' is not a text", "corpus.jsonl:1"),
        ("the line is not JSON", "corpus.jsonl:2"),
        ("the field 'text' is missing", "corpus.jsonl:3"),
        ("the field 'text' is not a text", "queries.jsonl:1"),
        ("the grade is not a whole number", "qrels/train.tsv:2"),
        ("unknown query id", "qrels/train.tsv:3"),
    ]


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    found = told(write(tmp_path, {"corpus.jsonl": CORPUS + '{"_id": "x"}\n' * 60}))
    assert len(found) == 51
    assert found[-1] == ("69 further problems in this file", "corpus.jsonl", "69 problems after those listed")


@pytest.mark.parametrize("header", ["", "q\ta\t1\n", "query_id\tcorpus_id\tscore\n", "query-id,corpus-id,score\n"])
def test_qrels_need_their_header(tmp_path: Path, header: str) -> None:
    what = told(write(tmp_path, GOOD | {"qrels/train.tsv": header}))[0]
    assert what[0] in ("the header line of the qrels is missing or wrong", "the qrels file is empty")
    assert what[1].startswith("qrels/train.tsv")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"name": "x", "langauge": "zh"}', "unknown field 'langauge'"),
        ('{"name": 3}', "the field 'name' has the wrong type"),
        ("[]", "the file is not an object"),
        ("{", "the line is not JSON"),
    ],
)
def test_dataset_json_is_checked(tmp_path: Path, text: str, what: str) -> None:
    assert told(write(tmp_path, GOOD | {"dataset.json": text}))[0][:2] == (what, "dataset.json")


def test_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    write(tmp_path / "other", {"notes.txt": "x"})
    for name, found in (("gone", "nothing there"), ("file", "a file"), ("other", "no corpus.jsonl, but notes.txt")):
        with pytest.raises(DataError) as caught:
            read_dataset(tmp_path / name)
        assert caught.value.problems[0].found == found
        assert caught.value.problems[0].where == str(tmp_path / name)


# -- nothing of the user's is overwritten -----------------------------------------------------------------------------


def test_a_taken_folder_is_refused(tmp_path: Path, tiny_dataset: Callable[..., Dataset]) -> None:
    write(tmp_path / "mine", {"thesis.txt": "x"})
    write(tmp_path / "old", GOOD)
    for name, overwrite in (("mine", True), ("mine", False), ("old", False)):
        with pytest.raises(DataError, match="the output folder is taken"):
            write_dataset(tiny_dataset(), tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "mine/thesis.txt").read_text(encoding="utf-8") == "x"
    assert len(read_dataset(tmp_path / "old").corpus) == 2


def test_overwriting_replaces_the_dataset_and_nothing_else(
    tmp_path: Path, tiny_dataset: Callable[..., Dataset]
) -> None:
    write(tmp_path, GOOD | {"candidates.jsonl": "", "qrels/all.tsv": QRELS, "notes/mine.txt": "x", "qrels/readme": "y"})
    dataset = tiny_dataset()
    write_dataset(dataset, tmp_path, overwrite=True)
    assert read_dataset(tmp_path) == dataset
    assert (tmp_path / "notes/mine.txt").read_text(encoding="utf-8") == "x"
    assert (tmp_path / "qrels/readme").read_text(encoding="utf-8") == "y"


FULL_DISK = """
import sys
from ragtune.data.folder import read_dataset, write_dataset
from ragtune.errors import OutOfSpaceError
from ragtune.data.records import Passage
folder = sys.argv[1]
before = read_dataset(folder)
big = {str(i): Passage(str(i), "x" * 1000) for i in range(3000)}
before.corpus.update(big)
try:
    write_dataset(before, folder, overwrite=True)
except OutOfSpaceError as error:
    print(len(read_dataset(folder).corpus), error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small tmpfs in a namespace of its own")
def test_a_full_disk_leaves_the_old_dataset(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    write(tmp_path / "good", GOOD)
    (tmp_path / "fill.py").write_text(FULL_DISK, encoding="utf-8")
    steps = (
        f"mount -t tmpfs -o size=1m none {small} && cp -r {tmp_path}/good {small}/set"
        f" && {sys.executable} {tmp_path}/fill.py {small}/set && ls -A {small}"
    )
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "sh", "-c", steps]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no namespace with a tmpfs to be had: {done.stderr.strip()}")
    said, left = done.stdout.splitlines()
    assert said.startswith(f"2 no space left while writing {small}/set;")
    assert left == "set"
