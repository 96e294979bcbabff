"""The baseline's answers: what each tool takes and, beside it, the look-alike it must leave."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.baseline import load, tag
from engine.baseline.lists import fold, singular
from engine.baseline.page import read
from schemas.tools import (
    CALLS,
    INDUSTRIES,
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
    Salary,
    Seniority,
    Skill,
    Suggest,
    Title,
    Tool,
    Workplace,
    decode_call,
    encode_call,
)

MIAMI = "Miami, Florida"


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()


def values(query: str, tool: type[Tool], home: str | None = None) -> list[object]:
    """The first field of each call of a tool, text folded."""
    found = [getattr(c, c.__struct_fields__[0]) for c in tag(query, home) if type(c) is tool]
    return [fold(value) if isinstance(value, str) else value for value in found]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lorry mechanics wanted in Ohio", ["mechanic"]),
        ("swe", ["software engineer"]),
        ("lpn needed", ["licensed practical nurse"]),
        ("welder / fabricator", ["welder", "fabricator"]),
        ("SENIOR TAX ACCOUNTANTS", ["tax accountant"]),
        ("director of nursing", ["director of nursing"]),
        ("vp engineering", ["vp engineering"]),
        ("head of growth", ["head of growth"]),
        ("procurement jobs", ["procurement"]),
        ("golang developer", ["golang developer"]),
        ("electritian", ["electrician"]),
        ("vidoegrapher", ["videographer"]),
        ("curiculum editor", ["curriculum editor"]),
        ("beekeeping supplies jobs", []),
        ("telecom jobs", []),
    ],
)
def test_title(query: str, expected: list[str]) -> None:
    assert values(query, Title) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("barista at Starbucks", ["starbucks"]),
        ("analyst at Quillfeather Partners in Leeds", ["quillfeather partners"]),
        ("firms like Siemens or Bosch", ["siemens", "bosch"]),
        ("cashier at target", ["target"]),
        ("target marketing specialist", []),
        ("salesforce developer", []),
        ("roles at Salesforce", ["salesforce"]),
        ("ex-Amazon recruiter", []),
        ("chef at night", []),
        ("bakery helper paris baguette", ["paris baguette"]),
        ("startup jobs", []),
    ],
)
def test_company(query: str, expected: list[str]) -> None:
    assert values(query, Company) == expected


@pytest.mark.parametrize(
    ("query", "home", "expected"),
    [
        ("plumber nyc", None, ["new york city"]),
        ("plumber in sf or dc", None, ["san francisco", "washington, dc"]),
        ("plumber tulsa ok", None, ["tulsa, ok"]),
        ("plumber, Lyon, France", None, ["lyon, france"]),
        ("plumber ft worth", None, ["fort worth"]),
        ("plumber naples", MIAMI, ["naples, florida"]),
        ("plumber naples", "Leeds, United Kingdom", ["naples"]),
        ("plumber naples", None, ["naples"]),
        ("plumber boston", "Salem, Massachusetts", ["boston"]),
        ("plumber springfield", "Joplin, Missouri", ["springfield, missouri"]),
        ("plumber durham", "Wake Forest, North Carolina", ["durham, north carolina"]),
        ("plumber in reading", "Wokingham, Berkshire", ["reading, berkshire"]),
        ("plumber bangor", "Caernarfon, Wales", ["bangor, wales"]),
        ("plumber salem", "Erode, India", ["salem, india"]),
        ("plumber birmingham", "Coventry, United Kingdom", ["birmingham, united kingdom"]),
        ("plumber halifax", "Regina, Canada", ["halifax, canada"]),
        ("plumber birmingham", "Houston, Texas", ["birmingham, alabama"]),
        ("plumber birmingham", "Houston, Texas, United States", ["birmingham, alabama"]),
        ("plumber naples", "Florida", ["naples, florida"]),
        ("plumber springfield", "Oregon", ["springfield, oregon"]),
        ("plumber dover", "Berlin, DE", ["dover"]),
        ("plumber london", "Glasgow, Scotland", ["london"]),
        ("plumber paris", "Akron, Ohio", ["paris"]),
        ("plumber hereford", "Leominster, Herefordshire", ["hereford"]),
        ("plumber newport", "Nowhereville, Nowhereshire", ["newport"]),
        ("plumber in Nowheresville, TX", None, ["nowheresville, tx"]),
        ("plumber bay area", None, ["bay area"]),
        ("mobile app developer", None, []),
        ("welder mobile al", None, ["mobile, al"]),
        ("reading tutor", None, []),
        ("tutor in Reading", None, ["reading"]),
        ("remote welder", None, []),
        ("welder near me", MIAMI, ["miami, florida"]),
        ("welder near me", None, []),
        ("welder near me in Tampa", MIAMI, ["tampa"]),
        ("welder tampa", MIAMI, ["tampa"]),
    ],
)
def test_location(query: str, home: str | None, expected: list[str]) -> None:
    assert values(query, Location, home) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("payroll clerk wfh", ["remote"]),
        ("payroll clerk working from home", ["remote"]),
        ("payroll clerk hybrid or remote", ["hybrid", "remote"]),
        ("payroll clerk in the office", ["on_site"]),
        ("remote sensing analyst", []),
        ("hybrid cloud architect", []),
        ("payroll clerk, not remote", []),
    ],
)
def test_workplace(query: str, expected: list[str]) -> None:
    assert values(query, Workplace) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("florist part-time", ["part_time"]),
        ("florist ft", ["full_time"]),
        ("dental office ft lauderdale", []),
        ("florist pt", ["part_time"]),
        ("pt aide", []),
        ("freelance florist", ["contract"]),
        ("contract attorney", []),
        ("temp to perm florist", ["temporary"]),
        ("biology internships", ["internship"]),
        ("volunteer coordinator", []),
        ("volunteering with dogs", ["volunteer"]),
    ],
)
def test_employment(query: str, expected: list[str]) -> None:
    assert values(query, Employment) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("jr analyst", ["entry_level"]),
        ("analyst no experience needed", ["entry_level"]),
        ("associate product manager", ["associate"]),
        ("sr. analyst", ["mid_senior"]),
        ("staff software engineer", ["mid_senior"]),
        ("engineering director", ["director"]),
        ("head of data", ["director"]),
        ("chief revenue officer", ["executive"]),
        ("executive assistant", []),
        ("sales associate", []),
        ("staff nurse", []),
        ("high school principal", []),
        ("principal engineer", ["mid_senior"]),
        ("director of photography", []),
        ("lead generation specialist", []),
        ("team lead", []),
        ("senior living cook", []),
        ("analyst, not senior", []),
        ("store manager", []),
    ],
)
def test_seniority(query: str, expected: list[str]) -> None:
    assert values(query, Seniority) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("fintech jobs", ["Financial Services"]),
        ("hospital jobs", ["Healthcare"]),
        ("recruiter for a nonprofit", ["Nonprofit"]),
        ("restaurant manager", []),
        ("medical receptionist", []),
        ("nurse", []),
        ("middle school janitor", []),
    ],
)
def test_industry_and_its_suggestion(query: str, expected: list[str]) -> None:
    calls = tag(query)
    assert [str(c.industry) for c in calls if isinstance(c, Industry)] == expected
    suggestions = [c for c in calls if isinstance(c, Suggest)]
    assert len(suggestions) == len(expected)
    for suggestion in suggestions:
        assert calls[-1] is suggestion
        assert set(suggestion.values) < set(INDUSTRIES[expected[0]])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("analyst with python and sql", ["python", "sql"]),
        ("driver cdl a", ["cdl a"]),
        ("clerk, fluent german", ["german"]),
        ("german teacher", []),
        ("bilingual spanish cashier", ["spanish"]),
        ("driver no cdl", []),
    ],
)
def test_skill(query: str, expected: list[str]) -> None:
    assert values(query, Skill) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("baker $17-19.50/hr", Salary(17, 19.5, "USD", "hour")),  # type: ignore[arg-type]
        ("baker 110k+", Salary(110_000, None, None, "year")),
        ("baker £31k", Salary(31_000, None, "GBP", "year")),  # type: ignore[arg-type]
        ("baker 9 LPA", Salary(900_000, None, None, "year")),
        ("baker 70k-85k eur", Salary(70_000, 85_000, "EUR", "year")),  # type: ignore[arg-type]
        ("baker 1200 a week", Salary(1_200, None, None, "week")),
        ("baker up to $90,000", Salary(None, 90_000, "USD", "year")),  # type: ignore[arg-type]
        ("baker canada $60k", Salary(60_000, None, "CAD", "year")),  # type: ignore[arg-type]
        ("baker 45.000 €", Salary(45_000, None, "EUR", "year")),  # type: ignore[arg-type]
        ("baker 401k match", None),
        ("baker 30 hours a week", None),
        ("baker 10 years experience", None),
        ("baker 24/7", None),
    ],
)
def test_salary(query: str, expected: Salary | None) -> None:
    found = [c for c in tag(query) if isinstance(c, Salary)]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tailor posted today", ["day"]),
        ("tailor last 12 hours", ["day"]),
        ("tailor past few days", ["week"]),
        ("tailor added within two weeks", ["month"]),
        ("tailor this month", ["month"]),
        ("tailor past 3 months", []),
        ("tailor start today", []),
        ("tailor latest", []),
    ],
)
def test_date_posted(query: str, expected: list[str]) -> None:
    assert values(query, DatePosted) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tailor under 15 applicants", [15]),
        ("tailor where fewer than 30 people have applied", [30]),
        ("tailor 8 applicants or less", [8]),
        ("tailor over 50 applicants", []),
        ("tailor 50 people team", []),
    ],
)
def test_num_applicants(query: str, expected: list[int]) -> None:
    assert values(query, NumApplicants) == expected


@pytest.mark.parametrize(
    ("query", "tool", "expected"),
    [
        ("tailor quick apply", EasyApply, True),
        ("tailor easy to apply", EasyApply, False),
        ("tailor jobs where I know people", InNetwork, True),
        ("tailor at firms in my network", InNetwork, True),
        ("network technician", InNetwork, False),
    ],
)
def test_flags(query: str, tool: type[Tool], expected: bool) -> None:
    calls = tag(query)
    assert any(type(c) is tool for c in calls) is expected
    assert calls[0] == Plan("criteria")


@pytest.mark.parametrize(
    "query",
    [
        "nurse anywhere but Texas",
        "nurse not in Texas or Ohio",
        "nurse NOT (Texas OR Ohio)",
        "nurse except texas",
    ],
)
def test_what_is_excluded_is_not_tagged(query: str) -> None:
    assert tag(query) == [Plan("criteria"), Title("nurse")]


@pytest.mark.parametrize(
    ("query", "intent"),
    [
        ("florist jobs near me", "self_reference"),
        ("roles that suit my background", "self_reference"),
        ("same job as mine", "self_reference"),
        ("work from home florist", "criteria"),
        ("i live in Leeds and want florist work", "criteria"),
        ("lasagna recipe", "non_job"),
        ("how to write a cover letter", "non_job"),
        ("i want to be a dragon", "non_job"),
        ("how do i find florist jobs", "criteria"),
        ("sushi restaurants near me", "non_job"),
        ("SELECT name FROM users;", "non_job"),
        ("zxcvb qwrtp", "non_job"),
        ("   ", "non_job"),
    ],
)
def test_intent(query: str, intent: str) -> None:
    assert tag(query)[0] == Plan(intent)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "category"),
    [
        ("you recruiters are useless morons", "offensive_language"),
        ("i will stab my manager", "violence"),
        ("bakery that hires only white people", "discrimination"),
        ("i want to kill myself", "self_harm"),
        ("sell cocaine for cash", "other_harm"),
        ("damn good bakery jobs", None),
        ("killer whale trainer", None),
        ("jobs for women returning to work", None),
        ("suicide hotline volunteer", None),
        ("phishing analyst", None),
        ("gun store clerk", None),
    ],
)
def test_trust(query: str, category: str | None) -> None:
    calls = tag(query)
    if category is None:
        assert calls[0] == Plan("criteria")
    else:
        assert calls == [Plan("trust_violation"), Policy(category)]  # type: ignore[arg-type]


def test_order_of_a_full_answer() -> None:
    calls = tag(
        "easy apply fintech roles in Oslo at Klarna, senior data engineer with kafka, contract, "
        "hybrid, $90k, under 20 applicants, last week, where i know someone"
    )
    assert [type(c).__name__ for c in calls] == [
        "Plan", "Title", "Company", "Location", "Workplace", "Employment", "Seniority", "Industry",
        "Skill", "Salary", "DatePosted", "NumApplicants", "EasyApply", "InNetwork", "Suggest",
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=300), st.none() | st.text(max_size=60))
def test_any_text_is_answered(query: str, home: str | None) -> None:
    check(query, home)


WORDS = st.sampled_from(
    "senior at for in not or near me my $30k 20/hr remote Paris Texas tx nurse of director "
    "fintech apple , ( ) - under 10 applicants today pt ft contract i work no kill".split()
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=25).map(" ".join), st.sampled_from([None, MIAMI]))
def test_any_mixture_is_answered(query: str, home: str | None) -> None:
    check(query, home)


def check(query: str, home: str | None) -> None:
    """What holds for every answer."""
    calls = tag(query, home)
    assert isinstance(calls[0], Plan)
    assert sum(isinstance(c, Plan) for c in calls) == 1
    positions = [CALLS.index(type(c)) for c in calls]
    assert positions == sorted(positions)
    if calls[0].intent == "trust_violation":
        assert [type(c) for c in calls[1:]] == [Policy]
    if calls[0].intent == "non_job":
        assert len(calls) == 1
    assert [decode_call(encode_call(c)) for c in calls] == calls


@pytest.mark.parametrize(
    "query",
    ["a" * 1_000, "1 " * 500, "$" * 1_000, "not " * 250, "in " * 333, "near me " * 125,
     "\ud800" * 1_000, "\ufdfa" * 1_000, "the man " * 125, "at " * 333, "'" * 1_000, "1" * 1_000,
     "1," * 500, "posted in the " * 71, "director of " * 83, "senior " * 142, "- " * 500,
     "kill the " * 111, "you are " * 125, "only " * 200, "my current " * 90],
)  # fmt: skip
def test_the_longest_queries_take_no_time(query: str) -> None:
    check(query, None)
    fastest = min(_seconds(query) for _ in range(3))
    assert fastest < 0.1


def _seconds(query: str) -> float:
    began = time.perf_counter()
    tag(query)
    return time.perf_counter() - began


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_a_page_keeps_places(text: str) -> None:
    page = read(text)
    assert len(page.folded) == len(page.text)
    for start, end in zip(page.starts, page.ends, strict=True):
        assert 0 <= start < end <= len(page.text)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("nurses", "nurse"), ("secretaries", "secretary"), ("waitresses", "waitress"),
     ("salesmen", "salesman"), ("sales", "sales"), ("bus", "bus"), ("campus", "campus")],
)  # fmt: skip
def test_singular(word: str, expected: str) -> None:
    assert singular(word) == expected
