"""The quick evaluation that training calls again and again: exact search over the dev split, equal passages merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ragtune.data.records import Dataset
from ragtune.evaluation.encoding import encode_split
from ragtune.evaluation.judged import judged_split, sampled
from ragtune.measures import Measure, evaluate_run, mean_values, parse_measures
from ragtune.retrieval.encoded import TextEncoder

WHOLE_RANKING = 100
"""How deep a measure without a cut-off looks."""


@final
class DevScorer:
    """Scores an encoder on one split; what does not depend on the encoder is made ready once.

    Calling it gives ``{"nDCG@10": 0.81, "nDCG@10:128": 0.80}``: each measure with the full vectors and, after a colon,
    with each prefix of ``dims``. ``max_passages`` bounds the time on a large corpus: all judged passages and others
    drawn by ``seed``; the values are then higher than those over the whole corpus, but in the same order of models.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        split: str = "dev",
        measures: Sequence[str | Measure] = ("nDCG@10",),
        dims: Sequence[int] = (),
        max_passages: int | None = None,
        seed: int = 0,
    ) -> None:
        judged = judged_split(dataset, split)
        self._judged = judged if max_passages is None else sampled(judged, max_passages=max_passages, seed=seed)
        self._measures = parse_measures(measures)
        self._dims = tuple(dims)
        self._k = max(measure.k or WHOLE_RANKING for measure in self._measures)

    def __call__(self, encoder: TextEncoder) -> dict[str, float]:
        """Measure -> mean over the questions."""
        encoded = encode_split(encoder, self._judged, label="dev")
        scores: dict[str, float] = {}
        for dims in dict.fromkeys((encoded.dims, *self._dims)):
            run = encoded.search(k=self._k, dims=dims).ranking.as_run()
            values = evaluate_run(self._measures, self._judged.qrels, run)
            ending = "" if dims == encoded.dims else f":{dims}"
            scores |= {f"{name}{ending}": mean for name, mean in mean_values(values).items()}
        return scores


def dev_score(
    dataset: Dataset, split: str, encoder: TextEncoder, measures: Sequence[str | Measure], dims: Sequence[int] = ()
) -> dict[str, float]:
    """One call of a ``DevScorer``."""
    return DevScorer(dataset, split=split, measures=measures, dims=dims)(encoder)
