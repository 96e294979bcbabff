"""The prompt: one line each, no token of ours in what others wrote, trimmed in a fixed order."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decoder import Decoder
from engine.draft import MOST, draft
from engine.language import PLAN_SELF_REFERENCE, added_tokens
from engine.prompt import (
    MAX_ITEMS,
    MAX_PROFILE,
    continued,
    facts,
    instructions,
    plain,
    render,
)
from schemas.profiles import Education, Profile
from schemas.tools import TEXTS, Company, Location, Title, Tool

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>",
    "<gh_stars>", "<jupyter_code>", "<empty_output>", "<tool_call>", "</tool_call>", "<think>",
    "<s>", "</s>", "<pad>", "<\N{FULLWIDTH VERTICAL LINE}User\N{FULLWIDTH VERTICAL LINE}>",
)  # fmt: skip
TOKENS = [*(token for token in added_tokens() if token != "000"), *SPECIAL]

_pieces = st.sampled_from(TOKENS).flatmap(
    lambda token: st.tuples(st.just(token), st.integers(0, len(token)), st.integers(0, len(token)))
)
hostile = st.lists(
    st.sampled_from(TOKENS)
    | _pieces.map(lambda cut: cut[0][: cut[1]])
    | _pieces.map(lambda cut: cut[0][min(cut[1:]) : max(cut[1:])])
    | st.sampled_from([*'{}"<>|,:]', "000", " ", "\n", "\r", "\u2028", "\x1e", "\x85", "a", "😀"])
    | st.text(max_size=5),
    max_size=12,
).map("".join)
profiles = st.builds(
    Profile,
    member_id=st.just("m"),
    title=st.none() | hostile,
    company=st.none() | hostile,
    industry=st.none() | hostile,
    location=st.none() | hostile,
    seniority=st.none() | hostile,
    years_of_experience=st.none() | st.integers(0, 60) | st.floats(0, 60),
    skills=st.none() | st.lists(hostile, max_size=12).map(tuple),
    past_titles=st.none() | st.lists(hostile, max_size=12).map(tuple),
    past_companies=st.none() | st.lists(hostile, max_size=12).map(tuple),
    education=st.none()
    | st.lists(
        st.builds(Education, school=hostile, degree=st.none() | hostile, field=hostile), max_size=3
    ).map(tuple),
)


def tokens_in(text: str) -> list[str]:
    return [token for token in TOKENS if token in text]


@settings(max_examples=500, deadline=None)
@given(hostile)
def test_a_query_holds_no_token(query: str) -> None:
    text = render(query)
    assert tokens_in(text) == []
    assert [line.split(":")[0] for line in text.splitlines()] == ["Search"]
    assert text.endswith("\n")
    assert render(query) == text


@settings(max_examples=500, deadline=None)
@given(hostile, st.none() | hostile)
def test_a_draft_is_calls_and_its_texts_hold_no_token(query: str, text: str | None) -> None:
    """Also where a list had such a name."""
    calls = draft(query, "Leeds")
    if text and text.strip():
        name = text.strip()[:50]
        calls = [*calls[: MOST - 3], Title(name), Company(name), Location(name)]
    shown = render(query, calls)
    assert shown == render(query, calls)
    assert shown.endswith(render(query))
    assert len(calls) <= MOST
    drafted = Decoder().feed(shown.removesuffix(render(query)))
    assert [type(item) for item in drafted] == [type(call) for call in calls]
    for item in drafted:
        assert isinstance(item, Tool)
        field = TEXTS.get(type(item))
        assert field is None or tokens_in(getattr(item, field)) == []


@settings(max_examples=300, deadline=None)
@given(hostile, profiles)
def test_a_profile_holds_no_token_and_is_one_line(query: str, profile: Profile) -> None:
    first = render(query)
    text = continued(first, profile)
    assert text.startswith(first + PLAN_SELF_REFERENCE)
    rest = text.removeprefix(first + PLAN_SELF_REFERENCE)
    assert tokens_in(rest) == []
    assert len(rest.splitlines()) <= 1
    assert rest in ("", f"Profile: {facts(profile)}\n")
    assert len(facts(profile)) <= MAX_PROFILE
    assert continued(first, profile) == text


@settings(max_examples=300, deadline=None)
@given(hostile)
def test_making_it_plain_once_is_enough(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
    assert not {"{", "}", '"', "\n"} & set(once)


@given(st.text(st.characters(exclude_characters='{}"<', exclude_categories=["Cs"]), max_size=300))
def test_a_usual_query_is_as_it_was_typed_but_for_white_space(query: str) -> None:
    typed = query.lower() if query.isupper() else query
    assert render(query) == f"Search: {' '.join(typed.split())}\n"


def test_what_is_changed_stays_readable() -> None:
    asked = 'c++ & <100k "go" {x} a<b 3 < 4 6\'2" ￥000,000'
    assert plain(asked) == "c++ & < 100k 'go' (x) a< b 3 < 4 6'2' ￥000,000"


def test_the_query_is_never_trimmed() -> None:
    query = "nurse " * 2_000
    assert render(query) == f"Search: {query.strip()}\n"


FULL: dict[str, Any] = {
    "title": "Nurse",
    "location": "Leeds",
    "seniority": "mid_senior",
    "industry": "Healthcare",
    "company": "St James",
    "years_of_experience": 7,
    "skills": ("triage", "ICU"),
    "past_titles": ("aide",),
    "past_companies": ("Mercy", "NHS"),
    "education": (Education(school="Leeds", degree="BSc", field="Nursing"), Education(field="x")),
}
SHOWN = (
    "title=Nurse; location=Leeds; seniority=mid_senior; industry=Healthcare; company=St James; "
    "years=7; skills=triage, ICU; past titles=aide; past companies=Mercy, NHS; "
    "education=BSc Nursing Leeds, x"
)


def test_facts_stand_in_a_fixed_order() -> None:
    assert facts(Profile(member_id="m", **FULL)) == SHOWN
    assert facts(Profile(member_id="m", **dict(reversed(FULL.items())))) == SHOWN
    for name in FULL:
        rest = facts(Profile(member_id="m", **{k: v for k, v in FULL.items() if k != name}))
        kept = [part for part in SHOWN.split("; ") if part in rest.split("; ")]
        assert len(kept) == len(FULL) - 1
        assert rest == "; ".join(kept)


def test_facts_are_cut_from_the_end() -> None:
    profile = Profile(member_id="m", **FULL)
    for limit in range(len(SHOWN) + 2):
        shown = facts(profile, limit)
        assert SHOWN.startswith(shown)
        assert len(shown) <= limit
        assert SHOWN[len(shown) : limit].strip("; ,") == ""
        assert not shown.endswith((";", " ", ","))


def test_long_lists_and_years() -> None:
    skills = tuple(f"s{i}" for i in range(20))
    shown = facts(Profile(member_id="m", skills=skills, years_of_experience=2.5))
    assert shown == "years=2.5; skills=" + ", ".join(skills[:MAX_ITEMS])
    assert facts(Profile(member_id="m", years_of_experience=0)) == "years=0"


def test_without_facts_the_answer_goes_on_without_a_profile_line() -> None:
    first = render("jobs like mine")
    for nothing in (None, Profile(member_id="m"), Profile(member_id="m", title=" ", skills=())):
        assert continued(first, nothing) == first + PLAN_SELF_REFERENCE


def test_instructions_show_whole_answers() -> None:
    text = instructions("<end>")
    assert text == instructions("<end>")
    assert text.count("<end>\n") == text.count("Search: ") == text.count('{"tool":"plan"')
    assert text.count('"self_reference"}\nProfile: ') == 1
