"""Mends plain slips in the words that matter most: titles' heads and functions, large cities.

In: a page. Out: the same page, mended words in place. Always: a word that any list knows stays;
others change only into a word one letter away (one more, one less, another, or moved) of
which there is one alone.
"""

from collections.abc import Iterator
from functools import cache

from engine.baseline.employer import employers
from engine.baseline.lists import pairs, singular, word_set, words
from engine.baseline.occupations import occupations
from engine.baseline.page import Page
from engine.baseline.places import gazetteer
from engine.baseline.sector import sectors
from engine.baseline.skill import skills

_SHORTEST = 7
_LONG = 9
"""Letters; as long a word of any title is hardly near another by chance."""
_LARGE = 600_000


def _less_one(word: str) -> Iterator[str]:
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]


@cache
def _mendable() -> dict[str, set[str]]:
    """Right words by each form that lacks one letter, and by themselves."""
    right = set(occupations().usual_heads)
    right |= {w for w in occupations().heads | occupations().modifiers if len(w) >= _LONG}
    right |= {w for key in occupations().functions.entries for w in key.split()}
    right |= {"senior", "junior", "remote", "hybrid", "marketing", "internship", "salesforce"}
    right |= {
        key
        for key, place in gazetteer().places.entries.items()
        if place.cities and place.cities[0].population > _LARGE and key.isascii()
        and words(place.cities[0].name) == [key] and place.cities[0].country in ("US", "GB", "CA")
    }  # fmt: skip
    found: dict[str, set[str]] = {}
    for word in right:
        if len(word) >= _SHORTEST:
            for form in (word, *_less_one(word)):
                found.setdefault(form, set()).add(word)
    return found


@cache
def known_words() -> frozenset[str]:
    """Words of any list: none of them is a slip or an unheard-of name."""
    known = set(occupations().modifiers | occupations().heads)
    for phrases in (occupations().functions, sectors(), skills(), employers()):
        known.update(word for key in phrases.entries for word in key.split())
    known.update(word for key in occupations().short.entries for word in key.split())
    for name in ("stop_words", "job_words", "languages", "non_jobs", "place_look_alikes"):
        known |= word_set(name)
    return frozenset(known)


@cache
def _usual() -> dict[str, str]:
    return dict(pairs("spellings"))


def mend(page: Page) -> None:
    """Mends the page's words."""
    for i, word in enumerate(page.words):
        right = _usual().get(word) or _usual().get(singular(word))
        if right is None and len(word) >= _SHORTEST and word.isascii() and word.isalpha():
            right = _nearest(word)
        if right is not None and right != word:
            page.words[i] = right
            page.stems[i] = singular(right)
            page.mended[i] = right


def _nearest(word: str) -> str | None:
    if word in known_words() or singular(word) in known_words():
        return None
    if word in gazetteer().places or word in word_set("fantasies"):
        return None
    near: set[str] = set(_mendable().get(word, ()))
    for form in _less_one(word):
        near |= _mendable().get(form, set())
    near = {right for right in near if right[0] == word[0]}
    return next(iter(near)) if len(near) == 1 else None
