"""Levels: "senior", "entry level", "director", "head of", "VP".

In: a page before titles are read. Out: the values of `seniority`. Level words are taken, except
director, head, VP, president and chief, which stay in the title. Always: a level word inside an
occupation's fixed name is no level.
"""

import re

from engine.baseline.lists import singular
from engine.baseline.occupations import occupations
from engine.baseline.page import Page
from schemas.tools import Level

# Pattern, level, whether its words leave the title.
_WORDS: tuple[tuple[str, Level, bool], ...] = (
    (r"(?:no|without|zero|0) (?:(?:prior|previous|work) )?experience"
     r"(?: (?:needed|required|necessary))?|inexperienced|beginners?", "entry_level", True),
    (r"entry[- ]?level|entry(?= (?:job|position|role)s?)|juniors?|jnr|jr|new grad(?:uate)?s?|"
     r"(?:recent |fresh |college |university )?grad(?:uate)?s?|freshers?|trainees?|"
     r"school leavers?", "entry_level", True),
    (r"associate[- ]level|associates?(?= \w)", "associate", True),
    (r"mid[- ]?(?:senior|level|career)|mid[- ]to[- ]senior|mid(?= \w)|intermediate(?: level)?|"
     r"senior[- ]level|seniors?|sr|snr", "mid_senior", True),
    (r"leads?|principals?|staff", "mid_senior", True),
    (r"director[- ]level", "director", True),
    (r"directors?|head of|heads of", "director", False),
    (r"(?:executive|exec|c)[- ](?:level|suite)|executives?(?= (?:job|role|position)s?)",
     "executive", True),
    (r"[sea]?vps?|(?:senior |executive )?vice[- ]presidents?|presidents?|ceo|cto|cfo|coo|cmo|"
     r"ciso|cio|chro|cro|cpo|cco|chief(?= \w)", "executive", False),
)  # fmt: skip
_LEVELS = tuple(
    (re.compile(rf"\b(?:{pattern})\b(?![+#])"), level, leaves) for pattern, level, leaves in _WORDS
)
_NO_LEVEL = re.compile(
    r"senior (?:living|care|home|cent(?:er|re)|citizen|service|housing|community|communities|"
    r"high|facility|apartment|adult|companion)|junior (?:high|college|school|achievement|league)|"
    r"(?:graduate|grad) (?:school|degree|student|studies|nurse|admission)|"
    r"leads? (?:generation|gen|time|paint|abatement|to|a|the|and)|(?:take|the|in) lead|"
    r"associate(?:'?s)? degree|staff (?:of|meeting|training|development|room|sergeant)|"
    r"presidents? (?:day|of the united)|mid (?:west|wife|town|day|wilshire|atlantic)|"
    r"principal (?:of|at|for)|chief (?:complaint|petty)|trainees? (?:program|manager)|"
    r"directors? (?:cut|chair)|executive (?:suite|lounge|orders?)"
)
_NOT_AFTER = {
    "lead": ("team", "shift", "crew", "will", "can", "to", "who", "qualified"),
    "grad": ("post", "under"),
    "graduate": ("post", "under"),
    "president": ("vice", "former"),
}
_AFTER_STAFF = re.compile(
    r"(?:\w+ ){0,3}(?:engineer|engineering|developer|scientist|designer|architect|researcher|"
    r"sre|swe|programmer|product manager)s?\b"
)
_AFTER_PRINCIPAL = re.compile(
    r"(?:\w+ ){0,3}(?:engineer|scientist|designer|architect|researcher|consultant|developer|"
    r"analyst|swe|sre|manager|product|software|data|statistician|geologist|planner)s?\b"
)


def read_levels(page: Page) -> list[Level]:
    """All levels in the order of the query."""
    found: list[tuple[int, Level]] = []
    guarded = _fixed(page)
    for pattern, level, leaves in _LEVELS:
        for match, start, end in page.matches(pattern):
            if any(i in guarded for i in range(start, end)) or _is_no_level(page, match, start):
                continue
            found.append((start, level))
            if leaves and not _ends_title(page, start):
                page.take(start, end)
    return _sole(found)


def _ends_title(page: Page, i: int) -> bool:
    """Whether "lead" is the head of a title: "tech lead"."""
    if page.stems[i] != "lead" or i == 0 or page.breaks[i] or not page.free[i - 1]:
        return False
    return page.stems[i - 1] in occupations().modifiers and not _before_title(page, i + 1)


def _sole(found: list[tuple[int, Level]]) -> list[Level]:
    out: list[Level] = []
    for _, level in sorted(found):
        if level not in out:
            out.append(level)
    return out


def _fixed(page: Page) -> set[int]:
    """The words inside fixed names of occupations."""
    guarded: set[int] = set()
    i = 0
    while i < len(page):
        hit = occupations().fixed.longest(page.stems, i, page.reach(i, 6))
        if hit:
            guarded.update(range(i, hit[0]))
        i = hit[0] if hit else i + 1
    return guarded


def _is_no_level(page: Page, match: re.Match[str], start: int) -> bool:
    if _NO_LEVEL.match(page.folded, match.start()):
        return True
    word = singular(match.group())
    after = page.folded[match.end() : match.end() + 60].lstrip(" -")
    before = page.words[start - 1] if start else ""
    if word == "staff":
        return not _AFTER_STAFF.match(after)
    if word == "principal":
        return not _AFTER_PRINCIPAL.match(after)
    if word == "associate":
        return not _before_title(page, start + 1) or (start > 0 and _is_domain(page, start - 1))
    return before in _NOT_AFTER.get(word, ())


def _before_title(page: Page, at: int) -> bool:
    """Whether a title's head follows within three words."""
    for i in range(at, page.reach(at, 4, hardest=0) if at < len(page) else at):
        if page.stems[i] in occupations().heads:
            return True
    return False


def _is_domain(page: Page, i: int) -> bool:
    """Whether a word before "associate" makes it an occupation: "sales associate"."""
    return page.free[i] and page.stems[i] in occupations().modifiers and page.breaks[i + 1] == 0
