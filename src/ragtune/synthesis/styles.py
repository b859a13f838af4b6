"""The styles of queries: what real people type, in words for a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from ragtune.recipe_synthesis import Style


@final
@dataclass(frozen=True, slots=True)
class StyleSpec:
    """A style: its description in English and Chinese, and the bands of length it is asked in (words; characters)."""

    english: str
    chinese: str
    words: tuple[tuple[int, int], ...]
    characters: tuple[tuple[int, int], ...]


STYLES: Mapping[Style, StyleSpec] = MappingProxyType(
    {
        "keywords": StyleSpec(
            "Search words without grammar, as typed into a search box.",
            "搜索框里输入的关键词，不成句。",
            words=((2, 4), (4, 6)),
            characters=((4, 8), (8, 14)),
        ),
        "question": StyleSpec(
            "A natural question.",
            "一个自然的问句。",
            words=((6, 10), (10, 18)),
            characters=((8, 16), (16, 30)),
        ),
        "problem": StyleSpec(
            "Someone describes their situation or problem and what they need, without knowing the technical term.",
            "用户描述自己的处境或遇到的问题和需求，不知道专业术语。",
            words=((10, 18), (18, 30)),
            characters=((15, 30), (30, 50)),
        ),
        "how_to": StyleSpec(
            "A how-to question about doing, getting, calculating or deciding something.",
            "“怎么做”“如何”一类的问题，问怎样办理、取得、计算或决定某事。",
            words=((5, 9), (9, 16)),
            characters=((8, 15), (15, 25)),
        ),
        "identifier": StyleSpec(
            "A look-up by an exact name, number, code, date or term of the passage.",
            "用内容中的确切名称、编号、代码、日期或术语查找。",
            words=((2, 5), (5, 10)),
            characters=((3, 10), (10, 20)),
        ),
        "comparison": StyleSpec(
            "A question that sets two things against each other.",
            "比较两个事物的问题。",
            words=((8, 14), (14, 24)),
            characters=((10, 20), (20, 36)),
        ),
    }
)


@final
@dataclass(frozen=True, slots=True)
class Opening:
    """How a one-shot prompt for a small model gets a style: the word that the question begins with, and two examples.

    ``derived``: the query is made of the question's content words.
    """

    word: str
    questions: tuple[str, str]
    derived: bool = False


SHOT_TEXTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "en": (
            "Solar inverters of the KX series switch off when the grid voltage leaves the range of 195 to 253 volts. "
            "They start again by themselves one minute after the voltage has returned to normal.",
            "In 2019 Norvik Ltd. opened twelve stores in Finland, and its revenue rose by 8% to 310 million euros. The "
            "company expects further growth because of lower shipping costs.",
        ),
        "zh": (
            "KX系列光伏逆变器在电网电压超出195至253伏时自动关机，电压恢复正常一分钟后自行重新启动。",
            "2019年诺维公司在芬兰开设了十二家门店，营业收入增长8%，达到3.1亿欧元。公司预计运费下降将带来进一步增长。",
        ),
    }
)

OPENINGS: Mapping[str, Mapping[Style, Opening]] = MappingProxyType(
    {
        "en": {
            "question": Opening(
                "What",
                (
                    "What voltage range do KX solar inverters work in?",
                    "What does Norvik expect from lower shipping costs?",
                ),
            ),
            "how_to": Opening(
                "How",
                (
                    "How do KX solar inverters react to a low grid voltage?",
                    "How did the revenue of Norvik change in 2019?",
                ),
            ),
            "keywords": Opening(
                "What",
                ("What voltage range do KX solar inverters work in?", "What was the revenue of Norvik in 2019?"),
                derived=True,
            ),
        },
        "zh": {
            "question": Opening("", ("KX光伏逆变器的工作电压范围是多少？", "诺维公司预计运费下降会带来什么？")),
            "how_to": Opening("", ("电网电压过低时KX逆变器会怎样处理？", "2019年诺维公司的营业收入怎样变化？")),
            "keywords": Opening(
                "", ("KX光伏逆变器的工作电压范围是多少？", "诺维公司2019年的营业收入是多少？"), derived=True
            ),
        },
    }
)
"""Styles that a model of some hundred million parameters can write (tried on 48 passages of 10-K filings with SmolLM2:
of nine prompts, these had the most questions whose words stand in the passage and whose passage BM25 finds)."""
