"""Which topic a call goes to: the contract's table, and changes to it."""

import pytest

from producers.routes import DEFAULT_ROUTES, Routes
from schemas.tools import (
    CALLS,
    DatePosted,
    EasyApply,
    InNetwork,
    NumApplicants,
    Plan,
    Policy,
    Title,
    tool_name,
)

CONTRACT = {
    "plan": "search.plans",
    "rewrite": "search.rewrites",
    "suggest": "search.facets",
    "policy": "search.policy",
    "title": "search.tags.title",
    "company": "search.tags.company",
    "location": "search.tags.location",
    "workplace": "search.tags.workplace",
    "employment": "search.tags.employment",
    "seniority": "search.tags.seniority",
    "industry": "search.tags.industry",
    "skill": "search.tags.skill",
    "salary": "search.tags.salary",
    "date_posted": "search.tags.date-posted",
    "num_applicants": "search.tags.num-applicants",
    "easy_apply": "search.tags.easy-apply",
    "in_network": "search.tags.in-network",
}


def test_the_table_is_the_contracts() -> None:
    assert DEFAULT_ROUTES == CONTRACT
    assert {tool_name(tool) for tool in CALLS} == set(CONTRACT)
    assert set(Routes().topics) == set(CONTRACT.values())


def test_a_call_goes_to_its_topic() -> None:
    routes = Routes()
    for call in (Plan("non_job"), Policy("violence"), Title("x"), EasyApply(), InNetwork()):
        assert routes.topic(call) == CONTRACT[tool_name(type(call))]
    assert routes.topic(DatePosted("day")) == "search.tags.date-posted"


def test_a_change_moves_one_tool_alone() -> None:
    routes = Routes({"num_applicants": "limits"})
    assert routes.topic(NumApplicants(5)) == "limits"
    assert routes.topic(Title("x")) == "search.tags.title"
    assert DEFAULT_ROUTES == CONTRACT


def test_tools_may_share_a_topic_that_is_named_once() -> None:
    routes = Routes(dict.fromkeys(CONTRACT, "all"))
    assert routes.topics == ["all"]
    assert routes.topic(Title("x")) == routes.topic(EasyApply()) == "all"


@pytest.mark.parametrize("name", ["titel", "date-posted", "Plan", ""])
def test_an_unknown_tool_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"no tool named {name}; tools: plan, ") as raised:
        Routes({"title": "x", name: "y"})
    assert "\n" not in str(raised.value)
