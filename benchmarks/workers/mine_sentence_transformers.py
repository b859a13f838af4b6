"""sentence-transformers 6.2.0: ``mine_hard_negatives`` with the same margin, depth and number; the rest as it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset
from mining_job import GivenVectors, MiningJob, now, read_job, read_lines, write_result
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives
from turn import model_path


def model_of(job: MiningJob) -> SentenceTransformer:
    """The model, or the model with its two encoding methods answered from the table."""
    model = SentenceTransformer(str(model_path()), device="cpu")
    model.max_seq_length = job.max_length
    if job.vectors is not None:
        table = GivenVectors(job)

        def encode_document(texts: list[str], **settings: Any) -> np.ndarray:
            return table.passages(texts)

        def encode_query(texts: list[str], **settings: Any) -> np.ndarray:
            return table.queries(texts)

        model.encode_document, model.encode_query = encode_document, encode_query  # type: ignore[method-assign]
    return model


def main() -> None:
    began = now()
    job = read_job()
    corpus = {row["id"]: row["text"] for row in read_lines(job.corpus)}
    pairs = [(row["query"], corpus[key]) for row in read_lines(job.rows) for key in row["positives"]]
    dataset = Dataset.from_dict({"query": [query for query, _ in pairs], "positive": [text for _, text in pairs]})
    read = now()
    mined = mine_hard_negatives(
        dataset,
        model_of(job),
        anchor_column_name="query",
        positive_column_name="positive",
        corpus=list(corpus.values()),
        num_negatives=job.negatives,
        range_max=job.depth,
        relative_margin=job.margin,
        output_format="n-tuple",
        verbose=False,
        **job.settings,
    )
    ended = now()
    columns = [name for name in mined.column_names if name.startswith("negative")]
    negatives = {row["query"]: [row[name] for name in columns] for row in mined}
    write_result(negatives, seconds={"read": read - began, "encode and mine": ended - read})


if __name__ == "__main__":
    main()
