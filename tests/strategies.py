"""Generated calls and answers, for the tests of the pure cores."""

from typing import Any

from hypothesis import strategies as st

from schemas.tools import (
    INDUSTRIES,
    Call,
    Category,
    Company,
    Currency,
    DatePosted,
    EasyApply,
    Employment,
    EmploymentType,
    Industry,
    IndustryName,
    InNetwork,
    Intent,
    Level,
    Location,
    NumApplicants,
    Period,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Seniority,
    Skill,
    Suggest,
    Title,
    Tool,
    Within,
    Workplace,
    WorkplaceType,
)

Strategy = st.SearchStrategy


def _texts(most: int) -> Strategy[str]:
    """What a text value may be: no surrogates, no controls, as trimming leaves it."""
    odd = st.sampled_from('"\\/{}[]:, é😀👩🏽‍🚒日本語שלוםמהنص\u2028\u00a0\u200f<|000')
    usual = st.characters(exclude_categories=("Cs", "Cc"))
    return st.text(odd | usual, min_size=1, max_size=most).map(str.strip).filter(bool)


def _any(kind: Any) -> Strategy[Any]:
    return st.sampled_from(kind.__args__)


texts = _texts(60)
amounts = st.integers(0, 999_999_999) | st.integers(100, 999_999).map(lambda cents: cents / 100)
salaries = st.builds(
    lambda low, high, currency, period: Salary(low, high if low else high or 5, currency, period),
    st.none() | amounts.filter(bool),
    st.none() | amounts.filter(bool),
    st.none() | st.sampled_from(list(Currency)),
    _any(Period),
)
BY_TOOL: dict[type[Tool], Strategy[Any]] = {
    Plan: st.builds(Plan, _any(Intent)),
    Rewrite: st.builds(Rewrite, _texts(200)),
    Title: st.builds(Title, texts),
    Company: st.builds(Company, texts),
    Location: st.builds(Location, texts),
    Workplace: st.builds(Workplace, _any(WorkplaceType)),
    Employment: st.builds(Employment, _any(EmploymentType)),
    Seniority: st.builds(Seniority, _any(Level)),
    Industry: st.builds(Industry, st.sampled_from(list(IndustryName))),
    Skill: st.builds(Skill, texts),
    Salary: salaries,
    DatePosted: st.builds(DatePosted, _any(Within)),
    NumApplicants: st.builds(NumApplicants, st.integers(0, 99_999)),
    EasyApply: st.builds(EasyApply),
    InNetwork: st.builds(InNetwork),
    Suggest: st.builds(
        Suggest,
        st.just("industry"),
        st.lists(st.sampled_from(list(IndustryName)), min_size=1, max_size=3).map(tuple),
    ),
    Policy: st.builds(Policy, _any(Category)),
}
calls: Strategy[Call] = st.one_of(*BY_TOOL.values())
_SEVERAL = (Title, Company, Location, Workplace, Employment, Seniority, Skill)


@st.composite
def tags(draw: st.DrawFn) -> list[Call]:
    """The calls that may follow a plan (and a rewrite), in the contract's order."""
    chosen = draw(st.sets(st.sampled_from(list(BY_TOOL)), max_size=6))
    said: list[Call] = []
    for tool, usual in BY_TOOL.items():
        if tool not in chosen or tool in (Plan, Rewrite, Suggest, Policy):
            continue
        most = 3 if tool in _SEVERAL else 1
        said += draw(st.lists(usual, min_size=1, max_size=most, unique=True))
    row = next((INDUSTRIES[call.industry] for call in said if isinstance(call, Industry)), ())
    if row and Suggest in chosen:
        values = draw(st.lists(st.sampled_from(row), min_size=1, max_size=3, unique=True))
        said.append(Suggest("industry", tuple(map(IndustryName, values))))
    return said


@st.composite
def answers(draw: st.DrawFn) -> list[Call]:
    """Valid answers of the first request."""
    plan: Plan = draw(BY_TOOL[Plan])
    match plan.intent:
        case "criteria":
            return [plan, *draw(tags())]
        case "trust_violation":
            return [plan, draw(BY_TOOL[Policy])]
        case _:
            return [plan]
