"""What is exported and imported again says the same; what a format cannot say is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.data.exporting import export_dataset
from ragtune.data.folder import read_dataset
from ragtune.data.formats import FORMATS, ImportOptions, import_dataset
from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.errors import DataError, OutOfSpaceError

TEXT = st.text(min_size=1, max_size=12).filter(str.strip) | st.sampled_from(
    ["中文，检索", "two\nlines", "a\r\nb", "c\r", 'tab\t"quoted"', "'", ";", "a\u2028b", "0", "null", " x ", "=1+1"]
)
FLOAT = st.floats(-5, 5).map(lambda number: round(number, 3))


def told(dataset: Dataset) -> dict[tuple[str, str], dict[str, Any]]:
    """(query, prompt) -> what is said of its passages, by their texts."""
    said = {}
    for query_id, query in dataset.queries.items():
        grades = {key: grade for qrels in dataset.qrels.values() for key, grade in qrels.get(query_id, {}).items()}
        listed = {one.corpus_id: one for one in dataset.candidates.get(query_id, [])}
        said[query.text, str(query.metadata.get("prompt", ""))] = {
            "positives": {dataset.corpus[key].text for key, grade in grades.items() if grade > 0},
            "negatives": {dataset.corpus[key].text for key in listed if grades.get(key, 0) <= 0},
            "teacher": {
                dataset.corpus[key].text: one.teacher for key, one in listed.items() if one.teacher is not None
            },
            "exact": {dataset.corpus[key].text: one.relevance for key, one in listed.items()},
            "answer": query.metadata.get("answer"),
            "label": query.metadata.get("label"),
        }
    return said


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Queries with positives and negatives; all passages of a query have a teacher's score, or none has."""
    texts = draw(st.lists(TEXT, min_size=2, max_size=6, unique=True))
    corpus = {str(place): Passage(str(place), text) for place, text in enumerate(texts)}
    dataset = Dataset(DatasetInfo("drawn"), corpus, {}, {"train": {}}, {})
    for place, text in enumerate(draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))):
        query_id, ids = f"q{place}", draw(st.permutations(list(corpus)))
        metadata: dict[str, Any] = {"answer": draw(TEXT)}
        if draw(st.booleans()):
            metadata["prompt"] = draw(TEXT)
        dataset.queries[query_id] = Query(query_id, text, metadata)
        cut = draw(st.integers(1, len(ids) - 1))
        end = draw(st.integers(cut + 1, len(ids)))
        with_teacher = draw(st.booleans())
        dataset.qrels["train"][query_id] = dict.fromkeys(ids[:cut], 1)
        listed = [Candidate(key, 1.0, teacher=draw(FLOAT)) for key in ids[:cut] if with_teacher]
        listed += [Candidate(key, 0.0, teacher=draw(FLOAT) if with_teacher else None) for key in ids[cut:end]]
        dataset.candidates[query_id] = listed
    return dataset


KEEPS = {
    "flagembedding": ("positives", "negatives", "teacher"),
    "triplets": ("positives", "negatives"),
    "labelled-pairs": ("positives", "negatives"),
    "pairs": ("positives",),
    "rag": ("positives", "answer"),
    "csv": ("positives",),
    "parquet": ("positives",),
    "hf": ("positives",),
}
ENDINGS = {name: (".jsonl", ".json", ".parquet") for name in ("flagembedding", "rag")}
ENDINGS |= {name: (".jsonl", ".json", ".csv", ".tsv", ".parquet") for name in ("triplets", "labelled-pairs", "pairs")}
ENDINGS |= {"csv": (".csv",), "parquet": (".parquet",)}
WAYS = [(name, ending) for name, endings in ENDINGS.items() for ending in endings]


@pytest.mark.parametrize(("name", "ending"), WAYS)
@settings(max_examples=25, deadline=None)
@given(dataset=datasets())
def test_round_trip(name: str, ending: str, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"{name}{ending}"
    export_dataset(dataset, path, format=name, overwrite=True)
    forced = name if name in FORMATS else "auto"
    before, after = told(dataset), told(import_dataset(path, ImportOptions(format=forced)).dataset)
    prompts = name == "flagembedding"
    assert {key if prompts else key[0] for key in before} == {key if prompts else key[0] for key in after}
    for (query, prompt), said in before.items():
        again = after[query, prompt if prompts else ""]
        assert {part: again[part] for part in KEEPS[name]} == {part: said[part] for part in KEEPS[name]}


@given(scores=st.lists(st.tuples(TEXT, TEXT, FLOAT), min_size=1, max_size=5, unique_by=lambda row: row[:2]))
def test_scored_pairs_round_trip(
    scores: list[tuple[str, str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "scored.csv"
    before = import_dataset(scores, ImportOptions(format="scored-pairs")).dataset
    export_dataset(before, path, format="scored-pairs", overwrite=True)
    assert told(import_dataset(path).dataset) == told(before)


def test_classes_round_trip(tmp_path: Path) -> None:
    rows = [{"text": f"文本 {n}\n", "label": f"c{n % 3}"} for n in range(9)]
    before = import_dataset(rows).dataset
    export_dataset(before, tmp_path / "x.tsv", format="classes")
    again = import_dataset(tmp_path / "x.tsv").dataset
    assert (again.corpus, again.queries, again.qrels) == (before.corpus, before.queries, before.qrels)


def test_hugging_face_and_beir_round_trip(tmp_path: Path, tiny_dataset: Callable[..., Dataset]) -> None:
    pytest.importorskip("datasets")
    dataset = tiny_dataset(with_candidates=True)
    done = export_dataset(dataset, tmp_path / "hf", format="hf", split=None)
    assert (done.format, done.container, done.rows) == ("pairs", "hf", 30)
    again = import_dataset(tmp_path / "hf").dataset
    assert len(again.queries) == 30
    assert {passage.text for passage in again.corpus.values()} == {p.content for p in dataset.corpus.values()}
    export_dataset(dataset, tmp_path / "beir", format="beir")
    assert read_dataset(tmp_path / "beir") == dataset


# -- what a format cannot say -----------------------------------------------------------------------------------------


def test_only_the_split_is_exported(tmp_path: Path, tiny_dataset: Callable[..., Dataset]) -> None:
    dataset = tiny_dataset()
    assert export_dataset(dataset, tmp_path / "x.jsonl", format="pairs", split="test").rows == 5
    with pytest.raises(DataError, match="no such split") as caught:
        export_dataset(dataset, tmp_path / "y.jsonl", format="pairs", split="tset")
    assert "did you mean 'test'?" in caught.value.problems[0].do


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    corpus = {key: Passage(key, key) for key in "abcd"}
    queries = {key: Query(key, key) for key in ("q", "r", "lost")}
    qrels = {"train": {"q": {"a": 1}, "r": {"b": 2}}}
    candidates = {"q": [Candidate("b", teacher=0.5), Candidate("c", valid=False), Candidate("d", relevance=1.0)]}
    dataset = Dataset(DatasetInfo("x"), corpus, queries, qrels, candidates)
    done = export_dataset(dataset, tmp_path / "x.jsonl", format="flagembedding")
    assert done.notices == (
        "not exported: a candidate that is marked as not valid (1): query q",
        "teacher scores not exported: some of the query's passages have none (1): query q",
        "not exported: the query has no judgement in any split (split=None exports it) (1): query lost",
    )
    assert told(import_dataset(tmp_path / "x.jsonl").dataset)["q", ""]["positives"] == {"a", "d"}
    done = export_dataset(dataset, tmp_path / "y.jsonl", format="triplets")
    assert done.rows == 2
    assert "not exported: a triplet needs a positive and a negative (1): query r" in done.notices


# -- nothing of the user's is overwritten -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "format", "what"),
    [
        ("x.csv", "flagembedding", "a table of text has no lists"),
        ("x.doc", "pairs", "the file's ending does not fit pairs"),
        ("x.jsonl", "csv", "the file's ending does not fit csv"),
        ("x.jsonl", "pair", "unknown format"),
        ("x.jsonl", "rag", "nothing to export"),
        ("taken.jsonl", "pairs", "the output file exists already"),
        ("folder", "hf", "the output is a folder with files in it"),
        ("folder", "beir", "the output folder is taken"),
    ],
)
def test_refusals_leave_everything_as_it_was(
    tmp_path: Path, tiny_dataset: Callable[..., Dataset], name: str, format: str, what: str
) -> None:
    (tmp_path / "taken.jsonl").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("mine", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as caught:
        export_dataset(tiny_dataset(), tmp_path / name, format=format)
    assert caught.value.problems[0].what == what
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken.jsonl").read_text(encoding="utf-8") == "mine"


def test_a_full_disk_while_exporting(
    tmp_path: Path, tiny_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's bytes go to /dev/full, the device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    import os
    import tempfile

    path = tmp_path / "x.jsonl"
    path.write_text("mine", encoding="utf-8")
    make = tempfile.mkstemp

    def full(*args: Any, **options: Any) -> tuple[int, str]:
        handle, name = make(*args, **options)
        device = os.open("/dev/full", os.O_WRONLY)
        os.dup2(device, handle)
        os.close(device)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OutOfSpaceError, match=f"no space left while writing {path}"):
        export_dataset(tiny_dataset(), path, format="pairs", overwrite=True)
    assert path.read_text(encoding="utf-8") == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["x.jsonl"]
