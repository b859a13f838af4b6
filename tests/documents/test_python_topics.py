"""Sections and definitions of plain-text topics."""

from __future__ import annotations

from ragtune.documents.python_topics import topic_units

LOOPS = """The "while" statement
*********************

It repeats. The test comes first.

Leaving early
=============

A break ends the loop. No else is run then.

stop(now=True)

   Ends the loop at once. Nothing is returned.

   Twice is fine.

And the section goes on.
"""


def test_sections_and_definitions_are_found() -> None:
    units = {unit.name: unit for unit in topic_units({"while": LOOPS})}
    assert set(units) == {"while/0", "while/1", "while/1.0"}
    section, definition = units["while/1"], units["while/1.0"]
    assert section.lead == "Leaving early: A break ends the loop."
    assert section.title == "The while statement"
    assert section.paragraphs == ("No else is run then.", "And the section goes on.")
    assert definition.title == "stop(now=True)"
    assert (definition.lead, definition.paragraphs) == (
        "Ends the loop at once.",
        ("Nothing is returned.", "Twice is fine."),
    )


def test_a_section_is_titled_without_the_words_that_ask_for_it() -> None:
    first = next(topic_units({"while": LOOPS}))
    assert first.lead.startswith("The while statement: ")
    assert first.title == ""


def test_topics_that_share_a_text_are_one_group_and_give_it_once() -> None:
    own = "Other things\n************\n\nSomething else. It stands alone.\n"
    apart = "Yield\n*****\n\nIt yields. Nothing is shared.\n"
    units = list(
        topic_units({"all": own + "\n" + LOOPS, "while": own + "\nMore\n====\n\nMore of it.\n", "yield": apart})
    )
    assert {unit.name.split("/")[0]: unit.group for unit in units} == {"all": "all", "while": "all", "yield": "yield"}
    assert len({unit.text for unit in units}) == len(units)
