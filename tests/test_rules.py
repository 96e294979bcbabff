"""Which calls may stand where in an answer: each objection and its counterpart."""

from collections.abc import Sequence

import pytest

from engine.answer import MAX_CALLS, Rules, related
from engine.decoder import REASONS, Dropped
from schemas.tools import (
    INDUSTRIES,
    Call,
    EasyApply,
    Industry,
    IndustryName,
    InNetwork,
    Location,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Skill,
    Suggest,
    Title,
)

CRITERIA, SELF = Plan("criteria"), Plan("self_reference")
NON_JOB, TRUST = Plan("non_job"), Plan("trust_violation")
BANKING, MINING = Industry(IndustryName("Banking")), Industry(IndustryName("Mining"))
TITLE, POLICY, REWRITE = Title("cook"), Policy("violence"), Rewrite("cook in Leeds")


def suggest(*names: str) -> Suggest:
    return Suggest("industry", tuple(map(IndustryName, names)))


ROW = INDUSTRIES["Banking"]
ABOVE = next(name for name, row in INDUSTRIES.items() if "Banking" in row and name in ROW)
NOT_IN_ROW = next(name for name in INDUSTRIES if name not in (*ROW, "Banking"))

# what was said before, the call, and the objection to it ("" is none)
TABLE: list[tuple[Sequence[Call], Call, str]] = [
    ([], CRITERIA, ""), ([], SELF, ""), ([], NON_JOB, ""), ([], TRUST, ""),
    ([], TITLE, "out_of_place"), ([], POLICY, "out_of_place"), ([], REWRITE, "out_of_place"),
    ([], suggest(ROW[0]), "out_of_place"), ([], EasyApply(), "out_of_place"),
    ([CRITERIA], CRITERIA, "repeat"), ([CRITERIA], NON_JOB, "out_of_place"),
    ([CRITERIA, TITLE], TRUST, "out_of_place"), ([SELF], CRITERIA, "out_of_place"),
    ([CRITERIA], TITLE, ""), ([SELF], TITLE, ""), ([NON_JOB], TITLE, "out_of_place"),
    ([TRUST], TITLE, "out_of_place"), ([TRUST, POLICY], TITLE, "out_of_place"),
    ([CRITERIA, TITLE], TITLE, "repeat"), ([CRITERIA, TITLE], Title("chef"), ""),
    ([CRITERIA, TITLE], Skill("cook"), ""), ([CRITERIA, Location("x")], TITLE, ""),
    ([CRITERIA, EasyApply()], EasyApply(), "repeat"), ([CRITERIA, EasyApply()], InNetwork(), ""),
    ([CRITERIA, Salary(50)], Salary(50.0), "repeat"),
    ([CRITERIA, Salary(50)], Salary(None, 50), ""),
    ([TRUST], POLICY, ""), ([CRITERIA], POLICY, "out_of_place"), ([SELF], POLICY, "out_of_place"),
    ([NON_JOB], POLICY, "out_of_place"), ([TRUST, POLICY], POLICY, "repeat"),
    ([TRUST, POLICY], Policy("self_harm"), "out_of_place"),
    ([SELF], REWRITE, ""), ([CRITERIA], REWRITE, "out_of_place"),
    ([TRUST], REWRITE, "out_of_place"),
    ([NON_JOB], REWRITE, "out_of_place"), ([SELF, TITLE], REWRITE, "out_of_place"),
    ([SELF, REWRITE], Rewrite("other"), "out_of_place"), ([SELF, REWRITE], TITLE, ""),
    ([CRITERIA], suggest(ROW[0]), "out_of_place"), ([NON_JOB], suggest(ROW[0]), "out_of_place"),
    ([CRITERIA, TITLE], suggest(ROW[0]), "out_of_place"),
    ([CRITERIA, BANKING], suggest(*ROW[:3]), ""), ([SELF, BANKING], suggest(ROW[0]), ""),
    ([CRITERIA, BANKING, TITLE], suggest(ROW[0]), ""),
    ([CRITERIA, BANKING], suggest(NOT_IN_ROW), "unrelated"),
    ([CRITERIA, BANKING], suggest(ROW[0], NOT_IN_ROW), "unrelated"),
    ([CRITERIA, BANKING], suggest(ROW[0], ROW[0]), "unrelated"),
    ([CRITERIA, BANKING], suggest("Banking"), "unrelated"),
    ([CRITERIA, BANKING, Industry(IndustryName(ABOVE))], suggest(ABOVE), "unrelated"),
    ([CRITERIA, BANKING, MINING], suggest(INDUSTRIES["Mining"][0]), ""),
    ([CRITERIA, BANKING, suggest(ROW[0])], suggest(ROW[1]), "out_of_place"),
    ([CRITERIA, BANKING, suggest(ROW[0])], suggest(ROW[0]), "repeat"),
    ([CRITERIA, BANKING, suggest(ROW[0])], TITLE, "out_of_place"),
    ([CRITERIA, BANKING, suggest(NOT_IN_ROW)], TITLE, ""),
    ([CRITERIA, BANKING, suggest(NOT_IN_ROW)], suggest(ROW[0]), ""),
]  # fmt: skip


@pytest.mark.parametrize(("before", "call", "reason"), TABLE)
def test_each_objection_and_its_counterpart(
    before: Sequence[Call], call: Call, reason: str
) -> None:
    rules = Rules()
    for said in before:
        rules.judge(said)
        rules.wants_profile = False  # as the second request has it
    judged = rules.judge(call)
    if reason:
        assert isinstance(judged, Dropped)
        assert (judged.reason, judged.detail) == (reason, type(call).__name__)
        assert reason in REASONS
    else:
        assert judged is call


def test_a_drop_passes_through_and_changes_nothing() -> None:
    rules, junk = Rules(), Dropped("junk", "", "")
    assert rules.judge(junk) is junk
    assert rules.judge(CRITERIA) is CRITERIA


def test_nothing_follows_a_self_reference_plan_before_its_profile() -> None:
    rules = Rules()
    assert rules.judge(SELF) is SELF
    assert rules.wants_profile
    for call in (TITLE, REWRITE, BANKING):
        assert rules.judge(call) == Dropped("out_of_place", type(call).__name__, "")
    rules.wants_profile = False
    assert rules.judge(REWRITE) is REWRITE


def test_no_rewrite_without_a_profile() -> None:
    rules = Rules(rewrite=False)
    rules.judge(SELF)
    rules.wants_profile = False
    assert rules.judge(REWRITE) == Dropped("out_of_place", "Rewrite", "")
    assert rules.judge(TITLE) is TITLE


def test_an_answer_is_bounded() -> None:
    rules = Rules()
    rules.judge(CRITERIA)
    titles = [rules.judge(Title(str(i))) for i in range(MAX_CALLS + 5)]
    said = [title for title in titles if isinstance(title, Title)]
    assert len(said) == MAX_CALLS - 1
    assert {item.reason for item in titles if isinstance(item, Dropped)} == {"too_many"}


def test_related_is_the_row() -> None:
    for name, row in INDUSTRIES.items():
        assert name not in row
        assert related(row[:3], {name})
        assert not related((name,), {name})
    assert not related((ROW[0],), set())
