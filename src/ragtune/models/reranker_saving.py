"""Writing the CrossEncoder folder of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ragtune.models.base import KINDS
from ragtune.models.pair_format import chat_template
from ragtune.models.reranker import ACTIVATIONS, Reranker
from ragtune.run import atomic_folder

MODULES = "sentence_transformers.base.modules.transformer.Transformer"
LOGIT_SCORE = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"


def save_reranker(model: Reranker, folder: Path) -> None:
    """Write the model whole or not at all: weights, tokenizer, and what sentence-transformers and ragtune say of it."""
    with atomic_folder(folder) as aside:
        config = model.network.config
        name = ACTIVATIONS[model.reading.activation]
        # where sentence-transformers 4 and 5 look for it
        config.sentence_transformers = {"activation_fn": f"{name.__module__}.{name.__qualname__}"}
        model.network.save_pretrained(aside)
        write_around(model, aside)


def write_around(model: Reranker, folder: Path) -> None:
    """Everything of the folder but the weights."""
    reading = model.reading
    backend = model.tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    model.tokenizer.model_max_length = reading.max_tokens
    if reading.form.template is not None:
        model.tokenizer.chat_template = chat_template(reading.form.template)
    model.tokenizer.save_pretrained(folder)
    answers, name = reading.answers, ACTIVATIONS[reading.activation]
    modules = [("", MODULES)] if answers is None else [("", MODULES), ("1_LogitScore", LOGIT_SCORE)]
    listing = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    _write(folder / "modules.json", listing)
    forward = {"method": "forward", "method_output_name": "logits"}
    modality = {"text": forward} if answers is None else {"text": forward, "message": {**forward, "format": "flat"}}
    reads = {
        "transformer_task": "sequence-classification" if answers is None else "text-generation",
        "modality_config": modality,
        "module_output_name": "scores" if answers is None else "causal_logits",
    }
    _write(folder / "sentence_bert_config.json", reads)
    if answers is not None:
        ids = {"true_token_id": answers.yes, "false_token_id": answers.no, "module_input_name": "causal_logits"}
        (folder / "1_LogitScore").mkdir()
        _write(folder / "1_LogitScore" / "config.json", ids)
    activation = f"{name.__module__}.{name.__qualname__}"
    said: dict[str, Any] = {
        "model_type": "CrossEncoder",
        "activation_fn": activation,
        "prompts": {},
        "default_prompt_name": None,
    }
    _write(folder / "config_sentence_transformers.json", said)
    _write(folder / "ragtune.json", _described(model))


def _described(model: Reranker) -> dict[str, Any]:
    reading = model.reading
    limits = {f"{kind}_max_tokens": model.settings[kind].max_tokens for kind in KINDS}
    formats = {f"{kind}_prompt_format": model.settings[kind].format for kind in KINDS}
    prompts = {f"{kind}_prompt": model.settings[kind].prompt for kind in KINDS}
    pair = {"max_tokens": reading.max_tokens, "activation": reading.activation, "template": reading.form.template}
    return {"family": model.family, "pair": pair, **prompts, **formats, **limits, **model.notes}


def _write(path: Path, value: Any) -> None:
    """Plain writes: the caller renames the whole folder into place."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
