"""Synthesis from end to end: plan, write, filter, split, judge, complete, assemble."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

from ragtune.data.records import Dataset
from ragtune.errors import DataError, Problem, RecipeError
from ragtune.recipe_synthesis import LlmRecipe, SynthesisRecipe, is_url
from ragtune.retrieval.dense import Encoder
from ragtune.retrieval.search import PairScorer, Retriever
from ragtune.synthesis.asking import Asker, Say
from ragtune.synthesis.assembling import assemble, drop_asked, drop_shared, place_drafts
from ragtune.synthesis.budget import Budget
from ragtune.synthesis.cache import ReplyCache
from ragtune.synthesis.drafts import Draft, Rejected, Sieved
from ragtune.synthesis.estimating import estimated
from ragtune.synthesis.examples import read_examples
from ragtune.synthesis.generating import Order, generate, make_orders
from ragtune.synthesis.judging import complete, judge
from ragtune.synthesis.llm import LanguageModel
from ragtune.synthesis.planning import Plan, make_plan
from ragtune.synthesis.pool import Pool
from ragtune.synthesis.reporting import REPLIES, note_corpus, report_of, write_report
from ragtune.synthesis.rules import apply_rules, check_grounds, check_quotes
from ragtune.synthesis.sieves import drop_duplicates, round_trip, too_easy
from ragtune.synthesis.structure import ORIGIN, StructurePairs, structure_pairs
from ragtune.synthesis.styles import OPENINGS


@final
@dataclass(frozen=True, slots=True)
class Synthesis:
    """A dataset with its new queries, what was cut, and how it came about."""

    dataset: Dataset
    rejected: tuple[Rejected, ...]
    report: Mapping[str, Any]


@final
class Synthesizer:
    """One run of synthesis; ``work`` holds its replies, so that the same run again asks nothing twice.

    ``encoder`` replaces the recipe's embedding model; ``others`` (first stages) and ``scorer`` (a reranker) widen what
    the judge sees when labels are completed. RecipeError, DataError, ModelError before the first request; LlmError
    when the language model or the budget gives out.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: SynthesisRecipe,
        *,
        work: Path,
        say: Say,
        encoder: Encoder | None = None,
        others: Sequence[Retriever] = (),
        scorer: PairScorer | None = None,
    ) -> None:
        _check(recipe)
        self.dataset, self.recipe, self.work, self.say = dataset, recipe, work, say
        self._encoder, self._others, self._scorer = encoder, others, scorer
        self._examples = read_examples(recipe.examples) if recipe.examples is not None else []
        self._budget = Budget(recipe.budget)
        self._cut: list[Rejected] = []
        self._completion: dict[str, int] = {}
        self._pool: Pool | None = None

    @cached_property
    def _cache(self) -> ReplyCache:
        return ReplyCache(self.work / REPLIES)

    def estimate(self) -> dict[str, Any]:
        """What the run would ask for, at most; requests that are answered already are left out. Writes nothing."""
        plan = self._plan()
        # a neighbour of like length stands in, so that no model must be loaded
        orders = self._orders(plan, neighbours=dict(zip(plan.jobs, reversed(list(plan.jobs)), strict=True)))
        requests = [order.request for order in orders]
        with ExitStack() as stack:
            left = self._asker(self.recipe.llm, stack).unanswered(requests) if orders else []
        return estimated(self.recipe, plan, orders, left=left, budget=self._budget)

    def run(self) -> Synthesis:
        """Write, filter, split and assemble; RagtuneError leaves the replies for the next run."""
        begun = time.monotonic()
        note_corpus(self.work, self.dataset, self._cache, say=self.say)
        plan = self._plan()
        with ExitStack() as stack:
            written = self._written(plan, stack)
            structure = self._structure(plan)
            dataset = replace(self.dataset, corpus={**self.dataset.corpus, **structure.changed})
            made = len(written) + len(structure.drafts) + len(self._cut)
            drafts = self._sifted([*written, *structure.drafts], dataset)
            placed = place_drafts(drafts, dataset, self.recipe.split, seed=self.recipe.seed)
            for notice in placed.notices:
                self.say(f"note: {notice}")
            drafts = self._keep(drop_asked(drafts, placed.split_of, dataset))
            drafts = self._sifted_for_training(drafts, dataset, placed.split_of)
            if self.recipe.judging is not None:
                drafts = self._judged(drafts, dataset, placed.split_of, stack)
        report = report_of(
            self.recipe, drafts, self._cut, made=made, split_of=placed.split_of, spent=self._budget.spent,
            plan=plan, completion=self._completion, notices=placed.notices, seconds=time.monotonic() - begun,
        )  # fmt: skip
        source = {name: report[name] for name in ("synthesis", "made", "kept")}
        done = assemble(self.dataset, drafts, placed.split_of, changed=structure.changed, source=source)
        write_report(self.work, report, self._cut)
        return Synthesis(done, tuple(self._cut), report)

    def _plan(self) -> Plan:
        if not self.recipe.uses_llm:
            return Plan({})
        plan = make_plan(self.dataset, self.recipe)
        if not plan.jobs:
            found = ", ".join(f"{count:,} {reason}" for reason, count in plan.skipped.items()) or "an empty corpus"
            do = "set min_passage_words lower, or check the corpus"
            raise DataError(Problem("there is no passage to ask about", "the corpus", found, do))
        return plan

    def _orders(self, plan: Plan, *, neighbours: Mapping[str, str]) -> list[Order]:
        return make_orders(
            plan, self.recipe, corpus=self.dataset.corpus, neighbours=neighbours, examples=self._examples
        )

    def _written(self, plan: Plan, stack: ExitStack) -> list[Draft]:
        if not plan.jobs:
            return []
        wants_neighbours = self.recipe.uses_json and (self.recipe.contrast or "comparison" in self.recipe.styles)
        neighbours = self._pool_over(self.dataset).neighbours(list(plan.jobs)) if wants_neighbours else {}
        asker = self._asker(self.recipe.llm, stack)
        return self._keep(generate(self._orders(plan, neighbours=neighbours), asker, self.recipe))

    def _structure(self, plan: Plan) -> StructurePairs:
        if self.recipe.uses_llm and not self.recipe.structure.enabled:
            return StructurePairs()
        judged = {key for _, _, key, grade in self.dataset.judged_pairs() if grade > 0}
        pairs = structure_pairs(self.dataset.corpus, self.recipe.structure, leave={*plan.jobs, *judged})
        self.say(f"structure: {len(pairs.drafts):,} pairs")
        return pairs

    def _sifted(self, drafts: Sequence[Draft], dataset: Dataset) -> list[Draft]:
        """The filters that every query must pass."""
        filters = self.recipe.filters
        kept = self._keep(apply_rules(drafts, dataset.corpus, filters))
        written = [draft for draft in kept if draft.origin != ORIGIN]
        given = [draft for draft in kept if draft.origin == ORIGIN]
        if not self.recipe.uses_json:
            written = self._keep(check_grounds(written, dataset.corpus))
        elif filters.quote:
            written = self._keep(check_quotes(written, dataset.corpus))
        pool, near = self._pool_over(dataset), filters.near_duplicate
        return self._keep(drop_duplicates([*written, *given], dataset, pool, near=near))

    def _sifted_for_training(
        self, drafts: Sequence[Draft], dataset: Dataset, split_of: Mapping[str, str]
    ) -> list[Draft]:
        """The filters for train alone: a test set must not consist of what today's search finds."""
        filters, pool = self.recipe.filters, self._pool_over(dataset)
        train = [draft for draft in drafts if split_of[draft.id] == "train"]
        lost = round_trip(train, pool, k=filters.round_trip_k) if filters.round_trip_k is not None else []
        gone = {rejected.draft.id for rejected in lost}
        if filters.max_overlap is not None or filters.max_lead is not None:
            lost += too_easy([draft for draft in train if draft.id not in gone], dataset, pool, filters)
        gone = {rejected.draft.id for rejected in lost}
        return self._keep(([draft for draft in drafts if draft.id not in gone], lost))

    def _judged(
        self, drafts: list[Draft], dataset: Dataset, split_of: Mapping[str, str], stack: ExitStack
    ) -> list[Draft]:
        """Answerability, then complete labels; a passage of test that answers a train query stays out of train."""
        llm, settings = self.recipe.judging, self.recipe.judge
        assert llm is not None
        asker, pool = self._asker(llm, stack), self._pool_over(dataset)
        drafts = self._keep(judge(drafts, dataset, asker))
        wanted = [draft for draft in drafts if split_of[draft.id] in settings.complete]
        if not wanted:
            return drafts
        done = complete(wanted, dataset, asker, pool, k=settings.pool)
        self._completion = {"judged": done.judged, "source_confirmed": done.agreed, "added": done.added}
        labelled = {draft.id: draft for draft in done.drafts}
        whole = [labelled.get(draft.id, draft) for draft in drafts]
        return self._keep(drop_shared(whole, split_of, dataset, pool.groups))

    def _keep(self, sieved: Sieved) -> list[Draft]:
        kept, rejected = sieved
        self._cut += rejected
        return kept

    def _pool_over(self, dataset: Dataset) -> Pool:
        """The searches over a corpus; built anew only where structure pairs have changed it."""
        if self._pool is None or self._pool.corpus != dataset.corpus:
            self._pool = Pool(dataset, self._embedder, others=self._others, scorer=self._scorer)
        return self._pool

    def _embedder(self) -> Encoder:
        self._encoder = self._encoder or _load_encoder(self.recipe.filters.embedder)
        return self._encoder

    def _asker(self, llm: LlmRecipe, stack: ExitStack) -> Asker:
        model = load_llm(llm, cache=self._cache)
        stack.callback(model.close)
        return Asker(model, cache=self._cache, budget=self._budget, say=self.say)


def load_llm(recipe: LlmRecipe, *, cache: ReplyCache) -> LanguageModel:
    """The language model that a recipe names. ModelError, MissingExtraError: it cannot be had."""
    if is_url(recipe.source):
        from ragtune.synthesis.http_llm import HttpLanguageModel

        return HttpLanguageModel(recipe, cache=cache)
    from ragtune.synthesis.local_llm import LocalLanguageModel

    return LocalLanguageModel(recipe)


def _load_encoder(name: str) -> Encoder:
    import torch

    from ragtune.models import load_model
    from ragtune.models.dense import DenseModel
    from ragtune.recipe import ModelRecipe

    model = load_model(ModelRecipe(name=name))
    assert isinstance(model, DenseModel)
    if model.device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        # filters look at ranks, which half precision leaves as they are
        model.encode_dtype = torch.bfloat16
    return model


def _check(recipe: SynthesisRecipe) -> None:
    problems = []
    if recipe.uses_llm and not recipe.uses_json:
        known = OPENINGS["en"]
        if not set(recipe.styles) & set(known):
            do = f"choose among {', '.join(known)}, or --set llm.prompt=json"
            problems.append(Problem("simple prompts know none of these styles", "styles", ", ".join(recipe.styles), do))
        for name, value in (("contrast", recipe.contrast), ("examples", recipe.examples)):
            if value:
                do = "leave it out, or --set llm.prompt=json"
                problems.append(Problem(f"simple prompts know no {name}", name, str(value), do))
    if not recipe.uses_llm and recipe.judge.enabled and recipe.judge.llm is None:
        do = "set judge.llm.source, or leave judge.enabled out"
        problems.append(Problem("there is no language model to judge", "judge.enabled", "llm.source is none", do))
    if problems:
        raise RecipeError(problems)
