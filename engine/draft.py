"""What rules and lists make of a query: the draft that a tuned model corrects.

In: a query, the place it is asked from. Out: calls, first those that the rule-based baseline
would make, then names of the lists that it left alone (ordinary words that are also places,
employers or skills). Always: texts are in the query's case; the same for the same query and
place; the place shows only where it says which of several places of a name is meant.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec

from engine import baseline
from engine.baseline.lists import Phrases, by_words, table, word_set, words
from engine.baseline.page import Page
from engine.baseline.places import gazetteer
from schemas.tools import TEXTS, Call, Company, Location, Plan, Skill, Suggest

MOST = 12
"""Calls; a text that is all names is a list that nobody searches by."""

_ALIKE = 3
"""Letters that a misspelt region begins with all the same."""

_WORD = re.compile(r"[^\W_]+")


def draft(query: str, home: str | None = None) -> list[Call]:
    """At most `MOST` calls; a plan only where it is not `criteria`."""
    page, calls = baseline.sketch(query, home, near=False)
    calls = [call for call in calls if call != Plan("criteria") and not isinstance(call, Suggest)]
    calls += _named(page, {_key(call): type(call) for call in calls if type(call) in TEXTS})
    return list(dict.fromkeys(as_typed(call, query) for call in calls))[:MOST]


def settled(location: Location, query: str, drafted: Iterable[Call]) -> Location:
    """The place as the draft has it, with its region or without, if the draft has the place.

    Which place is meant follows from the query's words and the home, by rule: a region that
    neither names, not even misspelt, is the model's own.
    """
    region = location.location.partition(",")[2]
    said = {word[:_ALIKE] for word in words(query)}
    if said & {word[:_ALIKE] for word in words(region)}:
        return location
    for known in drafted:
        if isinstance(known, Location) and _key(known) == _key(location):
            return known
    return location


def _named(page: Page, made: dict[str, type]) -> Iterator[Company | Location | Skill]:
    """Names of the lists, from left to right: of words that nothing took, or that are the whole
    or the beginning of a value of another kind; employers of words of which one is free."""
    makers: tuple[tuple[Phrases[Any], type[Company | Location | Skill]], ...] = (
        (_employers(), Company), (gazetteer().places, Location), (_skills(), Skill),
    )  # fmt: skip
    for phrases, make in makers:
        at = 0
        while at < len(page):
            hit = phrases.longest(page.words, at, min(at + 5, len(page)))
            if hit is None:
                at += 1
                continue
            key = " ".join(page.words[at : hit[0]])
            leads = make is Company and any(value.startswith(key + " ") for value in made)
            other = key in made and made[key] is not make
            slight = key in word_set("stop_words") or len(key) < (3 if make is Location else 2)
            fuller = make is Company and hit[0] - at > 1 and any(page.free[at : hit[0]])
            fresh = page.is_free(at, hit[0]) or leads or other or fuller
            if fresh and not slight and made.get(key) is not make:
                yield make(page.phrase(at, hit[0]))
            at = hit[0]


def _key(call: Call) -> str:
    return " ".join(words(getattr(call, TEXTS[type(call)]).partition(",")[0]))


@cache
def _employers() -> Phrases[str]:
    return by_words((row[0], "") for row in table("employers"))


@cache
def _skills() -> Phrases[str]:
    return by_words((row[0], "") for row in table("skills"))


def as_typed(call: Call, query: str) -> Call:
    """The call with its text in the query's case: copying is learnt sooner.

    Words that do not stand in the query are in lower case if it is, but for what comes after
    a comma: a region.
    """
    field = TEXTS.get(type(call))
    if field is None:
        return call
    query = query.lower() if query.isupper() else query
    typed = {word.lower(): word for word in reversed(_WORD.findall(query))}
    head, comma, region = getattr(call, field).partition(",")
    lower = query == query.lower()

    def word(match: re.Match[str]) -> str:
        known = typed.get(match[0].lower())
        return known or (match[0].lower() if lower else match[0])

    return msgspec.structs.replace(call, **{field: _WORD.sub(word, head) + comma + region})
