"""Passages: the budget kept, nothing lost or said twice, spans exact, ids that stay, no heading crossed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ragtune.data.records import Passage
from ragtune.documents.blocks import Block, Code, Heading, ListBlock, Paragraph, Place, ReadDocument, Table
from ragtune.documents.chunking import ChunkOptions, chunk_document
from ragtune.documents.linear import document_text, linear_blocks
from ragtune.documents.sentences import sentence_spans

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENGLISH = ["The rent is due.", "Pay 3.5 per cent, or more; see Dr. Lee.", "Why?", "It rises on Nov. 5 by 1,000."]
CHINESE = [
    "租客每个月一号付房租。",
    "他说：“好，明天见！”",
    "亏损可以抵扣以后年度的利润，但是不能超过三年；",
    "为什么？",
]
LONG = "one two three, four five six; seven eight nine ten eleven twelve thirteen, fourteen fifteen"


def count(texts: Sequence[str]) -> list[int]:
    """Words, marks and Chinese characters, and two more for a text, as a tokenizer's [CLS] and [SEP]."""
    return [2 + len(re.findall(r"[一-鿿]|[^\W一-鿿]{1,6}|[^\w\s]", text)) for text in texts]


sentence = st.sampled_from([*ENGLISH, *CHINESE])
paragraph = st.lists(sentence, min_size=1, max_size=12).map(" ".join).map(Paragraph)
word = st.sampled_from(["bolt", "nut", "价格", "2.50", "", "a longer cell with words", "steel, grey"])
table = st.builds(
    lambda rows, header, caption: Table(tuple(map(tuple, rows)), header_rows=header, caption=caption),
    st.lists(st.lists(word, min_size=3, max_size=3), min_size=1, max_size=14),
    st.integers(0, 2),
    st.sampled_from(["", "Table 1: prices"]),
)
listing = st.lists(st.tuples(st.integers(0, 2), sentence.map(lambda s: f"- {s}")), min_size=1, max_size=8).map(
    lambda items: ListBlock(tuple(items))
)
code = st.lists(st.sampled_from(["def f(x):", "    return x + 1", "", "print(f(2))"]), min_size=1, max_size=9).map(
    lambda lines: Code("\n".join(lines))
)
body = st.lists(st.one_of(paragraph, table, listing, code), max_size=5)
heading = st.builds(Heading, st.sampled_from(["Rent", "Payment terms", "付款", "How is it paid?"]), st.integers(1, 3))
section = st.tuples(heading, body).map(lambda pair: [pair[0], *pair[1]])
blocks = st.lists(section, max_size=4).map(lambda parts: [block for part in parts for block in part])
documents = st.tuples(body, blocks).map(lambda two: ReadDocument("d", (*two[0], *two[1]), (), {"title": "Lease"}))
option = st.builds(ChunkOptions, max_tokens=st.integers(24, 90))


def chunks(document: ReadDocument, options: ChunkOptions | None = None) -> list[Passage]:
    return chunk_document(document, document_id="d", options=options or ChunkOptions(), count_tokens=count)


def spans(passages: Sequence[Passage]) -> list[tuple[int, int]]:
    return [(start, end) for start, end in (passage.metadata["span"] for passage in passages)]


def of(*parts: Block, **metadata: str) -> ReadDocument:
    return ReadDocument("d", parts, (), metadata)


@SETTINGS
@given(documents, option, st.integers(0, 12))
def test_no_passage_is_over_budget(document: ReadDocument, options: ChunkOptions, overlap: int) -> None:
    options = options.model_copy(update={"overlap_tokens": overlap})
    assert [p for p in chunks(document, options) if count([p.content])[0] > options.max_tokens] == []


@SETTINGS
@given(documents, option)
def test_spans_are_exact_in_order_and_hold_everything_once(document: ReadDocument, options: ChunkOptions) -> None:
    text = document_text(document)
    passages = chunks(document, options)
    for passage, (start, end) in zip(passages, spans(passages), strict=True):
        assert passage.text[passage.metadata.get("repeated", 0) :] == text[start:end]
    ends = [0, *(end for _, end in spans(passages))]
    starts = [*(start for start, _ in spans(passages)), len(text)]
    between = [(end, start) for end, start in zip(ends, starts, strict=True)]
    assert all(end <= start for end, start in between)
    in_titles = [(placed.start, placed.end) for placed in linear_blocks(document) if isinstance(placed.block, Heading)]
    left_out = "".join(
        text[i] for end, start in between for i in range(end, start) if not any(a <= i < b for a, b in in_titles)
    )
    # nothing but what stands between blocks, sentences and the cells of a row that had to be cut
    assert set(left_out) <= set(" \n|")


@SETTINGS
@given(documents, option)
def test_a_sentence_that_fits_is_never_cut(document: ReadDocument, options: ChunkOptions) -> None:
    text, passages = document_text(document), chunks(document, options)
    title_tokens = max((count([passage.title])[0] for passage in passages), default=0)
    for placed in linear_blocks(document):
        if isinstance(placed.block, Paragraph):
            for start, end in sentence_spans(placed.text):
                start, end = start + placed.start, end + placed.start
                holders = [span for span in spans(passages) if span[0] < end and start < span[1]]
                if count([text[start:end]])[0] + title_tokens <= options.max_tokens:
                    assert len(holders) == 1
                    assert holders[0][0] <= start and end <= holders[0][1]


@SETTINGS
@given(documents, option, st.integers(0, 12))
def test_no_passage_crosses_a_heading(document: ReadDocument, options: ChunkOptions, overlap: int) -> None:
    passages = chunks(document, options.model_copy(update={"overlap_tokens": overlap}))
    for placed in linear_blocks(document):
        if isinstance(placed.block, Heading):
            assert not [s for s in spans(passages) if s[0] < placed.start < s[1] or s[0] < placed.end < s[1]]


@SETTINGS
@given(documents, body, option)
def test_ids_stay_when_something_is_inserted_elsewhere(
    document: ReadDocument, new: list[Block], options: ChunkOptions
) -> None:
    old = [
        Heading("Old", 2),
        *(replace(b, level=b.level + 2) if isinstance(b, Heading) else b for b in document.blocks),
    ]
    before = chunks(of(Heading("Lease", 1), *old), options)
    after = chunks(
        of(Heading("Lease", 1), Heading("New", 2), *new, *old, Heading("End", 2), Paragraph("Ends.")), options
    )
    kept = after[-len(before) - 1 : -1]
    assert [p.id.split("-")[0] for p in kept] == [p.id.split("-")[0] for p in before]
    assert [(p.title, p.text) for p in kept] == [(p.title, p.text) for p in before]
    assert len({p.id for p in after}) == len(after)


@SETTINGS
@given(documents, option, st.integers(1, 12))
def test_overlap_repeats_whole_sentences_only(document: ReadDocument, options: ChunkOptions, overlap: int) -> None:
    text = document_text(document)
    passages = chunks(document, options.model_copy(update={"overlap_tokens": overlap}))
    for (_, end), (start, _) in zip(spans(passages), spans(passages)[1:], strict=False):
        if start < end:
            assert count([text[start:end]])[0] <= overlap
            assert text[start - 1] in " \n" or text[start - 1] in "。！？”；，："


def test_ids_know_the_text_and_not_the_place() -> None:
    one, two, three = Paragraph("The rent is due."), Paragraph("It is paid."), Paragraph("The rent is due.")
    first = chunks(of(Heading("A", 1), one, Heading("B", 1), two))
    moved = chunks(of(Heading("B", 1), two, Heading("C", 1), one, Heading("D", 1), three))
    assert [moved[1].id, moved[0].id] == [p.id for p in first]
    assert moved[2].id == f"{moved[1].id}-2"


def test_the_heading_path_is_the_title() -> None:
    passages = chunks(
        of(
            Heading("Lease", 1),
            Heading("Rent", 2),
            Paragraph("Due on the first."),
            Heading("Late", 3),
            Paragraph("A fee."),
            Heading("End", 2),
            Paragraph("One month."),
            title="lease.docx",
        )
    )
    assert [p.title for p in passages] == ["Lease > Rent", "Lease > Rent > Late", "Lease > End"]
    assert passages[1].metadata["heading_path"] == ["Lease", "Rent", "Late"]


def test_a_document_with_many_chapters_has_its_title_over_them() -> None:
    passages = chunks(of(Heading("A", 1), Paragraph("x"), Heading("B", 1), Paragraph("y"), title="Book"))
    assert [p.title for p in passages] == ["Book > A", "Book > B"]


def test_a_number_is_no_title() -> None:
    assert chunks(of(Paragraph("x"), title="0001065280-18-000069"))[0].title == ""


def test_a_heading_that_is_the_title_is_not_said_twice() -> None:
    passages = chunks(of(Heading("book", 1), Paragraph("x"), Heading("B", 1), Paragraph("y"), title="Book"))
    assert [p.title for p in passages] == ["book", "Book > B"]


def test_a_path_too_long_for_the_title_keeps_its_inner_end() -> None:
    outer, inner = "A long heading of the outermost level", "Rent and what else is paid"
    document = of(Heading(outer, 1), Heading(inner, 2), Paragraph("Due on the first."))
    (passage,) = chunks(document, ChunkOptions(max_tokens=24))
    assert passage.title == inner
    assert passage.metadata["heading_path"] == [outer, inner]


def test_a_heading_that_no_title_holds_is_text() -> None:
    passages = chunks(of(Heading(LONG, 1), Paragraph("Due.")), ChunkOptions(max_tokens=24))
    assert [p.title for p in passages] == ["", ""]
    assert " ".join(p.text for p in passages).startswith("one two three")
    assert passages[-1].text.endswith("Due.")


def test_a_heading_with_nothing_below_is_a_passage() -> None:
    passages = chunks(of(Heading("Lease", 1), Heading("Rent", 2), Heading("End", 2), Paragraph("One month.")))
    assert [(p.title, p.text) for p in passages] == [("Lease", "Rent"), ("Lease > End", "One month.")]


def test_what_says_nothing_new_is_no_passage() -> None:
    blocks = Heading("Lease", 1), Heading("LEASE", 2), Heading("Rent", 2), Paragraph("____ * ____"), Paragraph("Due.")
    assert [(p.title, p.text) for p in chunks(of(*blocks))] == [("Lease > Rent", "Due.")]


def test_small_siblings_become_one_passage_and_large_ones_stay_whole() -> None:
    small, large = Paragraph("Why? Because."), Paragraph("word " * 30)
    passages = chunks(of(small, small, large, large), ChunkOptions(max_tokens=48))
    assert [p.text.count("Why") for p in passages] == [2, 0]
    assert [p.text.count("word") for p in passages] == [30, 30]


def test_the_rest_of_a_section_is_not_tiny() -> None:
    document = of(Paragraph("This one has five words. " * 9))
    sizes = [count([p.content])[0] for p in chunks(document, ChunkOptions(max_tokens=50, min_tokens=20))]
    assert len(sizes) == 2
    assert min(sizes) >= 20


def test_a_table_is_whole_where_it_fits() -> None:
    rows = (("part", "price"), ("bolt", "2"), ("nut", "1"))
    (passage,) = chunks(of(Table(rows, caption="Prices")))
    assert passage.text == "Prices\npart | price\nbolt | 2\nnut | 1"
    assert passage.metadata["kinds"] == ["table"]
    assert passage.metadata["caption"] == "Prices"


def test_row_groups_repeat_caption_and_header() -> None:
    rows = (("part", "price"), *((f"bolt{i}", str(i)) for i in range(40)))
    document = of(Heading("Shop", 1), Table(rows, caption="Prices"), Paragraph("All in dollars."))
    passages = chunks(document, ChunkOptions(max_tokens=40))
    assert len(passages) > 3
    assert {p.text.split("\n")[1] for p in passages} == {"part | price"}
    found = [line for p in passages for line in p.text.split("\n") if line.startswith("bolt")]
    assert found == [f"bolt{i} | {i}" for i in range(40)]
    later = passages[1].metadata
    assert document_text(document)[slice(*later["span"])].startswith("bolt")
    assert passages[1].text[: later["repeated"]] == "Prices\npart | price\n"


def test_a_row_that_only_names_the_next_ones_stays_with_them() -> None:
    named = [row for i in range(12) for row in ((f"Part {i}:", "", ""), (f"bolt{i}", "1", "2"))]
    passages = chunks(of(Table((("", "2022", "2023"), *named))), ChunkOptions(max_tokens=40))
    assert len(passages) > 2
    assert all(re.search(r"2023\nPart", p.text) and not p.text.rstrip("| ").endswith(":") for p in passages)


def test_a_huge_row_is_cut_by_cells_then_sentences() -> None:
    long = "The bolt holds. " * 12
    rows = (("part", "use", "note"), ("bolt", "joins", long), ("nut", "joins", "small"))
    passages = chunks(of(Table(rows)), ChunkOptions(max_tokens=30))
    assert all(p.text.startswith("part | use | note") for p in passages)
    assert sum(p.text.count("The bolt holds.") for p in passages) == 12
    assert passages[-1].text.endswith("nut | joins | small")


def test_a_header_of_half_a_passage_is_not_repeated() -> None:
    header = tuple(f"a long name of column {i}" for i in range(5))
    rows = (header, *((("1",) * 5) for _ in range(9)))
    passages = chunks(of(Table(rows)), ChunkOptions(max_tokens=40))
    assert sum("column 0" in p.text for p in passages) == 1


def test_a_list_keeps_its_lead_paragraph() -> None:
    lead = Paragraph("You need all of these:")
    short = ListBlock(((0, "- a bolt"), (1, "- of steel"), (0, "- a nut")))
    before = Paragraph("word " * 30)
    passages = chunks(of(before, lead, short), ChunkOptions(max_tokens=40))
    assert passages[1].text == "You need all of these:\n\n- a bolt\n  - of steel\n- a nut"
    long = ListBlock(tuple((0, f"- a bolt of size {i}") for i in range(12)))
    passages = chunks(of(before, lead, long), ChunkOptions(max_tokens=40))
    assert passages[1].text.startswith("You need all of these:\n\n- a bolt of size 0")


def test_a_line_like_a_title_goes_with_what_follows() -> None:
    before, after = Paragraph("word " * 28), Paragraph("The fee is due. " * 6)
    passages = chunks(of(before, Paragraph("(b) Late payment"), after), ChunkOptions(max_tokens=40))
    assert passages[1].text.startswith("(b) Late payment\n\nThe fee is due.")


def test_a_caption_stays_with_its_table() -> None:
    rows = (("part", "price"), *((f"bolt{i}", str(i)) for i in range(9)))
    before = Paragraph("word " * 30)
    passages = chunks(
        of(before, Paragraph("Prices in dollars", role="caption"), Table(rows)), ChunkOptions(max_tokens=48)
    )
    assert passages[1].text.startswith("Prices in dollars\n\npart | price")


def test_code_is_whole_or_cut_at_lines() -> None:
    function = "def f(x):\n    return x + 1\n"
    (whole,) = chunks(of(Code(function)))
    assert whole.text == function.strip("\n")
    passages = chunks(of(Code("\n".join([function] * 8))), ChunkOptions(max_tokens=40))
    assert len(passages) > 1
    assert all(p.text.startswith("def f(x):") and p.text.endswith("return x + 1") for p in passages)


def test_a_long_sentence_is_cut_at_clauses_then_words_then_letters() -> None:
    passages = chunks(of(Paragraph(LONG)), ChunkOptions(max_tokens=16, min_tokens=0))
    assert passages[0].text.endswith("six;")
    (letters,) = {p.text for p in chunks(of(Paragraph("x" * 600)), ChunkOptions(max_tokens=16))[:-1]}
    assert count([letters]) == [16]


def test_chinese_is_cut_at_its_sentences() -> None:
    passages = chunks(of(Heading("房租", 1), Paragraph("".join(CHINESE[:2]) * 5)), ChunkOptions(max_tokens=40))
    assert all(p.text.endswith(("。", "！”")) for p in passages)
    assert all(p.title == "房租" for p in passages)


def test_pages_are_those_of_the_blocks() -> None:
    first, second = Paragraph("One.", place=Place(3)), Paragraph("Two.", place=Place(4))
    (passage,) = chunks(of(first, second))
    assert passage.metadata["pages"] == [3, 4]


def test_an_empty_document_has_no_passage() -> None:
    assert chunks(of()) == []
    assert chunks(of(Paragraph("  "), Table((("", ""),)), Code("\n"))) == []


@pytest.mark.parametrize("wrong", [{"max_tokens": 4}, {"overlap_tokens": 200}, {"min_tokens": 200}, {"max_token": 64}])
def test_wrong_options_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ChunkOptions(**wrong)
