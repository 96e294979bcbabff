"""The draft: what rules and lists make of a query before the model corrects it."""

import pytest

from engine.draft import MOST, as_typed, draft, settled
from schemas.tools import Company, Location, Plan, Policy, Skill, Suggest, Title


def test_it_has_the_rules_calls_without_the_plan_that_is_usual() -> None:
    assert draft("welder in leeds") == [Title("welder"), Location("leeds")]
    assert draft("what is the capital of france")[0] == Plan("non_job")
    assert draft("jobs near me", "Oslo, Norway")[0] == Plan("self_reference")


def test_what_was_read_of_a_violation_stands_behind_its_policy() -> None:
    calls = draft("no women please, driver in leeds")
    assert [type(call) for call in calls[:2]] == [Plan, Policy]
    assert Location("leeds") in calls


def test_names_that_are_words_too_come_last_for_the_model_to_judge() -> None:
    calls = draft("target sales associate in nice")
    assert Company("target") in calls
    assert Location("nice") in calls
    assert not any(isinstance(call, Suggest) for call in draft("banking jobs"))


def test_an_employer_of_several_words_of_which_rules_took_one() -> None:
    assert Company("bristol myers squibb") in draft("bristol myers squibb hybrid")
    assert Company("equity bank") in draft("cmo equity bank")
    assert Company("best buy") not in draft("cashier not best buy")


def test_the_home_shows_only_where_it_settles_a_place() -> None:
    assert draft("nurse springfield", "Chicago, Illinois")[-1] == Location("springfield, Illinois")
    for query in ("nurse leeds", "remote python developer", "acme"):
        assert draft(query, "Chicago, Illinois") == draft(query)


@pytest.mark.parametrize(("query", "home", "said", "right"), [
    ("bookmobile driver portland", None, "portland, Victoria", "portland"),
    ("nurse springfield", "Chicago, Illinois", "springfield", "springfield, Illinois"),
    ("nurse springfield", "Chicago, Illinois", "springfield, Ohio", "springfield, Illinois"),
    ("nurse springfield masachusets", None, "springfield, Massachusetts", ""),
    ("bookmobile driver portland", None, "portland,Victoria", "portland"),
    ("nurse nowhereville", "Chicago, Illinois", "nowhereville, Illinois", ""),
    ("nurse leeds", None, "leeds", ""),
])  # fmt: skip
def test_which_place_is_meant_is_the_rules_word(
    query: str, home: str | None, said: str, right: str
) -> None:
    assert settled(Location(said), query, draft(query, home)) == Location(right or said)


def test_texts_are_in_the_case_of_the_query() -> None:
    assert as_typed(Title("Chief Cook"), "chief cook") == Title("chief cook")
    assert as_typed(Company("acme"), "jobs at ACME now") == Company("ACME")
    assert as_typed(Location("Paris, Texas"), "NURSE PARIS") == Location("paris, Texas")
    assert as_typed(Skill("SQL"), "sql") == Skill("sql")


def test_what_the_search_shuts_out_is_not_brought_back() -> None:
    for query, name in (
        ("not google jobs nurse", "google"), ("ex-google product manager", "google"),
        ("anywhere but florida", "florida"), ("teacher jobs -chicago", "chicago"),
    ):  # fmt: skip
        calls = draft(query)
        assert not any(name in str(call) for call in calls), query


def test_near_me_does_not_show_the_home() -> None:
    calls = draft("cook near me", "Mumbles, Swansea")
    assert calls == [Plan("self_reference"), Title("cook")]


def test_nothing_stands_there_twice() -> None:
    calls = draft("nice nice target target")
    assert len(calls) == len(set(calls)) > 0


@pytest.mark.parametrize("unit", ["nice ", "$100k ", "½ ", "not google ", "target "])
def test_a_long_query_has_a_short_draft(unit: str) -> None:
    assert len(draft(unit * 400)) <= MOST
