"""The language: what is written decodes, tokens are whole calls."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decoder import Decoder, Dropped
from engine.language import PLAN_SELF_REFERENCE, added_tokens, form, write
from schemas.tools import (
    CALLS,
    Call,
    Company,
    EasyApply,
    Employment,
    IndustryName,
    InNetwork,
    Location,
    NumApplicants,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Skill,
    Suggest,
    Title,
    Tool,
    encode_call,
    tool_name,
)
from tests.strategies import BY_TOOL

TEXTUAL = (Rewrite, Title, Company, Location, Skill)
LISTABLE = [tool for tool in CALLS if form(tool).listable]
CRITERIA = write([Plan("criteria")])


def decoded(text: str) -> list[Call | Dropped]:
    decoder = Decoder()
    return [*decoder.feed(text), *decoder.close()]


# --- writing ------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", CALLS, ids=tool_name)
def test_what_is_written_comes_back(tool: type[Tool]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(BY_TOOL[tool], min_size=1, max_size=4))
    def check(calls: list[Call]) -> None:
        text = write(calls)
        assert decoded(text) == calls
        assert text.count("\n") == len(calls)
        assert text.endswith("}\n")

    check()


@pytest.mark.parametrize("tool", TEXTUAL, ids=tool_name)
@pytest.mark.parametrize("char", ["a", '"', "\\", "é", "😀", "\n", "ا"])
def test_a_text_of_any_length_comes_back(tool: Callable[[str], Call], char: str) -> None:
    most = 1_000 if tool is Rewrite else 120
    for size in (1, most - 2, most - 1, most):
        call = tool(f"a{char * (size - 2)}a"[:size])
        assert decoded(write([call])) == [call], size


def test_text_values_begin_with_a_space() -> None:
    assert write([Location("Houston")]) == '{"tool":"location","location":" Houston"}\n'
    assert write([Employment("part_time")]) == '{"tool":"employment","type":"part_time"}\n'
    assert PLAN_SELF_REFERENCE == '{"tool":"plan","intent":"self_reference"}\n'


# --- tokens -------------------------------------------------------------------------------


def test_every_listable_call_is_one_token() -> None:
    tokens = added_tokens()
    assert len(set(tokens)) == len(tokens)
    assert [tool_name(tool) for tool in LISTABLE] == [
        "plan", "workplace", "employment", "seniority", "industry", "date_posted",
        "easy_apply", "in_network", "policy",
    ]  # fmt: skip
    whole = [line for tool in LISTABLE for line in form(tool).whole()]
    assert tokens[: len(whole)] == tuple(whole)
    assert len(whole) == 4 + 3 + 6 + 6 + 50 + 3 + 1 + 1 + 5
    assert {write([call]) for call in (EasyApply(), InNetwork(), Policy("violence"))} < set(whole)
    for line in whole:
        (call,) = decoded(line)
        assert not isinstance(call, Dropped)
        assert encode_call(call).decode() + "\n" == line


def test_tokens_are_stable() -> None:
    """The order is the checkpoint's: a token may be appended, none may move."""
    before = added_tokens()
    added_tokens.cache_clear()
    assert added_tokens() == before
    assert before[0] == '{"tool":"plan","intent":"criteria"}\n'
    assert before[-1] == "000"
    assert (len(before), before[79], before[84]) == (174, '{"tool":"rewrite","query":"', _HEAD)


_HEAD = '{"tool":"skill","skill":"'


@pytest.mark.parametrize(
    ("call", "count"),
    [
        (Title("x"), 2), (Rewrite("x"), 2), (NumApplicants(10), 2), (Salary(100_000), 5),
        (Salary(None, 5, None, "hour"), 4),
        (Suggest("industry", (IndustryName("Banking"), IndustryName("Media"))), 4),
    ],
)  # fmt: skip
def test_the_fixed_stretches_of_a_call_are_tokens(call: Call, count: int) -> None:
    """All but the free value, and a comma, is made of added tokens."""
    parts = re.split("(" + "|".join(map(re.escape, _by_length())) + ")", write([call]))
    assert len(parts[1::2]) == count
    assert not re.search(r'[{}"\n]', "".join(parts[::2]))


def _by_length() -> list[str]:
    return sorted(added_tokens(), key=len, reverse=True)


def test_the_contracts_json_is_what_is_written() -> None:
    call = Salary(25, 30.5, None, "hour")
    assert write([call]) == encode_call(call).decode() + "\n"
