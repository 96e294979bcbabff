"""The baseline: tags a query by rules and lists, without a model.

In: a query and, if known, the member's location. Out: calls in the order of `CALLS`, plan always
first. Always: it answers any string, in time about linear in its length; `trust_violation` has
`policy` besides and nothing else, `non_job` nothing; the profile's location is used only where
the query asks for it or leaves open which place of a name is meant. No `rewrite` is made.

Reading goes from the sure to the open: exclusions, filters and pay, employers, places, levels,
contracts, titles, industries, skills. What one reader takes no later one sees.
"""

from engine.baseline.arrangement import read_employments, read_workplaces
from engine.baseline.employer import employers, read_employers
from engine.baseline.exclusion import exclude
from engine.baseline.filters import (
    read_applicants,
    read_easy_apply,
    read_network,
    read_window,
)
from engine.baseline.intent import (
    is_junk,
    is_no_search,
    names_search,
    refers_to_self,
    unexplained,
)
from engine.baseline.level import read_levels
from engine.baseline.location import read_locations
from engine.baseline.occupations import occupations
from engine.baseline.page import Page, read
from engine.baseline.pay import read_pay
from engine.baseline.places import gazetteer
from engine.baseline.sector import find_sectors, read_sectors, sectors, suggestion
from engine.baseline.skill import read_skills, skills
from engine.baseline.spelling import known_words, mend
from engine.baseline.title import read_titles
from engine.baseline.trust import category
from schemas.tools import (
    CALLS,
    Call,
    Company,
    DatePosted,
    EasyApply,
    Employment,
    Industry,
    InNetwork,
    Location,
    NumApplicants,
    Plan,
    Policy,
    Seniority,
    Skill,
    Title,
    Workplace,
)

_ORDER = {call: position for position, call in enumerate(CALLS)}
_LONGEST = 120  # characters of a text value
_ALONE = frozenset("senior junior lead principal staff associate remote hybrid contract".split())


def load() -> None:
    """Loads the lists, so that the first query need not wait for them."""
    tag("software engineer in boston")


def tag(query: str, location: str | None = None) -> list[Call]:
    """The calls for a query; `location` is the one of the member's profile."""
    _, calls = sketch(query, location)
    match calls[0]:
        case Plan("trust_violation"):
            return calls[:2]
        case Plan("non_job"):
            return calls[:1]
    return calls


def sketch(
    query: str, location: str | None = None, *, near: bool = True
) -> tuple[Page, list[Call]]:
    """As `tag`, with what was read of a search for no job, or against the rules, besides.

    `near` says whether "near me" is the member's location. Of the page those words are free that
    neither a call nor an exclusion took.
    """
    page = read(query)
    broken = category(page.folded)
    junk = is_junk(page)
    mend(page)
    no_search = is_no_search(page)
    calls, by_itself, about_self = _read(page, location, near=near)
    if broken is not None:
        return page, [Plan("trust_violation"), Policy(broken), *calls]
    if about_self and not junk and not (no_search and not names_search(page)):
        return page, [Plan("self_reference"), *calls]
    if junk or no_search or not _is_search(page, calls, by_itself):
        return page, [Plan("non_job"), *calls]
    return page, [Plan("criteria"), *calls]


def _read(page: Page, home: str | None, *, near: bool) -> tuple[list[Call], bool, bool]:
    """The calls but plan, whether one shows a job search by itself, and whether the query refers
    to the searcher."""
    calls: list[Call] = []
    if read_network(page):
        calls.append(InNetwork())
    if read_easy_apply(page):
        calls.append(EasyApply())
    applicants = read_applicants(page)
    if applicants is not None:
        calls.append(NumApplicants(min(applicants, 1_000_000)))
    window = read_window(page)
    if window is not None:
        calls.append(DatePosted(window))
    calls += read_pay(page)
    about_self, here = refers_to_self(page)
    exclude(page, _phrase_end)
    firms = [Company(value) for value in read_employers(page)]
    workplaces = [Workplace(kind) for kind in read_workplaces(page)]
    levels = [Seniority(level) for level in read_levels(page)]
    contracts = [Employment(kind) for kind in read_employments(page)]
    places = [Location(v[:_LONGEST]) for v in read_locations(page, home, known_words())]
    if near and here and not places and home and home.strip():
        places = [Location(home.strip()[:_LONGEST])]
    calls += [*firms, *workplaces, *places, *levels, *contracts]
    named = find_sectors(page)
    calls += [Title(v) for v in read_titles(page, {a: end for a, (end, _) in named.items()})]
    industries = read_sectors(page, named)
    calls += [Industry(industry) for industry in industries]
    calls += [Skill(value) for value in read_skills(page)]
    more = suggestion(industries)
    if more is not None:
        calls.append(more)
    calls.sort(key=lambda call: _ORDER[type(call)])
    return calls, len(calls) > len(firms) + len(places), about_self


def _is_search(page: Page, calls: list[Call], by_itself: bool) -> bool:
    """Whether what was found outweighs what was not understood."""
    if by_itself or names_search(page):
        return True
    return bool(calls) and unexplained(page) <= len(calls)


def _phrase_end(page: Page, start: int) -> int:
    """The end of the longest known phrase at a word, else of the word itself."""
    stop = page.reach(start, 5)
    end = start + 1
    for phrases, sequence in (
        (occupations().titles, page.stems),
        (occupations().functions, page.stems),
        (sectors(), page.stems),
        (gazetteer().places, page.words),
        (employers(), page.words),
        (skills(), page.words),
    ):
        hit = phrases.longest(sequence, start, stop)
        if hit:
            end = max(end, hit[0])
    if page.stems[start] in occupations().modifiers - _ALONE:
        while end < stop and page.stems[end] in occupations().heads and page.breaks[end] == 0:
            end += 1
    return end
