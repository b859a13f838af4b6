"""Fixtures that every test may use: the shared data sets, a tiny bilingual dataset, a tiny model."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragtune.data.records import Candidate, Dataset, DatasetInfo, Passage, Query

REPOSITORY = Path(__file__).resolve().parent.parent

# (title, passage, query): ten subjects, told in three ways each, so that a wrong neighbour is a near one.
TINY_ENGLISH = [
    ("Cats", "A cat sleeps most of the day and hunts mice at night.", "when do cats hunt"),
    ("Cats", "Kittens open their eyes about ten days after birth.", "how old are kittens when their eyes open"),
    ("Bread", "Bread rises because yeast turns sugar into gas.", "why does dough rise"),
    ("Bread", "A crust turns brown when the oven is very hot.", "what makes the crust of a loaf brown"),
    ("Tides", "The moon pulls the sea, so the tide comes twice a day.", "what causes the tide"),
    ("Tides", "A spring tide comes when sun and moon stand in line.", "when is a spring tide"),
    ("Rent", "The tenant pays rent on the first day of every month.", "on which day is the rent due"),
    ("Rent", "A deposit is returned within thirty days after moving out.", "when does the tenant get the deposit back"),
    ("Bees", "Bees dance to tell the hive where flowers are.", "how do bees tell where flowers are"),
    ("Bees", "A queen bee lays up to two thousand eggs a day.", "how many eggs does a queen lay"),
    ("Steel", "Steel is iron with a little carbon in it.", "what is steel made of"),
    ("Steel", "Chromium keeps steel from rusting.", "why does stainless steel not rust"),
    ("Tax", "A company reports its profit to the tax office every year.", "how often is profit reported"),
    ("Tax", "Losses may be set against the profit of later years.", "may losses reduce later taxes"),
    ("Rivers", "A river carries sand and drops it where it slows down.", "where does a river drop its sand"),
    ("Rivers", "Snow that melts in the hills makes rivers rise in spring.", "why do rivers rise in spring"),
]
TINY_CHINESE = [
    ("茶", "绿茶不经过发酵，所以茶汤是绿色的。", "绿茶为什么是绿色的"),
    ("茶", "泡茶的水温不要超过八十度。", "泡绿茶用多热的水"),
    ("长城", "长城全长两万多公里，经过十五个省。", "长城有多长"),
    ("长城", "明朝用砖石修了今天看到的长城。", "现在的长城是哪个朝代修的"),
    ("租房", "租客每个月一号付房租。", "房租什么时候付"),
    ("租房", "退房以后三十天内退还押金。", "押金多久退还"),
    ("蜜蜂", "蜜蜂用跳舞告诉同伴花在哪里。", "蜜蜂怎样告诉同伴花的位置"),
    ("蜜蜂", "蜂王一天可以产两千个卵。", "蜂王一天产多少卵"),
    ("潮汐", "月亮吸引海水，一天有两次涨潮。", "为什么会涨潮"),
    ("潮汐", "太阳和月亮在一条线上的时候潮水最高。", "什么时候潮水最高"),
    ("税", "公司每年向税务局申报利润。", "公司多久申报一次利润"),
    ("税", "亏损可以抵扣以后年度的利润。", "亏损能不能抵税"),
    ("钢", "不锈钢里有铬，所以不生锈。", "不锈钢为什么不生锈"),
    ("面包", "酵母把糖变成气体，面团就发起来了。", "面团为什么会发起来"),
]
TINY_ROWS = {"en": TINY_ENGLISH, "zh": TINY_CHINESE, "mixed": TINY_ENGLISH + TINY_CHINESE}


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the repository, or a skip that says what was looked for."""
    shared = Path(os.environ.get("RAGTUNE_SHARED", REPOSITORY.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip("no shared data sets: set RAGTUNE_SHARED to a folder that holds data/, or put it in ../shared")
    return shared / "data"


def make_tiny_dataset(language: str = "mixed", *, with_candidates: bool = False) -> Dataset:
    """A dataset of 14 to 30 passages with one query each: two thirds train, a sixth dev, a sixth test."""
    rows = TINY_ROWS[language]
    corpus = {f"p{i}": Passage(id=f"p{i}", title=title, text=text) for i, (title, text, _) in enumerate(rows)}
    queries = {f"q{i}": Query(id=f"q{i}", text=query) for i, (_, _, query) in enumerate(rows)}
    qrels: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}, "test": {}}
    for i in range(len(rows)):
        split = {4: "dev", 5: "test"}.get(i % 6, "train")
        qrels[split][f"q{i}"] = {f"p{i}": 1}
    candidates = {}
    if with_candidates:
        for i in range(len(rows)):
            near, far = f"p{i ^ 1 if (i ^ 1) < len(rows) else i - 1}", f"p{(i + len(rows) // 2) % len(rows)}"
            candidates[f"q{i}"] = [
                Candidate(corpus_id=f"p{i}", relevance=1.0, teacher=0.9, source="given"),
                Candidate(corpus_id=near, relevance=0.0, teacher=0.4, source="given"),
                Candidate(corpus_id=far, relevance=0.0, teacher=0.1, source="given"),
            ]
    info = DatasetInfo(name=f"tiny-{language}", language="zh" if language == "zh" else "en")
    return Dataset(info=info, corpus=corpus, queries=queries, qrels=qrels, candidates=candidates)


@pytest.fixture(scope="session")
def tiny_dataset() -> Callable[..., Dataset]:
    """A factory: ``tiny_dataset()`` (30 rows), ``tiny_dataset("zh")``, ``tiny_dataset("en", with_candidates=True)``."""
    return make_tiny_dataset


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder (legacy ``modules.json``) with a random two-layer BERT of 32 dimensions."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny-bert")


def build_tiny_model(folder: Path) -> Path:
    """Write the tiny model into ``folder``: Transformer, mean pooling, normalisation; the same weights every time."""
    import torch
    from transformers import BertConfig, BertModel

    vocabulary = _write_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
        )
        BertModel(config).eval().save_pretrained(folder)
    _write_sentence_transformers_files(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_mlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare folder with a random two-layer BERT and its masked-language head."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "tiny-mlm"
    vocabulary = _write_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
        )
        BertForMaskedLM(config).eval().save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path) -> int:
    """A WordPiece tokenizer over every word and letter of the tiny texts; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    texts = [text for row in TINY_ROWS["mixed"] for text in row]
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    letters = {letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyz0123456789.,:;?!'\"()-/")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = special + sorted(words | letters) + sorted(f"##{letter}" for letter in letters)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=128).save_pretrained(folder)
    return len(vocabulary)


def _write_sentence_transformers_files(folder: Path) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
        "1_Pooling/config.json": pooling,
    }
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, indent=2), encoding="utf-8")
