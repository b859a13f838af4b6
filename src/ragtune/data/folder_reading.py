"""Reads a dataset folder: every line is checked, and everything that is wrong is told at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

from ragtune.data.language import detect_language
from ragtune.data.records import SPLITS, Candidate, Dataset, DatasetInfo, Passage, Qrels, Query, Seal
from ragtune.data.validation import (
    Place,
    Problems,
    as_id,
    as_number,
    as_text,
    known_fields,
    parse_json,
    read_json_lines,
    read_lines,
    shown,
)
from ragtune.errors import DataError, Problem

CORPUS, QUERIES, CANDIDATES, INFO, QRELS, SEAL = (
    "corpus.jsonl",
    "queries.jsonl",
    "candidates.jsonl",
    "dataset.json",
    "qrels",
    "seal.json",
)
QRELS_HEADER = ("query-id", "corpus-id", "score")
CANDIDATE_FIELDS = tuple(field.name for field in dataclasses.fields(Candidate))
INFO_FIELDS = (*(field.name for field in dataclasses.fields(DatasetInfo)), "counts")


def read_dataset(folder: Path | str) -> Dataset:
    """The dataset in ``folder``; a plain BEIR folder is one too.

    Fields beside those of BEIR's layout are kept in ``metadata``. Without a ``dataset.json`` the name is the folder's
    and the language is detected. A blank text is kept (its id may be judged, and published numbers count it) and told
    in ``notices``; training leaves it out. Raises DataError with every problem of every file (50 a file, the rest
    counted).
    """
    folder = Path(folder)
    _require_corpus(folder)
    problems = Problems()
    corpus = _read_corpus(folder / CORPUS, problems)
    queries = _read_queries(folder / QUERIES, problems)
    known = _KnownIds(folder, corpus=corpus, queries=queries, problems=problems)
    qrels = {path.stem: _read_qrels(path, known, problems) for path in split_files(folder)}
    candidates = _read_candidates(folder / CANDIDATES, known, problems)
    info = _read_info(folder / INFO, problems)
    seal = _read_seal(folder / SEAL, problems)
    problems.raise_any()
    assert all(corpus.values()) and all(queries.values())
    passages = {key: passage for key, passage in corpus.items() if passage}
    if info is None:
        language = detect_language(passage.content for passage in passages.values())
        info = DatasetInfo(name=folder.resolve().name, language=language)
    asked = {key: query for key, query in queries.items() if query}
    return Dataset(
        info=info,
        corpus=passages,
        queries=asked,
        qrels=qrels,
        candidates=candidates,
        seal=seal,
        notices=problems.notices,
    )


def split_files(folder: Path) -> list[Path]:
    """The qrels files of a folder: train, dev, test, then any other by name."""
    order = {name: index for index, name in enumerate(SPLITS)}
    files = (folder / QRELS).glob("*.tsv")
    return sorted(
        (f for f in files if not f.name.startswith(".")), key=lambda f: (order.get(f.stem, len(order)), f.stem)
    )


def _require_corpus(folder: Path) -> None:
    if (folder / CORPUS).is_file():
        return
    if folder.is_dir():
        names = sorted(path.name for path in folder.iterdir())
        found = f"no {CORPUS}, but " + (
            ", ".join(names[:8]) + (" …" if names[8:] else "") if names else "an empty folder"
        )
    else:
        found = "a file" if folder.exists() else "nothing there"
    do = f"give a folder that holds {CORPUS}, or make one: ragtune import SOURCE --out DATASET"
    raise DataError(Problem(what="not a dataset folder", where=str(folder), found=found, do=do))


def _metadata(row: dict[str, Any], *, used: Iterable[str], at: Place, problems: Problems) -> dict[str, Any]:
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        problems.add(
            "the field 'metadata' is not an object", at=at, found=shown(metadata), do="write {} or leave it out"
        )
        metadata = {}
    rest = {name: value for name, value in row.items() if name not in (*used, "metadata")}
    return rest | metadata


def _take_id(row: dict[str, Any], *, first: dict[str, Place], at: Place, problems: Problems) -> str | None:
    key = as_id(row.get("_id"), field="_id", at=at, problems=problems)
    if key is None:
        problems.blind_files.add(at.file)
    elif key in first:
        do = f"give each line an id of its own, or take one of the two out (the other is {first[key]})"
        problems.add("the same id twice", at=at, found=shown(key), do=do)
        return None
    else:
        first[key] = at
    return key


def _text_or_blank(value: Any, *, at: Place, problems: Problems) -> str | None:
    return value if isinstance(value, str) else as_text(value, field="text", at=at, problems=problems)


def _read_corpus(path: Path, problems: Problems) -> dict[str, Passage | None]:
    """Passages by id; None stands for a passage whose line is wrong, so that its id counts as known."""
    corpus: dict[str, Passage | None] = {}
    first: dict[str, Place] = {}
    for at, row in read_json_lines(path, problems):
        key = _take_id(row, first=first, at=at, problems=problems)
        title = row.get("title")
        if not isinstance(title, str | None):
            problems.add(
                "the field 'title' is not a text", at=at, found=shown(title), do='write "title": "..." or leave it out'
            )
            title = None
        text = _text_or_blank(row.get("text"), at=at, problems=problems)
        if text is not None and not text.strip() and not (title and title.strip()):
            problems.note("passage without text, kept as it is", at)
        metadata = _metadata(row, used=("_id", "title", "text"), at=at, problems=problems)
        if key is not None:
            corpus[key] = Passage(id=key, text=text, title=title or "", metadata=metadata) if text is not None else None
    return corpus


def _read_queries(path: Path, problems: Problems) -> dict[str, Query | None]:
    """Queries by id; None stands for a query whose line is wrong."""
    queries: dict[str, Query | None] = {}
    first: dict[str, Place] = {}
    if not path.exists():
        return queries
    for at, row in read_json_lines(path, problems):
        key = _take_id(row, first=first, at=at, problems=problems)
        text = _text_or_blank(row.get("text"), at=at, problems=problems)
        if text is not None and not text.strip():
            problems.note("query without text, kept as it is", at)
        metadata = _metadata(row, used=("_id", "text"), at=at, problems=problems)
        if key is not None:
            queries[key] = Query(id=key, text=text, metadata=metadata) if text is not None else None
    return queries


@final
class _KnownIds:
    """Notes ids that no line defines; says nothing about a file in which some ids could not be read."""

    def __init__(
        self, folder: Path, *, corpus: dict[str, Passage | None], queries: dict[str, Query | None], problems: Problems
    ) -> None:
        self._sides = {
            name: (ids, file, str(folder / file) not in problems.blind_files)
            for name, ids, file in (("query", queries, QUERIES), ("passage", corpus, CORPUS))
        }

    def check(self, key: str, *, side: str, at: Place, problems: Problems) -> None:
        ids, file, complete = self._sides[side]
        if complete and key not in ids:
            do = f"add the {side} to {file}, or take this line out"
            problems.add(f"unknown {side} id", at=at, found=f"{shown(key)}, which {file} does not hold", do=do)


def _read_qrels(path: Path, known: _KnownIds, problems: Problems) -> Qrels:
    qrels: Qrels = {}
    columns: list[str] | None = None
    for at, line in read_lines(path, problems):
        cells = line.split("\t")
        if columns is None:
            columns = [cell.strip() for cell in cells]
            if sorted(columns) != sorted(QRELS_HEADER):
                do = "write the three names, tab-separated, as the first line: " + "<tab>".join(QRELS_HEADER)
                problems.add("the header line of the qrels is missing or wrong", at=at, found=shown(line), do=do)
                return qrels
        elif len(cells) != len(columns):
            do = "write query id, passage id and grade, separated by tabs"
            problems.add(f"{len(cells)} columns instead of {len(columns)}", at=at, found=shown(line), do=do)
        else:
            _take_judgement(dict(zip(columns, cells, strict=True)), qrels, at=at, known=known, problems=problems)
    if columns is None:
        do = "write the header line, or take the file out"
        problems.add("the qrels file is empty", at=Place(str(path), 0), found="no line", do=do)
    return qrels


def _take_judgement(cells: dict[str, str], qrels: Qrels, *, at: Place, known: _KnownIds, problems: Problems) -> None:
    query_id, corpus_id, score = (cells[name] for name in QRELS_HEADER)
    known.check(query_id, side="query", at=at, problems=problems)
    known.check(corpus_id, side="passage", at=at, problems=problems)
    try:
        grade = int(score)
    except ValueError:
        problems.add("the grade is not a whole number", at=at, found=shown(score), do="write 0, 1, 2 ...")
        return
    before = qrels.setdefault(query_id, {}).setdefault(corpus_id, grade)
    if before != grade:
        found = f"{query_id} and {corpus_id} with grade {before} above and {grade} here"
        problems.add("two grades for one pair", at=at, found=found, do="keep one of the two lines")


def _read_candidates(path: Path, known: _KnownIds, problems: Problems) -> dict[str, list[Candidate]]:
    candidates: dict[str, list[Candidate]] = {}
    if not path.exists():
        return candidates
    for at, row in read_json_lines(path, problems):
        known_fields(row, known=("query_id", "candidates"), at=at, problems=problems)
        query_id = as_id(row.get("query_id"), field="query_id", at=at, problems=problems)
        listed = row.get("candidates")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            do = 'write "candidates": [{"corpus_id": "..."}, ...]'
            problems.add("the field 'candidates' is not a list of objects", at=at, found=shown(listed), do=do)
            listed = []
        taken = [_take_candidate(one, at=at, known=known, problems=problems) for one in listed]
        whole = [candidate for candidate in taken if candidate]
        if len({candidate.corpus_id for candidate in whole}) < len(whole):
            found = shown([candidate.corpus_id for candidate in whole])
            problems.add("one candidate twice for a query", at=at, found=found, do="keep one of the two")
        if query_id is None:
            continue
        known.check(query_id, side="query", at=at, problems=problems)
        if query_id in candidates:
            problems.add("the same query twice", at=at, found=shown(query_id), do="join the two lines into one")
        candidates[query_id] = whole
    return candidates


def _take_candidate(row: dict[str, Any], *, at: Place, known: _KnownIds, problems: Problems) -> Candidate | None:
    known_fields(row, known=CANDIDATE_FIELDS, at=at, problems=problems)
    corpus_id = as_id(row.get("corpus_id"), field="corpus_id", at=at, problems=problems)
    numbers = {
        name: as_number(row[name], field=name, at=at, problems=problems)
        for name in ("relevance", "score", "teacher")
        if row.get(name) is not None
    }
    source, rank, valid = row.get("source", ""), row.get("rank"), row.get("valid", True)
    for name, value, kind, right in (
        ("source", source, "a text", isinstance(source, str)),
        ("rank", rank, "a whole number", rank is None or (isinstance(rank, int) and not isinstance(rank, bool))),
        ("valid", valid, "true or false", isinstance(valid, bool)),
    ):
        if not right:
            problems.add(f"the field {name!r} is not {kind}", at=at, found=shown(value), do=f"write {kind}")
            return None
    if corpus_id is None:
        return None
    known.check(corpus_id, side="passage", at=at, problems=problems)
    return Candidate(corpus_id=corpus_id, source=source, rank=rank, valid=valid, **numbers)


def _read_info(path: Path, problems: Problems) -> DatasetInfo | None:
    if not path.exists():
        return None
    lines = dict(read_lines(path, problems))
    at = Place(str(path), 0)
    row = parse_json("\n".join(lines.values()), at=at, problems=problems)
    if not isinstance(row, dict):
        if row is not None:
            problems.add("the file is not an object", at=at, found=shown(row), do='write {"name": "...", ...}')
        return None
    known_fields(row, known=INFO_FIELDS, at=at, problems=problems)
    values = {name: value for name, value in row.items() if name in INFO_FIELDS and name != "counts"}
    kinds = {"sources": list, "in_batch_negatives": bool}
    for name, value in values.items():
        kind = kinds.get(name, str)
        if not isinstance(value, kind):
            do = f"write a {'text' if kind is str else kind.__name__}"
            problems.add(f"the field {name!r} has the wrong type", at=at, found=shown(value), do=do)
    return DatasetInfo(**({"name": path.parent.resolve().name} | values))


def _read_seal(path: Path, problems: Problems) -> Seal | None:
    if not path.exists():
        return None
    at = Place(str(path), 0)
    row = parse_json("\n".join(dict(read_lines(path, problems)).values()), at=at, problems=problems)
    whole = isinstance(row, dict) and set(row) == {"split", "sha256", "questions"}
    if whole and isinstance(row["questions"], list) and all(isinstance(v, str) for v in (row["split"], row["sha256"])):
        return Seal(row["split"], row["sha256"], tuple(map(str, row["questions"])))
    if row is not None:
        do = "bring the file back as it was written, or seal the split anew: ragtune seal DATASET --again"
        problems.add("the seal of the test split cannot be read", at=at, found=shown(row), do=do)
    return None
