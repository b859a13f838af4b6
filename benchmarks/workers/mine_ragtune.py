"""ragtune: passages encoded to disk, searched in blocks, cut and chosen by its rules."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mining_job import GivenVectors, MiningJob, now, read_job, read_lines, write_result

from ragtune.data.records import Dataset, DatasetInfo, Passage, Query
from ragtune.models import load_model
from ragtune.recipe import ModelRecipe
from ragtune.recipe_mining import MineRecipe
from ragtune.retrieval.bm25 import BM25Retriever
from ragtune.retrieval.mining import BM25Finder, DenseFinder, Finder, mine_negatives
from ragtune.retrieval.vector_files import passage_vectors
from ragtune.training.precision import compute_dtype


class Given:
    """The table of vectors as an encoder."""

    def __init__(self, job: MiningJob) -> None:
        self.table = GivenVectors(job)

    def encode(
        self, texts: Sequence[str], *, kind: str, label: str = "", prompts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        """Vectors of the texts."""
        return self.table.passages(list(texts)) if kind == "passage" else self.table.queries(list(texts))


def encoder_of(job: MiningJob, recipe: MineRecipe) -> Any:
    """The built-in model, or the table."""
    if job.vectors is not None:
        return Given(job)
    model = load_model(ModelRecipe(query_max_tokens=job.max_length, passage_max_tokens=job.max_length))
    model.encode_dtype = compute_dtype(recipe.precision, device=model.device)
    return model


def main() -> None:
    began = now()
    job = read_job()
    recipe = MineRecipe(
        negatives=job.negatives, depth=job.depth, relative_margin=job.margin, neighbours=0, **job.settings
    )
    rows = read_lines(job.rows)
    dataset = Dataset(
        info=DatasetInfo("benchmark"),
        corpus={row["id"]: Passage(row["id"], row["text"]) for row in read_lines(job.corpus)},
        queries={row["id"]: Query(row["id"], row["query"]) for row in rows},
        qrels={"train": {row["id"]: dict.fromkeys(row["positives"], 1) for row in rows}},
    )
    read = now()
    encoder = encoder_of(job, recipe)
    texts = [passage.content for passage in dataset.corpus.values()]
    with tempfile.TemporaryDirectory() as folder:
        passage_ND = passage_vectors(texts, encoder, Path(folder) / "v.npy", kept=recipe.vectors)
        encoded = now()
        finders: list[Finder] = [
            DenseFinder("minilm", encoder=encoder, passage_ND=passage_ND, ids=list(dataset.corpus))
        ]
        if recipe.bm25:
            finders.append(BM25Finder(BM25Retriever(dataset.corpus)))
        mined = mine_negatives(dataset, recipe=recipe, finders=finders)
    ended = now()
    negatives = {
        dataset.queries[query].text: [dataset.corpus[candidate.corpus_id].text for candidate in listed]
        for query, listed in mined.candidates.items()
    }
    write_result(negatives, seconds={"read": read - began, "encode": encoded - read, "mine": ended - encoded})


if __name__ == "__main__":
    main()
