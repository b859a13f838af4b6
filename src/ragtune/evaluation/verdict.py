"""The one line at the end of every training: what, before, after, interval, verdict."""

from __future__ import annotations

from ragtune.evaluation.results import CONFIDENCE, Comparison, DatasetFacts, ScoreInterval, Verdict


def signed(value: float) -> str:
    """A difference with its sign, to three decimals; zero has none.

    >>> signed(0.1371), signed(-0.02), signed(0.00004)
    ('+0.137', '-0.020', '0.000')
    """
    text = f"{value:+.3f}"
    return "0.000" if text in ("+0.000", "-0.000") else text


def p_text(p: float) -> str:
    """A p value as it is printed.

    >>> p_text(0.00009999), p_text(0.0004), p_text(0.3121)
    ('p < 0.0001', 'p = 0.0004', 'p = 0.312')
    """
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.001 else f"p = {p:.3f}"


def percent(confidence: float) -> str:
    """A confidence as it is printed.

    >>> percent(0.95), percent(0.999)
    ('95 %', '99.9 %')
    """
    return f"{confidence * 100:.4g} %"


def interval_text(low: float | None, high: float | None, *, sign: bool = True) -> str:
    """An interval as it is printed.

    >>> interval_text(0.11199, 0.161), interval_text(0.6, 0.7, sign=False)
    ('+0.112 to +0.161', '0.600 to 0.700')
    >>> interval_text(None, None)
    'unknown: all questions hang together'
    """
    if low is None or high is None:
        return "unknown: all questions hang together"
    return f"{signed(low)} to {signed(high)}" if sign else f"{low:.3f} to {high:.3f}"


def verdict_of(comparison: Comparison, *, dataset: DatasetFacts) -> Verdict:
    """The verdict on before and after; ``measures.compare`` takes a side only when interval and test both do."""
    text = (
        f"{_subject(dataset)}: {comparison.measure} {comparison.before:.3f} -> {comparison.after:.3f} "
        f"({signed(comparison.delta)}, {percent(CONFIDENCE)} interval "
        f"{interval_text(comparison.low, comparison.high)}, {p_text(comparison.p)}): {comparison.outcome}"
    )
    return Verdict(text=text, outcome=comparison.outcome)


def verdict_of_one(score: ScoreInterval, *, dataset: DatasetFacts) -> Verdict:
    """The line when nothing is compared: the measured value and its interval."""
    text = (
        f"{_subject(dataset)}: {score.contender} {score.measure} {score.mean:.3f} "
        f"({percent(CONFIDENCE)} interval {interval_text(score.low, score.high, sign=False)})"
    )
    return Verdict(text=text, outcome="measured")


def _subject(dataset: DatasetFacts) -> str:
    questions = "1 question" if dataset.queries == 1 else f"{dataset.queries:,} questions"
    protocol = "" if dataset.protocol == "merged" else f", {dataset.protocol}"
    return f"{dataset.name} {dataset.split}, {questions}{protocol}"
