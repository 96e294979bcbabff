"""Where the work is done and by what contract: `workplace` and `employment`.

In: a page whose exclusions and filters are taken. Out: the values of both tools, their words
taken. Always: look-alikes ("remote sensing", "hybrid cloud", "contract lawyer", "Ft Worth") are
neither tagged nor taken.
"""

import re

from engine.baseline.lists import word_set
from engine.baseline.occupations import occupations
from engine.baseline.page import Page
from engine.baseline.places import gazetteer
from engine.baseline.sector import sectors
from schemas.tools import EmploymentType, WorkplaceType


def _any(text: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{text})\b")


_WORKPLACES: tuple[tuple[re.Pattern[str], WorkplaceType], ...] = (
    (
        _any(
            r"(?:fully |100% ?)?remote(?:ly)?(?! (?:sens|control|pilot|operated|area|site|communit|"
            r"island|desktop|monitor|patient|viewing|village|location|vehicle|weapon|camp|mine))|"
            r"w(?:or)?k(?:ing)?[- ](?:from|at)[- ](?:home|anywhere)|wfh|wfa|"
            r"tele(?:commut(?:e|ing)|work(?:ing)?)|home[- ]based|from home|"
            r"virtual (?=jobs?|positions?|roles?)|teletrabajo|home ?office"
        ),
        "remote",
    ),
    (
        _any(
            r"hybrid(?! (?:cloud|vehicle|car|electric|engine|app|mobile app|power|integration|"
            r"seed|mattress|warfare))"
        ),
        "hybrid",
    ),
    (
        _any(
            r"on[- ]?site(?! (?:child|gym|day|parking|laund))|(?:in|at)[- ](?:the[- ])?office"
            r"(?! manage)|office[- ]based|in[- ]person"
        ),
        "on_site",
    ),
)
_EMPLOYMENTS: tuple[tuple[re.Pattern[str], EmploymentType], ...] = (
    (_any(r"full[- ]?time|f/t|permanent(?:ly)?|perm(?= (?:job|role|position)s?)"), "full_time"),
    (_any(r"part[- ]?time|p/t"), "part_time"),
    (
        _any(
            r"contract[- ]to[- ](?:hire|perm)|(?:independent |as a )contractor|"
            r"contract(?:ing)?|contractor(?= (?:job|role|position|opportunit)\w*)|"
            r"free ?lanc(?:e|er|ers|ing)|c2c|corp[- ](?:to|2)[- ]corp|1099|fixed[- ]term|ftc"
        ),
        "contract",
    ),
    (
        _any(
            r"temp[- ](?:to|2)[- ](?:perm|hire)(?:anent)?|temp|temps|temporary|seasonal|locum"
            r"(?: tenens)?|per[- ]diem|prn|casual(?! (?:dining|wear|restaurant))"
        ),
        "temporary",
    ),
    (_any(r"intern|interns|internships?|co-op(?= (?:job|position|student|role)s?)"), "internship"),
    (_any(r"volunteer(?:s|ing)?|voluntary"), "volunteer"),
)
_BEFORE_CONTRACT = frozenset("defense defence government smart under the of".split())


def read_workplaces(page: Page) -> list[WorkplaceType]:
    """All workplaces in the order of the query."""
    found: list[tuple[int, WorkplaceType]] = []
    for pattern, workplace in _WORKPLACES:
        for _, start, end in page.matches(pattern):
            page.take(start, end)
            found.append((start, workplace))
    return list(dict.fromkeys(workplace for _, workplace in sorted(found)))


def read_employments(page: Page) -> list[EmploymentType]:
    """All kinds of contract in the order of the query."""
    found: list[tuple[int, EmploymentType]] = []
    guarded = _fixed(page)
    for pattern, employment in _EMPLOYMENTS:
        for _, start, end in page.matches(pattern):
            if start in guarded or _is_other(page, start):
                continue
            page.take(start, end)
            found.append((start, employment))
    found += _two_letters(page)
    return list(dict.fromkeys(employment for _, employment in sorted(found)))


def _is_other(page: Page, start: int) -> bool:
    before = page.words[start - 1] if start else ""
    return page.words[start] == "contract" and before in _BEFORE_CONTRACT


def _fixed(page: Page) -> set[int]:
    """Where an occupation with such a word in its name begins or goes on."""
    guarded: set[int] = set()
    for i in range(len(page)):
        hit = occupations().fixed.longest(page.stems, i, page.reach(i, 6))
        if hit:
            guarded.update(range(i, hit[0]))
    return guarded


def _two_letters(page: Page) -> list[tuple[int, EmploymentType]]:
    """ "ft" and "pt", where they stand for a contract and not for a fort, feet or a therapist."""
    found: list[tuple[int, EmploymentType]] = []
    for i, word in enumerate(page.words):
        if not page.free[i] or word not in ("ft", "pt"):
            continue
        before = page.words[i - 1] if i else ""
        if word == "ft" and (_is_fort(page, i) or before == "sq" or before.isdigit()):
            continue
        if word == "pt" and _is_therapist(page, i):
            continue
        page.take(i, i + 1)
        found.append((i, "full_time" if word == "ft" else "part_time"))
    return found


def _is_fort(page: Page, i: int) -> bool:
    hit = gazetteer().places.longest(page.words, i, page.reach(i, 4))
    return hit is not None and hit[0] > i + 1


def _is_therapist(page: Page, i: int) -> bool:
    """Whether "pt" is the occupation: before "aide", or where nothing else is searched for."""
    after = page.stems[i + 1] if i + 1 < len(page) else ""
    if after in ("assistant", "aide", "tech", "clinic"):
        return True
    if after in word_set("job_words"):
        return False
    known = occupations()
    return not any(
        page.free[at] and (
            stem in known.heads or stem in known.functions or stem in known.short
            or stem in sectors()
        )
        for at, stem in enumerate(page.stems) if at != i
    )  # fmt: skip
