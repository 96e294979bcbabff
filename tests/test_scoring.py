"""The scorer, against cases worked by hand from docs/labels.md."""

from typing import Any

import pytest

from engine.evaluation.gold import Gold
from engine.evaluation.scoring import Counts, add, normal, score

PLAN = {"tool": "plan", "intent": "criteria"}


def gold(*calls: dict[str, Any], query: str = "nurse leeds", intent: str = "criteria") -> Gold:
    return Gold(id="g", query=query, gold=[{"tool": "plan", "intent": intent}, *calls])


def title(value: Any, **marks: Any) -> dict[str, Any]:
    return {"tool": "title", "title": value, **marks}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Boots", "boots"),
        ("Vancouver, B.C.", "vancouver bc"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("ＡＢＣ", "abc"),
        ("an engineer", "engineer"),
        ("STRASSE", "strasse"),
    ],
)
def test_normal(text: str, plain: str) -> None:
    assert normal(text) == plain


def test_right_wrong_and_missed() -> None:
    got = score(gold(title(["nurse", "RN"]), title("midwife")), [PLAN, title("rn"), title("cook")])
    assert got.tools == {"plan": Counts(1, 0, 0), "title": Counts(1, 1, 1)}
    assert not got.right
    assert got.total == Counts(2, 1, 1)
    assert got.total.f1 == pytest.approx(2 / 3)


def test_a_gold_call_is_matched_once() -> None:
    got = score(gold(title("nurse")), [PLAN, title("nurse"), title("Nurse")])
    assert got.tools["title"] == Counts(1, 1, 0)


def test_optional_is_right_if_made_and_if_not() -> None:
    wanted = gold(title("nurse", optional=True))
    assert score(wanted, [PLAN]).right
    assert score(wanted, [PLAN, title("nurse")]).tools["title"] == Counts(1, 0, 0)
    assert score(wanted, [PLAN, title("nurse"), title("nurse")]).tools["title"] == Counts(1, 0, 0)


def test_of_non_job_only_the_plan_counts() -> None:
    wanted = gold(intent="non_job")
    assert score(wanted, [{"tool": "plan", "intent": "non_job"}, title("x")]).right
    wrong = score(wanted, [PLAN])
    assert add([wrong], "intents") == {"non_job": Counts(0, 0, 1), "criteria": Counts(0, 1, 0)}


def test_a_missing_number_is_null() -> None:
    wanted = {"tool": "salary", "minimum": 16, "currency": None, "period": "hour"}
    made = {"tool": "salary", "minimum": 16, "maximum": None, "currency": None, "period": "hour"}
    assert score(gold(wanted), [PLAN, made]).right
    assert not score(gold(wanted), [PLAN, made | {"maximum": 20}]).right


def test_rewrite_includes_and_excludes() -> None:
    wanted = {"tool": "rewrite", "must_include": ["Leeds", ["nurse", "rn"]], "must_exclude": ["my"]}
    search = gold(wanted, intent="self_reference")
    plan = {"tool": "plan", "intent": "self_reference"}
    assert score(search, [plan, {"tool": "rewrite", "query": "RN jobs in leeds"}]).right
    assert not score(search, [plan, {"tool": "rewrite", "query": "my rn jobs in leeds"}]).right
    assert not score(search, [plan, {"tool": "rewrite", "query": "jobs in leeds"}]).right


def test_suggestions_stand_in_the_row() -> None:
    retail = {"tool": "industry", "industry": "Retail"}
    wanted = gold(retail, {"tool": "suggest"})
    suggested = {"tool": "suggest", "facet": "industry", "values": ["E-commerce"]}
    assert score(wanted, [PLAN, retail, suggested]).right
    assert not score(wanted, [PLAN, retail, suggested | {"values": ["Mining"]}]).right


@pytest.mark.parametrize(
    ("query", "value", "invented"),
    [
        ("nurse leeds", "plumber", 1),
        ("nurse leeds", "nurse manager", 0),
        ("rn leeds", "registered nurse", 0),
        ("store mgr", "area manager", 0),
        ("acountant", "accountant clerk", 0),
    ],
)
def test_invented_values(query: str, value: str, invented: int) -> None:
    assert score(gold(query=query), [PLAN, title(value)]).invented == invented
