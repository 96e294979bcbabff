"""The grammar: it takes the contract's answers and nothing else, and what it takes decodes."""

import random
import re
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from engine.answer import FIRST, WITH_PROFILE, WITHOUT_PROFILE, Rules
from engine.decoder import Decoder, Dropped
from engine.language import PLAN_SELF_REFERENCE, added_tokens, continuation, write
from schemas.tools import (
    Call,
    EasyApply,
    Employment,
    Industry,
    IndustryName,
    Location,
    NumApplicants,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Suggest,
    Title,
)
from tests.strategies import BY_TOOL, answers, tags

CRITERIA = write([Plan("criteria")])
SINGLE = [*string.printable, *"\u3000\xa0\x7fé😀ا"]
VOCABULARY = [*dict.fromkeys([*added_tokens(), *SINGLE]), "</s>"]
END = len(VOCABULARY) - 1


@pytest.fixture(scope="module")
def matcher() -> Callable[[str], Any]:
    """Makes a matcher of a grammar; each is compiled once."""
    xgrammar = pytest.importorskip("xgrammar")
    info = xgrammar.TokenizerInfo(VOCABULARY, stop_token_ids=[END])
    compiler = xgrammar.GrammarCompiler(info)
    return lambda ebnf: xgrammar.GrammarMatcher(compiler.compile_grammar(ebnf))


Matcher = Callable[[str], Any]


def accepts(matcher: Matcher, ebnf: str, text: str) -> bool:
    """The whole text, and the answer may end there."""
    state = matcher(ebnf)
    return bool(state.accept_string(text)) and bool(state.accept_token(END))


def test_the_grammar_takes_every_valid_answer(matcher: Matcher) -> None:
    @settings(max_examples=150, deadline=None)
    @given(answers(), tags(), BY_TOOL[Rewrite])
    def check(answer: list[Call], rest: list[Call], rewrite: Call) -> None:
        assert accepts(matcher, FIRST, write(answer))
        assert accepts(matcher, WITH_PROFILE, write([rewrite, *rest]))
        assert accepts(matcher, WITH_PROFILE, write(rest))
        assert accepts(matcher, WITHOUT_PROFILE, write(rest))
        assert not accepts(matcher, WITHOUT_PROFILE, write([rewrite, *rest]))

    check()


def test_a_broken_off_answer_may_be_gone_on_with_anywhere(matcher: Matcher) -> None:
    @settings(max_examples=60, deadline=None)
    @given(answers())
    def check(answer: list[Call]) -> None:
        for at in range(1, len(answer)):
            said, rest = answer[:at], answer[at:]
            ebnf = continuation(
                type(said[-1]),
                industry=any(isinstance(call, Industry) for call in said),
                denied=said[0] == Plan("trust_violation"),
            )
            assert accepts(matcher, ebnf, write(rest)), (said, rest)
            if said[-1] != Plan("trust_violation"):
                assert not accepts(matcher, ebnf, CRITERIA)

    check()


def test_the_mask_lets_an_answer_of_added_tokens_through(matcher: Matcher) -> None:
    said: list[Call] = [
        Plan("criteria"), Title("ban"), Employment("contract"), Industry(IndustryName("Banking")),
        Salary(91_000, None), EasyApply(), Suggest("industry", (IndustryName("Insurance"),)),
    ]  # fmt: skip
    state, longest = matcher(FIRST), sorted(added_tokens(), key=len, reverse=True)
    tokens = re.findall("|".join(map(re.escape, longest)) + "|.", write(said))
    assert len(tokens) == 1 + 6 + 1 + 1 + 7 + 1 + 3
    assert all(state.accept_token(VOCABULARY.index(token)) for token in tokens)
    assert state.accept_token(END)


@pytest.mark.parametrize("ebnf", [FIRST, WITH_PROFILE, WITHOUT_PROFILE])
def test_all_that_the_grammar_takes_decodes(matcher: Matcher, ebnf: str) -> None:
    """Random walks through the mask: every object is a call, and only Rules may object."""
    xgrammar = pytest.importorskip("xgrammar")
    choose = random.Random(7)
    mask = xgrammar.allocate_token_bitmask(1, len(VOCABULARY))
    for _ in range(60):
        state, text = matcher(ebnf), ""
        while len(text) < 3_000:
            state.fill_next_token_bitmask(mask)
            words = [int(word) for word in mask[0]]
            allowed = [i for i in range(END + 1) if words[i // 32] >> (i % 32) & 1]
            # texts and lists end soon, or a walk would say little else
            usual = [i for i in allowed if '"' in VOCABULARY[i] or "}" in VOCABULARY[i]]
            token = choose.choice(usual if usual and choose.random() < 0.4 else allowed)
            assert state.accept_token(token)
            if token == END:
                break
            text += VOCABULARY[token]
        rules = Rules()
        if ebnf != FIRST:
            rules.judge(Plan("self_reference"))
            rules.wants_profile = False
        for event in Decoder().feed(text):
            assert not isinstance(event, Dropped), (event, text)
            judged = rules.judge(event)
            if isinstance(judged, Dropped):
                assert judged.reason in ("repeat", "unrelated"), (judged, text)


def line(call: Call, old: str = "", new: str = "") -> str:
    text = write([call])
    assert old in text
    return text.replace(old, new, 1)


INDUSTRY = Industry(IndustryName("Banking"))
INSURANCE = Suggest("industry", (IndustryName("Insurance"),))
PAY = Salary(5)
REFUSED = {
    "nothing": "",
    "no plan": line(Title("a")),
    "a second plan": CRITERIA * 2,
    "another plan": CRITERIA + PLAN_SELF_REFERENCE,
    "tags after self-reference": PLAN_SELF_REFERENCE + line(Title("a")),
    "tags after non_job": line(Plan("non_job")) + line(Title("a")),
    "a space before": " " + CRITERIA,
    "a blank line": CRITERIA + "\n",
    "a space in a call": line(Plan("criteria"), ",", ", "),
    "a tab in a call": line(Plan("criteria"), ":", ":\t"),
    "no newline": CRITERIA.strip(),
    "a carriage return": line(Plan("criteria"), "\n", "\r\n"),
    "text after the end": CRITERIA + "Done.",
    "an array": f"[{CRITERIA.strip()}]\n",
    "wrong order": CRITERIA + write([Location("a"), Title("b")]),
    "fields in another order": '{"intent":"criteria","tool":"plan"}\n',
    "an unknown tool": CRITERIA + '{"tool":"weather"}\n',
    "an unknown field": CRITERIA + line(EasyApply(), "}", ',"x":1}'),
    "an unknown intent": line(Plan("criteria"), "criteria", "other"),
    "easy_apply twice": CRITERIA + line(EasyApply()) * 2,
    "salary twice": CRITERIA + line(PAY) * 2,
    "seven titles": CRITERIA + write([Title(f"b{i}") for i in range(7)]),
    "salary with both null": CRITERIA + line(PAY, ":5,", ":null,"),
    "an unknown currency": CRITERIA + line(PAY, '"currency":null', '"currency":"XXX"'),
    "a currency in small letters": CRITERIA + line(PAY, '"currency":null', '"currency":"usd"'),
    "a negative amount": CRITERIA + line(PAY, ":5,", ":-5,"),
    "an amount with a zero before": CRITERIA + line(PAY, ":5,", ":05,"),
    "an amount as text": CRITERIA + line(PAY, ":5,", ':"5",'),
    "an exponent": CRITERIA + line(PAY, ":5,", ":5e3,"),
    "no period": CRITERIA + line(PAY, '"period":"year"', '"period":null'),
    "a fraction of applicants": CRITERIA + line(NumApplicants(5), "5", "5.5"),
    "no limit of applicants": CRITERIA + line(NumApplicants(5), "5", "null"),
    "an industry outside": CRITERIA + line(INDUSTRY, "Banking", "Wizardry"),
    "suggest without industry": CRITERIA + line(INSURANCE),
    "suggest before the end": CRITERIA + write([INDUSTRY, INSURANCE, Title("a")]),
    "suggest twice": CRITERIA + write([INDUSTRY, INSURANCE, INSURANCE]),
    "suggest nothing": CRITERIA + line(INDUSTRY) + line(INSURANCE, '"Insurance"', ""),
    "suggest four": CRITERIA + line(INDUSTRY) + line(INSURANCE, "[", "[" + '"Media",' * 3),
    "suggest an unknown one": CRITERIA + line(INDUSTRY) + line(INSURANCE, "Insurance", "Magic"),
    "policy in criteria": CRITERIA + line(Policy("violence")),
    "policy alone": line(Policy("violence")),
    "trust_violation without policy": line(Plan("trust_violation")),
    "two policies": line(Plan("trust_violation")) + line(Policy("violence")) * 2,
    "tags beside policy": line(Plan("trust_violation")) + write([Title("a"), Policy("violence")]),
    "rewrite in criteria": CRITERIA + line(Rewrite("a")),
    "an empty text": CRITERIA + line(Title("a"), " a", ""),
    "a blank text": CRITERIA + line(Title("a"), " a", " "),
    "two blanks": CRITERIA + line(Title("a"), " a", "  "),
    "two blanks before": CRITERIA + line(Title("a"), " a", "  a"),
    "a no-break space": CRITERIA + line(Title("a"), " a", "\xa0"),
    "a wide space": CRITERIA + line(Title("a"), " a", " \u3000"),
    "121 characters": CRITERIA + line(Title("a"), " a", " " + "a" * 120),
    "200 characters": CRITERIA + line(Title("a"), " a", "a" * 200),
    "200 wide characters": CRITERIA + line(Title("a"), " a", "😀" * 200),
    "a newline in a text": CRITERIA + line(Title("a"), " a", "a\nb"),
    "an escaped newline": CRITERIA + line(Title("a"), " a", "a\\nb"),
    "an escaped surrogate": CRITERIA + line(Title("a"), " a", "\\ud83d"),
    "a bare backslash": CRITERIA + line(Title("a"), " a", "a\\"),
    "a control character": CRITERIA + line(Title("a"), " a", "a\x1fb"),
    "an array as text": CRITERIA + line(Title("a"), '" a"', '["a"]'),
    "null as text": CRITERIA + line(Title("a"), '" a"', "null"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_grammar_refuses(matcher: Matcher, name: str) -> None:
    assert not accepts(matcher, FIRST, REFUSED[name])
    if REFUSED[name].startswith(CRITERIA):
        rest = REFUSED[name].removeprefix(CRITERIA)
        assert not accepts(matcher, WITHOUT_PROFILE, rest)
        assert accepts(matcher, WITH_PROFILE, rest) == (name == "rewrite in criteria")


def test_the_second_request_begins_with_the_rewrite(matcher: Matcher) -> None:
    title, rewrite = line(Title("a")), line(Rewrite("b"))
    assert accepts(matcher, WITH_PROFILE, rewrite + title)
    assert not accepts(matcher, WITH_PROFILE, title + rewrite)
    assert not accepts(matcher, WITH_PROFILE, rewrite * 2)
    for ebnf in (WITH_PROFILE, WITHOUT_PROFILE):
        assert accepts(matcher, ebnf, "")
        assert not accepts(matcher, ebnf, CRITERIA)
        assert not accepts(matcher, ebnf, line(Policy("violence")))
