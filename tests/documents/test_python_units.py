"""Lead sentences, chunks and what may ask a question."""

from __future__ import annotations

import pytest

from ragtune.documents.python_units import CHUNK_WORDS, Unit, chunked, paragraphs_of, split_lead

REST = ("The folder is left as it was when one of the files in it cannot be read by anyone at all.",)


def unit(lead: str, rest: tuple[str, ...] = REST, **changes: str) -> Unit:
    fields = {"group": "m", "name": "m.f", "title": "m.f", "kind": "docstring", **changes}
    return Unit(lead=lead, paragraphs=rest, **fields)


@pytest.mark.parametrize(
    ("lead", "able"),
    [
        ("Copy every file of a folder.", True),
        ("Copy a file.", False),
        ("This copies every file of a folder.", False),
        (">>> copy(every, file, of, folder)", False),
        ("The following files are copied:", False),
        ("Written by the authors of this module.", False),
        (" ".join(["word"] * 41), False),
        ("Return x + y == z.", False),
    ],
)
def test_which_lead_sentences_ask(lead: str, able: bool) -> None:
    assert unit(lead).can_ask() is able


def test_a_lead_that_is_said_again_does_not_ask() -> None:
    assert not unit("Copy every file of a folder.", (*REST, "copy *every* file of a folder")).can_ask()


def test_a_lead_with_little_behind_it_does_not_ask() -> None:
    assert not unit("Copy every file of a folder.", ("Rarely used.",)).can_ask()


@pytest.mark.parametrize(
    ("paragraph", "lead"),
    [
        ("Open it. Then read.", "Open it."),
        ("Files, e.g. The Book. Then more.", "Files, e.g. The Book."),
        ("No full stop", "No full stop"),
        ("Uses version 3.11 of it. Next.", "Uses version 3.11 of it."),
    ],
)
def test_where_a_first_sentence_ends(paragraph: str, lead: str) -> None:
    assert split_lead([paragraph])[0] == lead


def test_an_example_has_no_lead() -> None:
    assert split_lead(["   >>> f()\n   1"]) == ("", ("   >>> f()\n   1",))


def test_chunks_are_short_and_lose_no_word() -> None:
    paragraphs = [" ".join(f"word{i}-{j}" for j in range(25)) + "." for i in range(20)]
    chunks = list(chunked(paragraphs))
    assert max(len(chunk.split()) for chunk in chunks) <= CHUNK_WORDS
    assert " ".join(chunks).split() == " ".join(paragraphs).split()


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    sentence = "The quick reader looks at " + "every " * 35 + "page."
    assert list(chunked([f"{sentence} {sentence} {sentence}"])) == [f"{sentence}\n{sentence}", sentence]


def test_a_long_text_asks_paragraph_by_paragraph() -> None:
    paragraph = "Readers find every rule about folders here. " + "Each rule has its reason and its exception. " * 10
    long = unit("Read me first of all.", tuple(f"Part {i}: {paragraph}".strip() for i in range(6)), heading="Rules")
    parts = long.cut()
    assert [part.kind for part in parts] == ["paragraph"] * 7
    assert {part.title for part in parts} == {"Rules"}
    assert len({part.name for part in parts}) == 7
    assert unit("Copy every file of a folder.").cut() == [unit("Copy every file of a folder.")]


def test_wrapped_lines_are_joined_in_any_script() -> None:
    assert paragraphs_of("第一行\n第二行\n\n第三行") == ["第一行 第二行", "第三行"]
