"""Pairs from headings, captions and first sentences; what is asked does not stand in the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ragtune.data.records import Passage
from ragtune.recipe_synthesis import StructureRecipe
from ragtune.synthesis.structure import StructurePairs, structure_pairs

BODY = "Money goes back to the card that paid, no later than ten days after the parcel has arrived at the warehouse."
LONG_BODY = "收到退货后十天之内，货款会退回到付款时所用的银行卡，运费由商家承担，超过期限的按日支付利息。"


def passage(key: str, text: str, *path: str, **metadata: Any) -> Passage:
    said = {"document": "shop", "heading_path": list(path), **metadata}
    return Passage(key, text, title=" > ".join(path), metadata=said)


def pairs_of(
    *passages: Passage, kinds: Sequence[str] = ("question", "caption", "heading", "summary")
) -> StructurePairs:
    return structure_pairs({p.id: p for p in passages}, StructureRecipe(kinds=tuple(kinds)))


def asked(pairs: StructurePairs) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(draft.text, draft.style, draft.passage_ids) for draft in pairs.drafts]


def test_a_heading_asks_for_its_section_and_leaves_the_title() -> None:
    pairs = pairs_of(passage("a", BODY, "Shop rules", "2.1 Refund deadlines"))
    assert asked(pairs) == [("Refund deadlines", "heading", ("a",))]
    changed = pairs.changed["a"]
    assert (changed.title, changed.text) == ("Shop rules", BODY)
    assert changed.metadata["heading_path"] == ["Shop rules", "2.1 Refund deadlines"]


def test_all_passages_of_a_section_answer_its_heading() -> None:
    pairs = pairs_of(passage("a", BODY, "Refund deadlines"), passage("b", BODY + " More.", "Refund deadlines"))
    assert asked(pairs) == [("Refund deadlines", "heading", ("a", "b"))]
    assert [pairs.changed[key].title for key in "ab"] == ["", ""]


def test_a_question_for_a_heading_is_a_question() -> None:
    pairs = pairs_of(passage("a", BODY, "How do I get my money back?"), passage("b", LONG_BODY, "三、如何申请退款"))
    assert asked(pairs) == [("How do I get my money back?", "question", ("a",)), ("如何申请退款", "question", ("b",))]


def test_a_heading_that_stands_everywhere_is_asked_with_the_one_above() -> None:
    pairs = pairs_of(
        passage("a", BODY, "Refund rules", "Overview"), passage("b", BODY + " So.", "Parcel rules", "Overview")
    )
    assert asked(pairs)[0] == ("Refund rules: Overview", "heading", ("a",))
    assert pairs.changed["a"].title == ""


def test_a_heading_that_names_nothing_alone_is_not_asked() -> None:
    pairs = pairs_of(
        passage("a", BODY, "Overview"), passage("b", BODY, "Overview", document="other"), kinds=["heading"]
    )
    assert asked(pairs) == []


def test_a_heading_that_the_text_repeats_is_not_asked() -> None:
    assert asked(pairs_of(passage("a", "Refund deadlines. " + BODY, "Refund deadlines"), kinds=["heading"])) == []


def test_a_section_of_many_passages_is_about_more_than_its_heading() -> None:
    many = [passage(str(n), f"{BODY} Part {n}.", "Refund deadlines") for n in range(4)]
    assert asked(pairs_of(*many, kinds=["heading"])) == []


def test_a_first_sentence_asks_for_the_rest_and_leaves_the_text() -> None:
    lead = "Customers may return shoes within thirty days of purchase."
    pairs = pairs_of(passage("a", f"{lead} {BODY}", "Rules"), kinds=["summary"])
    assert asked(pairs) == [(lead, "summary", ("a",))]
    assert pairs.changed["a"].text == BODY
    assert pairs.changed["a"].metadata["asked"] == lead
    assert pairs.changed["a"].title == "Rules"


def test_a_chinese_first_sentence_too() -> None:
    pairs = pairs_of(passage("a", f"顾客可以在购买之后的三十天内退货。{LONG_BODY}", "规定"), kinds=["summary"])
    assert asked(pairs) == [("顾客可以在购买之后的三十天内退货。", "summary", ("a",))]
    assert pairs.changed["a"].text == LONG_BODY


@pytest.mark.parametrize(
    "lead", ["This may be returned within thirty days of purchase.", "Return it.", "Shoes may be any of these colours:"]
)
def test_a_first_sentence_that_leans_on_others_asks_nothing(lead: str) -> None:
    assert asked(pairs_of(passage("a", f"{lead} {BODY}", "Rules"), kinds=["summary"])) == []


def test_a_caption_asks_for_its_table() -> None:
    rows = "\n".join(f"| size {n} | {n} euros for each parcel sent |" for n in range(4))
    table = passage("a", f"Table 3: Shipping fees by parcel size\n{rows}", "Fees")
    said = passage("b", f"Fees for returns\n| size | fee |\n{rows}", "Fees", caption="Fees for returns")
    pairs = pairs_of(table, said, kinds=["caption"])
    assert asked(pairs) == [
        ("Shipping fees by parcel size", "caption", ("a",)),
        ("Fees for returns", "caption", ("b",)),
    ]
    assert pairs.changed["a"].text == rows


def test_the_first_kind_comes_first_and_no_passage_is_asked_twice() -> None:
    lead = "Customers may return shoes within thirty days of purchase."
    one = passage("a", f"{lead} {BODY}", "Refund deadlines")
    assert asked(pairs_of(one))[0][1] == "heading"
    assert asked(pairs_of(one, kinds=["summary", "heading"]))[0][1] == "summary"
    assert len(pairs_of(one).drafts) == 1


def test_passages_to_be_left_are_left() -> None:
    corpus = {"a": passage("a", BODY, "Refund deadlines")}
    assert structure_pairs(corpus, StructureRecipe(), leave={"a"}).drafts == []


def test_a_title_counts_as_a_heading_where_there_is_no_path() -> None:
    pairs = structure_pairs({"a": Passage("a", BODY, title="Refund deadlines")}, StructureRecipe())
    assert asked(pairs) == [("Refund deadlines", "heading", ("a",))]
    assert pairs.changed["a"].title == ""
