"""Titles from what a dataset knows about its passages."""

from __future__ import annotations

from dataclasses import replace

from ragtune.data.records import Dataset, Passage
from ragtune.errors import DataError, Problem, did_you_mean


def titled(dataset: Dataset, *, key: str) -> Dataset:
    """The dataset with ``metadata[key]`` as the title of every passage that has none.

    A passage that says "the Company" is found by a question that names the company only if something names it.
    Raises DataError when no passage has the key and none has a title.

    >>> from ragtune.data.records import DatasetInfo
    >>> passage = Passage(id="1", text="Revenue rose by 5 %.", metadata={"ticker": "NVDA"})
    >>> titled(Dataset(DatasetInfo("d"), {"1": passage}, {}), key="ticker").corpus["1"].content
    'NVDA Revenue rose by 5 %.'
    """
    known = {name for passage in dataset.corpus.values() for name in passage.metadata}
    if key not in known and not any(passage.title for passage in dataset.corpus.values()):
        raise DataError(
            Problem(
                what="no passage has a title or the metadata key that is to be one",
                where=f"data.passage_title, {dataset.info.name}",
                found=f"{key!r}, while passages have {', '.join(sorted(known)) or 'no metadata'}",
                do=did_you_mean(key, sorted(known)) if known else "leave data.passage_title out",
            )
        )
    return replace(dataset, corpus={name: _titled(passage, key) for name, passage in dataset.corpus.items()})


def _titled(passage: Passage, key: str) -> Passage:
    if passage.title or passage.metadata.get(key) in (None, ""):
        return passage
    return replace(passage, title=str(passage.metadata[key]))
