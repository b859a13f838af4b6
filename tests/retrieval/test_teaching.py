"""Teacher scores: every cell that is asked for, each pair once, nothing lost when a run is killed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.errors import InputError
from ragtune.recipe_mining import ScoreRecipe
from ragtune.retrieval.teaching import EncoderTeacher, score_dataset


class Lengths:
    """A teacher whose score is the length of the passage; it can be told to stop after a number of blocks."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.blocks: list[list[str]] = []
        self.stop_after = stop_after

    def score_pairs(self, queries: Sequence[Query], passages: Sequence[Passage]) -> Any:
        if self.stop_after is not None and len(self.blocks) >= self.stop_after:
            raise KeyboardInterrupt
        self.blocks.append([passage.content for passage in passages])
        return [float(len(passage.content)) for passage in passages]


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        info=DatasetInfo("d"),
        corpus={f"p{i}": Passage(f"p{i}", "x" * i) for i in range(8)},
        queries={f"q{i}": Query(f"q{i}", f"question {i}") for i in range(4)},
        qrels={"train": {"q0": {"p1": 2, "p2": 0}, "q1": {"p3": 1}}, "test": {"q2": {"p4": 1}}},
        candidates={
            "q0": [Candidate("p5", relevance=0.0, source="given"), Candidate("p6", relevance=0.0, teacher=0.5)],
            "q2": [Candidate("p5", relevance=0.0)],
        },
    )


def teachers(dataset: Dataset) -> dict[str, dict[str, float | None]]:
    return {query: {c.corpus_id: c.teacher for c in listed} for query, listed in dataset.candidates.items()}


def test_positives_and_candidates_get_scores_and_test_gets_none(dataset: Dataset, tmp_path: Path) -> None:
    done = score_dataset(dataset, Lengths(), recipe=ScoreRecipe(), part=tmp_path / "part")
    assert teachers(done.dataset) == {"q0": {"p1": 1, "p5": 5, "p6": 6}, "q1": {"p3": 3}, "q2": {"p5": None}}
    judged = done.dataset.candidates["q0"][0]
    assert (judged.relevance, judged.source) == (2.0, "judged")
    assert done.dataset.candidates["q0"][1].source == "given"
    assert (done.pairs, done.known, done.scored) == (4, 0, 4)
    assert teachers(dataset)["q0"] == {"p5": None, "p6": 0.5}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"positives": False}, {"p5": 5.0, "p6": 6.0}),
        ({"candidates": False}, {"p1": 1.0, "p5": None, "p6": 0.5}),
        ({"existing": "keep"}, {"p1": 1.0, "p5": 5.0, "p6": 0.5}),
    ],
)
def test_which_cells_are_scored(dataset: Dataset, tmp_path: Path, settings: Any, wanted: Any) -> None:
    done = score_dataset(dataset, Lengths(), recipe=ScoreRecipe(**settings), part=tmp_path / "part")
    assert teachers(done.dataset)["q0"] == wanted


def test_long_pairs_come_first_and_like_beside_like(dataset: Dataset, tmp_path: Path) -> None:
    teacher = Lengths()
    score_dataset(dataset, teacher, recipe=ScoreRecipe(block_pairs=2), part=tmp_path / "part")
    assert [[len(text) for text in block] for block in teacher.blocks] == [[6, 5], [3, 1]]


def test_a_killed_run_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    part, recipe = tmp_path / "deep" / "part", ScoreRecipe(block_pairs=1)
    with pytest.raises(KeyboardInterrupt):
        score_dataset(dataset, Lengths(stop_after=2), recipe=recipe, part=part)
    with part.open("ab") as file:
        file.write(b'["half a line')
    second = Lengths()
    done = score_dataset(dataset, second, recipe=recipe, part=part)
    assert (done.known, done.scored, len(second.blocks)) == (2, 2, 2)
    third = Lengths()
    again = score_dataset(dataset, third, recipe=recipe, part=part)
    assert third.blocks == []
    assert again.dataset == done.dataset


def test_a_changed_text_is_scored_anew(dataset: Dataset, tmp_path: Path) -> None:
    score_dataset(dataset, Lengths(), recipe=ScoreRecipe(), part=tmp_path / "part")
    dataset.corpus["p5"] = Passage("p5", "y" * 50)
    done = score_dataset(dataset, Lengths(), recipe=ScoreRecipe(), part=tmp_path / "part")
    assert (done.scored, teachers(done.dataset)["q0"]["p5"]) == (1, 50.0)


def test_a_broken_teacher_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    class Broken:
        def score_pairs(self, queries: Sequence[Query], passages: Sequence[Passage]) -> Any:
            return [float("nan")] * len(queries)

    with pytest.raises(InputError, match="NaN or infinite"):
        score_dataset(dataset, Broken(), recipe=ScoreRecipe(), part=tmp_path / "part")
    dataset.qrels = {"train": {"q3": {"p0": 1}}}
    with pytest.raises(InputError, match="no pair to score"):
        score_dataset(dataset, Lengths(), recipe=ScoreRecipe(), part=tmp_path / "part")


def test_an_encoder_teaches_by_its_dot_product_and_reads_each_text_once() -> None:
    class Encoder:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def encode(
            self, texts: Sequence[str], *, kind: str, label: str = "", prompts: Sequence[str | None] | None = None
        ) -> Any:
            self.texts += texts
            own = [prompt or "" for prompt in prompts or [""] * len(texts)]
            return np.array([[len(t), len(p) + 1] for t, p in zip(texts, own, strict=True)], dtype=np.float32)

    encoder = Encoder()
    teacher = EncoderTeacher(encoder)
    plain, prompted = Query("a", "ab"), Query("b", "ab", metadata={"prompt": "why"})
    passages = [Passage("1", "abc"), Passage("2", "abc")]
    assert teacher.score_pairs([plain, prompted], passages).tolist() == [2 * 3 + 1, 2 * 3 + 4]
    assert teacher.score_pairs([plain], passages[:1]).tolist() == [7]
    assert encoder.texts == ["ab", "ab", "abc"]
