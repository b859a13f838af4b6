"""A zoo: one tiny random model of every architecture, as bare Hugging Face folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# 260 positions: longer than the probe, and than every window below. ("layers" are two everywhere.)
BERT_LIKE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 260,
    "initializer_range": 0.2,
}
DECODER = BERT_LIKE | {"num_key_value_heads": 1, "head_dim": 16, "num_attention_heads": 4, "use_cache": True}
ROBERTA_LIKE = BERT_LIKE | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "max_position_embeddings": 262}
ZOO: dict[str, dict[str, Any]] = {
    "bert": BERT_LIKE,
    "electra": BERT_LIKE | {"embedding_size": 24},
    "roberta": ROBERTA_LIKE,
    "xlm-roberta": ROBERTA_LIKE,
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": 260,
        "initializer_range": 0.2,
    },
    "mpnet": ROBERTA_LIKE,
    "deberta-v2": BERT_LIKE
    | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "share_att_key": True},
    "modernbert": BERT_LIKE
    | {"local_attention": 16, "global_attn_every_n_layers": 2, "initializer_cutoff_factor": 3.0, "pad_token_id": 0},
    "qwen2": DECODER,
    "qwen3": DECODER,
    "llama": DECODER,
    "mistral": DECODER | {"sliding_window": 8},
    "gemma3_text": DECODER
    | {
        "sliding_window": 8,
        "use_bidirectional_attention": True,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gemma2": DECODER
    | {"sliding_window": 8, "attn_logit_softcapping": 1e4, "layer_types": ["sliding_attention", "full_attention"]},
}
DECODERS = ("qwen2", "qwen3", "llama", "mistral", "gemma3_text", "gemma2")


def build_zoo_model(folder: Path, *, kind: str, tiny: Path, architecture: str = "") -> Path:
    """Write the model ``kind`` and a tokenizer that suits it; ``architecture`` names another head of transformers."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True)
    vocabulary = _write_tokenizer(folder, kind=kind, tiny=tiny)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = AutoConfig.for_model(kind, vocab_size=vocabulary, **ZOO[kind])
        model = getattr(transformers, architecture)(config) if architecture else AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        model.eval().save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path, *, kind: str, tiny: Path) -> int:
    """The tiny model's word pieces; specials as BERT, as RoBERTa, or an end token alone as embedding decoders do."""
    if ZOO[kind].get("pad_token_id") != 1 and kind not in DECODERS:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny / name, folder / name)
        return len(json.loads((tiny / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    given = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    pieces = sorted(piece for piece in given.get_vocab() if not piece.startswith("["))
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {piece: i for i, piece in enumerate(special + pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = given.normalizer, given.pre_tokenizer
    single = "$A </s>" if kind in DECODERS else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=256,
    ).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Callable[..., Path]:
    """A factory: ``zoo("roberta")`` is the folder of a bare tiny RoBERTa; each is built once."""
    root = tmp_path_factory.mktemp("zoo")

    def folder_of(kind: str, architecture: str = "") -> Path:
        folder = root / f"{kind}-{architecture}"
        return (
            folder
            if folder.is_dir()
            else build_zoo_model(folder, kind=kind, tiny=tiny_model, architecture=architecture)
        )

    return folder_of


TEXTS = [
    "a cat",
    "绿茶不经过发酵，所以茶汤是绿色的。",
    "Bread rises because yeast turns sugar into gas, and the crust turns brown when the oven is very hot.",
    "tides",
    "the moon pulls the sea " * 9,
    "who pays the rent?",
    "A queen bee lays up to two thousand eggs a day.",
    "the moon pulls the sea " * 20,
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Eight texts of 3 to 120 tokens, English and Chinese."""
    return TEXTS


@pytest.fixture(scope="session")
def zoo_names() -> list[str]:
    """Every architecture of the zoo."""
    return list(ZOO)
