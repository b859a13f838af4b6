"""What the rows of each format mean: from a row under its roles to queries and the passages beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragtune.data.formats.building import Builder, Link
from ragtune.data.formats.fields import Fields

ClassNames = Mapping[str, Sequence[str]]


def read_flagembedding(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """A query, its list of positives and its list of negatives, each text perhaps with a teacher's score."""
    _read_groups(fields, builder, list_expected=True)


def read_triplets(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """A query, a positive and a negative; either may be a list."""
    _read_groups(fields, builder, list_expected=False)


def _read_groups(fields: Fields, builder: Builder, *, list_expected: bool) -> None:
    queries = fields.texts("query")
    positives = fields.scored_texts("positive", "pos_scores", list_expected=list_expected)
    negatives = fields.scored_texts("negative", "neg_scores", list_expected=list_expected)
    if queries is None or positives is None or negatives is None:
        return
    if not positives and not negatives and not fields.may_be_bare():
        return
    links = [Link(text, 1.0, teacher=score) for text, score in positives]
    builder.add(fields, queries, links + [Link(text, 0.0, teacher=score) for text, score in negatives])


def read_labelled_pairs(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """A query, a passage (or several) and whether they belong together."""
    queries, passages, positive = fields.texts("query"), fields.texts("passage"), fields.is_positive("label")
    if queries is not None and passages is not None and positive is not None and (passages or fields.may_be_bare()):
        builder.add(fields, queries, _links(fields, passages, relevance=float(positive)))


def read_pairs(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """A query and its passage, or passages."""
    queries, passages = fields.texts("query"), fields.texts("passage")
    if queries is not None and passages is not None and (passages or fields.may_be_bare()):
        builder.add(fields, queries, _links(fields, passages, relevance=1.0))


def read_scored_pairs(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """Two texts and how alike they are."""
    query, passage, score = fields.text("query"), fields.text("passage"), fields.number_of("score")
    if query is not None and passage is not None and score is not None:
        builder.add(fields, [query], [Link(passage, score, exact=True)])


def read_rag(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """A query, its answer and, where given, the passages that hold it."""
    query, answers, passages = fields.text("query"), fields.texts("answer"), fields.texts("passage")
    if query is not None and answers is not None and passages is not None:
        builder.add(fields, [query], _links(fields, passages, relevance=1.0))


def read_classes(fields: Fields, builder: Builder, class_names: ClassNames) -> None:
    """A text and its class."""
    text, label = fields.text("text"), fields.class_label("label", class_names)
    if text is not None and label is not None:
        builder.add_labelled(fields, text, label)


def _links(fields: Fields, passages: Sequence[str], *, relevance: float) -> list[Link]:
    """Passages of one relevance; the row's title and passage id belong to a single one."""
    if len(passages) == 1:
        return [Link(passages[0], relevance, title=fields.optional_text("title"), id=fields.id("passage_id"))]
    return [Link(text, relevance) for text in passages]
