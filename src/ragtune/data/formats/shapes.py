"""The table of formats: which columns each has and what its rows mean. A new format is a new row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from ragtune.data.formats import row_reading, row_writing
from ragtune.data.formats.building import Builder
from ragtune.data.formats.columns import ANSWER, ID, NEGATIVE, PASSAGE, PASSAGE_ID, POSITIVE, QUERY
from ragtune.data.formats.fields import Fields

Reader = Callable[[Fields, Builder, row_reading.ClassNames], None]
Writer = Callable[[row_writing.Outgoing], Iterator[row_writing.Written]]


@final
@dataclass(frozen=True, slots=True)
class FormatSpec:
    """A format of rows. ``example`` holds rows as they stand in a file.

    ``roles`` maps a role to the names that its column goes by; a file must have those in ``required``. ``positions``
    are the roles of a row that is a list.
    """

    name: str
    summary: str
    example: tuple[Any, ...]
    required: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]
    reader: Reader
    writer: Writer
    positions: tuple[str, ...] = ()


_COMMON = {"id": ID, "prompt": ("prompt", "instruction"), "answer": ANSWER}
_ONE_PASSAGE = {"title": ("title",), "passage_id": PASSAGE_ID}

# Of two formats that use the same columns the first is taken.
_SPECS = (
    FormatSpec(
        name="flagembedding",
        summary="a query with lists of positives and negatives, perhaps with teacher scores (FlagEmbedding)",
        example=({"query": "q", "pos": ["p"], "neg": ["n", "m"], "pos_scores": [0.9], "neg_scores": [0.2, 0.1]},),
        required=("query", "positive"),
        roles={
            "query": QUERY,
            "positive": ("pos",),
            "negative": ("neg",),
            "pos_scores": ("pos_scores",),
            "neg_scores": ("neg_scores",),
            **_COMMON,
        },
        reader=row_reading.read_flagembedding,
        writer=row_writing.write_flagembedding,
    ),
    FormatSpec(
        name="triplets",
        summary="query, positive, negative (either may be a list; negative_1, negative_2 ... are one list)",
        example=({"query": "q", "positive": "p", "negative": "n"}, ["q", "p", "n"]),
        required=("query", "positive", "negative"),
        roles={"query": QUERY, "positive": POSITIVE, "negative": NEGATIVE, **_COMMON},
        reader=row_reading.read_triplets,
        writer=row_writing.write_triplets,
        positions=("query", "positive", "negative"),
    ),
    FormatSpec(
        name="labelled-pairs",
        summary="query, passage and a label that says whether they belong together (1 or 0, or labels of your own)",
        example=({"query": "q", "passage": "p", "label": 1}, ["q", "n", 0]),
        required=("query", "passage", "label"),
        roles={
            "query": QUERY,
            "passage": PASSAGE,
            "label": ("label", "is_relevant", "is_duplicate", "relevance"),
            **_ONE_PASSAGE,
            **_COMMON,
        },
        reader=row_reading.read_labelled_pairs,
        writer=row_writing.write_labelled_pairs,
        positions=("query", "passage", "label"),
    ),
    FormatSpec(
        name="scored-pairs",
        summary="two texts and how alike they are, on any scale",
        example=({"sentence1": "a", "sentence2": "b", "score": 3.8},),
        required=("query", "passage", "score"),
        roles={"query": QUERY, "passage": PASSAGE, "score": ("score", "similarity", "similarity_score"), **_COMMON},
        reader=row_reading.read_scored_pairs,
        writer=row_writing.write_scored_pairs,
        positions=("query", "passage", "score"),
    ),
    FormatSpec(
        name="rag",
        summary="a query, its answer and perhaps the passage that holds it",
        example=({"query": "q", "response": "a", "context": "p"},),
        required=("query", "answer"),
        roles={"query": QUERY, "answer": ANSWER, "passage": PASSAGE, **_ONE_PASSAGE, "id": ID, "prompt": ("prompt",)},
        reader=row_reading.read_rag,
        writer=row_writing.write_rag,
    ),
    FormatSpec(
        name="pairs",
        summary="a query and its passage (or a list of passages)",
        example=({"query": "q", "passage": "p"}, ["q", "p"]),
        required=("query", "passage"),
        roles={"query": QUERY, "passage": PASSAGE + POSITIVE, **_ONE_PASSAGE, **_COMMON},
        reader=row_reading.read_pairs,
        writer=row_writing.write_pairs,
        positions=("query", "passage"),
    ),
    FormatSpec(
        name="classes",
        summary="a text and its class; texts of one class are each other's positives",
        example=({"text": "t", "label": "c"},),
        required=("text", "label"),
        roles={
            "text": ("text", "sentence", "utterance", "content"),
            "label": ("label", "class", "category", "intent"),
            "id": ID,
            "prompt": ("prompt",),
        },
        reader=row_reading.read_classes,
        writer=row_writing.write_classes,
    ),
)
FORMATS: Mapping[str, FormatSpec] = {spec.name: spec for spec in _SPECS}

FOLDER_FORMAT = "beir"
"""A dataset folder: corpus.jsonl, queries.jsonl and qrels; no format of rows."""

TABLES = {"csv": "csv", "parquet": "parquet", "hf": "hf"}
"""Names that say how rows lie, not what they mean: read by their columns, written as pairs."""

FORMAT_NAMES = (*FORMATS, FOLDER_FORMAT, *TABLES)
