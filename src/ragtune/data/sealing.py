"""Sealed test splits: what a verdict is about is fixed by a hash, and no training query may be one of its questions.

A seal lies beside the dataset (``seal.json``) and goes wherever the dataset is written. It holds a hash over the test
queries, their judgements and the texts of the judged passages, and one short hash a question, so that a test question
is known again in a training split even where the test split is gone. Passages are not sealed against training: they
are what is searched, and negatives may come from all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ragtune.data.duplicates import near_texts, plain_text
from ragtune.data.records import Dataset, Seal
from ragtune.errors import DataError, Problem

SEALED = "test"
TRAINED = ("train",)
QUESTION_HEX = 16
"""Hex digits kept of a question's hash: 64 bits, so that ten million questions meet by chance once in 10^5 datasets."""
SHOWN = 5


def seal_test(dataset: Dataset) -> Dataset:
    """The dataset with its test split sealed as it stands, whatever was sealed before.

    Raises DataError when there is no test split, or when training queries ask what it asks: a seal that is broken from
    the first day helps nobody.
    """
    if not dataset.split(SEALED):
        do = f"make one: ragtune split, or qrels/{SEALED}.tsv"
        raise DataError(Problem("there is no test split to seal", dataset.info.name, "no judged query", do))
    texts = [dataset.queries[query].text for query in dataset.split(SEALED)]
    questions = sorted({question_hash(text) for text in texts if text.strip()})
    sealed = replace(dataset, seal=Seal(SEALED, split_hash(dataset, SEALED), tuple(questions)))
    refuse_trained_on([sealed])
    return sealed


def refuse_trained_on(datasets: Sequence[Dataset]) -> None:
    """Raise DataError for every seal among the datasets that is broken, or whose questions any of them trains on.

    A question is trained on when its text (white space and case aside) or a near duplicate of it is in a training
    split, under whatever id.
    """
    problems = []
    for dataset in datasets:
        if dataset.seal is None:
            continue
        if is_broken(dataset):
            problems.append(_broken(dataset))
        for other in datasets:
            if found := list(trained_questions(dataset, other)):
                problems.append(_trained_on(dataset, other, found))
    if problems:
        raise DataError(problems)


def refuse_broken(dataset: Dataset) -> None:
    """Raise DataError when the sealed split is not what it was when it was sealed."""
    if is_broken(dataset):
        raise DataError(_broken(dataset))


def is_broken(dataset: Dataset) -> bool:
    """Whether the sealed split is not what it was when it was sealed; a dataset without a seal has none to break."""
    return dataset.seal is not None and split_hash(dataset, dataset.seal.split) != dataset.seal.sha256


def trained_questions(sealed: Dataset, trained: Dataset) -> Iterator[str]:
    """Ids of the training queries of ``trained`` that ask what the sealed split of ``sealed`` asks."""
    if sealed.seal is None:
        return
    every = {query: trained.queries[query].text for split in TRAINED for query in trained.split(split)}
    texts = {query: text for query, text in every.items() if text.strip()}
    hashes = set(sealed.seal.questions)
    asked = {query: text for query, text in texts.items() if question_hash(text) in hashes}
    tested = [sealed.queries[query].text for query in sealed.split(sealed.seal.split)]
    near = near_texts(texts, tested)
    yield from (query for query in texts if query in asked or query in near)


def split_hash(dataset: Dataset, split: str) -> str:
    """SHA-256 over the queries of a split, their judgements and all texts of both; their order does not matter."""
    digest = hashlib.sha256()
    for query, grades in sorted(dataset.split(split).items()):
        judged = [[key, grade, plain_text(dataset.corpus[key].content)] for key, grade in sorted(grades.items())]
        row = [query, plain_text(dataset.queries[query].text), judged]
        digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def question_hash(text: str) -> str:
    """A short hash of a question, white space and case aside.

    >>> question_hash(" Why  not? ") == question_hash("why not?")
    True
    """
    plain = plain_text(text).casefold()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:QUESTION_HEX]


def _broken(dataset: Dataset) -> Problem:
    assert dataset.seal is not None
    return Problem(
        what=f"the {dataset.seal.split} split is not what it was when it was sealed",
        where=f"dataset {dataset.info.name!r}",
        found="other queries, judgements or texts of judged passages",
        do="bring the old split back, or seal what is there now: ragtune seal DATASET --again",
    )


def _trained_on(dataset: Dataset, other: Dataset, found: list[str]) -> Problem:
    assert dataset.seal is not None
    shown = ", ".join(found[:SHOWN]) + (" ..." if found[SHOWN:] else "")
    return Problem(
        what=f"training queries ask what the sealed {dataset.seal.split} split of {dataset.info.name!r} asks",
        where=f"dataset {other.info.name!r}, qrels/train.tsv",
        found=f"{len(found)} queries, equal or nearly equal: {shown}",
        do="take them out of the training split, or split anew by duplicate group: ragtune split",
    )
