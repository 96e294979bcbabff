"""Filters: `date_posted`, `num_applicants`, `easy_apply`, `in_network`.

In: a page. Out: each tool's value, its words taken. Always: the smallest window that covers what
was asked, none for one longer than a month; only upper limits of applicants count; a day that
the work starts on is no date of posting.
"""

import re

from engine.baseline.page import Page
from schemas.tools import Within

_COUNTS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "couple": 2, "three": 3, "few": 3, "several": 4, "four": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12,
    "fourteen": 14, "fifteen": 15, "twenty": 20, "thirty": 30,
}  # fmt: skip
_COUNT = r"\d{1,3}|" + "|".join(_COUNTS)
_UNIT = r"hours?|hrs?|h|days?|d|weeks?|wks?|fortnight|months?|mos?"
_WINDOW = re.compile(
    rf"\b(?:posted |listed |added |new )?(?:(?:in|within|over|during|from|for|since) )?"
    rf"(?:the )?(?:last|past|previous)(?: (?P<n>{_COUNT}))?(?: of)?[- ]?(?P<unit>{_UNIT})\b"
)
_WITHIN = re.compile(
    rf"\b(?:posted|listed|added|advertised|published)(?: \w+)? (?:within|less than|under|in)"
    rf"(?: the)?(?: last| past)? (?P<n>{_COUNT})(?: of)? (?P<unit>{_UNIT})\b|"
    rf"\b(?:less than|under|no more than|not more than|max|up to) (?P<n2>{_COUNT}) "
    rf"(?P<unit2>{_UNIT}) old\b|"
    rf"\b(?:posted|listed|added) (?P<n3>{_COUNT}) (?P<unit3>{_UNIT}) ago\b"
)
_DAY = re.compile(
    r"\b(?:just (?:posted|listed|added|in)|(?:posted|listed|added|new|jobs?|openings?|listings?) "
    r"(?:as of )?(?:today|this morning|tonight|last night|within the day)|new today|"
    r"today'?s (?:new )?(?:jobs?|postings?|listings?|openings?)|today(?= only)|"
    r"(?:last|past) (?:24|24h|24 ?hrs?)|within 24 ?(?:h|hrs?|hours))\b|"
    r"(?<!start )(?<!starting )(?<!start from )(?<!apply )(?<!call )(?<!work )(?<!interview )"
    r"(?<!hiring )(?<!available )(?<!needed )(?<!immediately )\btoday\b(?!'s)"
)
_WEEK = re.compile(
    r"\b(?:(?:posted|listed|added|new|published|advertised|jobs?|openings?|roles?|postings?)"
    r"(?: in| from| within)? (?:this week|yesterday|since (?:yesterday|\w+day)|recent days|"
    r"(?:a|the) week)|since (?:yesterday|last \w+day|(?:mon|tues|wednes|thurs|fri|satur|sun)day)|"
    r"posted this week|this week'?s (?:jobs?|postings?|openings?))\b|"
    r"(?<!start )(?<!starting )(?<!hours )(?<!available )(?<!interview )(?<!work )\bthis week\b"
)
_MONTH = re.compile(
    r"(?<!start )(?<!starting )(?<!available )(?<!work )\b(?:(?:posted|listed|added|new) )?"
    r"(?:in )?this month\b|\bposted within (?:a|the) month\b"
)
_PEOPLE = (
    r"(?:other )?(?:job )?(?:applicants?|applications?|candidates?|applied|apps|"
    r"(?:people|others|persons|ppl)(?: who)?(?: have| has)?(?: already)? (?:applied|applying)|"
    r"people)"
)
_APPLICANTS = re.compile(
    rf"(?:\b(?:under|less than|less then|fewer than|below|at most|max(?:imum)?(?: of)?|no more "
    rf"than|not more than|up to|lower than|within)|<=?) ?(?P<n>\d{{1,6}}|{'|'.join(_COUNTS)}) "
    rf"{_PEOPLE}\b|\b(?P<n2>\d{{1,6}}) (?:or (?:fewer|less)|max(?:imum)?) {_PEOPLE}\b|"
    rf"\b(?P<n3>\d{{1,6}}) {_PEOPLE} (?:or (?:fewer|less)|max(?:imum)?|tops|at most)\b|"
    rf"\b(?:applicants?|applications?|candidates?)(?: count)? ?(?:<=?|under|below|less than|"
    rf"fewer than) ?(?P<n4>\d{{1,6}})\b|\b(?:among|be one of|one of) the first (?P<n5>\d{{1,6}})"
    rf"(?: {_PEOPLE})?\b"
)
_EASY = re.compile(
    r"\b(?:easy[- ]?apply|easy[- ]?application|quick[- ]?apply|quick[- ]?application|"
    r"(?:one|1|single)[- ]?click(?: (?:apply|application))?|fast[- ]?apply)\b"
)
_NETWORK = re.compile(
    r"\b(?:(?:companies |places |firms )?(?:where|that|at which) (?:i|we)(?: already)? "
    r"(?:know|have|'ve got|got) (?:\w+ )?(?:someone|somebody|people|anyone|a connection|"
    r"connections?|contacts?|friends?|a contact|a friend|an in)|"
    r"(?:i|someone i|people i|somebody i|anyone i|anybody i) know(?: someone| somebody)?"
    r"(?: (?:works?|working|is|at))*|"
    r"(?:in|from|within|through|via) my (?:\w+ )?(?:network|connections|contacts)|"
    r"(?:where )?my (?:\w+ )?(?:connections?|contacts?|network|friends?|colleagues|ex[- ]"
    r"colleagues|former colleagues|classmates)(?: (?:works?|is|are|already|currently|employed))*|"
    r"(?:1st|first|2nd|second)[- ]degree connections?|in[- ]network)\b"
)


def read_window(page: Page) -> Within | None:
    """How recently the job must have been posted."""
    days: list[float] = []
    for pattern in (_WINDOW, _WITHIN):
        for match, start, end in page.matches(pattern):
            groups = match.groupdict()
            count = groups.get("n") or groups.get("n2") or groups.get("n3") or "one"
            unit = groups.get("unit") or groups.get("unit2") or groups.get("unit3") or "d"
            page.take(start, end)
            days.append(_days(count, unit))
    for pattern, length in ((_DAY, 1), (_WEEK, 7), (_MONTH, 31)):
        for _, start, end in page.matches(pattern):
            page.take(start, end)
            days.append(length)
    if not days:
        return None
    shortest = min(days)
    return (
        "day" if shortest <= 1 else "week" if shortest <= 7
        else "month" if shortest <= 31 else None
    )  # fmt: skip


def _days(count: str, unit: str) -> float:
    n = _COUNTS.get(count) or int(count)
    if unit == "fortnight":
        return 14 * n
    return n * {"h": 1 / 24, "d": 1, "w": 7, "m": 31}[unit[0]]


def read_applicants(page: Page) -> int | None:
    """The upper limit of applicants."""
    for match, start, end in page.matches(_APPLICANTS):
        page.take(start, end)
        text = next(group for group in match.groups() if group)
        return _COUNTS.get(text) or int(text)
    return None


def read_easy_apply(page: Page) -> bool:
    """Whether quick application is asked for."""
    return _take_all(page, _EASY)


def read_network(page: Page) -> bool:
    """Whether jobs where the member knows someone are asked for."""
    return _take_all(page, _NETWORK)


def _take_all(page: Page, pattern: re.Pattern[str]) -> bool:
    found = False
    for _, start, end in page.matches(pattern):
        page.take(start, end)
        found = True
    return found
