from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ragtune.retrieval.tokenizers import TOKENIZERS, chinese, english, tokenizer_for, words


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [("zh", chinese), ("zh-CN", chinese), ("ZH_hant", chinese), ("en", english), ("en-GB", english), ("de", words)],
)
def test_the_language_chooses(language: str, tokenizer: object) -> None:
    assert tokenizer_for(language) is tokenizer


@pytest.mark.parametrize("tokenizer", [words, *TOKENIZERS.values()])
@pytest.mark.parametrize("text", ["", "  \n", "…！？", "---"])
def test_no_words_are_no_tokens(tokenizer: Callable[[str], list[str]], text: str) -> None:
    assert tokenizer(text) == []


def test_english_stems_and_stopwords() -> None:
    assert english("The Runners were RUNNING to the races") == ["runner", "were", "run", "race"]


def test_chinese_words_with_latin_and_full_width_letters() -> None:
    assert chinese("机器学习，ＧＰＵ加速！") == chinese("机器学习 gpu 加速")
    assert "gpu" in chinese("机器学习，ＧＰＵ加速！")
    assert "学习" in chinese("机器学习")


def test_unspaced_scripts_give_pairs() -> None:
    assert words("東京タワー") == ["東京", "京タ", "タワ", "ワー"]
    assert words("茶") == ["茶"]
    assert words("iphone手机壳2") == ["iphone", "手机", "机壳", "2"]


def test_chinese_starts_silently_and_leaves_no_cache(tmp_path: Path) -> None:
    program = "from ragtune.retrieval.tokenizers import chinese; chinese('北京大学')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
