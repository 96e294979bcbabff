"""Employers the query names.

In: a page whose excluded words are taken. Out: the values of `company`, their words taken.
Always: an ordinary word is an employer only after "at" or capitalised amid small letters; a
product ("Salesforce developer") is none.
"""

from dataclasses import dataclass
from functools import cache

from engine.baseline.lists import Phrases, fold, lines, word_set, words
from engine.baseline.occupations import occupations
from engine.baseline.page import Page
from engine.baseline.places import gazetteer

_AT = frozenset({"at", "for", "like", "with", "chez", "bei"})
_WORK_FOR = frozenset("work working works job jobs hiring employed join".split())
_FORMS = frozenset(
    "inc llc ltd limited corp corporation plc gmbh ag bros brothers llp group holdings "
    "partners associates".split()
)
_TRADES = frozenset(
    "plumbing construction roofing electric heating hvac landscaping logistics trucking "
    "consulting foods".split()
)
_INSTITUTIONS = frozenset("university college hospital".split())
_SMALL = frozenset("of the and & de la".split())
_NO_NAME = frozenset(
    "home night least all scale sea school schools work hospital hospitals airport airports "
    "startup startups noon weekends once restaurants hotels risk law".split()
)
_PRODUCT_MAKERS_ONLY = frozenset(
    "office excel teams sql word azure 365 dynamics sharepoint ads analytics cloud sheets "
    "workspace web services photoshop illustrator creative ios apps devops".split()
)


@dataclass(frozen=True, slots=True)
class _Employer:
    ordinary: bool
    product: bool


@cache
def employers() -> Phrases[_Employer]:
    """The known employers."""
    return Phrases(
        {
            " ".join(words(line)): _Employer(line[0] == "?", line[0] == "*")
            for line in lines("employers")
        },
        most=5,
    )


def read_employers(page: Page) -> list[str]:
    """All employers in the order of the query."""
    found: list[str] = []
    listed = -1  # where a list of employers after "at" or "like" goes on
    i = 0
    while i < len(page):
        after_at = _after_at(page, i) or i == listed
        end = _known(page, i, after_at) or _formed(page, i) or _unknown(page, i)
        if end is None:
            i += 1
            continue
        value = page.phrase(i, end)
        page.take(i, end)
        if fold(value) not in {fold(v) for v in found} and len(value) <= 120:
            found.append(_shown(page, value))
        if after_at:
            listed = end + (end < len(page) and page.words[end] in ("or", "and"))
        i = end
    return found


def _shown(page: Page, value: str) -> str:
    return value.title().replace("'S", "'s") if page.text.isupper() and len(value) > 4 else value


def _after_at(page: Page, i: int) -> bool:
    if i == 0 or page.breaks[i] == 2:
        return False
    before = page.words[i - 1]
    if before == "for":
        return i > 1 and page.words[i - 2] in _WORK_FOR
    return before in _AT or page.folded[page.starts[i] - 1] == "@"


def _known(page: Page, i: int, after_at: bool) -> int | None:
    if not page.free[i]:
        return None
    hit = employers().longest(page.words, i, page.reach(i, 5))
    if hit is None:
        return None
    end, employer = hit
    after = page.words[end] if end < len(page) and page.breaks[end] == 0 else ""
    if after in _PRODUCT_MAKERS_ONLY:
        return None
    jobs = after in word_set("job_words") or end - i == len(page)
    if employer.product:
        return end if after_at or (jobs and i == 0) else None
    if employer.ordinary:
        named = page.is_mixed() and page.is_capital(i) and (i > 0 or jobs)
        alone = i == 0 and (end == len(page) or (jobs and end + 1 == len(page)))
        return end if after_at or alone or (named and not _in_title(page, end)) else None
    return end


def _in_title(page: Page, end: int) -> bool:
    return end < len(page) and page.breaks[end] == 0 and page.is_capital(end)


def _formed(page: Page, i: int) -> int | None:
    """A name with a company's form in it: "Miller Bros Plumbing", "Lund University"."""
    if not _may_begin(page, i):
        return None
    if page.words[i] == "university" and page.words[i + 1 : i + 2] == ["of"]:
        return page.reach(i, 4) if i + 2 < len(page) else None
    stop = page.reach(i, 4)
    for at in range(i + 1, stop):
        word = page.words[at]
        if word in _INSTITUTIONS and (page.is_capital(at) and page.is_capital(i)):
            return at + 1
        if word in _FORMS and (
            word not in ("group", "partners", "associates")
            or (page.is_capital(at) and page.is_capital(i))
        ):
            trade = at + 1 < stop and page.words[at + 1] in _TRADES
            return at + 2 if trade else at + 1
        if word in word_set("stop_words") or page.stems[at] in occupations().heads:
            return None
    return None


def _unknown(page: Page, i: int) -> int | None:
    """A name after "at" that no list has."""
    if not _after_at(page, i) or page.words[i - 1] in ("like", "with") or not _may_begin(page, i):
        return None
    doubtful = page.is_mixed() or page.words[i - 1] == "for"
    if not page.is_capital(i) and (doubtful or page.stems[i] in occupations().modifiers):
        return None
    end = i + 1
    stop = page.reach(i, 5)
    while end < stop:
        named = page.is_capital(end) if page.is_capital(i) else _plain(page, end)
        small = page.words[end] in _SMALL and end + 1 < stop and page.is_capital(end + 1)
        if not (named or small):
            break
        end += 1
    return end


def _plain(page: Page, i: int) -> bool:
    return _may_begin(page, i) and page.stems[i] not in occupations().modifiers


def _may_begin(page: Page, i: int) -> bool:
    word = page.words[i]
    return (
        page.free[i]
        and word not in word_set("stop_words")
        and word not in word_set("job_words")
        and word not in _NO_NAME
        and page.stems[i] not in occupations().heads
        and word not in gazetteer().places
        and len(word) > 1
        and not word.isdigit()
    )
