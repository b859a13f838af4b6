"""mine, score and seal as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ragtune.data.folder import read_dataset


def test_mine_then_score_then_seal(ragtune: Any, workplace: Path) -> None:
    mined = ragtune("mine", "ds", "--model", "base", "--out", "mined", "--negatives", 2, "--margin", 0.01)
    assert mined.code == 0, mined.err
    assert mined.out.splitlines()[0].startswith("20 queries, ")
    assert mined.out.splitlines()[-1] == "wrote mined; examples to look at: mined/mining.md"
    assert "encoding 30 passages with base" in mined.err
    scored = ragtune("score", "mined", "--teacher", "base", "--json")
    assert scored.code == 0, scored.err
    said = json.loads(scored.out)
    assert said["pairs"] == said["scored"] == sum(map(len, read_dataset(workplace / "mined").candidates.values()))
    sealed = ragtune("seal", "mined")
    assert sealed.out.startswith("sealed 5 test queries of mined: ")
    assert ragtune("seal", "mined").code == 2
    assert ragtune("seal", "mined", "--again").code == 0


def test_every_flag_reaches_the_recipe_and_set_wins(ragtune: Any, workplace: Path) -> None:
    (workplace / "mine.yaml").write_text("models: base\nnegatives: 4\nbm25: true\ndepth: 20\n", encoding="utf-8")
    flags = ["--no-bm25", "--negatives", 3, "--min-rank", 2, "--choice", "random", "--seed", 7, "--margin", 0.5]
    done = ragtune("mine", "ds", "--recipe", "mine.yaml", *flags, "--set", "negatives=1", "--json")
    assert done.code == 0, done.err
    recipe = json.loads(done.out)["recipe"]
    wanted = {"models": ["base"], "bm25": False, "min_rank": 2, "choice": "random", "seed": 7, "relative_margin": 0.5}
    assert {key: recipe[key] for key in wanted} == wanted
    assert (recipe["negatives"], recipe["depth"]) == (1, 20)
    assert "examples" not in json.loads(done.out)


def test_random_needs_no_model(ragtune: Any, workplace: Path) -> None:
    done = ragtune("mine", "ds", "--model", "no-such-model", "--random", "--seed", 520, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["by_source"] == {"mined:random": 140}


def test_wrong_settings_are_told_without_a_traceback(ragtune: Any, workplace: Path) -> None:
    wrong = ragtune("mine", "ds", "--set", "negativ=3", "--set", "splits=[test]")
    assert wrong.code == 2
    assert "did you mean 'negatives'" in wrong.err
    assert "splits" in wrong.err
    reranked = ragtune("mine", "ds", "--reranker", "some-reranker", "--out", "x")
    assert reranked.code == 2
    assert "reranker" in reranked.err
    assert not (workplace / "x").exists()
    assert ragtune("score", "ds", "--teacher", "base", "--family", "nonsense").code == 2
    assert "Traceback" not in wrong.err + reranked.err


def test_a_sealed_question_in_training_stops_every_command(ragtune: Any, workplace: Path) -> None:
    assert ragtune("seal", "ds").code == 0
    test = (workplace / "ds" / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1]
    with (workplace / "ds" / "qrels" / "train.tsv").open("a", encoding="utf-8") as file:
        file.write(test + "\n")
    for command in (
        ["mine", "ds", "--model", "base"],
        ["score", "ds", "--teacher", "base"],
        ["train", "--data", "ds", "--out", "run", "--model", "base"],
    ):
        done = ragtune(*command)
        assert done.code == 2
        assert "sealed test split" in done.err
    checked = ragtune("check", "ds")
    assert "training queries that ask what the sealed test asks: 1" in checked.out


def test_split_seals(ragtune: Any, workplace: Path) -> None:
    for split in ("dev", "test"):
        (workplace / "ds" / "qrels" / f"{split}.tsv").unlink()
    assert ragtune("split", "ds", "--out", "parted", "--dev", 0.1, "--test", 0.2).code == 0
    assert read_dataset(workplace / "parted").seal is not None
    assert ragtune("seal", "parted").code == 2
