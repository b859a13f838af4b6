"""import, check, split, export from end to end: every documented shape, JSON for programs, notes on stderr."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
SHAPES = [
    (name, line)
    for name, block in re.findall(r"^### (\S+)\n.*?^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def rows_like(line: str, count: int = 40) -> list[Any]:
    """Rows of the documented shape whose texts are all different; two rows share a class."""
    example = json.loads(line)

    def text(value: Any, role: str, row: int) -> Any:
        if isinstance(value, list):
            return [text(item, f"{role}{place}", row) for place, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        return f"class {row // 4}" if role == "label" else f"{role} {row} 第{row * 7919 % 1000}号 {value}"

    if isinstance(example, list):
        if example[-1] == 0:
            return [[f"q {row // 2}", f"p {row} 第{row * 7919 % 1000}号", row % 2] for row in range(2 * count)]
        return [[text(value, f"field{place}", row) for place, value in enumerate(example)] for row in range(count)]
    return [{key: text(value, key, row) for key, value in example.items()} for row in range(count)]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_page_has_every_shape() -> None:
    assert {name for name, _ in SHAPES} == {
        "flagembedding", "triplets", "labelled-pairs", "scored-pairs", "rag", "pairs", "classes",
    }  # fmt: skip


@pytest.mark.parametrize(("shape", "line"), SHAPES, ids=lambda value: str(value)[:40])
def test_a_documented_shape_goes_all_the_way(ragtune: Any, workplace: Path, shape: str, line: str) -> None:
    write_rows(workplace / "rows.jsonl", rows_like(line))
    imported = ragtune("import", "rows.jsonl", "--out", "made", "--json")
    assert imported.code == 0, imported.err
    said = json.loads(imported.out)
    assert said["detection"]["format"] == shape
    assert f"taken for {shape}" in imported.err
    checked = ragtune("check", "made", "--json")
    assert checked.code == 0
    assert json.loads(checked.out)["statistics"]["queries"]["count"] == said["counts"]["queries"]
    parted = ragtune("split", "made", "--out", "parted", "--dev", "0.2", "--test", "5", "--level", "query", "--json")
    assert parted.code == 0, parted.err
    sizes = json.loads(parted.out)["queries"]
    assert sizes["test"] == 5
    assert sum(sizes.values()) == said["counts"]["qrels"]["train"]["queries"]
    exported = ragtune("export", "parted", "--format", "flagembedding", "--out", "back.jsonl", "--json")
    assert exported.code == 0, exported.err
    assert json.loads(exported.out)["rows"] == len((workplace / "back.jsonl").read_text().splitlines()) > 0


def test_results_are_on_stdout_and_notes_on_stderr(ragtune: Any, workplace: Path) -> None:
    write_rows(workplace / "rows.jsonl", [{"query": "q", "passage": "p"}, {"query": "q", "passage": "p"}])
    imported = ragtune("import", "rows.jsonl", "--out", "made")
    assert imported.out == "wrote made: 1 passages, 1 queries\n"
    assert imported.err.startswith("taken for pairs: ")
    exported = ragtune("export", "taught", "--format", "beir", "--out", "beir", "--split", "all")
    assert exported.out.startswith("wrote beir: ")
    table = ragtune("check", "ds", "--model", "base")
    assert table.code == 0
    assert "tiny-mixed (en): the folder is sound" in table.out
    assert table.err == ""


def test_columns_can_be_named(ragtune: Any, workplace: Path) -> None:
    (workplace / "rows.csv").write_text("frage,antwort\n什么是茶,一种饮料\n", encoding="utf-8")
    refused = ragtune("import", "rows.csv", "--out", "made")
    assert refused.code == 2
    assert "frage" in refused.err
    done = ragtune("import", "rows.csv", "--out", "made", "--column", "query=frage", "--column", "passage=antwort")
    assert done.code == 0
    wrong = ragtune("import", "rows.csv", "--out", "other", "--column", "frage")
    assert wrong.code == 2
    assert "--column needs key=value" in wrong.err
    assert not (workplace / "other").exists()


def test_a_taken_folder_is_refused_and_overwritten_when_told(ragtune: Any, workplace: Path) -> None:
    rows = write_rows(workplace / "rows.jsonl", [{"query": "q", "passage": "p"}])
    before = (workplace / "ds" / "corpus.jsonl").read_bytes()
    refused = ragtune("import", rows, "--out", "ds")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert (workplace / "ds" / "corpus.jsonl").read_bytes() == before
    (workplace / "ds" / "notes.txt").write_text("mine")
    assert ragtune("import", rows, "--out", "ds", "--overwrite").code == 0
    assert (workplace / "ds" / "notes.txt").read_text() == "mine"
    refused = ragtune("export", "taught", "--format", "pairs", "--out", "rows.jsonl")
    assert refused.code == 2
    assert json.loads(rows.read_text()) == {"query": "q", "passage": "p"}


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.csv", "out.tsv", "out.parquet"])
def test_an_export_comes_back(ragtune: Any, workplace: Path, name: str) -> None:
    assert ragtune("export", "ds", "--format", "pairs", "--out", name).code == 0
    back = ragtune("import", name, "--out", "back", "--json")
    assert back.code == 0, back.err
    assert json.loads(back.out)["counts"]["queries"] == 20
