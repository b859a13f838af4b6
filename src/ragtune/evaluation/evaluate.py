"""Before and after, side by side, on the questions of one split: scores, intervals, slices, examples and a verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ragtune.data.folder import dataset_hash
from ragtune.data.records import Dataset
from ragtune.data.statistics import dataset_statistics
from ragtune.errors import InputError, Problem
from ragtune.evaluation.contenders import Contender, Measured, measure_contender
from ragtune.evaluation.distributions import histograms
from ragtune.evaluation.examples import wins_and_losses
from ragtune.evaluation.judged import JudgedSplit, clusters, judged_split
from ragtune.evaluation.resampling import Resampling, Values
from ragtune.evaluation.results import (
    Comparison,
    DatasetFacts,
    Evaluation,
    Example,
    ScoreInterval,
    SliceRow,
    Verdict,
)
from ragtune.evaluation.slices import SLICES, slice_rows
from ragtune.evaluation.verdict import verdict_of, verdict_of_one
from ragtune.measures import parse_measures
from ragtune.recipe import EvaluateRecipe
from ragtune.run import versions


def evaluate(
    dataset: Dataset, *, contenders: Sequence[Contender], plan: EvaluateRecipe | None = None, seed: int = 13
) -> Evaluation:
    """Measure every contender on ``plan.split``; compare ``after`` with ``before`` and with the references.

    Differences are judged by a paired bootstrap and a sign-flip test over clusters of questions. Everything that is
    random depends on ``seed`` alone. Raises ``InputError`` when contenders or plan do not fit together, ``DataError``
    when the split holds no judgement.
    """
    began = time.perf_counter()
    plan = _checked(plan or EvaluateRecipe(), contenders)
    judged = judged_split(dataset, plan.split, protocol=plan.protocol)
    measured = [measure_contender(contender, judged, plan) for contender in contenders]
    resampling = Resampling(clusters=clusters(judged), resamples=plan.resamples, seed=seed)
    field = _Field(dataset, judged, plan.measures, measured, resampling)
    facts = _dataset_facts(field, plan)
    intervals, comparisons = field.intervals(), field.comparisons()
    wins, losses = field.examples()
    return Evaluation(
        verdict=_verdict(comparisons, intervals, facts),
        plan=plan,
        seed=seed,
        dataset=facts,
        contenders=tuple(each.facts for each in measured),
        rows=tuple(row for each in measured for row in each.rows),
        intervals=tuple(intervals),
        comparisons=tuple(comparisons),
        slices=tuple(field.slices()),
        wins=tuple(wins),
        losses=tuple(losses),
        distributions=tuple(histograms({m.facts.name: m.pair_scores for m in measured if m.pair_scores is not None})),
        per_query={each.facts.name: dict(each.values[plan.measures[0]]) for each in measured},
        seconds=round(time.perf_counter() - began, 3),
        created_at=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        versions=versions(),
    )


@final
@dataclass(frozen=True, slots=True)
class _Field:
    """All contenders on one split, and how they are compared."""

    dataset: Dataset
    judged: JudgedSplit
    measures: Sequence[str]
    measured: Sequence[Measured]
    resampling: Resampling

    def role(self, role: str) -> Measured | None:
        return next((each for each in self.measured if each.facts.role == role), None)

    def primary(self, contender: Measured) -> Values:
        return contender.values[self.measures[0]]

    def intervals(self) -> list[ScoreInterval]:
        return [
            ScoreInterval.model_validate(
                {"contender": each.facts.name, "measure": measure, **self.resampling.mean(each.values[measure])}
            )
            for each in self.measured
            for measure in self.measures
        ]

    def comparisons(self) -> list[Comparison]:
        """After against before on every measure, then against each reference on the first."""
        after = self.role("after")
        if after is None:
            return []
        others = sorted(
            (each for each in self.measured if each is not after), key=lambda each: each.facts.role != "before"
        )
        return [
            self._comparison(other, after, measure)
            for other in others
            for measure in (self.measures if other.facts.role == "before" else self.measures[:1])
        ]

    def _comparison(self, before: Measured, after: Measured, measure: str) -> Comparison:
        found = self.resampling.change(before.values[measure], after.values[measure], measure=measure)
        found |= {"before_name": before.facts.name, "after_name": after.facts.name, "outcome": found["verdict"]}
        return Comparison.model_validate({name: found[name] for name in Comparison.model_fields})

    def slices(self) -> list[SliceRow]:
        before, after = self.role("before"), self.role("after")
        one = before or after or self.measured[0]
        other = self.primary(after) if before and after else None
        return [
            row
            for title, parts_of in SLICES.items()
            for row in slice_rows(
                parts_of(self.judged, self.dataset),
                title=title,
                before=self.primary(one),
                after=other,
                resampling=self.resampling,
            )
        ]

    def examples(self) -> tuple[list[Example], list[Example]]:
        before, after = self.role("before"), self.role("after")
        if before is None or after is None:
            return [], []
        sides = [
            (dict(zip(each.ranking.query_ids, each.ranking.passage_ids, strict=True)), self.primary(each))
            for each in (before, after)
        ]
        return wins_and_losses(self.judged, before=sides[0], after=sides[1])


def check_plan(plan: EvaluateRecipe) -> None:
    """Raise ``InputError`` for measures that are unknown or look deeper than the rankings are."""
    deepest = max((measure.k or 0 for measure in parse_measures(plan.measures)), default=0)
    if deepest > plan.top_k:
        raise InputError(
            Problem(
                what="a measure looks deeper than the rankings are",
                where="evaluate.top_k",
                found=f"top_k {plan.top_k}, a measure at {deepest}",
                do=f"set top_k to {deepest} or more",
            )
        )


def _checked(plan: EvaluateRecipe, contenders: Sequence[Contender]) -> EvaluateRecipe:
    """The plan with its measures spelt as they are reported."""
    check_plan(plan)
    names = Counter(contender.name for contender in contenders)
    roles = Counter(contender.role for contender in contenders)
    checks = [
        (not contenders, "nothing to evaluate", "contenders", "none", "name at least one model"),
        *(
            (count > 1, "two contenders have one name", "contenders", name, "rename one")
            for name, count in names.items()
        ),
        *(
            (roles[role] > 1, f"more than one contender is {role!r}", "contenders", str(roles[role]), "keep one")
            for role in ("before", "after")
        ),
    ]
    problems = [Problem(what=what, where=where, found=found, do=do) for bad, what, where, found, do in checks if bad]
    if problems:
        raise InputError(problems)
    measures = dict.fromkeys(str(measure) for measure in parse_measures(plan.measures))
    return plan.model_copy(update={"measures": tuple(measures)})


def _verdict(comparisons: Sequence[Comparison], intervals: Sequence[ScoreInterval], facts: DatasetFacts) -> Verdict:
    if comparisons:
        return verdict_of(comparisons[0], dataset=facts)
    return verdict_of_one(intervals[0], dataset=facts)


def _dataset_facts(field: _Field, plan: EvaluateRecipe) -> DatasetFacts:
    dataset, judged = field.dataset, field.judged
    return DatasetFacts(
        name=dataset.info.name,
        language=dataset.info.language,
        hash=dataset_hash(dataset),
        split=plan.split,
        protocol=plan.protocol,
        queries=len(judged.queries),
        judgements=sum(map(len, dataset.split(plan.split).values())),
        clusters=len(set(field.resampling.clusters.values())),
        licence=dataset.info.licence,
        statistics=dataset_statistics(dataset),
    )
