"""Places the query names.

In: a page whose excluded words and employers are taken, and the profile's location. Out: the
values of `location`, their words taken. Always: a place stands as typed, short forms spelled
out; a region is added only where the query names it, or where the name is shared and the
profile's location settles which place is meant.
"""

from engine.baseline.home import region_added
from engine.baseline.lists import fold, word_set
from engine.baseline.page import Page
from engine.baseline.places import Place, gazetteer

_LOOK_ALIKES = "place_look_alikes"
_BEFORE = frozenset("in near around at within en bei em from".split())
_SMALL = frozenset("of and the de la du des del am an der upon on by sur le".split())
_CODES_THAT_ARE_WORDS = frozenset(
    "in or me hi ok oh pa ma la de id co al mo ms md mt ct va ar ga ne il as on act ab nl mb nb "
    "ns pr vic sc sd nd ri dc".split()
)
_LONE_CODES = frozenset("tx ny nj fl nc tn ky wv wi mn nv nm ut qld nsw az".split())


def read_locations(page: Page, home: str | None, common: frozenset[str]) -> list[str]:
    """All places, in the order of the query; `common` are words that are no unheard-of town."""
    found: list[str] = []
    i = 0
    while i < len(page):
        hit = _place_at(page, i, home) or _unknown_town(page, i, common)
        if hit is None:
            i += 1
            continue
        end, value = hit
        page.take(i, end)
        if fold(value) not in {fold(v) for v in found}:
            found.append(value)
        i = end
    return found


def _place_at(page: Page, i: int, home: str | None) -> tuple[int, str] | None:
    if not page.free[i]:
        return None
    known = gazetteer().places.longest(page.words, i, page.reach(i, 5))
    if known is None:
        return _lone_code(page, i)
    end, place = known
    region = _region_after(page, end)
    if place.weak and not region and not _hinted(page, i, end):
        return _lone_code(page, i)
    shown = place.alias or _shown(page, i, end, place)
    if region and not place.region and not place.alias:
        after, named = region
        return after, f"{shown}, {named}"
    if place.cities and not place.region:
        return end, region_added(shown, place.cities, home)
    return end, shown


def _hinted(page: Page, i: int, end: int) -> bool:
    """Whether something says that an ordinary word is a place here."""
    if len(page) == end - i:
        return True
    at_end = end == len(page) or page.breaks[end] == 2 or not page.free[end]
    if i and page.words[i - 1] in _BEFORE and page.breaks[i] == 0:
        return at_end or (page.is_capital(i) and not page.is_capital(end))
    return i > 0 and page.is_mixed() and page.is_capital(i) and at_end and page.breaks[i] == 2


def _region_after(page: Page, at: int) -> tuple[int, str] | None:
    """A state, province or country right after a city, as it is to be written."""
    if at >= len(page) or not page.free[at]:
        return None
    stop = page.reach(at, 4)
    comma = page.folded[page.ends[at - 1] : page.starts[at]].strip()
    if comma not in ("", ",", ".", "-", "(", "/"):
        return None
    word = page.words[at]
    if len(word) <= 3 and word in gazetteer().codes:
        last = at + 1 == len(page) or page.breaks[at + 1] == 2
        typed = page.word_as_typed(at)
        if word in ("in", "or", "me", "on", "as") and not (typed.isupper() or last or comma):
            return None
        return at + 1, typed.upper()
    known = gazetteer().places.longest(page.words, at, stop)
    if known and known[1].region:
        return known[0], _shown(page, at, known[0], known[1])
    return None


def _lone_code(page: Page, i: int) -> tuple[int, str] | None:
    """A state's code with no city before it: "RN TX", "jobs in CA"."""
    word = page.words[i]
    region = gazetteer().codes.get(word) if len(word) <= 3 else None
    typed = page.word_as_typed(i)
    after_in = i > 0 and page.words[i - 1] in _BEFORE
    if region is None:
        return None
    if word == "us" and not (typed.isupper() and not page.text.isupper()):
        around = page.words[max(0, i - 2) : i], page.words[i + 1 : i + 2]
        named = around[0] == ["in", "the"] or around[0][-1:] == ["remote"] or around[1] == ["only"]
        return (i + 1, "US") if named else None
    capital = typed.isupper() and not page.text.isupper()
    if capital and (after_in or word not in _CODES_THAT_ARE_WORDS):
        return i + 1, region.name
    if word in _LONE_CODES or (after_in and word in ("ca", "ga", "va", "pa", "oh", "il", "ma")):
        return i + 1, region.name
    return None


def _shown(page: Page, i: int, end: int, place: Place) -> str:
    """A place as typed, its short forms spelled out."""
    if page.words[i] in ("ft", "mt") and place.cities:
        return place.cities[0].name
    typed = page.phrase(i, end)
    if typed.islower() or page.text.isupper():
        return " ".join(w if w in _SMALL else w.capitalize() for w in typed.lower().split())
    return typed


def _may_be_town(page: Page, i: int, common: frozenset[str]) -> bool:
    if not page.free[i] or not page.words[i].isalpha():
        return False
    named = page.is_capital(i) and page.is_mixed() and page.words[i] in word_set(_LOOK_ALIKES)
    return named or page.words[i] not in common


def _unknown_town(page: Page, i: int, common: frozenset[str]) -> tuple[int, str] | None:
    """A town too small for the gazetteer: before a state's code, or a new name after "in"."""
    if not _may_be_town(page, i, common):
        return None
    end = i + 1
    limit = page.reach(i, 3)
    while end < limit and _may_be_town(page, end, common):
        if page.words[end] in gazetteer().codes:
            break
        end += 1
    after_in = i > 0 and page.words[i - 1] in ("in", "near", "around") and page.breaks[i] == 0
    region = _region_after(page, end)
    if region and len(page.words[i]) > 2:
        code = page.words[end]
        sure = after_in or "," in page.folded[page.ends[end - 1] : page.starts[end]]
        if sure or (len(code) == 2 and page.word_as_typed(end).isupper()):
            return region[0], f"{_shown(page, i, end, Place())}, {region[1]}"
        if code in _LONE_CODES and end == i + 1 and len(page.words[i]) > 3:
            return region[0], f"{_shown(page, i, end, Place())}, {region[1]}"
    if after_in and len(page.words[i]) > 3:
        named = not page.is_mixed() or page.is_capital(i)
        return (end, _shown(page, i, end, Place())) if named else None
    return None
