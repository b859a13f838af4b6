"""Ranking measures equal to trec_eval's, and the statistics that say whether a difference is one (numpy only)."""

from ragtune.measures.comparison import Comparison, Verdict, compare
from ragtune.measures.evaluate import evaluate_run, mean_values
from ragtune.measures.measure import MEASURES, Measure, parse_measure, parse_measures
from ragtune.measures.ordering import tie_ranks, trec_order
from ragtune.measures.statistics import Interval, paired_bootstrap, sign_flip_test

__all__ = [
    "MEASURES",
    "Comparison",
    "Interval",
    "Measure",
    "Verdict",
    "compare",
    "evaluate_run",
    "mean_values",
    "paired_bootstrap",
    "parse_measure",
    "parse_measures",
    "sign_flip_test",
    "tie_ranks",
    "trec_order",
]
