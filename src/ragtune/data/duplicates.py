"""Equal and nearly equal texts: which passages count as one, and what must stay together in a split.

Two passages are *equal* when their contents agree after runs of white space are made one space. They are *nearly
equal* when the Jaccard index of their 5-unit shingles (words; single characters in CJK text; case and punctuation
aside) reaches a threshold. Candidates for that come from MinHash with banding (Broder 1997; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4) and each is verified exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import final

import numpy as np
import numpy.typing as npt

from ragtune.data.language import units
from ragtune.data.records import Passage

SHINGLE_UNITS = 5
NEAR = 0.8
"""Jaccard index from which two texts count as near duplicates (assumption: the usual value for web text)."""

BANDS, ROWS = 16, 8
"""A pair at Jaccard 0.8 shares a band with probability 1 - (1 - 0.8**8)**16 = 0.95; one at 0.4 with 0.01."""

ShingleSet = npt.NDArray[np.uint64]


@final
class Groups:
    """Union-find; a group is named by the member that was added first.

    >>> groups = Groups("abc")
    >>> groups.join("c", "b")
    >>> groups.of("c")
    'b'
    """

    def __init__(self, members: Iterable[str]) -> None:
        self._parent = {member: member for member in members}
        self._order = {member: index for index, member in enumerate(self._parent)}

    def of(self, member: str) -> str:
        """The name of the member's group."""
        root = member
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[member] != root:
            self._parent[member], member = root, self._parent[member]
        return root

    def join(self, one: str, other: str) -> None:
        """Make two groups one."""
        first, second = sorted((self.of(one), self.of(other)), key=self._order.__getitem__)
        self._parent[second] = first

    def join_equal(self, key: Callable[[str], Hashable | None]) -> None:
        """Join all members with the same key; None is no key."""
        first: dict[Hashable, str] = {}
        for member in self._parent:
            if (value := key(member)) is not None:
                self.join(first.setdefault(value, member), member)

    def as_dict(self) -> dict[str, str]:
        """Member -> name of its group."""
        return {member: self.of(member) for member in self._parent}


def canonical_ids(corpus: Mapping[str, Passage]) -> dict[str, str]:
    """Passage id -> id of the first passage with equal content (title and text, white space aside).

    >>> canonical_ids({"a": Passage("a", "One  text."), "b": Passage("b", "One text. ")})
    {'a': 'a', 'b': 'a'}
    """
    first: dict[str, str] = {}
    return {key: first.setdefault(plain_text(passage.content), key) for key, passage in corpus.items()}


def duplicate_groups(corpus: Mapping[str, Passage], *, near: float | None = NEAR) -> dict[str, str]:
    """Passage id -> group id (the id of the group's first passage), equal and nearly equal passages joined.

    ``near`` is the Jaccard index from which passages count as near duplicates; None joins equal ones only.
    """
    return text_groups({key: passage.content for key, passage in corpus.items()}, near=near)


def text_groups(texts: Mapping[str, str], *, near: float | None = NEAR) -> dict[str, str]:
    """Key -> group, for any texts; as ``duplicate_groups``."""
    groups = Groups(texts)
    groups.join_equal(lambda key: plain_text(texts[key]))
    if near is not None:
        distinct = [key for key in texts if groups.of(key) == key]
        sets = _shingle_sets(texts[key] for key in distinct)
        for one, other in _near_pairs(sets, near):
            groups.join(distinct[one], distinct[other])
    return groups.as_dict()


def near_texts(texts: Mapping[str, str], others: Iterable[str], *, near: float = NEAR) -> set[str]:
    """Keys of the texts that are nearly equal to one of the others: every pair is looked at, none is missed.

    >>> texts = {"a": "how long does a refund take in most cases", "b": "who pays"}
    >>> near_texts(texts, ["How long does a refund take, in most cases?"])
    {'a'}
    """
    keys, asked = list(texts), list(others)
    sets = _shingle_sets([*texts.values(), *asked])
    mine, theirs = sets[: len(keys)], sets[len(keys) :]
    size_N = np.array([shingles.size for shingles in mine], dtype=np.int64)
    shingle_E = np.concatenate([*mine, np.empty(0, dtype=np.uint64)])
    order = np.argsort(shingle_E, kind="stable")
    shingle_E, owner_E = shingle_E[order], np.repeat(np.arange(len(keys)), size_N)[order]
    found: set[int] = set()
    for shingles in theirs:
        left, right = (np.searchsorted(shingle_E, shingles, side=side) for side in ("left", "right"))
        owners = [owner_E[first:last] for first, last in zip(left, right, strict=True) if first < last]
        if not owners:
            continue
        owner_M, shared_M = np.unique(np.concatenate(owners), return_counts=True)
        found |= set(owner_M[shared_M >= near * (size_N[owner_M] + shingles.size - shared_M)].tolist())
    return {keys[index] for index in found}


def plain_text(text: str) -> str:
    r"""The text with every run of white space made one space.

    >>> plain_text(" 第一行\n 第二行 ")
    '第一行 第二行'
    """
    return " ".join(text.split())


def jaccard(one: ShingleSet, other: ShingleSet) -> float:
    """Jaccard index of two sorted sets of shingles; two empty sets are unlike."""
    shared = np.intersect1d(one, other, assume_unique=True).size
    either = one.size + other.size - shared
    return float(shared / either) if either else 0.0


def _shingle_sets(texts: Iterable[str]) -> list[ShingleSet]:
    """One sorted set of shingle hashes a text; a text shorter than a shingle is one shingle."""
    seeded = np.random.default_rng(1)
    place_weights = seeded.integers(1, 2**63, size=SHINGLE_UNITS, dtype=np.uint64) | np.uint64(1)
    vocabulary: dict[str, int] = {}
    sets = []
    for text in texts:
        numbers = [vocabulary.setdefault(unit, len(vocabulary)) for unit in units(text)]
        if not numbers:
            sets.append(np.empty(0, dtype=np.uint64))
            continue
        mixed = _mix(np.asarray(numbers, dtype=np.uint64))
        width = min(SHINGLE_UNITS, mixed.size)
        windows = np.lib.stride_tricks.sliding_window_view(mixed, width)
        sets.append(np.unique(_mix((windows * place_weights[:width]).sum(axis=1, dtype=np.uint64))))
    return sets


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Splitmix64's finaliser (Steele, Lea and Flood 2014): near numbers become unrelated ones."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _near_pairs(sets: list[ShingleSet], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of indices whose Jaccard index reaches the threshold (enough of them to connect each group)."""
    filled = [index for index, shingles in enumerate(sets) if shingles.size]
    for key_N in _band_keys([sets[index] for index in filled]).T:
        order = np.argsort(key_N, kind="stable")
        edges = np.concatenate(([0], np.flatnonzero(np.diff(key_N[order])) + 1, [order.size]))
        for bucket in np.flatnonzero(np.diff(edges) > 1):
            heads: list[int] = []
            for index in (filled[place] for place in order[edges[bucket] : edges[bucket + 1]]):
                twin = next((head for head in heads if jaccard(sets[head], sets[index]) >= threshold), None)
                if twin is None:
                    heads.append(index)
                else:
                    yield twin, index


def _band_keys(sets: list[ShingleSet]) -> npt.NDArray[np.uint64]:
    """[N, BANDS]: one key a band, equal where all MinHash values of the band are."""
    seeded = np.random.default_rng(2)
    factors = seeded.integers(1, 2**63, size=(BANDS * ROWS, 1), dtype=np.uint64) | np.uint64(1)
    weights = seeded.integers(1, 2**63, size=ROWS, dtype=np.uint64) | np.uint64(1)
    key_NB = np.empty((len(sets), BANDS), dtype=np.uint64)
    for row, shingles in enumerate(sets):
        smallest = (factors * shingles).min(axis=1)
        key_NB[row] = (smallest.reshape(BANDS, ROWS) * weights).sum(axis=1, dtype=np.uint64)
    return key_NB
