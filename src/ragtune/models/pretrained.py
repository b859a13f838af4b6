"""What every family reads of a transformers folder: tokenizer, limits, dropout, and weights without chatter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ragtune.errors import ModelError, Problem
from ragtune.models.folders import reading
from ragtune.models.transformer import position_offset
from ragtune.recipe import ModelRecipe


def access(recipe: ModelRecipe) -> dict[str, Any]:
    """What every reader of transformers is told of a recipe."""
    return {"trust_remote_code": recipe.trust_remote_code, "cache_dir": recipe.cache_dir, "token": recipe.token}


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers without progress bars and load reports; what is missing is looked at, not told."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def load_tokenizer(recipe: ModelRecipe, source: Path | str, *, rows: int | None) -> Any:
    """A tokenizer. Raises ``ModelError`` where it cannot be read or has more tokens than ``rows`` of the table."""
    from transformers import AutoTokenizer

    with reading(source):
        tokenizer = AutoTokenizer.from_pretrained(source, **access(recipe))
    # transformers makes a tokenizer of special tokens alone where the files are missing
    if len(tokenizer) <= len(tokenizer.all_special_ids) or (rows is not None and tokenizer.vocab_size > rows):
        raise ModelError(
            Problem(
                what="the tokenizer does not belong to the model",
                where=str(source),
                found=f"{len(tokenizer)} tokens for an embedding table of {rows} rows",
                do="give the folder the tokenizer's files, or set model.tokenizer",
            )
        )
    return tokenizer


def check_complete(folder: Path, *, missing: Iterable[str], may_lack: Collection[str] = ("pooler",)) -> None:
    """Transformers fills what the file lacks with random numbers; only parts of certain names may lack."""
    lacking = sorted(name for name in missing if not set(may_lack) & set(name.split(".")))
    if lacking:
        raise ModelError(
            Problem(
                what="the weights are not complete",
                where=str(folder),
                found=f"{len(lacking)} missing, first: {', '.join(lacking[:3])}",
                do="give a folder whose weights belong to its config.json",
            )
        )


def is_decoder(config: Any) -> bool:
    """Whether a model of this type reads from left to right."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    return config.model_type in CAUSAL and config.model_type not in MASKED


def length_limit(backbone: Any, tokenizer: Any) -> int:
    """Longest input in tokens that the position table and the tokenizer allow."""
    positions = getattr(backbone.config, "max_position_embeddings", None) or 10**6
    positions -= position_offset(backbone)
    return int(min(positions, tokenizer.model_max_length if tokenizer.model_max_length < 10**6 else positions))


def set_dropout(backbone: nn.Module, share: float) -> None:
    """Give every dropout of a model this share."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share  # type: ignore[assignment]
