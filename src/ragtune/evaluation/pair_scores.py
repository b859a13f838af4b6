"""How a reranker's scores of positives and negatives lie, and when they have collapsed.

Two faults are told. *No spread*: within the usual question all candidates score alike. *No order*: a positive scores
above a negative of its question no more often than by chance. Both are judged on scores before any activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
LEAST_SPREAD = 1e-3
"""Median over the questions of the standard deviation of their candidates' scores (assumption: logits of a model that
tells texts apart spread over whole units; a fresh head's over hundredths)."""
LEAST_IN_ORDER = 0.5
"""Share of (positive, negative) pairs of one question with the positive above; chance gives a half."""


def told_apart(run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Quantiles of positives' and negatives' scores, ``spread`` within a question, and the share ``in_order``.

    >>> found = told_apart({"q": {"a": 2.0, "b": 1.0, "c": 3.0}}, {"q": {"a": 1}})
    >>> found["in_order"], found["positive_p50"], round(found["spread"], 3)
    (0.5, 2.0, 0.817)
    """
    positives: list[float] = []
    negatives: list[float] = []
    spreads: list[float] = []
    in_order = pairs = 0.0
    for query_id, scores in run.items():
        relevant = qrels.get(query_id, {})
        good = np.array([score for pid, score in scores.items() if relevant.get(pid, 0) > 0])
        bad = np.array([score for pid, score in scores.items() if relevant.get(pid, 0) <= 0])
        positives += good.tolist()
        negatives += bad.tolist()
        spreads += [float(np.std([*good, *bad]))] if len(good) + len(bad) > 1 else []
        in_order += float((good[:, None] > bad).sum() + 0.5 * (good[:, None] == bad).sum())
        pairs += len(good) * len(bad)
    found = {f"positive_{name}": _quantile(positives, share) for name, share in QUANTILES.items()}
    found |= {f"negative_{name}": _quantile(negatives, share) for name, share in QUANTILES.items()}
    found["spread"] = float(np.median(spreads)) if spreads else 0.0
    found["in_order"] = in_order / pairs if pairs else 1.0
    return {name: round(value, 5) for name, value in found.items()}


def _quantile(scores: list[float], share: float) -> float:
    return float(np.quantile(scores, share)) if scores else 0.0


def collapse(told: Mapping[str, float]) -> str | None:
    """Why scores count as collapsed; None where they do not.

    >>> collapse({"spread": 0.8, "in_order": 0.97}) is None
    True
    >>> collapse({"spread": 0.0, "in_order": 0.5})
    "a question's candidates score alike (median spread 0, less than 0.001)"
    """
    if told["spread"] < LEAST_SPREAD:
        return f"a question's candidates score alike (median spread {told['spread']:.3g}, less than {LEAST_SPREAD:g})"
    if told["in_order"] <= LEAST_IN_ORDER:
        return f"a positive scores above a negative of its question in {told['in_order']:.1%} of all pairs only"
    return None


def collapses(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for every dev evaluation in a training log whose scores had collapsed.

    >>> collapses([{"step": 4, "dev_collapsed": 1.0, "dev_spread": 0.0, "dev_in_order": 0.5}])
    ["step 4: the scores have collapsed: a question's candidates score alike (median spread 0, less than 0.001)"]
    """
    told = [line for line in log if line.get("dev_collapsed")]
    keys = ("spread", "in_order")
    reasons = [(line["step"], collapse({key: line[f"dev_{key}"] for key in keys})) for line in told]
    return [f"step {step}: the scores have collapsed: {reason}" for step, reason in reasons]
