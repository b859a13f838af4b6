"""Every command and every Python example of the README is run, as it stands and in its order, on a small data set.

What the README takes for granted is made here: ``reports/``, ``pairs.csv``, ``train.jsonl``, and, in place of a
download, a folder that has the hub model's name.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragtune.models.builtin import model_folder
from ragtune.recipe import ModelRecipe

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
EXAMPLES = README.split("## Six examples")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", EXAMPLES, re.MULTILINE | re.DOTALL)
HUB_NAMES = ("BAAI/bge-base-en-v1.5",)


@pytest.fixture
def shop(tmp_path: Path, tiny_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what the examples start from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))
    dataset = tiny_dataset("mixed")
    pairs = [(dataset.queries[f"q{i}"].text, dataset.corpus[f"p{i}"].text) for i in range(len(dataset.queries))]
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("question", "passage"), *pairs])
    rows = [{"query": query, "pos": [passage], "neg": [pairs[i - 1][1]]} for i, (query, passage) in enumerate(pairs)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "reports").mkdir()
    for page in (REPOSITORY / "docs").glob("*.md"):
        shutil.copy(page, tmp_path / "reports")
    for name in HUB_NAMES:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(model_folder(ModelRecipe()))
    return tmp_path


def run_line(line: str, ragtune: Any) -> str:
    """Run a shell line; gives what it said on stdout."""
    program, *arguments = shlex.split(line)
    if program == "ragtune":
        done = ragtune(*arguments)
        assert done.code == 0, f"{line}\n{done.err}"
        return str(done.out)
    assert program == "torchrun", line
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    several = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert several.returncode == 0, f"{line}\n{several.stderr}"
    return several.stdout


def test_there_are_six_examples_in_both_languages() -> None:
    chinese = (REPOSITORY / "README.zh-CN.md").read_text(encoding="utf-8")
    assert [f"**{n}." in README for n in range(1, 8)] == [True] * 6 + [False]
    assert [f"**{n}." in chinese for n in range(1, 8)] == [True] * 6 + [False]


@pytest.mark.slow
def test_every_example_of_the_readme_runs_as_it_stands(ragtune: Any, shop: Path, capfd: Any) -> None:
    verdicts = 0
    for language, block in BLOCKS:
        if language == "yaml":
            (shop / "recipe.yaml").write_text(block, encoding="utf-8")
        elif language == "python":
            capfd.readouterr()
            names: dict[str, Any] = {}
            exec(compile(block, "README.md", "exec"), names)
            verdicts += "questions: nDCG@10" in capfd.readouterr().out
            assert "vectors" not in names or names["vectors"].shape == (1, 384)
        else:
            assert language == "bash"
            for line in block.splitlines():
                verdicts += "questions: nDCG@10" in run_line(line, ragtune)
    runs = {path.parent.name for path in (shop / "runs").glob("*/report.html")}
    assert runs == {"documents", "first", "negatives", "short", "recipe", "two", "python"}
    assert verdicts == len(runs) + 1
    assert {path.name for path in (shop / "my-split" / "qrels").iterdir()} == {"train.tsv", "dev.tsv", "test.tsv"}
    assert (shop / "report.html").is_file()
    assert json.loads((shop / "out.json").read_text(encoding="utf-8"))["verdict"]
