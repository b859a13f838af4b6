"""Every encoding that Chinese and western files come in, long and short."""

from __future__ import annotations

import pytest

from ragtune.documents.encoding import decode

CHINESE = "租客每个月一号付房租。他说：“好，明天见！”亏损可以抵扣以后年度的利润。"
TAIWAN = "租客每個月一號付房租。虧損可以抵扣以後年度的利潤。臺灣的資訊系統是這樣。"
FRENCH = "L'été, les élèves étaient très fatigués – “coûteux”, naïve, 5 €."
GERMAN = "Ärger über Öl – groß und schön"
ENGLISH = "It's the tenant's “rent”."
JAPANESE = "日本語のテキストです。これは長い文章で、とても良いです。"
RUSSIAN = "Привет, как дела? Это довольно длинный текст на русском языке."
KOREAN = "안녕하세요. 이것은 한국어로 쓰인 조금 긴 문장입니다. 날씨가 좋습니다. 내일은 비가 올 것 같습니다."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", [f"Rent, 5 {CHINESE[:6]}, paid on the first", FRENCH])
def test_unicode(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        (CHINESE[:8], "gb18030"),
        ("品名,单价\n螺栓,2.50\n", "gb18030"),
        (TAIWAN, "big5"),
        (TAIWAN[:10], "big5"),
        ("品名,單價\n螺栓,2.50\n", "big5"),
        (FRENCH, "cp1252"),
        (GERMAN, "cp1252"),
        (ENGLISH, "cp1252"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (KOREAN, "euc_kr"),
        (RUSSIAN, "cp1251"),
    ],
)
def test_older_encodings(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)).text == text


def test_what_a_file_declares_is_believed_where_it_can_be() -> None:
    polish = "żółw"
    assert decode(polish.encode("iso8859-2"), declared="iso-8859-2").text == polish
    assert decode(CHINESE.encode("gb18030"), declared="no-such-thing").text == CHINESE
    assert decode(CHINESE.encode(), declared="gb2312").text == CHINESE


def test_a_few_broken_bytes_do_not_make_another_encoding_of_it() -> None:
    data = (CHINESE * 10).encode()
    decoded = decode(data[:201] + b"\xff" + data[201:])
    assert (decoded.encoding, decoded.broken) == ("utf-8", 1)
    assert decoded.text.count("租客") == 10
    assert "broken" in decoded.notices[0]


def test_line_ends_are_one_kind() -> None:
    assert decode(b"a\r\nb\rc\nd").text == "a\nb\nc\nd"
