"""Skills, tools, languages and certificates that are asked for.

In: a page whose titles and industries are taken. Out: the values of `skill`, their words taken.
Always: a people's language counts only beside "fluent", "speaking" and the like, or when it
ends a clause of its own.
"""

import re
from functools import cache

from engine.baseline.lists import Phrases, by_words, fold, lines, pairs
from engine.baseline.page import Page

_SPEAKING = frozenset(
    "speaking speaker speakers fluent fluency native bilingual language skills required "
    "proficient proficiency spoken mandatory essential level".split()
)
_TAIL = re.compile(
    r"\b(?P<name>[^\W\d_][\w+#]{2,20})(?= (?:certified|certification|certificate|licen[cs]ed?)\b)"
)
_GENERIC = frozenset(
    "a an the any no get being board and or with without professional training my free".split()
)


@cache
def skills() -> Phrases[str]:
    """The known skills, each with the form it is written in, or "" for as typed."""
    return by_words((left, right if right != left else "") for left, right in pairs("skills"))


@cache
def _languages() -> Phrases[str]:
    return by_words((line, "") for line in lines("languages"))


def read_skills(page: Page) -> list[str]:
    """All skills in the order of the query."""
    found: list[tuple[int, str]] = []
    for i in range(len(page)):
        if not page.free[i]:
            continue
        stop = page.reach(i, 5)
        hit = skills().longest(page.words, i, stop)
        if hit:
            end, shown = hit
            found.append((i, shown or _typed(page, i, end)))
            page.take(i, end)
            continue
        language = _languages().longest(page.words, i, stop)
        if language and _asked(page, i, language[0]):
            found.append((i, page.phrase(i, language[0])))
            page.take(i, language[0])
    for match, start, end in page.matches(_TAIL):
        if match["name"] not in _GENERIC:
            found.append((start, page.phrase(start, end)))
            page.take(start, end + 1)
    return list({fold(value): value[:120] for _, value in sorted(found)}.values())


def _typed(page: Page, start: int, end: int) -> str:
    """As typed, with the dot of ".net"."""
    dot = page.starts[start] > 0 and page.folded[page.starts[start] - 1] == "."
    return ("." if dot and page.words[start] == "net" else "") + page.phrase(start, end)


def _asked(page: Page, start: int, end: int) -> bool:
    around = page.words[max(0, start - 2) : start] + page.words[end : end + 2]
    if _SPEAKING.intersection(around):
        return True
    if start > 1 and page.words[start - 1] in ("and", "or") and not page.free[start - 2]:
        return _languages().longest(page.words, start - 2, start - 1) is not None
    alone = page.breaks[start] == 2 and start > 0
    return alone and (end == len(page) or page.breaks[end] == 2)
