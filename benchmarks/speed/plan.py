"""The work: which queries and passages make up each step, the same list for every contestant."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

SEED = 520


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says what, where, found and do."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One query with its passages: the positive first, then the given negatives."""

    query_id: str
    passage_ids: tuple[str, ...]


Batch = tuple[Row, ...]


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by id."""

    queries: Mapping[str, str]
    passages: Mapping[str, str]

    def of_batches(self, batches: Sequence[Batch]) -> dict[str, dict[str, str]]:
        """The texts that ``batches`` use, in the form that a job file carries."""
        rows = [row for batch in batches for row in batch]
        return {
            "queries": {row.query_id: self.queries[row.query_id] for row in rows},
            "passages": {pid: self.passages[pid] for row in rows for pid in row.passage_ids},
        }


def read_texts(data: Path) -> Texts:
    """The texts of a BEIR folder (a title, where there is one, goes before the text)."""
    missing = [name for name in ("queries.jsonl", "corpus.jsonl", "qrels/train.tsv") if not (data / name).is_file()]
    if missing:
        raise BenchmarkError(
            f"the dataset is not complete\n  where: {data}\n  found: no {', '.join(missing)}\n"
            "  do:    give a BEIR folder of financial-qa-10K with --data"
        )
    return Texts(_read_jsonl(data / "queries.jsonl"), _read_jsonl(data / "corpus.jsonl"))


def read_rows(data: Path, *, negatives: int) -> list[Row]:
    """The training queries with their positive and ``negatives`` given negatives, in file order.

    A row with a blank text is left out: ragtune does not train on it, and all are to do the same work.
    """
    texts = read_texts(data)
    negative_ids = dict(_read_tsv(data / "negatives_seed520.tsv")) if negatives else {}
    rows = []
    for query_id, passage_id, *_ in _read_tsv(data / "qrels" / "train.tsv"):
        own = [pid for pid in negative_ids.get(query_id, "").split() if pid != passage_id][:negatives]
        whole = texts.queries[query_id] and all(texts.passages[pid] for pid in (passage_id, *own))
        if len(own) == negatives and whole:
            rows.append(Row(query_id, (passage_id, *own)))
    return rows


def draw_batches(rows: Sequence[Row], *, count: int, size: int, seed: int = SEED) -> list[Batch]:
    """``count`` batches of ``size`` rows; no row occurs twice.

    >>> rows = [Row(str(n), (str(n),)) for n in range(6)]
    >>> sorted(row.query_id for batch in draw_batches(rows, count=3, size=2) for row in batch)
    ['0', '1', '2', '3', '4', '5']
    """
    if count * size > len(rows):
        raise BenchmarkError(
            f"too few training queries\n  where: the train qrels\n  found: {len(rows)}, and {count * size} are needed\n"
            "  do:    lower --rounds or --steps"
        )
    drawn = random.Random(seed).sample(list(rows), count * size)
    return [tuple(drawn[start : start + size]) for start in range(0, len(drawn), size)]


def cut(batch: Batch, size: int) -> list[Batch]:
    """``batch`` in pieces of ``size`` rows, for a contestant that cannot hold it whole.

    >>> [len(piece) for piece in cut(tuple(Row(str(n), ()) for n in range(32)), 8)]
    [8, 8, 8, 8]
    """
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def as_json(batches: Sequence[Batch]) -> list[list[dict[str, Any]]]:
    """Batches in the form that a job file carries."""
    return [[{"query_id": row.query_id, "passage_ids": list(row.passage_ids)} for row in batch] for batch in batches]


def _read_jsonl(path: Path) -> dict[str, str]:
    records = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {record["_id"]: f"{record.get('title', '')} {record['text']}".strip() for record in records}


def _read_tsv(path: Path) -> Iterator[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return (line.split("\t") for line in lines[1:] if line.strip())
