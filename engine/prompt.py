"""The prompt: the same text in training, evaluation and serving.

In: the query, a draft of the answer, and, on demand, the profile. Out: text that the answer
continues. Always holds: one line each; nothing a searcher or a profile says becomes an added
token (but `000`) or a special one; the query is never trimmed, a profile is, in a fixed order.
"""

import re
from collections.abc import Iterable

import msgspec

from engine.language import PLAN_SELF_REFERENCE, write
from schemas.profiles import Profile
from schemas.tools import (
    TEXTS,
    Call,
    Company,
    EasyApply,
    Industry,
    IndustryName,
    Location,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Seniority,
    Skill,
    Suggest,
    Title,
    Workplace,
)

MAX_PROFILE = 480
"""Characters; what does not fit is left out, from the end of the order below."""

MAX_ITEMS = 8

_JSON = str.maketrans('{}"', "()'")
"""Each added token but `000` has a brace or a double quote."""

_TAG = re.compile(r"<(?=\S)")
"""Special tokens are written `<|...|>` or `<...>`."""


def plain(text: str) -> str:
    """One line in which nothing reads as a piece of a call or as a special token."""
    return _TAG.sub("< ", " ".join(text.split()).translate(_JSON))


def render(query: str, draft: Iterable[Call] = ()) -> str:
    """The first request: what rules made of the query, as an answer has it, and the query."""
    query = query.lower() if query.isupper() else query  # capitals alone say nothing
    return write(_plainly(call) for call in draft) + f"Search: {plain(query)}\n"


def _plainly(call: Call) -> Call:
    field = TEXTS.get(type(call))
    if field is None:
        return call
    return msgspec.structs.replace(call, **{field: plain(getattr(call, field))})


def continued(first: str, profile: Profile | None) -> str:
    """The second request, after a self-reference plan: the profile, if there is one."""
    known = facts(profile) if profile else ""
    return first + PLAN_SELF_REFERENCE + (f"Profile: {known}\n" if known else "")


def facts(profile: Profile, limit: int = MAX_PROFILE) -> str:
    """`title=Nurse; location=Leeds; ...`, at most `limit` characters, what matters most first."""
    years = profile.years_of_experience
    schools = [
        " ".join(filter(None, (e.degree, e.field, e.school))) for e in profile.education or ()
    ]
    fields = {
        "title": profile.title,
        "location": profile.location,
        "seniority": profile.seniority,
        "industry": profile.industry,
        "company": profile.company,
        "years": None if years is None else f"{years:g}",
        "skills": ", ".join((profile.skills or ())[:MAX_ITEMS]),
        "past titles": ", ".join((profile.past_titles or ())[:MAX_ITEMS]),
        "past companies": ", ".join((profile.past_companies or ())[:MAX_ITEMS]),
        "education": ", ".join(schools[:MAX_ITEMS]),
    }
    shown = [f"{name}={text}" for name, value in fields.items() if (text := plain(value or ""))]
    return "; ".join(shown)[:limit].rstrip("; ,")


def instructions(end: str, *, examples: bool = True) -> str:
    """The shared prefix of an untuned model: what to do, by example unless asked not to.

    `end` is the text of the token that ends an answer. A tuned model has no prefix.
    """
    title = "Each job search is followed by its tags, one JSON object a line.\n\n"
    if not examples:
        return title
    query, member, calls = _REFERRING
    shown = [continued(render(query), member) + write(calls)]
    shown += [render(query) + write(calls) for query, calls in _EXAMPLES]
    return title + "".join(f"{example}{end}\n" for example in shown)


_EXAMPLES: list[tuple[str, list[Call]]] = [
    ("forklift driver hamburg", [
        Plan("criteria"), Title("forklift driver"), Location("Hamburg")]),
    ("senior data analysts at Spotify, remote, 90k+", [
        Plan("criteria"), Title("data analyst"), Company("Spotify"), Workplace("remote"),
        Seniority("mid_senior"), Salary(minimum=90_000)]),
    ("how tall is the eiffel tower", [Plan("non_job")]),
    ("hotel jobs speaking arabic easy apply", [
        Plan("criteria"), Industry(IndustryName("Hospitality")), Skill("Arabic"), EasyApply(),
        Suggest("industry", (IndustryName("Travel and Tourism"),))]),
    ("i will burn your office down", [Plan("trust_violation"), Policy("violence")]),
]  # fmt: skip
_REFERRING: tuple[str, Profile, list[Call]] = (
    "jobs like mine",
    Profile(member_id="example", title="Carpenter", location="Oslo, Norway"),
    [Rewrite("carpenter jobs"), Title("carpenter")],
)
