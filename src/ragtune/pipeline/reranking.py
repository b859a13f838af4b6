"""Rerankers in a run: their first stage, dev evaluation on fixed candidates, and the contenders of the proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import final

from ragtune.data.records import Dataset, Passage
from ragtune.errors import ModelError, Problem
from ragtune.evaluation.contenders import Contender
from ragtune.evaluation.judged import judged_split
from ragtune.evaluation.pair_scores import collapse, told_apart
from ragtune.evaluation.results import Role
from ragtune.measures import evaluate_run, mean_values, parse_measures
from ragtune.models import load_model
from ragtune.models.base import Scorer
from ragtune.models.reranker import Reranker
from ragtune.pipeline.loading import from_anywhere, loaded, other_model, with_passage_side
from ragtune.pipeline.searching import cached_vectors
from ragtune.recipe import ModelRecipe, Precision, Recipe
from ragtune.recipe_families import RerankRecipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.dense import DenseRetriever
from ragtune.retrieval.search import Retriever, search
from ragtune.retrieval.two_stage import Remembered, TwoStage
from ragtune.retrieval.vectors import VectorStore
from ragtune.training.precision import compute_dtype

Say = Callable[[str], None]
BM25 = "bm25"
DEFAULT_FIRST_STAGE = "builtin:minilm"
# What another reranker takes over from a recipe's model
SHARED = ("cache_dir", "trust_remote_code", "token")


def loaded_reranker(recipe: ModelRecipe, *, precision: Precision = "fp32") -> Reranker:
    """A reranker that scores in a precision. Raises ``ModelError`` for what cannot be one."""
    model = load_model(recipe.model_copy(update={"family": "reranker"}))
    assert isinstance(model, Reranker)
    model.encode_dtype = compute_dtype(precision, device=model.device)
    return model


def reranker_named(recipe: ModelRecipe, name: str) -> ModelRecipe:
    """The recipe of a reranker by its folder, run or hub name: it says itself how it reads pairs."""
    shared = {key: getattr(recipe, key) for key in SHARED}
    return from_anywhere(ModelRecipe(family="reranker", **shared), name)


def first_stage(dataset: Dataset, recipe: Recipe) -> Retriever:
    """What finds the passages that a reranker of the recipe puts in order."""
    name = first_stage_name(recipe)
    if name == BM25:
        return BM25Retriever(dataset.corpus, language=dataset.info.language)
    model = other_model(ModelRecipe(**{key: getattr(recipe.model, key) for key in SHARED}), name)
    encoder = with_passage_side(loaded(model, precision=recipe.evaluate.precision))
    passage_ND = cached_vectors(dataset, model, encoder)
    return DenseRetriever(VectorStore.build(passage_ND, list(dataset.corpus)), encoder)


def first_stage_name(recipe: Recipe) -> str:
    """The first stage's name: the one that is set, else the built-in model."""
    return recipe.evaluate.rerank.first_stage or DEFAULT_FIRST_STAGE


@final
class DevReranking:
    """Measures a reranker on dev: the same candidates every time, found once.

    Calling it gives the measures, and how the scores of positives and negatives lie. From the second call on it tells
    ``say`` where they have collapsed (see ``evaluation.pair_scores``).
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, *, measures: Sequence[str], say: Say) -> None:
        settings = recipe.evaluate.rerank
        judged = judged_split(dataset, "dev")
        self._queries = judged.queries[: settings.dev_queries]
        self._qrels = {query.id: judged.qrels[query.id] for query in self._queries}
        self._measures = parse_measures(measures)
        self._say = say
        self._calls = 0
        found = search(first_stage(dataset, recipe), self._queries, k=settings.dev_depth).as_run()
        self._candidates: dict[str, list[Passage]] = {}
        for query in self._queries:
            given = _given(dataset, query.id) if settings.given else []
            ids = dict.fromkeys(judged.counted_as[pid] for pid in [*found[query.id], *given])
            self._candidates[query.id] = [dataset.corpus[pid] for pid in ids]

    def __call__(self, model: Reranker) -> dict[str, float]:
        """Measure -> mean over the questions; quantiles of scores; share of positives above negatives."""
        pairs = [(query, passage) for query in self._queries for passage in self._candidates[query.id]]
        queries, passages = [query for query, _ in pairs], [passage for _, passage in pairs]
        score_P = model.score_pairs(queries, passages, label="dev").tolist()
        run: dict[str, dict[str, float]] = {query.id: {} for query in self._queries}
        for (query, passage), score in zip(pairs, score_P, strict=True):
            run[query.id][passage.id] = score
        values = dict(mean_values(evaluate_run(self._measures, self._qrels, run)))
        told = told_apart(run, self._qrels)
        reason = collapse(told) if self._calls else None
        self._calls += 1
        if reason is not None:
            self._say(f"warning: the scores have collapsed: {reason}")
        return {**values, **told, "collapsed": float(reason is not None)}


def _given(dataset: Dataset, query_id: str) -> list[str]:
    return [candidate.corpus_id for candidate in dataset.candidates.get(query_id, ())]


def dev_evaluator(recipe: Recipe, dataset: Dataset, *, say: Say) -> Callable[[Scorer], dict[str, float]] | None:
    """What training calls to measure a reranker; None without a dev split."""
    if not dataset.split("dev"):
        return None
    best = recipe.train.best_metric
    measures = list(dict.fromkeys([*([best] if best != "none" else []), *recipe.evaluate.measures]))
    scorer = DevReranking(dataset, recipe, measures=measures, say=say)

    def evaluate(model: Scorer) -> dict[str, float]:
        assert isinstance(model, Reranker)
        before = model.encode_dtype
        model.encode_dtype = compute_dtype(recipe.train.precision, device=model.device)
        values = scorer(model)
        model.encode_dtype = before
        return values

    return evaluate


def run_contenders(recipe: Recipe, dataset: Dataset, *, saved: Path) -> list[Contender]:
    """The first stage alone, with the untuned reranker behind it, and with the tuned one.

    A fresh head orders at random: without an untuned reranker the first stage alone is what the tuned one is compared
    with.
    """
    first, name = Remembered(first_stage(dataset, recipe)), first_stage_name(recipe)
    base = recipe.evaluate.baseline or recipe.model.name
    untuned = loaded_reranker(
        recipe.model if base == recipe.model.name else reranker_named(recipe.model, base),
        precision=recipe.evaluate.precision,
    )
    tuned = loaded_reranker(reranker_named(recipe.model, str(saved)), precision=recipe.evaluate.precision)
    alone: Role = "before" if untuned.fresh_head else "reference"
    contenders = [Contender(name=name, model=first, role=alone)]
    stages: list[tuple[str, Reranker, Role]] = [(f"{name} + tuned", tuned, "after")]
    if not untuned.fresh_head:
        stages.insert(0, (f"{name} + {base}", untuned, "before"))
    return contenders + [
        Contender(name=title, model=_behind(first, model, dataset, recipe.evaluate.rerank), role=role)
        for title, model, role in stages
    ]


def _behind(first: Retriever, model: Reranker, dataset: Dataset, settings: RerankRecipe) -> TwoStage:
    return TwoStage(first, model, passages=dataset.corpus, depth=settings.depth)


def reranked(recipe: Recipe, dataset: Dataset, *, first: Contender, roles: Sequence[Role]) -> list[Contender]:
    """A first stage with each of the plan's rerankers behind it, one role each."""
    settings = recipe.evaluate.rerank
    if not settings.models:
        return []
    retriever = first.model if isinstance(first.model, Retriever) else DenseRetriever.build(dataset.corpus, first.model)
    remembered = Remembered(retriever)
    return [
        Contender(
            name=f"{first.name} + {name}",
            model=_behind(
                remembered,
                loaded_reranker(reranker_named(recipe.model, name), precision=recipe.evaluate.precision),
                dataset,
                settings,
            ),
            role=role,
        )
        for name, role in zip(settings.models, roles, strict=True)
    ]


def reranker_roles(count: int) -> list[Role]:
    """The first and the last of several rerankers are compared; a single one with the first stage alone.

    >>> reranker_roles(1), reranker_roles(3)
    (['after'], ['before', 'reference', 'after'])
    """
    if count < 2:
        return ["after"] * count
    return ["before", *["reference"] * (count - 2), "after"]  # type: ignore[list-item]


def check_names(names: Sequence[str]) -> None:
    """Raise ``ModelError`` where a reranker is named twice."""
    twice = [first for first, second in pairwise(sorted(names)) if first == second]
    if twice:
        raise ModelError(Problem("a reranker is named twice", "--reranker", twice[0], "name each once"))
