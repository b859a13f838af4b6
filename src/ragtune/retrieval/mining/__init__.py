"""Hard negatives from a whole corpus: found by several retrievers, cut by rules that can be counted, audited."""

from ragtune.retrieval.mining.drawing import draw_negatives
from ragtune.retrieval.mining.finders import BM25Finder, DenseFinder, Finder
from ragtune.retrieval.mining.mine import Judges, Mined, mine_negatives

__all__ = ["BM25Finder", "DenseFinder", "Finder", "Judges", "Mined", "draw_negatives", "mine_negatives"]
