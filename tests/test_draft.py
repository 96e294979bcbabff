"""The draft: what rules and lists make of a query before the model corrects it."""

from engine.answer import answer
from engine.draft import as_typed, draft
from engine.prompt import render
from schemas.tools import Company, Location, Plan, Policy, Skill, Suggest, Title
from tests.fakes import Script


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


def test_the_home_shows_only_where_it_settles_a_place() -> None:
    assert draft("nurse springfield", "Chicago, Illinois")[-1] == Location("springfield, Illinois")
    for query in ("nurse leeds", "remote python developer", "acme"):
        assert draft(query, "Chicago, Illinois") == draft(query)


def test_texts_are_in_the_case_of_the_query() -> None:
    assert as_typed(Title("Chief Cook"), "chief cook") == Title("chief cook")
    assert as_typed(Company("acme"), "jobs at ACME now") == Company("ACME")
    assert as_typed(Location("Paris, Texas"), "NURSE PARIS") == Location("paris, Texas")
    assert as_typed(Skill("SQL"), "sql") == Skill("sql")


def test_only_a_model_that_corrects_is_shown_one() -> None:
    assert render("welder") != render("welder", draft("welder"))
    assert answer.__doc__
    assert not Script.corrects
