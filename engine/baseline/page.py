"""A query as it is read: its words, where they stand, and which of them are spoken for.

In: the text of a query. Out: a `Page`. Always: `folded` is as long as `text`, so that a place
in one is the same place in the other; a word is taken at most once, and what is taken, or
excluded by the searcher, no later reader sees.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.baseline.lists import WORD, bare, fold, singular

MOST = 2_000  # characters kept; NFKC may lengthen a text
_SHORT = frozenset("st ft mt sr jr asst mgr dr mr ms mrs inc co dept no vs ste".split())
_HARD = re.compile(r"[,;:|(){}\[\]\n\r\t•·!?\"“”<>=]|\.(?:\s|$)|\s[-–—]\s|—")


@dataclass(slots=True)
class Page:
    """The words of a query; `breaks` says what stands before each: 0 a space or hyphen,
    1 a slash or the like, 2 the end of a clause."""

    text: str
    folded: str
    starts: list[int]
    ends: list[int]
    words: list[str]
    stems: list[str]
    breaks: list[int]
    free: list[bool]
    mended: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.words)

    def reach(self, start: int, most: int = 8, hardest: int = 1) -> int:
        """Where a phrase from `start` must end: before a taken word or a break."""
        end = start
        while end < len(self.words) and end - start < most and self.free[end]:
            if end > start and self.breaks[end] > hardest:
                break
            end += 1
        return end

    def take(self, start: int, end: int) -> None:
        """Marks words as spoken for."""
        for i in range(start, end):
            self.free[i] = False

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The words that characters `start` to `end` touch."""
        return bisect_right(self.ends, start), bisect_left(self.starts, end)

    def is_free(self, start: int, end: int) -> bool:
        """Whether none of the words is spoken for."""
        return all(self.free[start:end])

    def matches(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int, int]]:
        """The pattern's matches in the folded text whose words are all free, with their words."""
        for match in pattern.finditer(self.folded):
            start, end = self.span(*match.span())
            if self.is_free(start, end):
                yield match, start, end

    def phrase(self, start: int, end: int) -> str:
        """The words as typed, or as mended."""
        if any(i in self.mended for i in range(start, end)):
            return " ".join(self.word_as_typed(i) for i in range(start, end))
        return self.text[self.starts[start] : self.ends[end - 1]].strip()

    def word_as_typed(self, i: int) -> str:
        """One word as typed, or as mended."""
        return self.mended.get(i) or self.text[self.starts[i] : self.ends[i]]

    def is_capital(self, i: int) -> bool:
        """Whether a word begins with a capital in a query that also has small letters."""
        return self.text[self.starts[i]].isupper() and not self.text.isupper()

    def is_mixed(self) -> bool:
        """Whether capitals and small letters tell names from words here."""
        capitals = sum(self.text[s].isupper() for s in self.starts)
        return capitals > 0 and capitals * 4 < len(self.starts) * 3 and not self.text.isupper()


def _break(between: str, before: str) -> int:
    if not between or between in {" ", "-"}:
        return 0
    if _HARD.search(between) and not (between[0] == "." and before in _SHORT):
        return 2
    return 1 if any(c in "/&+*@" for c in between) else 0


def read(query: str) -> Page:
    """Splits a query into words."""
    clean = query.encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFKC", clean)[:MOST]
    folded = fold(text)
    page = Page(text, folded, [], [], [], [], [], [])
    last = 0
    for match in WORD.finditer(folded):
        between = text[last : match.start()]
        word = bare(match.group())
        page.breaks.append(_break(between, page.words[-1]) if page.words else 2)
        page.starts.append(match.start())
        page.ends.append(match.end())
        page.words.append(word)
        page.stems.append(singular(word))
        page.free.append(True)
        last = match.end()
    return page
