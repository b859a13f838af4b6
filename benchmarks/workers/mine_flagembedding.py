"""FlagEmbedding 1.4.2: its own ``scripts/hn_mine.py``, which no package installs; the job says where it lies.

Its file format is written and read here as its users have to. It knows no margin: negatives are drawn from the ranks
10 to the depth, its own lower edge.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mining_job import GivenVectors, MiningJob, now, read_job, read_lines, write_result
from turn import model_path

FIRST_RANK = 10


class Given:
    """The table of vectors with the methods that the script calls."""

    def __init__(self, job: MiningJob) -> None:
        self.table = GivenVectors(job)

    def encode(self, texts: list[str]) -> np.ndarray:
        """Vectors of passages."""
        return self.table.passages(texts)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        """Vectors of queries."""
        return self.table.queries(texts)


def script_of(path: str) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("hn_mine", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_of(script: ModuleType, job: MiningJob) -> Any:
    """What the script itself would load, or the table."""
    if job.vectors is not None:
        return Given(job)
    arguments = script.ModelArgs(
        embedder_name_or_path=str(model_path()),
        embedder_model_class="encoder-only-base",
        pooling_method="mean",
        use_fp16=False,
        devices=["cpu"],
        batch_size=job.batch_size,
        embedder_query_max_length=job.max_length,
        embedder_passage_max_length=job.max_length,
    )
    return script.load_model(arguments)


def main() -> None:
    began = now()
    job = read_job()
    script = script_of(job.settings["script"])
    corpus = {row["id"]: row["text"] for row in read_lines(job.corpus)}
    with tempfile.TemporaryDirectory() as folder:
        rows_file, pool_file, out_file = (Path(folder) / name for name in ("rows.jsonl", "pool.jsonl", "out.jsonl"))
        rows = [
            {"query": row["query"], "pos": [corpus[key] for key in row["positives"]]} for row in read_lines(job.rows)
        ]
        write_lines(rows_file, rows)
        write_lines(pool_file, [{"text": text} for text in corpus.values()])
        read = now()
        script.find_knn_neg(
            model=model_of(script, job),
            input_file=str(rows_file),
            output_file=str(out_file),
            candidate_pool=str(pool_file),
            sample_range=[FIRST_RANK, job.depth],
            negative_number=job.negatives,
        )
        ended = now()
        negatives = {row["query"]: row["neg"] for row in read_lines(str(out_file))}
    write_result(negatives, seconds={"read": read - began, "encode and mine": ended - read})


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
