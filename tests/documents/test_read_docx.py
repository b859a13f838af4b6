"""Word documents: headings, lists with their numbers, merged cells, notes, text boxes, tracked changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragtune.documents.blocks import Code, Heading, ListBlock, Paragraph, ReadDocument, Table
from ragtune.documents.linear import document_text
from ragtune.documents.read_docx import read
from ragtune.errors import UnreadableFileError

docx = pytest.importorskip("docx")

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
BOX = f"""<w:p {W} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" xmlns:v="urn:schemas-microsoft-com:vml">
 <w:r><w:t>Beside.</w:t></w:r><w:r><mc:AlternateContent>
 <mc:Choice Requires="wps">
 <wps:txbx><w:txbxContent><w:p><w:r><w:t>In a box.</w:t></w:r></w:p></w:txbxContent></wps:txbx>
 </mc:Choice><mc:Fallback>
 <v:textbox><w:txbxContent><w:p><w:r><w:t>In a box.</w:t></w:r></w:p></w:txbxContent></v:textbox>
 </mc:Fallback></mc:AlternateContent></w:r></w:p>"""
CHANGED = f"""<w:p {W}><w:r><w:t xml:space="preserve">The rent is </w:t></w:r>
 <w:del w:id="1"><w:r><w:delText>700</w:delText></w:r></w:del><w:ins w:id="2"><w:r><w:t>900</w:t></w:r></w:ins>
 <w:moveFrom w:id="3"><w:r><w:t>gone</w:t></w:r></w:moveFrom><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>
 <w:r><w:t xml:space="preserve"> a</w:t></w:r><w:r><w:noBreakHyphen/></w:r><w:r><w:t>month.</w:t></w:r></w:p>"""
CONTENTS = f"""<w:sdt {W}><w:sdtPr><w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj></w:sdtPr>
 <w:sdtContent><w:p><w:r><w:t>Rent ..... 3</w:t></w:r></w:p></w:sdtContent></w:sdt>"""
CONTROL = f"<w:sdt {W}><w:sdtPr/><w:sdtContent><w:p><w:r><w:t>Filled in.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
NOTED = f'<w:p {W}><w:r><w:t>It is due.</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
NOTES = f"""<w:footnotes {W}><w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>
 <w:footnote w:id="2"><w:p><w:r><w:t>Unless it is a Sunday.</w:t></w:r></w:p></w:footnote></w:footnotes>"""


def saved(document: Any, folder: Path) -> ReadDocument:
    document.save(folder / "a.docx")
    return read(folder / "a.docx")


def with_xml(folder: Path, *parts: str) -> ReadDocument:
    document = docx.Document()
    for part in parts:
        document.element.body.insert(len(document.element.body) - 1, docx.oxml.parse_xml(part))
    return saved(document, folder)


def test_headings_by_style_and_outline_level(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Rent", 1)
    document.add_paragraph("Due.")
    document.add_heading("Late", 2)
    outlined = document.add_paragraph("By outline")
    outlined._p.get_or_add_pPr().append(docx.oxml.parse_xml(f'<w:outlineLvl {W} w:val="2"/>'))
    assert saved(document, tmp_path).blocks == (
        Heading("Rent", 1),
        Paragraph("Due."),
        Heading("Late", 2),
        Heading("By outline", 3),
    )


def test_a_title_stands_over_all_headings(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("租约", 0)
    document.add_heading("房租", 1)
    read_document = saved(document, tmp_path)
    assert read_document.blocks == (Heading("租约", 1), Heading("房租", 2))
    assert read_document.metadata["title"] == "租约"


@pytest.mark.parametrize(
    ("given", "expected"), [("Lease 2024", "Lease 2024"), ("Microsoft Word - a.doc", ""), ("", "")]
)
def test_the_stored_title_unless_a_program_made_it_up(tmp_path: Path, given: str, expected: str) -> None:
    document = docx.Document()
    document.core_properties.title = given
    document.add_paragraph("Due.")
    assert saved(document, tmp_path).metadata["title"] == expected


def test_lists_have_their_numbers_and_depth(tmp_path: Path) -> None:
    document = docx.Document()
    for style, text in [("List Bullet", "a"), ("List Bullet", "b"), ("List Number", "one"), ("List Number", "two")]:
        document.add_paragraph(text, style=style)
    document.add_paragraph("between")
    document.add_paragraph("three", style="List Number")
    assert saved(document, tmp_path).blocks == (
        ListBlock(((0, "- a"), (0, "- b"), (0, "1. one"), (0, "2. two"))),
        Paragraph("between"),
        ListBlock(((0, "3. three"),)),
    )


def test_merged_cells_and_header_rows(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(rows=4, cols=3)
    texts = [["City", "Rent", ""], ["", "2022", "2023"], ["Bern", "1", "2"], ["Basel", "3", "4"]]
    for row, line in zip(table.rows, texts, strict=True):
        for cell, text in zip(row.cells, line, strict=True):
            cell.text = text
    table.cell(0, 0).merge(table.cell(1, 0))
    table.cell(0, 1).merge(table.cell(0, 2))
    for row in table.rows[:2]:
        row._tr.get_or_add_trPr().append(docx.oxml.parse_xml(f"<w:tblHeader {W}/>"))
    (block,) = saved(document, tmp_path).blocks
    rows = (("City", "Rent", ""), ("City", "2022", "2023"), ("Bern", "1", "2"), ("Basel", "3", "4"))
    assert block == Table(rows, header_rows=2)


def test_a_table_of_one_cell_is_a_frame(tmp_path: Path) -> None:
    document = docx.Document()
    cell = document.add_table(rows=1, cols=1).cell(0, 0)
    cell.text = "Beware."
    cell.add_paragraph("Of the dog.")
    assert saved(document, tmp_path).blocks == (Paragraph("Beware."), Paragraph("Of the dog."))


def test_a_nested_table_is_text_of_its_cell(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text = "left"
    inner = table.cell(0, 1).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "a", "b"
    assert saved(document, tmp_path).blocks == (Table((("left", "a; b"),), header_rows=0),)


def test_tracked_deletions_and_hidden_text_are_left_out(tmp_path: Path) -> None:
    assert with_xml(tmp_path, CHANGED).blocks == (Paragraph("The rent is 900 a-month."),)


def test_text_boxes_are_read_once(tmp_path: Path) -> None:
    assert with_xml(tmp_path, BOX).blocks == (Paragraph("Beside."), Paragraph("In a box."))


def test_content_controls_are_read_and_the_contents_are_not(tmp_path: Path) -> None:
    document = with_xml(tmp_path, CONTENTS, CONTROL)
    assert document.blocks == (Paragraph("Filled in."),)
    assert document.raw_pages == ("Filled in.",)


def test_footnotes_follow_their_paragraph(tmp_path: Path) -> None:
    document = docx.Document()
    document.element.body.insert(0, docx.oxml.parse_xml(NOTED))
    name = docx.opc.packuri.PackURI("/word/footnotes.xml")
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
    part = docx.opc.part.Part(name, kind, NOTES.encode(), document.part.package)
    document.part.relate_to(part, docx.opc.constants.RELATIONSHIP_TYPE.FOOTNOTES)
    found = saved(document, tmp_path)
    assert found.blocks == (Paragraph("It is due."), Paragraph("Unless it is a Sunday.", role="footnote"))
    assert found.raw_pages == ("It is due.\nUnless it is a Sunday.",)


def test_captions_and_code_by_style(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("Table 1: rents", style="Caption")
    style = document.styles.add_style("Source Code", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    document.add_paragraph("x = 1", style=style)
    document.add_paragraph("y = 2", style=style)
    assert saved(document, tmp_path).blocks == (Paragraph("Table 1: rents", role="caption"), Code("x = 1\ny = 2"))


def test_headers_and_footers_are_left_out(tmp_path: Path) -> None:
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "Page head"
    document.sections[0].footer.paragraphs[0].text = "Page 1"
    document.add_paragraph("Due.")
    assert document_text(saved(document, tmp_path)) == "Due."


def test_a_document_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no text"):
        saved(docx.Document(), tmp_path)


def test_real_documents(shared_data: Path) -> None:
    folder = shared_data / "docs" / "docx"
    numbered = read(folder / "docling-unit_test_headers_numbered.docx")
    headings = [(block.level, block.text) for block in numbered.blocks if isinstance(block, Heading)]
    assert headings[:4] == [(1, "Test Document"), (2, "1. Section 1"), (3, "1.1. Section 1.1"), (3, "1.2. Section 1.2")]
    sample = read(folder / "docling-word_sample.docx")
    assert ListBlock(((0, "1. Wear sunglasses"), (0, "2. Don’t forget to drink water"), (0, "3. Use sun cream"))) in (
        sample.blocks
    )
    cells = read(folder / "docling-docx_rich_cells.docx")
    assert sum(isinstance(block, Table) for block in cells.blocks) == 7
    assert read(folder / "docx_complex_layout.docx").notices == ("1 picture not read",)
