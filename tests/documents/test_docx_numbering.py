"""Word's numbers: forms, levels, restarts."""

from __future__ import annotations

import pytest

from ragtune.documents.docx_numbering import Numbering, number_as

docx = pytest.importorskip("docx")

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def level(depth: int, form: str, text: str, start: int = 1) -> str:
    rule = f'<w:start w:val="{start}"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/>'
    return f'<w:lvl w:ilvl="{depth}">{rule}</w:lvl>'


def numbering(*levels: str) -> Numbering:
    restart = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride>'
    return Numbering(
        docx.oxml.parse_xml(
            f'<w:numbering {W}><w:abstractNum w:abstractNumId="7">{"".join(levels)}</w:abstractNum>'
            '<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>'
            '<w:num w:numId="2"><w:abstractNumId w:val="7"/></w:num>'
            f'<w:num w:numId="3"><w:abstractNumId w:val="7"/>{restart}</w:num></w:numbering>'
        )
    )


def test_levels_count_within_each_other() -> None:
    found = numbering(level(0, "decimal", "%1."), level(1, "lowerLetter", "%1.%2)"))
    asked = [("1", 0), ("1", 1), ("1", 1), ("1", 0), ("1", 1)]
    assert [found.marker(*place) for place in asked] == ["1.", "1.a)", "1.b)", "2.", "2.a)"]


def test_a_level_above_that_was_never_counted_stands_at_its_start() -> None:
    found = numbering(level(0, "decimal", "%1.", 2), level(1, "decimal", "%1.%2.", 3))
    assert found.marker("1", 1) == "2.3."


def test_two_lists_of_one_kind_go_on_unless_one_restarts() -> None:
    found = numbering(level(0, "decimal", "%1."))
    assert [found.marker(number, 0) for number in ("1", "2", "3", "3")] == ["1.", "2.", "1.", "2."]


def test_bullets_and_unknown_lists_are_dashes() -> None:
    assert numbering(level(0, "bullet", "")).marker("1", 0) == "-"
    assert Numbering(None).marker("9", 0) == "-"


@pytest.mark.parametrize(
    ("number", "form", "expected"),
    [
        (1994, "upperRoman", "MCMXCIV"),
        (28, "lowerLetter", "bb"),
        (10, "chineseCounting", "十"),
        (21, "chineseCountingThousand", "二十一"),
        (3, "decimalZero", "03"),
        (3, "none", ""),
        (3, "decimalEnclosedCircle", "3"),
    ],
)
def test_forms(number: int, form: str, expected: str) -> None:
    assert number_as(number, form) == expected
