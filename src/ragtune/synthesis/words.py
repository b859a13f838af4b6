"""Which words of a query say something."""

from __future__ import annotations

import re

from ragtune.data.language import CJK, units

_PLAIN = """
a about an and any are as at be been being both but by can could did do does done each else ever every few for from
get gets give given gives had has have having he her hers here him his how i if in into is it its just made make makes
many may me might more most much must my no nor not of off on once one only or other our out over own per she should so
some such than that the their them then there these they this those through to too under until up us very was we were
what when where whether which while who whom whose why will with would you your
answer article company context document following information mean means passage question section text thing things
""".split()  # noqa: SIM905
PLAIN_WORDS = frozenset(_PLAIN)
"""English words that stand in any question, and those that name no subject."""

_PLAIN_CHINESE = re.compile(
    "什么|怎么样|怎么办|怎么|怎样|如何|多少|多大|多久|几个|哪些|哪个|哪里|哪儿|谁|为何|为什么|是否|能否|可以|可否|"
    "有没有|请问|我|你|他|她|它|们|的|了|吗|呢|吧|和|与|在|是|有|要|会|能|应该|需要|这个|那个|这|那|问题|内容|信息|文章"
)
_WORD = re.compile(f"[{CJK}]+|[^\\W{CJK}](?:[\\w.,&'’%/-]*[^\\W{CJK}])?")


def content_words(text: str) -> list[str]:
    """The words that say what a query is about, as they are spelled; runs of CJK characters count as words.

    >>> content_words("What is the battery life of the KX-200?"), content_words("怎么申请退款？")
    (['battery', 'life', 'KX-200'], ['申请退款'])
    """
    spaced = _PLAIN_CHINESE.sub(" ", text)
    words = (word.removesuffix("'s").removesuffix("’s") for word in _WORD.findall(spaced))
    return [word for word in words if word.lower() not in PLAIN_WORDS]


def content_units(text: str) -> list[str]:
    """The units (words, CJK characters) of the content words, in lower case."""
    return [unit for word in content_words(text) for unit in units(word)]
