"""Where sentences and clauses end, in English, in Chinese and where the two are mixed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.documents.sentences import clause_spans, line_spans, sentence_spans, word_spans

# Each row is a text by its sentences.
TEXTS = [
    ["The rent is due.", "It is paid on the first!", "Is it?"],
    ["Dr. Lee met Mr. J. R. Smith at 10 a.m. in St. Gallen.", "They left."],
    ["See Fig. 3 and Sec. 4.2 of Vol. 1.", "Then read on."],
    ["It rose by 3.5 per cent to $1,000.50 in the U.S. market.", "It fell again."],
    ["We work with Acme Inc. and Ode Ltd. in Europe.", "They pay Acme Inc.", "The rest is ours."],
    ["Use tools, e.g. a hammer, i.e. something heavy, etc.", "Then stop."],
    ["He waited... and waited.", "Then...", "Nothing came."],
    ["The parts p1, p2, . . . , pM are cut.", "Norway . . .", "Then more."],
    ['"Stop!" he said.', 'She said "No."', "He left."],
    ["(See the note.)", "It is short."],
    ["Visit www.example.com/a.html or mail a.b@c.org.", "We answer."],
    ["Is there a lift?", "No.", "There are stairs."],
    ["No. 5 is open.", "It was built on Nov. 5, 1999."],
    ["1. Scope of this lease.", "It is wide."],
    ["Version 2.0.1 is out!", "Really?!", "Yes."],
    ["租客每个月一号付房租。", "什么时候退还押金？", "三十天内！"],
    ["他说：“好，明天见。”", "然后走了。"],
    ["利润上升了3.5%……但是现金没有。", "为什么？！"],
    ["我们使用 PyTorch 2.1 训练。", "It runs on one GPU.", "然后评估。"],
    ["见第3.2节（“付款。”）后面的说明；再看附录。", "完。"],
    ["公司成立于1999年.", "总部在上海."],
]


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize("sentences", TEXTS, ids=lambda sentences: sentences[0][:30])
def test_sentences(sentences: list[str]) -> None:
    assert cut(" ".join(sentences)) == sentences


@pytest.mark.parametrize("sentences", [row for row in TEXTS if "。" in row[0]], ids=lambda sentences: sentences[0][:9])
def test_chinese_needs_no_space(sentences: list[str]) -> None:
    assert cut("".join(sentences)) == sentences


def test_a_line_break_ends_a_sentence() -> None:
    assert cut("12 Main Street\nSpringfield\n\nDear tenant,") == ["12 Main Street", "Springfield", "Dear tenant,"]


def test_clauses_end_at_marks_that_are_no_part_of_a_number_or_time() -> None:
    text = "若出现故障，请重启：at 10:30, pay 1,000; else — 或者（明天）；wait"
    parts = [text[start:end] for start, end in clause_spans(text)]
    assert parts == ["若出现故障，", "请重启：", "at 10:30,", "pay 1,000;", "else —", "或者（明天）；", "wait"]


@given(st.text(alphabet='ab A.。!？…,，;\n"”(（1中 -—', max_size=60))
def test_every_cut_is_a_partition(text: str) -> None:
    for spans in (sentence_spans(text), clause_spans(text), word_spans(text), line_spans(text)):
        assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert all(text[start:end].strip() for start, end in spans)
