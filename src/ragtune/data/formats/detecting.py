"""What format the rows of a source have; every row is looked at, so that two shapes in one file are seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from ragtune.data.formats.columns import Columns, Match, fitting, match
from ragtune.data.formats.containers import Row, RowSet
from ragtune.data.formats.fields import plain_label
from ragtune.data.formats.options import Detection, ImportOptions
from ragtune.data.formats.shapes import FORMAT_NAMES, FORMATS, TABLES, FormatSpec
from ragtune.data.validation import Problems, shown
from ragtune.errors import DataError, Problem, did_you_mean

Signature = frozenset[str] | tuple[int, str]
"""The columns of a row that is an object; length and kind of the third element of one that is a list."""

LABELS_FROM_ROWS = 8
"""From so many list rows on, a third element with only two short values is asked about: texts or labels?"""


@final
@dataclass(slots=True)
class _Kind:
    """All rows with one signature."""

    names: list[str]
    first: Row
    count: int = 0


@final
@dataclass(frozen=True, slots=True)
class Recognised:
    """The format of a source, and for each signature its columns by role."""

    spec: FormatSpec
    columns: Mapping[Signature, Columns]
    detection: Detection

    def columns_of(self, row: Row, options: ImportOptions) -> Columns | None:
        """The row's columns by role; None for a row that does not fit (its problem is noted already)."""
        signature = signature_of(row.value, options)
        return None if signature is None else self.columns.get(signature)


def signature_of(value: Any, options: ImportOptions) -> Signature | None:
    """What a row looks like; None when it is neither an object nor a list."""
    if isinstance(value, dict):
        return frozenset(value)
    if not isinstance(value, list):
        return None
    third = value[2] if len(value) == 3 else ""
    labels = (plain_label(options.positive_label), plain_label(options.negative_label))
    is_label = isinstance(third, int | float) or (isinstance(third, str) and plain_label(third) in labels)
    return len(value), "label" if is_label else "text"


def recognise(row_set: RowSet, options: ImportOptions, problems: Problems) -> Recognised:
    """The format of the rows. Raises DataError when there is none or more than one; odd rows are noted as problems."""
    kinds = _kinds(row_set, options, problems)
    if not kinds:
        problems.raise_any()
        found, do = "no row", "give a file with rows"
        raise DataError(Problem(what="nothing to import", where=row_set.source, found=found, do=do))
    try:
        _check_chosen(kinds, options, row_set)
        matches = _one_format(kinds, options, row_set)
    except DataError as error:
        # lines that could not be read at all are told in the same breath
        problems.raise_any(*error.problems)
        raise
    spec = FORMATS[next(iter(matches.values())).format]
    for row in row_set.rows:
        signature = signature_of(row.value, options)
        if signature is not None and signature not in matches:
            against = _against(kinds[signature], spec, options)
            do = f"give the row the columns of the others, or name them (columns); this file is read as {spec.name}"
            problems.add("the row lacks a column", at=row.at, found="; ".join(against), do=do)
    columns = {signature: found.columns for signature, found in matches.items()}
    return Recognised(spec, columns, _detection(row_set, spec, kinds, matches, options))


def _kinds(row_set: RowSet, options: ImportOptions, problems: Problems) -> dict[Signature, _Kind]:
    kinds: dict[Signature, _Kind] = {}
    for row in row_set.rows:
        signature = signature_of(row.value, options)
        if signature is None:
            do = 'write {"column": value, ...} or [value, ...]'
            problems.add("the row is neither an object nor a list", at=row.at, found=shown(row.value), do=do)
            continue
        if signature not in kinds:
            names = list(row.value) if isinstance(row.value, dict) else [str(place) for place in range(len(row.value))]
            kinds[signature] = _Kind(names, row)
        kinds[signature].count += 1
    return kinds


def _check_chosen(kinds: Mapping[Signature, _Kind], options: ImportOptions, row_set: RowSet) -> None:
    names = {name for kind in kinds.values() for name in kind.names}
    roles = {role for spec in FORMATS.values() for role in spec.roles}
    problems = [
        Problem(what="unknown role of a column", where="columns", found=role, do=did_you_mean(role, sorted(roles)))
        for role in options.columns
        if role not in roles
    ]
    problems += [
        Problem(
            what=f"the column for {role!r} does not exist",
            where=row_set.source,
            found=f"{column!r}; the columns are {', '.join(sorted(names))}",
            do=did_you_mean(column, sorted(names)),
        )
        for role, column in options.columns.items()
        if column not in names
    ]
    if options.format not in ("auto", *FORMAT_NAMES):
        do = did_you_mean(options.format, ("auto", *FORMAT_NAMES))
        problems.append(Problem(what="unknown format", where="format", found=options.format, do=do))
    if problems:
        raise DataError(problems)


def _fits(signature: Signature, kind: _Kind, options: ImportOptions) -> list[Match]:
    forced = options.format in FORMATS
    specs = [FORMATS[options.format]] if forced else list(FORMATS.values())
    if isinstance(signature, frozenset) or options.columns:
        return fitting(kind.names, specs, options.columns)
    length, third = signature
    by_place = [spec for spec in specs if spec.positions and len(spec.positions) == length]
    if length == 3 and not forced:
        wanted = "labelled-pairs" if third == "label" else "triplets"
        by_place = [spec for spec in by_place if spec.name == wanted]
    return [Match(spec.name, {role: (str(place),) for place, role in enumerate(spec.positions)}) for spec in by_place]


def _against(kind: _Kind, spec: FormatSpec, options: ImportOptions) -> list[str]:
    if isinstance(kind.first.value, list):
        return [f"a list of {len(kind.first.value)} where {spec.name} has {len(spec.positions) or 'named columns'}"]
    found = match(kind.names, spec, options.columns)
    return found if isinstance(found, list) else ["no difference"]


def _one_format(kinds: Mapping[Signature, _Kind], options: ImportOptions, row_set: RowSet) -> dict[Signature, Match]:
    """The match of each signature that fits, all of one format with the same columns; else a DataError."""
    fits = {signature: _fits(signature, kind, options) for signature, kind in kinds.items()}
    for signature, found in fits.items():
        if len(found) > 1:
            raise DataError(_ambiguous(kinds[signature], [one.format for one in found]))
    matches = {signature: found[0] for signature, found in fits.items() if found}
    if not matches:
        raise DataError(_unknown(kinds, options))
    signatures = list(matches)
    for other in signatures[1:]:
        if not _same_shape(matches[signatures[0]], matches[other]):
            raise DataError(_mixed(kinds[signatures[0]], kinds[other], matches[signatures[0]], matches[other]))
    if (doubt := _labels_or_texts(row_set, matches, options)) is not None:
        raise DataError(doubt)
    return matches


def _same_shape(one: Match, other: Match) -> bool:
    shared = set(one.columns) & set(other.columns) & set(FORMATS[one.format].required)
    return one.format == other.format and all(one.columns[role] == other.columns[role] for role in shared)


def _ambiguous(kind: _Kind, formats: list[str]) -> Problem:
    return Problem(
        what="the columns fit more than one format",
        where=str(kind.first.at),
        found=f"the columns {', '.join(kind.names)}: {' or '.join(formats)}",
        do=f"say which: format={formats[0]} or format={formats[1]}",
    )


def _unknown(kinds: Mapping[Signature, _Kind], options: ImportOptions) -> list[Problem]:
    forced = FORMATS.get(options.format)
    problems = []
    for kind in kinds.values():
        columns = ", ".join(kind.names) if isinstance(kind.first.value, dict) else f"a list of {len(kind.names)}"
        if forced:
            found = f"{columns}: {'; '.join(_against(kind, forced, options))}"
            do = f"name the columns (--column {forced.required[0]}=...), or choose another format"
        else:
            found = columns
            known = "; ".join(f"{spec.name}: {', '.join(spec.required)}" for spec in FORMATS.values())
            do = f"name the columns (--column query=...; in a recipe, columns); known formats are {known}"
        what = f"the columns are not those of {forced.name}" if forced else "the columns fit no known format"
        problems.append(Problem(what=what, where=str(kind.first.at), found=found, do=do))
    return problems


def _mixed(one: _Kind, other: _Kind, one_match: Match, other_match: Match) -> Problem:
    def told(kind: _Kind, found: Match) -> str:
        rows = f" and {kind.count - 1} more" if kind.count > 1 else ""
        return f"{found.format} ({', '.join(kind.names)}) at {kind.first.at}{rows}"

    return Problem(
        what="two shapes of rows in one source",
        where=f"{one.first.at} and {other.first.at}",
        found=f"{told(one, one_match)}; {told(other, other_match)}",
        do="put each shape into a file of its own, or give all rows the same columns",
    )


def _labels_or_texts(row_set: RowSet, matches: Mapping[Signature, Match], options: ImportOptions) -> Problem | None:
    """Lists whose third element has two short values: perhaps labels that were not named."""
    if options.format != "auto" or matches.get((3, "text")) is None or len(row_set.rows) < LABELS_FROM_ROWS:
        return None
    thirds = {str(row.value[2]) for row in row_set.rows if isinstance(row.value, list) and len(row.value) == 3}
    if len(thirds) != 2 or max(map(len, thirds)) > 20:
        return None
    first, second = sorted(thirds)
    return Problem(
        what="the third element may be a label or a text",
        where=str(row_set.rows[0].at),
        found=f"only {shown(first)} and {shown(second)} in {len(row_set.rows)} rows",
        do="name the labels (positive_label, negative_label), or say format=triplets",
    )


def _detection(
    row_set: RowSet,
    spec: FormatSpec,
    kinds: Mapping[Signature, _Kind],
    matches: Mapping[Signature, Match],
    options: ImportOptions,
) -> Detection:
    columns: dict[str, tuple[str, ...]] = {}
    for found in matches.values():
        for role, names in found.columns.items():
            columns.setdefault(role, names)
    used = {name for names in columns.values() for name in names}
    extras = sorted({name for kind in kinds.values() for name in kind.names} - used)
    evidence = [f"{len(row_set.rows):,} rows of {row_set.container}; {_splits(row_set.rows)}"]
    evidence.append("columns: " + ", ".join(f"{role} = {' + '.join(names)}" for role, names in columns.items()))
    if extras:
        evidence.append(f"kept in the queries' metadata: {', '.join(extras)}")
    if options.format not in ("auto", *TABLES):
        evidence.append(f"the format {spec.name} was given, not detected")
    return Detection(row_set.source, spec.name, row_set.container, columns, len(row_set.rows), tuple(evidence))


def _splits(rows: Iterable[Row]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.split] = counts.get(row.split, 0) + 1
    return ", ".join(f"{count:,} to {split}" for split, count in counts.items())
