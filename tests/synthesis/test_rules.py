"""What the rules, the quote check and the ground check cut, in English and Chinese."""

from __future__ import annotations

import pytest

from ragtune.data.records import Passage
from ragtune.recipe_synthesis import FilterRecipe
from ragtune.synthesis.drafts import Draft
from ragtune.synthesis.rules import RULES, apply_rules, check_grounds, check_quotes, quoted_share

ENGLISH = "A deposit of two rents is returned within thirty days after the tenant of flat KX-12 has moved out."
CHINESE = "租客退房以后，房东应在三十天内退还押金，逾期每天支付百分之一的违约金。"
CORPUS = {"en": Passage("en", ENGLISH), "zh": Passage("zh", CHINESE)}


def cut_by(text: str, *, passage: str = "en", style: str = "question", recipe: FilterRecipe | None = None) -> str:
    kept, rejected = apply_rules([Draft(text, (passage,), style, "x")], CORPUS, recipe or FilterRecipe())
    assert len(kept) + len(rejected) == 1
    return rejected[0].filter if rejected else ""


@pytest.mark.parametrize(
    ("text", "passage", "rule"),
    [
        ("when is the deposit returned", "en", ""),
        ("退房后多久退押金", "zh", ""),
        ("document retention deadline", "en", ""),
        ("deposit", "en", "length"),
        ("押", "zh", "length"),
        ("", "en", "length"),
        (" ".join(["many words"] * 21), "en", "length"),
        ("Sure, here is a question about deposits", "en", "chatter"),
        ("what is the deposit of the deposit of the deposit of the deposit", "en", "repeats"),
        ("When is the deposit returned according to the passage?", "en", "mentions source"),
        ("What does this document say about deposits?", "en", "mentions source"),
        ("根据文中内容，押金何时退还？", "zh", "mentions source"),
        ("押金在该段里怎么规定", "zh", "mentions source"),
        ("押金什么时候退", "en", "language"),
        ("when is the deposit returned", "zh", "language"),
        ("What is it about?", "en", "no content"),
        ("这是什么？", "zh", "no content"),
        ("a deposit of two rents is returned within thirty days after", "en", "copied"),
        ("房东应在三十天内退还押金，逾期每天支付", "zh", "copied"),
    ],
)
def test_each_rule_cuts_its_own(text: str, passage: str, rule: str) -> None:
    assert cut_by(text, passage=passage) == rule


def test_every_rule_is_tried() -> None:
    assert set(RULES) == {"length", "chatter", "repeats", "mentions source", "language", "no content", "copied"}


def test_a_chinese_corpus_may_be_searched_for_a_latin_name() -> None:
    assert cut_by("KX-12 deposit", passage="zh", style="identifier") == ""
    assert cut_by("KX-12 deposit", passage="zh", style="question") == "language"


def test_the_length_that_is_asked_for_is_the_length_that_counts() -> None:
    recipe = FilterRecipe(min_words=5, max_words=6)
    assert cut_by("when is the deposit returned", recipe=recipe) == ""
    assert cut_by("when is deposit returned", recipe=recipe) == "length"
    assert cut_by("after which days is the deposit returned", recipe=recipe) == "length"


@pytest.mark.parametrize(
    "quote",
    [
        "returned within thirty days",
        "Returned  within\nthirty days.",
        "“returned within thirty days”",
        "A deposit ... thirty days",
    ],
)
def test_a_quote_is_found_whatever_its_typography(quote: str) -> None:
    assert quoted_share(quote, ENGLISH) == 1.0


@pytest.mark.parametrize("quote", ["三十天内退还押金", "三十天内退还押金,逾期每天", "房东……退还押金"])
def test_a_chinese_quote_is_found(quote: str) -> None:
    assert quoted_share(quote, CHINESE) == 1.0


@pytest.mark.parametrize("quote", ["", "a", "returned within forty days", "thirty days ... a deposit", "押金"])
def test_what_is_not_there_is_no_quote(quote: str) -> None:
    assert quoted_share(quote, ENGLISH) < 1.0


def test_drafts_without_a_true_quote_are_cut_with_the_share_that_is_there() -> None:
    drafts = [Draft("q", ("en",), "question", "x", quote=quote) for quote in ("thirty days", "thirty weeks", "")]
    kept, rejected = check_quotes(drafts, CORPUS)
    assert [draft.quote for draft in kept] == ["thirty days"]
    assert [(item.reason, round(item.score or 0, 2)) for item in rejected] == [
        ("the quote is not in the passage", 0.55),
        ("there is no quote", 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("When is the deposit of a tenant returned?", True),
        ("What returns deposits to tenants of KX-12?", True),
        ("What is the warranty of the washing machine?", False),
        ("When is the deposit for Berlin returned?", False),
        ("Is the deposit returned within 45 days?", False),
    ],
)
def test_a_small_model_must_speak_of_what_is_there(text: str, kept: bool) -> None:
    assert bool(check_grounds([Draft(text, ("en",), "question", "x")], CORPUS)[0]) is kept
