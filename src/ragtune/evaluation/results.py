"""What an evaluation found, as typed records that go to JSON and come back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtune.data.statistics import DatasetStatistics
from ragtune.errors import DataError, Problem
from ragtune.recipe import EvaluateRecipe, Protocol, Storage
from ragtune.run import atomic_write

SCHEMA_VERSION: Final = 1

CONFIDENCE = 0.95
"""Level of every interval; the field's convention."""

Outcome = Literal["better", "worse", "no proof of a difference"]
Role = Literal["before", "after", "reference"]

_CLOSED = ConfigDict(extra="forbid", frozen=True)


@final
class DatasetFacts(BaseModel):
    """What was measured on."""

    model_config = _CLOSED

    name: str
    language: str
    hash: str
    split: str
    protocol: Protocol
    queries: int
    judgements: int
    clusters: int
    """Groups of queries that share a passage or a near-duplicate of it; the unit of every resampling."""
    licence: str = ""
    statistics: DatasetStatistics

    @property
    def searched(self) -> int:
        """How many passages compete: copies count as one, unless only the judged id counts."""
        passages = self.statistics.passages
        return passages.count if self.protocol == "single-id" else passages.count - passages.equal


@final
class ContenderFacts(BaseModel):
    """One of the things compared."""

    model_config = _CLOSED

    name: str
    role: Role
    kind: Literal["encoder", "retriever"]
    dims: int | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time of each part: encoding passages, encoding queries, searching."""
    judged_at_10: float = 0.0
    """Share of the ten first results that carry a judgement."""


@final
class Row(BaseModel):
    """The scores of one contender at one size and storage of its vectors."""

    model_config = _CLOSED

    contender: str
    dims: int | None = None
    storage: Storage | None = None
    bytes_per_passage: int | None = None
    full: bool = True
    """Whether this is the contender's reference setting: all dimensions, fp32."""
    scores: dict[str, float]


@final
class ScoreInterval(BaseModel):
    """A mean over the questions and its bootstrap interval."""

    model_config = _CLOSED

    contender: str
    measure: str
    mean: float
    low: float | None
    high: float | None


@final
class Comparison(BaseModel):
    """One contender against another on the same questions (``measures.compare``).

    ``low`` and ``high`` are None where a single cluster leaves nothing to judge the spread by.
    """

    model_config = _CLOSED

    before_name: str
    after_name: str
    measure: str
    before: float
    after: float
    delta: float
    low: float | None
    high: float | None
    p: float
    wins: int
    losses: int
    ties: int
    outcome: Outcome


@final
class SliceRow(BaseModel):
    """The primary measure on a part of the questions."""

    model_config = _CLOSED

    slice: str
    part: str
    n: int
    before: float
    after: float | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None


@final
class RankedPassage(BaseModel):
    """What a contender ranked first, and where it ranked the first relevant passage."""

    model_config = _CLOSED

    id: str
    text: str
    relevant: bool
    rank_of_relevant: int | None
    value: float


@final
class Example(BaseModel):
    """One question whose result changed."""

    model_config = _CLOSED

    query_id: str
    query: str
    relevant_id: str
    relevant: str
    before: RankedPassage
    after: RankedPassage


@final
class ScoreDistribution(BaseModel):
    """Histograms over common bins: relevant passages, and each question's best passage not known to be relevant."""

    model_config = _CLOSED

    contender: str
    edges: tuple[float, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    positive_mean: float
    negative_mean: float
    separated: float
    """Share of questions whose best relevant passage scores above every other passage."""


@final
class Verdict(BaseModel):
    """The one line at the end."""

    model_config = _CLOSED

    text: str
    outcome: Outcome | Literal["measured"]


@final
class Evaluation(BaseModel):
    """Everything an evaluation found. ``to_json`` and ``from_json`` are inverse to each other."""

    model_config = _CLOSED

    schema_version: Literal[1] = SCHEMA_VERSION
    verdict: Verdict
    plan: EvaluateRecipe
    seed: int
    confidence: float = CONFIDENCE
    dataset: DatasetFacts
    contenders: tuple[ContenderFacts, ...]
    rows: tuple[Row, ...]
    intervals: tuple[ScoreInterval, ...]
    comparisons: tuple[Comparison, ...] = ()
    slices: tuple[SliceRow, ...] = ()
    wins: tuple[Example, ...] = ()
    losses: tuple[Example, ...] = ()
    distributions: tuple[ScoreDistribution, ...] = ()
    per_query: dict[str, dict[str, float]]
    """Contender -> query id -> the primary measure."""
    seconds: float
    created_at: str
    versions: dict[str, str]

    def to_json(self) -> str:
        """The evaluation as readable JSON with keys in a fixed order."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "evaluation JSON") -> Evaluation:
        """Read what ``to_json`` wrote; raises ``DataError`` naming every field that does not fit."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DataError(_problem(dict(item), where) for item in error.errors()) from error

    def scores(self, contender: str) -> dict[str, float]:
        """Measure -> mean of a contender at its reference setting."""
        return next(row.scores for row in self.rows if row.contender == contender and row.full)

    def by_role(self, role: Role) -> ContenderFacts | None:
        """The contender that is ``before`` or ``after``, if there is one."""
        return next((contender for contender in self.contenders if contender.role == role), None)


def _problem(item: dict[str, Any], where: str) -> Problem:
    field = ".".join(map(str, item["loc"])) or "whole file"
    return Problem(
        what=f"not an evaluation of schema {SCHEMA_VERSION}: {item['msg']}",
        where=f"{where}: {field}",
        found=repr(item["input"])[:80],
        do="evaluate again with this version of ragtune",
    )


def write_evaluation(evaluation: Evaluation, path: Path | str) -> None:
    """Write an evaluation as JSON, whole or not at all."""
    with atomic_write(path) as file:
        file.write(evaluation.to_json())


def read_evaluation(path: Path | str) -> Evaluation:
    """Read an evaluation that ``write_evaluation`` wrote."""
    return Evaluation.from_json(Path(path).read_text(encoding="utf-8"), where=str(path))
