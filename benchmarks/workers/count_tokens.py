"""Real tokens of every text of a job, by the model's own tokenizer: an independent count for the driver to check by."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer
from turn import Job, model_path


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    tokenizer = Tokenizer.from_file(str(model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=job.max_length)
    lengths = {
        kind: dict(zip(texts, (len(one.ids) for one in tokenizer.encode_batch(list(texts.values()))), strict=True))
        for kind, texts in (("queries", job.queries), ("passages", job.passages))
    }
    config = json.loads((model_path() / "config.json").read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps({"lengths": lengths, "config": config}), encoding="utf-8")


if __name__ == "__main__":
    main()
