"""What the query excludes: "not senior", "anywhere but Florida", "-intern", "ex-Google".

In: a page and a way to find the phrase that stands at a word. Out: the excluded words are
taken, so that no reader tags them. Always: an exclusion ends at the end of its clause and
reaches over one phrase, or over several joined by "or", "nor" or in brackets.
"""

import re
from collections.abc import Callable

from engine.baseline.page import Page

PhraseEnd = Callable[[Page, int], int]

_TRIGGER = re.compile(
    r"\b(?:not|no|non|nor|without|except(?: for)?|excluding|excludes?|avoid(?:ing)?|minus|"
    r"(?:any(?:where|thing|one|place|body)|everywhere|everything|all)(?: \w+)? but|but not|"
    r"other than|(?:apart|aside) from|rather than|instead of|never|nothing|nowhere|outside(?: of)?|"
    r"don'?t (?:want|show|include|need|like)(?: me)?|do not (?:want|show|include|need)|hate|"
    r"ex|former(?:ly)?|used to (?:work|be))\b"
)
_MINUS = re.compile(r"(?<!\S)[-–!](?=[^\W\d_])")
_NOT_EXCLUDING = re.compile(
    r"no (?:(?:prior |previous |work )?experience|more than|less than|fewer than|\d|one else|"
    r"longer|applicants)|"
    r"not (?:just|only|necessarily|for profit|fussy|picky|sure|more than|less than|\d|"
    r"important|required|needed|a problem|limited)|non[- ]?profit|"
    r"outside sales|outside (?:plant|machinist|processor)|never mind|without experience|"
    r"formerly known"
)
_SKIPPED = frozenset(
    "a an the any at in for to with on of from as be by is it me show want need like interested "
    "looking required require requiring have having been being part based work working more".split()
)
_JOINS = frozenset({"or", "nor"})


def exclude(page: Page, phrase_end: PhraseEnd) -> None:
    """Takes the words that the searcher rules out."""
    for trigger, start, end in page.matches(_TRIGGER):
        if not _NOT_EXCLUDING.match(page.folded, trigger.start()):
            page.take(start, end)
            _take_phrases(page, end, phrase_end)
    for match in _MINUS.finditer(page.folded):
        start, _ = page.span(match.end(), match.end() + 1)
        if start < len(page):
            page.take(start, phrase_end(page, start) if page.free[start] else start + 1)


def _bracket_end(page: Page, start: int) -> int | None:
    """The word after a bracket that opens just before the word `start`."""
    if start >= len(page) or start == 0:
        return None
    between = page.folded[page.ends[start - 1] : page.starts[start]]
    if "(" not in between:
        return None
    close = page.folded.find(")", page.starts[start])
    return page.span(page.starts[start], close if close >= 0 else len(page.folded))[1]


def _take_phrases(page: Page, start: int, phrase_end: PhraseEnd) -> None:
    bracket = _bracket_end(page, start)
    if bracket is not None:
        page.take(start, bracket)
        return
    i = start
    while i < len(page) and page.words[i] in _SKIPPED and (i == start or page.breaks[i] < 2):
        i += 1
    if i >= len(page) or (page.breaks[i] == 2 and i > start) or not page.free[i]:
        return
    end = phrase_end(page, i)
    while end + 1 < len(page) and page.words[end] in _JOINS and page.breaks[end] < 2:
        after = end + 1
        while after + 1 < len(page) and page.words[after] in _SKIPPED:
            after += 1
        end = phrase_end(page, after) if page.free[after] else after
        if not page.free[min(after, len(page) - 1)]:
            break
    page.take(start, end)
