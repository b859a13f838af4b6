"""How query and passage become one token sequence, from the token ids of each.

The query is cut by its own limit; the passage takes what is left. Nothing is tokenised twice: special tokens, or the
pieces of a prompt, are put around ids that are there already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jinja2.exceptions import TemplateError

from ragtune.errors import ModelError, Problem
from ragtune.models.base import TokenIds

# Scripts, digits and punctuation at both ends: what a tokenizer could join over a seam
PROBES = (("who pays?", "The tenant pays."), ("绿茶 42", "绿茶不经过发酵。"), ("a", "B (c) 7"))
DEFAULT_TEMPLATE = "Query: {query}\nDocument: {passage}\nDoes the document answer the query? Answer yes or no.\nAnswer:"
QUERY_MARK, PASSAGE_MARK = "@@ragtune query@@", "@@ragtune passage@@"


@final
@dataclass(frozen=True, slots=True)
class PairFormat:
    """Token ids before the query, between query and passage, and behind the passage.

    ``segments`` says that tokens from the passage on are of another type (BERT's second segment). ``template`` is the
    prompt of a language model, with ``{query}`` and ``{passage}``.
    """

    before: TokenIds
    between: TokenIds
    behind: TokenIds
    segments: bool = False
    template: str | None = None

    @property
    def around(self) -> int:
        """Tokens of a pair that are neither query nor passage."""
        return len(self.before) + len(self.between) + len(self.behind)

    def join(self, query: TokenIds, passage: TokenIds, *, max_tokens: int) -> tuple[TokenIds, int]:
        """The ids of the pair, ``max_tokens`` at most, and the place where the passage begins.

        >>> ids = [np.array(part, dtype=np.int32) for part in ([1], [2], [2], [7, 8], [9, 9, 9, 9])]
        >>> joined, second = PairFormat(*ids[:3]).join(*ids[3:], max_tokens=8)
        >>> joined.tolist(), second
        ([1, 7, 8, 2, 9, 9, 9, 2], 4)
        """
        room = max(0, max_tokens - self.around - len(query))
        second = len(self.before) + len(query) + len(self.between)
        return np.concatenate([self.before, query, self.between, passage[:room], self.behind]), second


def _ids(values: list[int]) -> TokenIds:
    return np.asarray(values, dtype=np.int32)


def special_token_format(tokenizer: Any, *, where: str) -> PairFormat:
    """The format of an encoder's tokenizer. Raises ``ModelError`` for one that does not put texts behind each other."""
    found = _probed(tokenizer, PROBES[0])
    for first, second in PROBES[1:]:
        other = None if found is None else _probed(tokenizer, (first, second))
        if other is None or found is None or _parts(other) != _parts(found):
            found = None
            break
    if found is None:
        raise ModelError(
            Problem(
                what="the tokenizer joins pairs in a way of its own",
                where=where,
                found="pieces of a pair that differ from text to text",
                do="use a model whose tokenizer puts special tokens around query and passage",
            )
        )
    return found


def _parts(form: PairFormat) -> tuple[list[int], list[int], list[int], bool]:
    return form.before.tolist(), form.between.tolist(), form.behind.tolist(), form.segments


def _probed(tokenizer: Any, pair: tuple[str, str]) -> PairFormat | None:
    query, passage = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in pair)
    whole = tokenizer(*pair, return_token_type_ids=True)
    ids, types = whole["input_ids"], whole["token_type_ids"]
    sides = whole.sequence_ids(0)
    if 0 not in sides or 1 not in sides:
        return None
    first, second = sides.index(0), sides.index(1)
    ends = first + len(query), second + len(passage)
    if ids[first : ends[0]] != query or ids[second : ends[1]] != passage or second < ends[0]:
        return None
    segments = set(types[second:]) == {1} and set(types[:second]) == {0}
    if not segments and set(types) != {0}:
        return None
    return PairFormat(_ids(ids[:first]), _ids(ids[ends[0] : second]), _ids(ids[ends[1] :]), segments=segments)


def prompt_format(tokenizer: Any, template: str) -> PairFormat:
    """The format of a prompt; its pieces are tokenised apart, as the texts are.

    A blank before ``{query}`` or ``{passage}`` belongs to the text (see ``text_prefix``), since tokenizers keep a
    word and the blank before it together.
    """
    first, second, behind = _pieces(template)
    first, second = first.removesuffix(" "), second.removesuffix(" ")
    start = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] and tokenizer.bos_token_id is not None
    has_start = start and not first.startswith(tokenizer.bos_token)
    pieces = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in (first, second, behind)]
    return PairFormat(
        _ids([tokenizer.bos_token_id, *pieces[0]] if has_start else pieces[0]),
        _ids(pieces[1]),
        _ids(pieces[2]),
        template=tokenizer.bos_token + template if has_start else template,
    )


def _pieces(template: str) -> list[str]:
    return re.split(r"\{query\}|\{passage\}", template)


def text_prefixes(template: str) -> tuple[str, str]:
    r"""What stands directly before query and passage and is tokenised with them: a blank or nothing.

    >>> text_prefixes("Query: {query}\nDocument:{passage}")
    (' ', '')
    """
    first, second = (" " if piece.endswith(" ") else "" for piece in _pieces(template)[:2])
    return first, second


def chat_template(template: str) -> str:
    """The prompt as the chat template that sentence-transformers fills with the roles query and document.

    >>> chat_template("Q: {query} D: {passage}?")
    "{{ 'Q: ' + messages[0]['content'] + ' D: ' + messages[1]['content'] + '?' }}"
    """
    before, between, behind = (repr(piece) for piece in _pieces(template))
    return f"{{{{ {before} + messages[0]['content'] + {between} + messages[1]['content'] + {behind} }}}}"


def template_of_chat(tokenizer: Any) -> str | None:
    """The prompt that a folder's own chat template makes of a query and a document; None where it has none."""
    if not tokenizer.chat_template:
        return None
    messages = [{"role": "query", "content": QUERY_MARK}, {"role": "document", "content": PASSAGE_MARK}]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, KeyError, IndexError):
        # a chat template that knows no such roles says so in its own way
        return None
    if (
        text.count(QUERY_MARK) != 1
        or text.count(PASSAGE_MARK) != 1
        or text.index(QUERY_MARK) > text.index(PASSAGE_MARK)
    ):
        return None
    return text.replace(QUERY_MARK, "{query}").replace(PASSAGE_MARK, "{passage}")
