"""Bad input: the call is refused with what, where, found and do, without a traceback, and nothing is touched."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PARTS = ("where:", "found:", "do:")


def state(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(ragtune: Any, workplace: Path) -> Callable[..., str]:
    """Calls ragtune, which has to refuse: gives what it said, after looking that nothing was touched."""

    def call(*arguments: object) -> str:
        before = state(workplace)
        outcome = ragtune(*arguments)
        assert outcome.code == 2, outcome.err
        assert outcome.out == ""
        assert "Traceback" not in outcome.err
        assert "error: " in outcome.err
        assert all(part in outcome.err for part in PARTS)
        assert state(workplace) == before
        return str(outcome.err)

    return call


# --- files to import ---

GOOD = '{"query": "q", "pos": ["p"], "neg": ["n"]}\n'
FILES: dict[str, tuple[str, list[str]]] = {
    "missing column": ('{"query": "q", "neg": ["n"]}\n', ["rows.jsonl", "query", "neg"]),
    "unknown columns": ('{"alpha": "a", "beta": "b"}\n', ["alpha", "beta", "--column"]),
    "a text where a list belongs": (GOOD + '{"query": "q2", "pos": ["p"], "neg": 3}\n', ["rows.jsonl:2", "neg"]),
    "empty text": (
        GOOD + '{"query": " ", "pos": ["p"]}\n{"query": "q", "pos": [""]}\n',
        ["rows.jsonl:2", "rows.jsonl:3"],
    ),
    "label that is not 0 or 1": (
        '{"query": "q", "passage": "p", "label": 1}\n{"query": "q", "passage": "n", "label": 2}\n',
        ["rows.jsonl:2", "label", "2"],
    ),
    "mixed shapes": (GOOD + '{"sentence1": "a", "sentence2": "b", "score": 1.0}\n', ["rows.jsonl:2"]),
    "NaN score": (GOOD + '{"query": "q", "pos": ["p"], "pos_scores": [NaN]}\n', ["rows.jsonl:2", "finite", "NaN"]),
    "too few scores": (
        GOOD + '{"query": "q", "pos": ["p"], "neg": ["n", "m"], "pos_scores": [1], "neg_scores": [1]}\n',
        ["rows.jsonl:2", "neg_scores"],
    ),
    "no JSON": (GOOD + "{query: q}\n", ["rows.jsonl:2", "not JSON"]),
    "nothing": ("", ["rows.jsonl"]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_not_imported(refused: Callable[..., str], workplace: Path, name: str) -> None:
    text, expected = FILES[name]
    (workplace / "rows.jsonl").write_text(text, encoding="utf-8")
    said = refused("import", "rows.jsonl", "--out", "made")
    assert [part for part in expected if part not in said] == []
    trained = refused("train", "--data", "rows.jsonl", "--out", "runs/x", "--model", "base")
    assert [part for part in expected if part not in trained and part != "--column"] == []


def test_a_string_is_a_list_of_one(ragtune: Any, workplace: Path) -> None:
    (workplace / "rows.jsonl").write_text('{"query": "q", "pos": "p", "neg": "n"}\n', encoding="utf-8")
    done = ragtune("import", "rows.jsonl", "--out", "made", "--json")
    assert json.loads(done.out)["counts"]["passages"] == 2


def test_broken_utf8_is_named_by_line_and_byte(refused: Callable[..., str], workplace: Path) -> None:
    (workplace / "rows.jsonl").write_bytes(GOOD.encode() + '{"query": "茶", "pos": ["p"]}\n'.encode("gb18030"))
    said = refused("import", "rows.jsonl", "--out", "made")
    assert "rows.jsonl:2" in said
    assert "GB18030" in said


def test_every_error_of_a_file_is_told_at_once(refused: Callable[..., str], workplace: Path) -> None:
    (workplace / "rows.jsonl").write_text(GOOD + '{"query": "", "pos": ["p"]}\n' * 20, encoding="utf-8")
    assert refused("import", "rows.jsonl", "--out", "made").count("where:") == 20


# --- dataset folders ---


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


FOLDERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "id twice": (lambda ds: append(ds / "corpus.jsonl", '{"_id": "p0", "text": "x"}\n'), ["corpus.jsonl:31", "twice"]),
    "no id": (lambda ds: append(ds / "queries.jsonl", '{"text": "x"}\n'), ["queries.jsonl:31", "_id"]),
    "unknown ids": (
        lambda ds: append(ds / "qrels" / "train.tsv", "q0\tp999\t1\nq999\tp0\t1\n"),
        ["train.tsv:22", "p999", "train.tsv:23", "q999"],
    ),
    "grade": (lambda ds: append(ds / "qrels" / "test.tsv", "q0\tp0\tyes\n"), ["test.tsv:7", "yes"]),
    "columns": (lambda ds: append(ds / "qrels" / "test.tsv", "q0 p0 1\n"), ["test.tsv:7", "columns"]),
    "header": (lambda ds: (ds / "qrels" / "dev.tsv").write_text("q0\tp0\t1\n") and None, ["dev.tsv:1", "header"]),
    "text": (lambda ds: append(ds / "corpus.jsonl", '{"_id": "x", "text": ["a"]}\n'), ["corpus.jsonl:31", "text"]),
    "teacher": (
        lambda ds: append(
            ds / "candidates.jsonl", '{"query_id": "q0", "candidates": [{"corpus_id": "p0", "teacher": NaN}]}\n'
        ),
        ["candidates.jsonl:1", "NaN"],
    ),
    "corpus": (lambda ds: (ds / "corpus.jsonl").unlink(), ["corpus.jsonl"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wrong_dataset_is_refused_by_every_command(refused: Callable[..., str], workplace: Path, name: str) -> None:
    spoil, expected = FOLDERS[name]
    spoil(workplace / "ds")
    for call in (
        ("check", "ds"),
        ("split", "ds", "--out", "parted"),
        ("export", "ds", "--format", "pairs", "--out", "pairs.jsonl"),
        ("evaluate", "ds", "--model", "base"),
        ("search", "ds", "tea", "--retriever", "bm25"),
    ):
        said = refused(*call)
        assert [part for part in expected if part not in said] == [], call


# --- recipes, names, paths ---

CALLS: dict[str, tuple[tuple[object, ...], list[str]]] = {
    "a typo in a recipe": (("run", "recipe.yaml"), ["recipe.yaml:4", "epoch", "did you mean 'epochs'"]),
    "a typo in --set": (("train", "--data", "ds", "--out", "r", "--set", "train.epoch=1"), ["--set train.epoch=1"]),
    "no recipe": (("run", "nowhere.yaml"), ["nowhere.yaml"]),
    "no data": (("train", "--data", "nowhere", "--out", "r"), ["nowhere", "data.sources.0.path"]),
    "nothing to train": (("train",), ["run is missing", "data is missing"]),
    "an unknown family": (("train", "--data", "ds", "--out", "r", "--family", "dence"), ["--family", "dence", "dense"]),
    "no model": (("train", "--data", "ds", "--out", "r", "--model", "./nowhere"), ["./nowhere"]),
    "an unknown built-in": (
        ("train", "--data", "ds", "--out", "r", "--model", "builtin:minilmm"), ["did you mean 'builtin:minilm'"],
    ),
    "an unknown loss": (
        ("train", "--data", "ds", "--out", "r", "--model", "base", "--set", "train.losses=sofmax"),
        ["did you mean 'softmax'"],
    ),
    "an unknown measure": (("evaluate", "ds", "--model", "base", "--measure", "nDGC@10"), ["did you mean 'nDCG'"]),
    "an unknown split": (("evaluate", "ds", "--model", "base", "--split", "tset"), ["did you mean 'test'"]),
    "an unknown protocol": (("evaluate", "ds", "--model", "base", "--protocol", "strict"), ["--protocol", "single-id"]),
    "an unknown storage": (("evaluate", "ds", "--model", "base", "--storage", "int4"), ["--storage", "int8"]),
    "too many dims": (("evaluate", "ds", "--model", "base", "--dims", "64"), ["64", "32"]),
    "the model as its own baseline": (("evaluate", "ds", "--model", "base", "--baseline", "base"), ["--baseline"]),
    "a depth that is not searched": (("evaluate", "ds", "--model", "base", "--top-k", "5"), ["evaluate.top_k"]),
    "a setting nobody reads": (("evaluate", "ds", "--model", "base", "--set", "train.epochs=1"), ["train.epochs"]),
    "a report on a folder": (("evaluate", "ds", "--model", "base", "--report", "ds"), ["ds", "folder"]),
    "no dataset": (("evaluate", "nowhere"), ["nowhere", "ragtune import"]),
    "an unknown retriever": (("search", "ds", "tea", "--retriever", "bm52"), ["did you mean 'bm25'"]),
    "no question": (("search", "ds", " "), ["QUERY"]),
    "an unknown format": (("export", "ds", "--format", "pair", "--out", "x.jsonl"), ["did you mean 'pairs'"]),
    "no such split to export": (
        ("export", "ds", "--format", "pairs", "--out", "x.jsonl", "--split", "tran"), ["did you mean 'train'"],
    ),
    "an unknown format to force": (("import", "rows.jsonl", "--out", "x", "--format", "cvs"), ["did you mean 'csv'"]),
    "an unknown way with duplicates": (("import", "ds", "--out", "x", "--duplicates", "drop"), ["keep, merge"]),
    "an unknown level": (("split", "all", "--out", "x", "--level", "near"), ["document, duplicates, query"]),
    "too large a split": (("split", "ds", "--out", "x", "--dev", "0.7", "--test", "0.7"), ["dev"]),
    "nothing to import": (("import", "nowhere.jsonl", "--out", "x"), ["nowhere.jsonl"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_call_is_refused(refused: Callable[..., str], workplace: Path, case: str) -> None:
    (workplace / "recipe.yaml").write_text("run: r\ndata: ds\ntrain:\n  epoch: 1\n", encoding="utf-8")
    (workplace / "rows.jsonl").write_text(GOOD, encoding="utf-8")
    shutil.copytree(workplace / "ds", workplace / "all")
    for name in ("dev", "test"):
        (workplace / "all" / "qrels" / f"{name}.tsv").unlink()
    arguments, expected = CALLS[case]
    said = refused(*arguments)
    assert [part for part in expected if part not in said] == []


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model.resolve(), folder))


def spoil_json(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}), encoding="utf-8")


MODELS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a reranker": (
        lambda folder: spoil_json(folder / "config.json", architectures=["BertForSequenceClassification"]),
        ["not of the family 'dense'", "reranker"],
    ),
    "a sparse model": (
        lambda folder: spoil_json(folder / "config_sentence_transformers.json", model_type="SparseEncoder"),
        ["not of the family 'dense'", "SparseEncoder"],
    ),
    "another family of ours": (
        lambda folder: (folder / "ragtune.json").write_text('{"family": "late"}'),
        ["not of the family 'dense'", "late"],
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), ["weights"]),
    "broken weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"no tensor"), ["cannot be read"]),
    "no config": (lambda folder: (folder / "config.json").unlink(), ["config.json"]),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), ["model"]),
    "broken modules": (lambda folder: (folder / "modules.json").write_text("["), ["cannot be read"]),
    "an empty folder": (lambda folder: shutil.rmtree(folder) or folder.mkdir(), ["model"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_model_folder_is_refused(refused: Callable[..., str], workplace: Path, name: str) -> None:
    spoil, expected = MODELS[name]
    spoil(copied(workplace / "base", workplace / "model"))
    for call in (
        ("train", "--data", "ds", "--out", "r", "--model", "model"),
        ("train", "--data", "ds", "--out", "r", "--model", "base", "--set", "evaluate.baseline=./model"),
        ("evaluate", "ds", "--model", "model"),
        ("search", "ds", "tea", "--model", "model"),
        ("check", "ds", "--model", "model"),
    ):
        said = refused(*call)
        assert [part for part in expected if part not in said] == [], call


def test_a_folder_with_another_run_is_refused(ragtune: Any, refused: Callable[..., str], workplace: Path) -> None:
    call = ("train", "--data", "ds", "--model", "base", "--set", "train.max_steps=1", "--set", "evaluate.resamples=100")
    assert ragtune(*call, "--out", "runs/a").code == 0
    said = refused(*call, "--out", "runs/a", "--set", "seed=5")
    assert "another recipe" in said
    assert "--overwrite" in said
    assert "files that are not of a ragtune run" in refused(*call, "--out", "ds")
    (workplace / "file").write_text("mine")
    assert "file" in refused(*call, "--out", "file")
    assert "file" in refused(*call, "--out", "file/run")


# --- no space, no permission ---


@pytest.fixture
def small_disk(workplace: Path) -> Iterator[Path]:
    """A file system of 400 KiB in the workplace."""
    folder = workplace / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("a small file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("workplace")
def test_no_space_is_said_and_leaves_what_was_there(ragtune: Any, small_disk: Path) -> None:
    (small_disk / "mine.txt").write_text("mine")
    rows = small_disk.parent / "rows.jsonl"
    row = {"query": "q", "passage": "p"}
    rows.write_text(
        "".join(json.dumps({**row, "query": f"q{n}", "passage": "字" * 99 + str(n)}) + "\n" for n in range(3000))
    )
    for call in (
        ("import", rows, "--out", "disk/made"),
        ("train", "--data", "ds", "--model", "base", "--out", "disk/run"),
    ):
        outcome = ragtune(*call)
        assert outcome.code == 1, outcome.err
        assert "Traceback" not in outcome.err
        assert "space" in outcome.err
        assert state(small_disk) == {"mine.txt": b"mine"}


def test_a_file_that_may_not_grow_is_said(workplace: Path) -> None:
    """``ulimit -f``: the system refuses the write with another error than a full disk's."""
    import sys

    rows = "".join(json.dumps({"query": f"q{n}", "passage": f"p{n}" * 50}) + "\n" for n in range(3000))
    (workplace / "rows.jsonl").write_text(rows)
    before = state(workplace)
    command = f"ulimit -f 8; exec {sys.executable} -m ragtune import rows.jsonl --out made"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=workplace)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ulimit" in done.stderr
    assert state(workplace) == before


def test_a_place_that_cannot_be_written_is_said(ragtune: Any, workplace: Path) -> None:
    outcome = ragtune("import", "ds", "--out", "/proc/no/such")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert "where: /proc/no" in outcome.err
