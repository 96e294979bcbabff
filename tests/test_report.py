"""The report's figures, against cases worked by hand."""

from typing import Any

import pytest

from engine.evaluation.gold import Gold
from engine.evaluation.report import Answered, difference, page, report, values
from engine.evaluation.scoring import normal

PLAN = {"tool": "plan", "intent": "criteria"}
DENIED = {"tool": "plan", "intent": "trust_violation"}


def gold(query: str, *calls: dict[str, Any]) -> Gold:
    return Gold(id=query, query=query, gold=[PLAN, *calls])


def title(value: str) -> dict[str, Any]:
    return {"tool": "title", "title": value}


def said(*calls: dict[str, Any], **marks: Any) -> Answered:
    return Answered(calls=list(calls), output_tokens=len(calls), **marks)


GOLDS = [
    gold("nurse", title("nurse")),
    gold("cook", title("cook")),
    gold("welder", title("welder")),
]
RIGHT = [said(PLAN, title("nurse")), said(PLAN, title("cook")), said(PLAN, title("welder"))]
POOR = [
    said(PLAN, title("nurse")),  # right
    said(PLAN, title("astronaut")),  # wrong and missed, and invented
    said(DENIED, valid=False),  # plan wrong, title missed, denied
]


def test_figures() -> None:
    poor, scores = report("poor", GOLDS, POOR)
    # tp: 2 plans, 1 title. fp: astronaut, the plan of the third. fn: 2 titles, a plan.
    assert poor.micro_f1 == pytest.approx(2 * 3 / (2 * 3 + 2 + 3))
    assert poor.right == pytest.approx(1 / 3)
    assert poor.invented == pytest.approx(1 / 5)
    assert poor.invalid == 1
    assert poor.denied == pytest.approx(1 / 3)
    assert poor.moved is None
    assert poor.output_tokens == 2
    row = next(row for row in poor.tools if row.name == "title")
    assert (row.precision, row.gold, row.predicted) == (0.5, 3, 2)
    assert row.recall == pytest.approx(1 / 3)
    assert [row.name for row in poor.intents] == ["criteria", "trust_violation"]
    assert [one.right for one in scores] == [True, False, False]


def test_recall_apart_for_values_that_training_had() -> None:
    seen = values([gold("x", title("Nurse"))])
    assert seen == {normal("nurse")}
    one, _ = report("poor", GOLDS, POOR, seen)
    assert one.recall_seen == {"title": (1.0, 1)}
    assert one.recall_unseen == {"title": (0.0, 2)}


def test_an_interval_holds_the_difference_and_widens_with_doubt() -> None:
    _, right = report("right", GOLDS * 20, RIGHT * 20)
    _, poor = report("poor", GOLDS * 20, POOR * 20)
    gap = difference("poor", right, poor)
    assert gap.right[0] == pytest.approx(2 / 3)
    assert gap.right[1] < gap.right[0] < gap.right[2]
    assert gap.right[1] > 0
    same = difference("right", right, right)
    assert same.micro_f1 == (0.0, 0.0, 0.0)


def test_a_pair_is_moved_by_more_than_a_region() -> None:
    place = {"tool": "location", "location": "Naples"}
    settled = {"tool": "location", "location": "Naples, Florida"}
    twice = [gold("naples", place)] * 2 + [gold("cook", title("cook"))] * 2
    answers = [said(PLAN, place), said(PLAN, settled), said(PLAN, title("cook")), said(PLAN)]
    one, _ = report("x", twice, answers, pairs=True)
    assert one.moved == 0.5


def test_the_page_has_every_error() -> None:
    one, scores = report("poor", GOLDS, POOR)
    text = page([one], [], GOLDS, POOR, scores)
    assert "astronaut" in text
    assert "invalid output" in text
    assert "**nurse**" not in text
