"""Industries the query names, by the words of the taxonomy's list.

In: a page. Out: where industries are named (`find_sectors`, before titles are read, nothing
taken) and the keys of those not hidden in a title (`read_sectors`, after). Always: a key of the
taxonomy; "restaurant manager" names none.
"""

from functools import cache

from engine.baseline.lists import Phrases, lines, stems
from engine.baseline.page import Page
from schemas.tools import INDUSTRIES, IndustryName, Suggest

_FUNCTIONS = frozenset(
    {"Human Resources", "Accounting", "Logistics", "Research", "Information Technology"}
)


@cache
def sectors() -> Phrases[str]:
    """The words that name an industry, each with its key, or "-" for words that name none."""
    entries: dict[str, str] = {}
    for line in lines("industries"):
        key, _, names = line.partition(": ")
        for name in [key, *names.split(", ")]:
            if name not in _FUNCTIONS:
                entries[" ".join(stems(name))] = key
    return Phrases(entries, most=4)


def find_sectors(page: Page) -> dict[int, tuple[int, str]]:
    """Where industries are named: start to end and key."""
    found: dict[int, tuple[int, str]] = {}
    i = 0
    while i < len(page):
        hit = sectors().longest(page.stems, i, page.reach(i, 4)) if page.free[i] else None
        if hit and hit[1] in INDUSTRIES:
            found[i] = hit
        i = hit[0] if hit else i + 1
    return found


def read_sectors(page: Page, named: dict[int, tuple[int, str]]) -> list[IndustryName]:
    """The industries named outside a title, in the order of the query."""
    out: list[IndustryName] = []
    for start, (end, key) in named.items():
        if not page.is_free(start, end):
            continue
        page.take(start, end)
        if IndustryName(key) not in out:
            out.append(IndustryName(key))
    return out


def suggestion(industries: list[IndustryName]) -> Suggest | None:
    """The first values of the first industry's row that were not named themselves."""
    for industry in industries:
        row = [IndustryName(name) for name in INDUSTRIES[industry]]
        values = tuple(name for name in row if name not in industries)[:3]
        if values:
            return Suggest(facet="industry", values=values)
    return None
