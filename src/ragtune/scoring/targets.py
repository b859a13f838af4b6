"""What the data knows about each cell of a score matrix, filled by passage id and never by position.

Shapes: Q queries, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Targets:
    """Everything a loss may know besides the scores.

    ``relevance_QC``: float32 grade, 0 = not known to be relevant. ``valid_QC``: bool, may this cell count?
    ``teacher_QC``: float32 teacher scores, NaN where the teacher did not score the cell. ``own_QC``: bool, the
    candidate was set beside this very query (its positives and its own negatives); None = every cell is.
    ``weight_Q``: float32 sample weights; None = 1 each.
    """

    relevance_QC: Tensor
    valid_QC: Tensor
    teacher_QC: Tensor | None = None
    own_QC: Tensor | None = None
    weight_Q: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.relevance_QC.shape
        assert len(shape) == 2, f"targets are a matrix, not {tuple(shape)}"
        for name in ("valid_QC", "teacher_QC", "own_QC"):
            cells = getattr(self, name)
            assert cells is None or cells.shape == shape, f"{name} is {tuple(cells.shape)}, relevance_QC {tuple(shape)}"
        assert self.weight_Q is None or self.weight_Q.shape == shape[:1]

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, index_R: Tensor) -> Targets:
        """The targets of the chosen queries alone, in the order of ``index_R`` (int64 or bool)."""
        return self._map(lambda tensor: tensor[index_R])

    def columns(self, index_K: Tensor) -> Targets:
        """The targets of the chosen candidates alone, in the order of ``index_K`` (int64 or bool)."""
        return self._map(lambda tensor: tensor[:, index_K] if tensor.dim() == 2 else tensor)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Targets:
        return Targets(
            relevance_QC=change(self.relevance_QC),
            valid_QC=change(self.valid_QC),
            teacher_QC=None if self.teacher_QC is None else change(self.teacher_QC),
            own_QC=None if self.own_QC is None else change(self.own_QC),
            weight_Q=None if self.weight_Q is None else change(self.weight_Q),
        )


@final
@dataclass(frozen=True, slots=True)
class OwnCandidate:
    """A passage set beside a query. ``relevance`` None = look it up among the row's known grades."""

    passage_id: str
    relevance: float | None = None
    teacher: float | None = None
    valid: bool = True


@final
@dataclass(frozen=True, slots=True)
class TargetRow:
    """One query's knowledge.

    ``relevant`` maps every passage id that was ever judged for this query to its grade, in the batch or not (the
    query's line of the qrels). ``label`` is the class of the text where the data are texts with a class.
    ``text_id`` is the id under which the query's own text would be met among the candidates (None: it cannot be).
    ``doubtful`` are suspected false negatives, in the batch or not: wherever one is met, it does not count.
    ``in_batch_negatives`` False: the row sees its own candidates alone.
    """

    query_id: str
    own: Sequence[OwnCandidate]
    relevant: Mapping[str, float] = field(default_factory=dict)
    label: str | None = None
    text_id: str | None = None
    doubtful: Collection[str] = ()
    in_batch_negatives: bool = True
    weight: float = 1.0


def fill_targets(
    rows: Sequence[TargetRow], candidate_ids: Sequence[str], *, candidate_text_ids: Sequence[str] | None = None
) -> Targets:
    """Targets of ``rows`` x ``candidate_ids``; the order of either means nothing.

    - A candidate that the query is known to be answered by is relevant, whoever brought it into the batch.
    - With a ``label``, so is every candidate that is a positive of another row of that label (SupCon, Khosla et al.
      2020, arXiv:2004.11362).
    - The row's own relevance, where above 0, goes before the known grade, so scored pairs keep their fractions.
    - A suspected false negative (``valid`` False, or ``doubtful``) is masked for this query alone, whoever brought it.
    - A candidate whose text is the query itself is masked. ``candidate_text_ids`` are compared with ``text_id``
      (default: the candidate ids).
    - Everything else is an in-batch negative, or masked where the row sees its own candidates alone.

    >>> row = TargetRow("q", own=[OwnCandidate("b", 1.0), OwnCandidate("n", 0.0)], relevant={"c": 1})
    >>> targets = fill_targets([row], ["a", "b", "c", "n"])
    >>> targets.relevance_QC.tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    >>> targets.own_QC.tolist()
    [[False, True, False, True]]
    """
    column = {passage_id: index for index, passage_id in enumerate(candidate_ids)}
    assert len(column) == len(candidate_ids), "a passage may stand in one column only"
    cells = _Cells(len(rows), len(candidate_ids))
    columns_by_label = _columns_by_label(rows, column)
    text_ids = candidate_ids if candidate_text_ids is None else candidate_text_ids
    columns_by_text: dict[str, list[int]] = {}
    for index, text_id in enumerate(text_ids):
        columns_by_text.setdefault(text_id, []).append(index)
    for number, row in enumerate(rows):
        cells.fill(number, row, column, columns_by_label)
        if row.text_id is not None:
            cells.masked += [(number, index) for index in columns_by_text.get(row.text_id, ())]
    return cells.targets(rows)


def _columns_by_label(rows: Sequence[TargetRow], column: Mapping[str, int]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row in rows:
        if row.label is not None:
            positives = {column[own.passage_id] for own in row.own if _relevance(own, row) > 0}
            found.setdefault(row.label, set()).update(positives)
    return found


def _relevance(own: OwnCandidate, row: TargetRow) -> float:
    """The relevance of an own candidate: what it says itself, else what is known."""
    known = row.relevant.get(own.passage_id, 0.0)
    if own.relevance is None or (own.relevance <= 0 < known):
        return known
    return own.relevance


@final
class _Cells:
    """Cells noted as (row, column) lists and written into tensors in one go each."""

    def __init__(self, row_count: int, column_count: int) -> None:
        self.shape = (row_count, column_count)
        self.relevance: dict[tuple[int, int], float] = {}
        self.teacher: dict[tuple[int, int], float] = {}
        self.own: list[tuple[int, int]] = []
        self.masked: list[tuple[int, int]] = []

    def fill(
        self, number: int, row: TargetRow, column: Mapping[str, int], columns_by_label: Mapping[str, set[int]]
    ) -> None:
        for index in columns_by_label.get(row.label, ()) if row.label is not None else ():
            self.relevance[number, index] = 1.0
        for passage_id, grade in row.relevant.items():
            if grade > 0 and passage_id in column:
                self.relevance[number, column[passage_id]] = grade
        for own in row.own:
            assert own.passage_id in column, f"query {row.query_id}: own candidate {own.passage_id} is not a column"
            cell = number, column[own.passage_id]
            self.own.append(cell)
            self.relevance[cell] = _relevance(own, row)
            if own.teacher is not None and not math.isnan(own.teacher):
                self.teacher[cell] = own.teacher
            if not own.valid:
                self.masked.append(cell)
        self.masked += [(number, column[passage_id]) for passage_id in row.doubtful if passage_id in column]

    def targets(self, rows: Sequence[TargetRow]) -> Targets:
        own_QC = self._write(False, dict.fromkeys(self.own, True), torch.bool)
        in_batch_Q = torch.tensor([row.in_batch_negatives for row in rows], dtype=torch.bool)
        unmasked_QC = self._write(True, dict.fromkeys(self.masked, False), torch.bool)
        weights = [row.weight for row in rows]
        return Targets(
            relevance_QC=self._write(0.0, self.relevance, torch.float32),
            valid_QC=unmasked_QC & (own_QC | in_batch_Q[:, None]),
            teacher_QC=self._write(math.nan, self.teacher, torch.float32) if self.teacher else None,
            own_QC=own_QC,
            weight_Q=None if all(weight == 1.0 for weight in weights) else torch.tensor(weights),
        )

    def _write(self, empty: float, values: Mapping[tuple[int, int], float], dtype: torch.dtype) -> Tensor:
        matrix = torch.full(self.shape, empty, dtype=dtype)
        if values:
            row, index = torch.tensor(list(values)).T
            matrix[row, index] = torch.tensor(list(values.values()), dtype=dtype)
        return matrix


MarginMode = Literal["absolute", "relative"]

MARGIN_MODES: Mapping[MarginMode, Callable[[Tensor, float], Tensor]] = {
    "absolute": lambda positive_Q, margin: positive_Q - margin,
    "relative": lambda positive_Q, margin: positive_Q - positive_Q.abs() * margin,
}
"""How the highest score that a negative may have follows from the positive's score (NV-Retriever, Moreira et al.
2024, arXiv:2407.15831, section 3: TopK-MarginPos and TopK-PercPos)."""


def mask_false_negatives(
    score_QC: Tensor, targets: Targets, *, margin: float, mode: MarginMode = "absolute", keep_own: bool = False
) -> Targets:
    """Targets in which negatives that score suspiciously close to the positive no longer count.

    A cell that is not known to be relevant is masked where its score (detached; the model's own or a guide's)
    exceeds the row's best positive score minus ``margin`` (``absolute``) or minus that share of it (``relative``).
    The *best* positive, because with the lowest a single hard positive would take away the very negatives that it
    has to be told from. ``keep_own`` spares the query's own negatives (people judged them). A row without a valid
    positive keeps all its cells.

    >>> targets = Targets(torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool))
    >>> mask_false_negatives(torch.tensor([[0.8, 0.79, 0.3]]), targets, margin=0.05).valid_QC.tolist()
    [[True, False, True]]
    """
    score_QC = score_QC.detach()
    positive_QC = targets.relevance_QC > 0
    best_Q = score_QC.masked_fill(~(positive_QC & targets.valid_QC), -math.inf).amax(dim=1)
    ceiling_Q = MARGIN_MODES[mode](best_Q, margin)
    suspect_QC = ~positive_QC & (score_QC > ceiling_Q[:, None]) & (best_Q > -math.inf)[:, None]
    if keep_own:
        suspect_QC &= ~(torch.ones_like(suspect_QC) if targets.own_QC is None else targets.own_QC)
    return Targets(
        relevance_QC=targets.relevance_QC,
        valid_QC=targets.valid_QC & ~suspect_QC,
        teacher_QC=targets.teacher_QC,
        own_QC=targets.own_QC,
        weight_Q=targets.weight_Q,
    )
