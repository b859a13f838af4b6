"""Every format is recognised, read to the same dataset, and refused where it is wrong, with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragtune.data.folder import read_dataset, write_dataset
from ragtune.data.formats import FORMATS, Imported, ImportOptions, detect_format, import_dataset
from ragtune.data.records import Candidate, Dataset, Passage
from ragtune.errors import DataError, Problem

Rows = Sequence[Any]


def lines(path: Path, rows: Rows) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def plain(dataset: Dataset) -> dict[str, Any]:
    """A dataset by its texts: query -> positives, negatives with relevance and teacher."""
    text = {key: passage.content for key, passage in dataset.corpus.items()}
    return {
        query.text: {
            "positives": {
                (split, text[corpus_id]): grade
                for split, qrels in dataset.qrels.items()
                for corpus_id, grade in qrels.get(key, {}).items()
            },
            "candidates": {
                text[one.corpus_id]: (one.relevance, one.teacher) for one in dataset.candidates.get(key, [])
            },
        }
        for key, query in dataset.queries.items()
    }


def refused(source: Any, options: ImportOptions | None = None) -> tuple[Problem, ...]:
    with pytest.raises(DataError) as caught:
        import_dataset(source, options)
    assert all(problem.do for problem in caught.value.problems)
    return caught.value.problems


def whats(path: Path, rows: Rows, **options: Any) -> list[tuple[str, str]]:
    """(what, where after the folder) of every problem in a file of these rows."""
    problems = refused(lines(path, rows), ImportOptions(**options))
    return [(problem.what, problem.where.removeprefix(f"{path.parent}/")) for problem in problems]


# -- each shape -------------------------------------------------------------------------------------------------------

TRAIN = {("train", "p"): 1}
SHAPES: list[tuple[str, Rows, dict[str, Any]]] = [
    (
        "flagembedding",
        [
            {"query": "q", "pos": ["p", "p2"], "neg": ["n"], "pos_scores": [0.9, 0.8], "neg_scores": [-1]},
            {"query": "r", "pos": ["p"]},
        ],
        {
            "q": {
                "positives": {("train", "p"): 1, ("train", "p2"): 1},
                "candidates": {"p": (1.0, 0.9), "p2": (1.0, 0.8), "n": (0.0, -1.0)},
            },
            "r": {"positives": TRAIN, "candidates": {}},
        },
    ),
    (
        "triplets",
        [["q", "p", "n"], ["q", "p", ["n", "m"]]],
        {"q": {"positives": TRAIN, "candidates": {"n": (0.0, None), "m": (0.0, None)}}},
    ),
    (
        "triplets",
        [{"Anchor": "q", "hard-negative": ["n", "m"], "positive": "p"}],
        {"q": {"positives": TRAIN, "candidates": {"n": (0.0, None), "m": (0.0, None)}}},
    ),
    (
        "triplets",
        [{"query": "q", "positive": "p", "negative_2": "m", "negative_1": "n", "negative_10": "o"}],
        {"q": {"positives": TRAIN, "candidates": {"n": (0.0, None), "m": (0.0, None), "o": (0.0, None)}}},
    ),
    (
        "labelled-pairs",
        [["q", "p", 1], ["q", "n", 0], ["q", ["m", "o"], 0]],
        {"q": {"positives": TRAIN, "candidates": {"n": (0.0, None), "m": (0.0, None), "o": (0.0, None)}}},
    ),
    (
        "labelled-pairs",
        [{"question": "q", "document": "p", "label": True}, {"question": "q", "document": "n", "label": "0"}],
        {"q": {"positives": TRAIN, "candidates": {"n": (0.0, None)}}},
    ),
    ("pairs", [["q", "p"], [["q", "r"], "p"]], {key: {"positives": TRAIN, "candidates": {}} for key in "qr"}),
    ("pairs", [{"问题": "q", "段落": "p"}], {"q": {"positives": TRAIN, "candidates": {}}}),
    ("pairs", [{"anchor": "q", "positive": "p"}], {"q": {"positives": TRAIN, "candidates": {}}}),
    (
        "scored-pairs",
        [{"sentence1": "q", "sentence2": "p", "score": 3.5}, {"sentence1": "q", "sentence2": "n", "score": 0}],
        {
            "q": {
                "positives": {("train", "p"): 4, ("train", "n"): 0},
                "candidates": {"p": (3.5, None), "n": (0.0, None)},
            }
        },
    ),
    ("rag", [{"query": "q", "response": "a", "context": "p"}], {"q": {"positives": TRAIN, "candidates": {}}}),
    ("rag", [{"query": "q", "response": "a"}], {"q": {"positives": {}, "candidates": {}}}),
    (
        "classes",
        [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}, {"text": "c", "label": "y"}],
        {
            "a": {"positives": {("train", "b"): 1}, "candidates": {}},
            "b": {"positives": {("train", "a"): 1}, "candidates": {}},
            "c": {"positives": {}, "candidates": {}},
        },
    ),
]


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "python"])
@pytest.mark.parametrize(("name", "rows", "expected"), SHAPES)
def test_each_shape_in_each_container(
    tmp_path: Path, name: str, rows: Rows, expected: dict[str, Any], ending: str
) -> None:
    source: Any = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        lines(source, rows)
    elif ending == "json":
        source.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif ending == "python":
        source = [tuple(row) if isinstance(row, list) else row for row in rows]
    elif any(isinstance(row, list) for row in rows) or len({str(type(r.get("label"))) for r in rows}) > 1:
        return  # Parquet has named columns of one type
    else:
        parquet(source, rows)
    found = import_dataset(source)
    assert found.detection.format == name
    assert plain(found.dataset) == expected
    assert detect_format(source) == found.detection
    assert found.dataset.info.name == "rows"


def parquet(path: Path, rows: Rows) -> None:
    import pyarrow
    import pyarrow.parquet

    names = dict.fromkeys(name for row in rows for name in row)
    pyarrow.parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in names}), path)


@pytest.mark.parametrize("name", FORMATS)
def test_the_examples_of_the_table_are_read(name: str) -> None:
    for row in FORMATS[name].example:
        assert import_dataset([row]).detection.format == name


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / ("pairs.tsv" if delimiter == "\t" else "pairs.csv")
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows(
            [["", "Question", "Context"], ["0", 'a, b; "c"\td', "第一行\n第二行"], ["1", "r", "p" * 200_000]]
        )
    found = import_dataset(path)
    assert list(plain(found.dataset)) == ['a, b; "c"\td', "r"]
    assert [passage.text for passage in found.dataset.corpus.values()] == ["第一行\n第二行", "p" * 200_000]
    assert found.detection.container == path.suffix[1:]


def test_an_unusual_ending_is_read_as_told(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("query,passage\nq,p\n", encoding="utf-8")
    assert refused(path)[0].what == "unknown kind of file"
    assert import_dataset(path, ImportOptions(format="csv")).detection.format == "pairs"


def test_a_json_file_of_lines(tmp_path: Path) -> None:
    assert len(import_dataset(lines(tmp_path / "x.json", [["q", "p"], ["r", "p"]])).dataset.queries) == 2
    assert len(import_dataset(lines(tmp_path / "y.json", [[["q", "p"], ["r", "p"]]])).dataset.queries) == 2


# -- nothing lost, nothing repeated -----------------------------------------------------------------------------------


def test_triplets_that_share_a_query_keep_every_negative_once() -> None:
    rows = [["q", f"p{n % 3}", f"n{n % 5}"] for n in range(30)]
    dataset = import_dataset(rows).dataset
    ((only,),) = [list(plain(dataset).values())]
    assert only["positives"] == {("train", f"p{n}"): 1 for n in range(3)}
    assert list(only["candidates"]) == [f"n{n}" for n in range(5)]
    assert len(dataset.corpus) == 8


def test_ids_depend_on_the_text_alone() -> None:
    one = import_dataset([["q", "p"], ["r", "s"]]).dataset
    other = import_dataset([["r", "s", "n"], ["q", "p", "s"]]).dataset
    assert set(one.corpus) < set(other.corpus)
    assert set(one.queries) == set(other.queries)


def test_given_ids_are_kept_and_prompts_tell_queries_apart() -> None:
    rows = [
        {"id": 7, "query": "q", "pos": ["p"], "prompt": "A: ", "type": "normal"},
        {"id": "8", "query": "q", "pos": ["p2"], "prompt": "B: "},
    ]
    queries = import_dataset(rows).dataset.queries
    assert {key: dict(query.metadata) for key, query in queries.items()} == {
        "7": {"prompt": "A: ", "type": "normal"},
        "8": {"prompt": "B: "},
    }


def test_metadata_of_repeated_queries_is_not_lost() -> None:
    rows = [{"query": "q", "response": one, "context": one + "!", "page": n} for n, one in enumerate("ab")]
    found = import_dataset(rows)
    (query,) = found.dataset.queries.values()
    assert query.metadata == {"answer": "a", "page": 0, "more_rows": [{"answer": "b", "page": 1}]}
    assert found.notices == (
        "query that further rows repeat with other metadata, kept under metadata.more_rows (1): rows, row 2",
    )


def test_a_contradiction_is_told_and_the_positive_wins() -> None:
    for rows in ([["q", "p", 1], ["q", "p", 0]], [["q", "p", 0], ["q", "p", 1]]):
        found = import_dataset(rows)
        assert plain(found.dataset) == {"q": {"positives": TRAIN, "candidates": {}}}
        assert "positive and negative" in found.notices[0]
        assert "row 2" in found.notices[0]


def test_a_string_where_a_list_belongs_is_a_list_of_one_with_a_notice(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"query": "q", "pos": "Paris", "neg": ["n"]}])
    found = import_dataset(path)
    assert plain(found.dataset)["q"]["positives"] == {("train", "Paris"): 1}
    assert found.notices == (f"'pos' is one text, read as a list of one (1): {path}:1",)


def test_keeping_every_row_as_the_single_id_protocol_needs() -> None:
    rows = [
        {"question": "q", "answer": "a", "context": "same", "ticker": "NVDA", "filing": "2023_10K"},
        {"question": "r", "answer": "b", "context": "same", "ticker": "AAPL", "filing": "2023_10K"},
    ]
    merged = import_dataset(rows).dataset
    kept = import_dataset(rows, ImportOptions(duplicates="keep")).dataset
    assert len(merged.corpus) == 1
    assert kept.corpus == {key: Passage(key, "same") for key in "01"}
    assert kept.qrels == {"train": {"0": {"0": 1}, "1": {"1": 1}}}
    assert kept.queries["1"].metadata == {"answer": "b", "ticker": "AAPL", "filing": "2023_10K"}


def test_class_positives_are_few_seeded_and_of_the_class() -> None:
    rows = [{"text": f"t{n}", "label": n % 2} for n in range(30)]
    found, again, other = (import_dataset(rows, ImportOptions(seed=seed)).dataset for seed in (0, 0, 1))
    assert found == again
    assert found.qrels != other.qrels
    for query_id, grades in found.qrels["train"].items():
        labels = {found.corpus[key].metadata["label"] for key in grades}
        assert labels == {found.queries[query_id].metadata["label"]}
        assert len(grades) == 4 and query_id not in grades


def test_splits_come_from_names(tmp_path: Path) -> None:
    for name in ("train", "validation-00000", "test"):
        lines(tmp_path / f"{name}.jsonl", [{"_id": 1, "query": name, "positive": "p"}])
    found = import_dataset(tmp_path)
    assert {split: len(qrels) for split, qrels in found.dataset.qrels.items()} == {"train": 1, "dev": 1, "test": 1}
    assert list(found.dataset.queries) == ["1", "validation-00000-1", "test-1"]
    assert found.dataset.info.sources[0]["file"] == "train.jsonl"
    kept = import_dataset(tmp_path, ImportOptions(duplicates="keep")).dataset
    assert list(kept.queries) == ["1", "validation-00000-1", "test-1"]
    everything = import_dataset(tmp_path, ImportOptions(split="test"))
    assert list(everything.dataset.qrels) == ["test"]


def test_an_import_survives_the_disk(tmp_path: Path) -> None:
    found = import_dataset([row for _, rows, _ in SHAPES[:1] for row in rows], ImportOptions(name="x", licence="MIT"))
    assert read_dataset(write_dataset(found.dataset, tmp_path / "set")) == found.dataset


# -- detection can be seen and forced ---------------------------------------------------------------------------------


def test_evidence() -> None:
    rows = [{"question": "q", "answer": "a", "context": "p", "ticker": "X"}]
    assert detect_format(rows).evidence == (
        "1 rows of python; 1 to train",
        "columns: query = question, answer = answer, passage = context",
        "kept in the queries' metadata: ticker",
    )


def test_columns_can_be_named() -> None:
    rows = [{"frage": "q", "text": "x", "fundstelle": "p"}]
    found = import_dataset(rows, ImportOptions(columns={"query": "frage", "passage": "fundstelle"}))
    assert found.detection.format == "pairs"
    assert plain(found.dataset) == {"q": {"positives": TRAIN, "candidates": {}}}
    problems = refused(rows, ImportOptions(columns={"query": "farge", "pasage": "text"}))
    assert [(one.what, one.found.split(";")[0]) for one in problems] == [
        ("unknown role of a column", "pasage"),
        ("the column for 'query' does not exist", "'farge'"),
    ]
    assert "did you mean 'frage'?" in problems[1].do


def test_labels_can_be_named() -> None:
    rows = [["q", "p", "ja"], ["q", "n", "nein"]]
    found = import_dataset(rows, ImportOptions(positive_label="ja", negative_label="nein"))
    assert plain(found.dataset)["q"]["candidates"] == {"n": (0.0, None)}


def test_short_thirds_may_be_labels_or_texts() -> None:
    rows = [["q", f"p{n}", "yes" if n % 2 else "no"] for n in range(8)]
    assert refused(rows)[0].what == "the third element may be a label or a text"
    assert import_dataset(rows, ImportOptions(format="triplets")).detection.format == "triplets"


def test_a_format_can_be_forced() -> None:
    rows = [["a", "b", 4.5], ["a", "c", 1]]
    found = import_dataset(rows, ImportOptions(format="scored-pairs"))
    assert plain(found.dataset)["a"]["positives"] == {("train", "b"): 5, ("train", "c"): 1}
    assert found.detection.evidence[-1] == "the format scored-pairs was given, not detected"
    assert refused(rows, ImportOptions(format="pairs"))[0].what == "the columns are not those of pairs"
    assert "did you mean 'pairs'?" in refused(rows, ImportOptions(format="pair"))[0].do


# -- what is wrong is told with file and line -------------------------------------------------------------------------

GOOD = {"query": "q", "pos": ["p"], "neg": ["n"]}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{", "the line is not JSON"),
        ('{"query": "q", "pos": ["p"], "neg_scores": [NaN]}', "the number is not finite"),
        ('{"query": "\\udc00", "pos": ["p"]}', "half a Unicode surrogate pair"),
        ("3", "the row is neither an object nor a list"),
        ({"query": "q", "neg": ["n"]}, "the row lacks a column"),
        ({"query": None, "pos": ["p"]}, "the field 'query' is missing"),
        ({"query": "q", "pos": None}, "the field 'pos' is missing"),
        ({"query": "q", "pos": {"a": 1}}, "the field 'pos' is not a list of texts"),
        ({"query": "q", "pos": ["p", 3]}, "the list 'pos' holds something that is not a text"),
        ({"query": "q", "pos": [["p"]]}, "the list 'pos' holds something that is not a text"),
        ({"query": " \n", "pos": ["p"]}, "the field 'query' holds an empty text"),
        ({"query": "q", "pos": ["p", ""]}, "the field 'pos' holds an empty text"),
        ({"query": "q", "pos": [], "neg": []}, "the row has neither positives nor negatives"),
        ({"query": "q", "pos": ["p"], "pos_scores": [1, 2]}, "'pos_scores' and 'pos' do not have the same length"),
        ({"query": "q", "pos": ["p"], "pos_scores": ["high"]}, "the field 'pos_scores' is not a finite number"),
        ({"id": "1", "query": "other", "pos": ["p"]}, "the same id for two texts"),
        ({"id": [1], "query": "q", "pos": ["p"]}, "the field 'id' is not an id"),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path: Path, row: Any, what: str) -> None:
    assert whats(tmp_path / "x.jsonl", [{"id": 1, **GOOD}, row, GOOD]) == [(what, "x.jsonl:2")]


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    rows = [["q", "p", 1], ["q", "", 1], "{", ["q", "n", 2], ["r", 5, 0], ["s", "n", None]]
    assert whats(tmp_path / "x.jsonl", rows, format="labelled-pairs") == [
        ("the field '1' holds an empty text", "x.jsonl:2"),
        ("the line is not JSON", "x.jsonl:3"),
        ("the label is not 1 or 0", "x.jsonl:4"),
        ("the field '1' is not a list of texts", "x.jsonl:5"),
        ("the label is not 1 or 0", "x.jsonl:6"),
    ]


def test_a_wrong_label_in_full(tmp_path: Path) -> None:
    path = lines(tmp_path / "pairs.jsonl", [["q", "p", 1], ["q", "n", 2]])
    (problem,) = refused(path)
    assert str(problem) == (
        "the label is not 1 or 0\n"
        f"  where: {path}:2\n"
        "  found: 2\n"
        "  do:    write 1 or 0, or name the labels (positive_label, negative_label); "
        "for similarity scores use format scored-pairs"
    )


@pytest.mark.parametrize("score", ["NaN", "Infinity", '"x"', "null", "true"])
def test_a_score_that_is_no_number(tmp_path: Path, score: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        '[{"sentence1": "a",\n "sentence2": "b", "score": 1},\n'
        f'{{"sentence1": "a", "sentence2": "c", "score": {score}}}]',
        encoding="utf-8",
    )
    (problem,) = refused(path)
    assert (problem.what, problem.where) == ("the field 'score' is not a finite number", f"{path}:3")


def test_mixed_shapes_name_the_lines_of_both(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [["q", "p", "n"], ["q", "p", "m"], ["q", "p"], GOOD])
    (problem,) = refused(path)
    assert problem.what == "two shapes of rows in one source"
    assert problem.where == f"{path}:1 and {path}:3"
    assert problem.found == f"triplets (0, 1, 2) at {path}:1 and 1 more; pairs (0, 1) at {path}:3"
    for rows in (
        [{"query": "q", "positive": "p"}, {"query": "q", "positive": "p", "negative": "n"}],
        [{"query": "q", "pos": ["p"]}, {"question": "q", "pos": ["p"]}],
    ):
        assert refused(rows)[0].what == "two shapes of rows in one source"


def test_unreadable_lines_are_told_beside_a_mixture(tmp_path: Path) -> None:
    assert [what for what, _ in whats(tmp_path / "x.jsonl", [["q", "p"], "{", GOOD])] == [
        "the line is not JSON",
        "two shapes of rows in one source",
    ]
    assert whats(tmp_path / "x.jsonl", ["{"]) == [("the line is not JSON", "x.jsonl:1")]


def test_columns_that_fit_nothing_or_too_much() -> None:
    (problem,) = refused([{"frage": "q", "absatz": "p"}])
    assert (problem.what, problem.found) == ("the columns fit no known format", "frage, absatz")
    assert all(name in problem.do for name in FORMATS)
    (problem,) = refused([{"query": "q", "passage": "p", "label": 1, "score": 0.5}])
    assert problem.what == "the columns fit more than one format"
    (problem,) = refused([{"query": "q", "passage": "p", "context": "c"}])
    assert problem.what == "the columns fit no known format"


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("query,passage\nq,p\nr\n", "1 cells instead of 2", 3),
        ("query,passage\nq,p,x\n", "3 cells instead of 2", 2),
        ('query,passage\n"q\nq",p\n"r,p\n', "the table is broken", 4),
        ("query,query\nq,p\n", "a column name twice", 1),
        ("query,passage\nq,\n", "the field 'passage' holds an empty text", 2),
    ],
)
def test_a_broken_table(tmp_path: Path, text: str, what: str, line: int) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    assert [(one.what, one.where) for one in refused(path)] == [(what, f"{path}:{line}")]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json"])
def test_a_file_in_another_encoding(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes('["q", "p"]\n["问题", "p"]\n'.encode("gb18030"))
    problem = refused(path)[0]
    assert (problem.what, problem.where) == ("the line is not UTF-8", f"{path}:2")
    assert "iconv -f GB18030" in problem.do


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.json", '[{"query": "q", "passage": "p"}\n {"query"', "the list of rows is broken after this row"),
        ("x.json", '[\n{"query": ]', "the file is not JSON"),
        ("x.json", '{"query": "q"}', "the file is not a list of rows"),
        ("x.jsonl", "\n\n", "nothing to import"),
        ("x.parquet", "no parquet", "the file is not Parquet"),
    ],
)
def test_a_broken_file(tmp_path: Path, name: str, content: str, what: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert refused(tmp_path / name)[0].what == what


def test_empty_texts_can_be_left_out_or_in(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl", [GOOD, {"query": "", "pos": ["p"]}, {"query": "r", "pos": ["p", " "], "neg": [""]}]
    )
    skipped = import_dataset(path, ImportOptions(empty="skip"))
    assert list(plain(skipped.dataset)) == ["q"]
    assert skipped.notices == (
        f"left out: an empty text in 'query' (1): {path}:2",
        f"left out: an empty text in 'pos' (1): {path}:3",
        f"left out: an empty text in 'neg' (1): {path}:3",
    )
    kept = import_dataset(path, ImportOptions(empty="keep"))
    assert list(plain(kept.dataset)) == ["q", "", "r"]
    assert len(kept.notices) == 3


def test_wrong_options_and_sources(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'merge'"):
        ImportOptions(duplicates="merged")
    assert refused(tmp_path / "gone.jsonl")[0].what == "no such source"
    assert refused(tmp_path)[0].what == "nothing to import"
    lines(tmp_path / "corpus.jsonl", [{"_id": "a", "text": "x"}])
    assert import_dataset(tmp_path).detection.format == "beir"
    assert refused(tmp_path, ImportOptions(split="test"))[0].what == "a dataset folder has its own columns and splits"


# -- Hugging Face -----------------------------------------------------------------------------------------------------


def saved(path: Path, **splits: Any) -> Path:
    from datasets import Dataset as Table
    from datasets import DatasetDict, disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    tables = {name: rows if isinstance(rows, Table) else Table.from_list(rows) for name, rows in splits.items()}
    (DatasetDict(tables) if len(tables) > 1 else next(iter(tables.values()))).save_to_disk(str(path))
    enable_progress_bars()
    return path


def test_a_saved_hugging_face_dataset(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    rows = [{"question": "q", "context": "p"}]
    found = import_dataset(saved(tmp_path / "both", train=rows, validation=[{"question": "r", "context": "p"}]))
    assert found.detection.container == "hf"
    assert {split: len(qrels) for split, qrels in found.dataset.qrels.items()} == {"train": 1, "dev": 1}
    assert plain(import_dataset(saved(tmp_path / "one", train=rows)).dataset) == {
        "q": {"positives": TRAIN, "candidates": {}}
    }
    (problem,) = refused(saved(tmp_path / "bad", train=[{"question": "q", "context": ""}]))
    assert problem.where == f"{tmp_path}/bad[train], row 1"


def test_class_names_of_a_hugging_face_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    table = datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": "b", "label": 1}], features=features)
    found: Imported = import_dataset(saved(tmp_path / "set", train=table))
    assert {query.metadata["label"] for query in found.dataset.queries.values()} == {"pos"}


def test_a_hub_name_that_cannot_be_loaded_is_told() -> None:
    pytest.importorskip("datasets")
    (problem,) = refused("nobody/no-such-dataset-here")
    assert (problem.what, problem.where) == (
        "the dataset cannot be loaded from the Hugging Face hub",
        "nobody/no-such-dataset-here",
    )


# -- real files -------------------------------------------------------------------------------------------------------

REAL = {
    "stsb-zh": "scored-pairs",
    "banking77": "classes",
    "mrpc": "labelled-pairs",
    "wikiqa-rerank": "triplets",
    "financial-qa-10K/train_flagembedding.jsonl": "flagembedding",
    "squad2-dev-half/qa.jsonl": "pairs",
    "scifact": "beir",
}


@pytest.mark.parametrize(("name", "expected"), REAL.items())
def test_real_files(shared_data: Path, name: str, expected: str) -> None:
    found = import_dataset(shared_data / name, ImportOptions(empty="skip") if "financial" in name else None)
    assert found.detection.format == expected
    assert found.dataset.info.language == ("zh" if "zh" in name else "en")
    if name == "financial-qa-10K/train_flagembedding.jsonl":
        candidates = [one for listed in found.dataset.candidates.values() for one in listed]
        assert {one.relevance for one in candidates} == {0.0}
        assert isinstance(candidates[0], Candidate)
