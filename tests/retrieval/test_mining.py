"""Mining from end to end over small corpora: what is never taken, what is written down, what the audit counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query
from ragtune.errors import InputError
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.mining import BM25Finder, DenseFinder, Finder, Judges, Mined, draw_negatives, mine_negatives
from ragtune.retrieval.mining import mine as mine_module
from ragtune.retrieval.mining.audit import summary_lines


class Letters:
    """An encoder without a model: how often each letter occurs, normalised."""

    def encode(
        self, texts: Sequence[str], *, kind: str, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> Any:
        counts = np.array([[text.count(letter) for letter in "abcdefghij "] for text in texts], dtype=np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-6)


def dense(dataset: Dataset, name: str = "letters") -> DenseFinder:
    texts = [passage.content for passage in dataset.corpus.values()]
    vectors = Letters().encode(texts, kind="passage")
    return DenseFinder(name, encoder=Letters(), passage_ND=vectors, ids=list(dataset.corpus))


def bm25(dataset: Dataset) -> BM25Finder:
    return BM25Finder(BM25Retriever(dataset.corpus))


def mined(dataset: Dataset, *finders: Finder, judges: Judges | None = None, **recipe: Any) -> Mined:
    finders = finders or (dense(dataset), bm25(dataset))
    return mine_negatives(dataset, recipe=MineRecipe(**recipe), finders=finders, judges=judges)


def dataset_of(texts: Sequence[str], questions: Sequence[tuple[str, Sequence[int]]], **splits: Any) -> Dataset:
    """Passages ``p0`` ..., queries ``q0`` ... with the passages that answer them; all in train unless said."""
    qrels = {f"q{i}": {f"p{j}": 1 for j in rows} for i, (_, rows) in enumerate(questions)}
    return Dataset(
        info=DatasetInfo("small"),
        corpus={f"p{i}": Passage(f"p{i}", text) for i, text in enumerate(texts)},
        queries={f"q{i}": Query(f"q{i}", text) for i, (text, _) in enumerate(questions)},
        qrels=splits or {"train": qrels},
    )


WORDS = st.lists(
    st.sampled_from(["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi", "ij", "ja"]), min_size=1, max_size=6
).map(" ".join)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    texts = draw(st.lists(WORDS, min_size=4, max_size=25))
    rows = st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=3, unique=True)
    return dataset_of(texts, draw(st.lists(st.tuples(WORDS, rows), min_size=1, max_size=5)))


@settings(max_examples=60, deadline=None)
@given(
    dataset=datasets(),
    negatives=st.integers(1, 6),
    choice=st.sampled_from(["top", "random", "score"]),
    fill=st.sampled_from(["none", "random"]),
    margin=st.sampled_from([None, 0.0, 0.3]),
)
def test_what_is_never_taken(dataset: Dataset, negatives: int, choice: str, fill: str, margin: float | None) -> None:
    """No positive, no text of one, not the query itself, nothing twice, never more than asked."""
    found = mined(dataset, negatives=negatives, choice=choice, fill=fill, relative_margin=margin)
    asked: dict[str, set[str]] = {}
    for query, grades in dataset.split("train").items():
        asked.setdefault(dataset.queries[query].text, set()).update(grades)
    for query, listed in found.candidates.items():
        text = dataset.queries[query].text
        relevant = {dataset.corpus[key].content for key in asked[text]}
        contents = [dataset.corpus[c.corpus_id].content for c in listed]
        assert not relevant & set(contents)
        assert text not in contents
        assert len(set(contents)) == len(contents) <= negatives
        assert all(c.relevance == 0.0 and c.valid and c.source.startswith("mined:") for c in listed)
    again = mined(dataset, negatives=negatives, choice=choice, fill=fill, relative_margin=margin)
    assert again.candidates == found.candidates


@settings(max_examples=30, deadline=None)
@given(dataset=datasets(), negatives=st.integers(1, 30))
def test_filling_brings_random_passages_and_no_fillers(dataset: Dataset, negatives: int) -> None:
    """Where the corpus has fewer than asked, fewer are given (others repeat passages or fill with -inf scores)."""
    found = mined(dataset, negatives=negatives, fill="random", relative_margin=None)
    for query, listed in found.candidates.items():
        text = dataset.queries[query].text
        same = [q for q in dataset.split("train") if dataset.queries[q].text == text]
        relevant = {dataset.corpus[key].content for q in same for key in dataset.split("train")[q]}
        possible = {passage.content for passage in dataset.corpus.values()} - relevant - {text}
        assert len(listed) == min(negatives, len(possible))


def test_a_string_is_one_positive_from_file_to_negatives(tmp_path: Any) -> None:
    """A peer takes ``"pos": "text"`` apart into letters and then mines the positive itself."""
    from ragtune.data.formats.importing import import_dataset
    from ragtune.data.formats.options import ImportOptions

    rows = ['{"query": "ab cd", "pos": "ab cd ab", "neg": []}', '{"query": "ef gh", "pos": ["ef gh ef"], "neg": []}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    dataset = import_dataset(str(tmp_path / "rows.jsonl"), ImportOptions()).dataset
    found = mined(dataset, relative_margin=None)
    first, second = dataset.queries
    contents = {query: [dataset.corpus[c.corpus_id].text for c in found.candidates[query]] for query in dataset.queries}
    assert contents == {first: ["ef gh ef"], second: ["ab cd ab"]}


def test_the_positives_of_an_equal_question_are_positives() -> None:
    dataset = dataset_of(["ab ab", "ab ab cd", "ab ef"], [("Ab  ab", [0]), ("ab ab", [1])])
    found = mined(dataset, relative_margin=None, near=None)
    assert [[c.corpus_id for c in listed] for listed in found.candidates.values()] == [["p2"], ["p2"]]


def test_rank_score_and_source_are_written_down() -> None:
    dataset = dataset_of(["ab ab", "ab ab cd", "ef ef ef", "ab gh gh"], [("ab ab", [0])])
    listed = mined(dataset, relative_margin=None, near=None).candidates["q0"]
    assert [(c.corpus_id, c.rank, c.source) for c in listed] == [
        ("p1", 2, "mined:letters+bm25"),
        ("p3", 3, "mined:letters+bm25"),
        ("p2", 4, "mined:letters"),
    ]
    scores = [c.score for c in listed]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]


def test_the_first_retrievers_scores_decide() -> None:
    dataset = dataset_of(["ab ab", "ab ab cd", "ef"], [("ab ab", [0])])
    by_letters = mined(dataset, relative_margin=None).candidates["q0"]
    by_words = mined(dataset, bm25(dataset), relative_margin=None).candidates["q0"]
    assert by_letters[0].score == pytest.approx(0.891, abs=0.001)
    assert [c.source for c in by_words] == ["mined:bm25"]
    assert by_words[0].score != by_letters[0].score


def test_a_minimum_rank_is_applied() -> None:
    """RAGatouille has the setting and never reads it."""
    dataset = dataset_of([" ".join(["ab"] * 3 + ["cd"] * i) for i in range(12)], [("ab", [0])])
    for first in (1, 3, 6):
        listed = mined(dataset, relative_margin=None, near=None, min_rank=first, negatives=12).candidates["q0"]
        assert min(c.rank for c in listed if c.rank is not None) >= first
        assert len(listed) == 12 - max(first - 1, 1)


def test_margins_do_not_widen_the_rank_window() -> None:
    """In sentence-transformers a margin silently makes the search ten times as deep; here depth is depth."""
    dataset = dataset_of([" ".join(["ab"] * 3 + ["cd"] * i) for i in range(30)], [("ab", [0])])
    listed = mined(dataset, dense(dataset), near=None, depth=8, negatives=20).candidates["q0"]
    assert all(c.rank is not None and c.rank <= 8 for c in listed)
    window = mined(dataset, dense(dataset), near=None, depth=20, min_rank=5, max_rank=9, absolute_margin=0.0)
    assert {c.rank for c in window.candidates["q0"]} == {5, 6, 7, 8, 9}


def test_given_negatives_stay_and_are_not_mined_again() -> None:
    dataset = dataset_of(["ab ab", "ab cd", "ab ef", "ab gh"], [("ab", [0])])
    dataset.candidates["q0"] = [
        Candidate("p1", relevance=0.0, source="given", teacher=0.5),
        Candidate("p2", relevance=0.0, source="mined:old", valid=False),
    ]
    replaced = mined(dataset, relative_margin=None).candidates["q0"]
    assert replaced[0] == dataset.candidates["q0"][0]
    assert [c.corpus_id for c in replaced] == ["p1", "p2", "p3"]
    assert replaced[1].valid
    kept = mined(dataset, relative_margin=None, existing="keep").candidates["q0"]
    assert kept[:2] == dataset.candidates["q0"]
    assert [c.corpus_id for c in kept] == ["p1", "p2", "p3"]


def test_a_candidate_known_to_be_relevant_is_a_positive() -> None:
    dataset = dataset_of(["ab ab", "ab cd", "ab ef"], [("ab", [0])])
    dataset.candidates["q0"] = [Candidate("p1", relevance=1.0, source="verified:judge")]
    assert [c.corpus_id for c in mined(dataset, relative_margin=None).candidates["q0"]] == ["p1", "p2"]


def test_only_the_named_splits_are_mined_and_test_judgements_change_nothing() -> None:
    texts = ["ab ab", "ab cd", "ab ef", "ab gh"]
    questions = [("ab", [0]), ("ab cd", [1]), ("ab ef", [2])]
    splits = {"train": {"q0": {"p0": 1}}, "dev": {"q1": {"p1": 1}}, "test": {"q2": {"p2": 1}}}
    dataset = dataset_of(texts, questions, **splits)
    assert set(mined(dataset).candidates) == {"q0"}
    both = mined(dataset, splits=["train", "dev"]).candidates
    assert set(both) == {"q0", "q1"}
    unjudged = replace(dataset, qrels={**dataset.qrels, "test": {"q2": {"p3": 1, "p1": 1}}})
    assert mined(unjudged, splits=["train", "dev"]).candidates == both


def test_other_queries_keep_their_candidates() -> None:
    dataset = dataset_of(["ab", "cd"], [("ab", [0]), ("cd", [1])], train={"q0": {"p0": 1}}, test={"q1": {"p1": 1}})
    dataset.candidates["q1"] = [Candidate("p0", relevance=0.0)]
    assert mined(dataset).beside(dataset).candidates["q1"] == dataset.candidates["q1"]


def test_nothing_to_mine_for_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to mine for"):
        mined(dataset_of(["ab"], [("ab", [])]))
    left = mined(dataset_of(["ab", "cd"], [("ab", [0]), ("cd", []), (" ", [1])]))
    assert left.audit.left_out == 2


def judge(scores: dict[str, float]) -> Callable[[Sequence[str], Sequence[str]], list[float]]:
    return lambda queries, passages: [scores[passage] for passage in passages]


def test_a_reranker_scores_candidates_and_positives() -> None:
    dataset = dataset_of(["ab ab", "ab cd", "ab ef", "ab gh"], [("ab", [0])])
    scores = {"ab ab": -1.0, "ab cd": -0.9, "ab ef": -1.04, "ab gh": -3.0}
    found = mined(dataset, judges=Judges(reranker=judge(scores)))
    assert [(c.corpus_id, c.score) for c in found.candidates["q0"]] == [("p3", -3.0)]
    assert found.audit.cut["margin"] == 2


def test_a_judge_must_give_one_finite_score_a_pair() -> None:
    dataset = dataset_of(["ab ab", "ab cd"], [("ab", [0])])
    for wrong in ([0.1], [float("nan"), 0.1]):
        with pytest.raises(InputError, match="scores do not fit"):
            mined(dataset, judges=Judges(reranker=lambda queries, passages, wrong=wrong: wrong))


def test_the_verifier_promotes_and_doubts() -> None:
    dataset = dataset_of(["ab ab", "ab cd", "ab ef", "ab gh"], [("ab", [0])])
    scores = {"ab cd": 0.9, "ab ef": 0.5, "ab gh": 0.1}
    verify = {"model": "judge", "relevant_from": 0.8, "doubtful_from": 0.4}
    found = mined(dataset, judges=Judges(verifier=judge(scores)), relative_margin=None, verify=verify)
    assert {c.corpus_id: (c.relevance, c.valid, c.source) for c in found.candidates["q0"]} == {
        "p1": (1.0, True, "verified:judge"),
        "p2": (0.0, False, "mined:letters+bm25"),
        "p3": (0.0, True, "mined:letters+bm25"),
    }
    assert found.audit.verdicts == {"relevant": 1, "doubtful": 1, "negative": 1}
    said = {one.name: one.share for one in found.audit.suspicions}
    assert said["the verifier"] == pytest.approx(2 / 3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, tiny_dataset: Any) -> None:
    dataset = tiny_dataset()
    whole = mined(dataset, choice="random", choose_from=10, fill="random")
    monkeypatch.setattr(mine_module, "BLOCK_QUERIES", 3)
    cut = mined(dataset, choice="random", choose_from=10, fill="random")
    assert cut.candidates == whole.candidates
    assert cut.audit == whole.audit


def test_the_audit_adds_up(tiny_dataset: Any) -> None:
    dataset = tiny_dataset()
    found = mined(dataset, negatives=5, fill="random", depth=10, min_rank=2)
    audit, made = found.audit, [c for listed in found.candidates.values() for c in listed]
    assert audit.found == sum(audit.cut.values()) + audit.left
    assert audit.chosen + audit.filled == len(made)
    assert audit.filled == sum(c.source == "mined:random" for c in made) == sum(c.rank is None for c in made)
    assert audit.short == sum(len(listed) < 5 for listed in found.candidates.values())
    assert audit.margins is not None
    assert sum(audit.margins.counts) == audit.chosen
    assert min(audit.margins.edges) >= 0
    assert sum(audit.by_source.values()) == len(made)
    assert len(audit.examples) == audit.queries == len(dataset.split("train"))
    assert f"{audit.found:,} candidates found" in summary_lines(audit.as_dict())[0]


def test_suspected_false_negatives_come_first_in_the_examples() -> None:
    texts = ["ab cd", "ab cd ja ja", "ef ef", "gh gh", "it cost forty two dollars gh"]
    dataset = dataset_of(texts, [("ab cd", [0]), ("ef", [2]), ("gh", [3])])
    dataset.queries["q2"] = Query("q2", "gh", metadata={"answer": "Forty two dollars."})
    audit = mined(dataset, relative_margin=None, near=None, negatives=1).audit
    assert audit.examples[0]["query_id"] == "q2"
    assert audit.examples[0]["negatives"][0]["signs"] == ["holds the answer"]
    by_answer = next(one for one in audit.suspicions if one.name == "the answer")
    assert (by_answer.looked_at, by_answer.suspected) == (1, 1)


def test_without_a_second_retriever_nothing_is_claimed() -> None:
    dataset = dataset_of(["ab ab", "ab cd"], [("ab", [0])])
    audit = mined(dataset, dense(dataset), relative_margin=None).audit
    assert {one.name: one.suspected for one in audit.suspicions} == {
        "another retriever": None, "the answer": None, "the verifier": None,
    }  # fmt: skip


def test_random_negatives_follow_numpys_rule() -> None:
    texts = [f"passage {i} of many, number {i * 7919 % 1000}" for i in range(200)]
    dataset = dataset_of(texts, [(f"question {i}", [i]) for i in range(200)])
    recipe = MineRecipe(random=True, negatives=10, seed=520, near=None, neighbours=0)
    found = draw_negatives(dataset, recipe=recipe)
    legacy = np.random.RandomState(520)
    for row in range(200):
        wanted = legacy.randint(0, 200, size=10)
        while row in wanted:
            wanted = legacy.randint(0, 200, size=10)
        got = [int(c.corpus_id[1:]) for c in found.candidates[f"q{row}"]]
        assert len(got) == len(set(got)) == 10
        once = list(dict.fromkeys(wanted.tolist()))
        assert got[: len(once)] == once


def test_random_negatives_are_the_published_ones(shared_data: Any) -> None:
    from ragtune.data.folder import read_dataset

    folder = shared_data / "financial-qa-10K"
    lines = (folder / "negatives_seed520.tsv").read_text(encoding="utf-8").splitlines()[1:]
    published = {query: rows.split() for query, rows in (line.split("\t") for line in lines)}
    dataset = read_dataset(folder)
    found = draw_negatives(dataset, recipe=MineRecipe(random=True, negatives=10, seed=520, near=None))
    same = 0
    for query, listed in found.candidates.items():
        got = [c.corpus_id for c in listed]
        assert len(set(got)) == 10
        same += got == published[query]
    assert len(found.candidates) + found.audit.left_out == len(dataset.split("train"))
    unfit = sum(found.audit.cut.values())
    assert len(found.candidates) - unfit <= same < len(found.candidates)


def test_drawing_needs_enough_passages() -> None:
    with pytest.raises(InputError, match="too few passages"):
        draw_negatives(dataset_of(["ab", "cd"], [("ab", [0])]), recipe=MineRecipe(random=True, negatives=2))
