"""The short schedule of faults, as CI runs it; `make chaos` draws another each time."""

import sys
from typing import Any

import msgspec
import pytest

from tests.chaos import __main__ as chaos
from tests.chaos.faults import FAULTS, schedule
from tests.chaos.ledger import Committed, judge
from tests.chaos.world import Asked
from tests.integration.output import Got
from tests.real.kafka import missing as no_kafka
from tests.real.toxiproxy import missing as no_toxiproxy


def test_a_seed_makes_its_schedule_and_a_short_one_has_every_short_fault() -> None:
    assert schedule(7, 2.0) == schedule(7, 2.0)
    assert schedule(7, 2.0) != schedule(8, 2.0)
    short = {fault.name for fault in FAULTS if fault.short}
    assert {one.name for one in schedule(7, 2.0)} == short
    assert {one.name for one in schedule(7, 30.0)} == {fault.name for fault in FAULTS}


TRACE = "0" * 31 + "1"


def record(index: int | None, offset: int, *, topic: str = "out", **fields: object) -> Got:
    """An event of query 1, or with no index its done event."""
    own = {"query_id": "q1", **({"index": index, "call": PLAN} if index is not None else {})}
    headers = {"tagstream-source": b"in/0/0", "tagstream-worker": b"w0"}
    headers["traceparent"] = f"00-{TRACE}-{'1' * 16}-01".encode()
    return Got(topic, 0, offset, None, msgspec.json.encode(own | fields), headers)


PLAN = {"tool": "plan", "intent": "criteria"}
COOK = {"tool": "title", "title": "cook"}
EVENTS = [record(0, 0), record(1, 1, call=COOK)]
DONE = record(None, 2, status="complete", events=2, profile="none")
COMMIT = Committed({0: 1}, {("out", 0): 3})


def judged(events: list[Got], dones: list[Got], seen: list[Committed], **other: Any) -> list[str]:
    asked = Asked("q1", "cook", None, TRACE)
    return judge({"in/0/0": asked}, [], dones, events, [], seen, 9, **other).violations


def test_the_ledger_sees_what_must_not_be() -> None:
    assert judged(EVENTS, [DONE], [COMMIT]) == []
    wrong = {
        "no done event": judged(EVENTS, [], [COMMIT]),
        "before it had ended": judged(EVENTS, [DONE], [Committed({0: 1}, {("out", 0): 2})]),
        "the indexes are": judged(EVENTS[1:], [DONE], [COMMIT]),
        "instead of": judged([EVENTS[0], record(1, 1)], [DONE], [COMMIT]),
        "repeated as another": judged([*EVENTS, record(1, 3)], [DONE], [COMMIT]),
        "after the done event": judged([*EVENTS, record(1, 3, call=COOK)], [DONE], [COMMIT]),
        "not committed": judged(EVENTS, [DONE], [Committed({0: 0}, {("out", 0): 3})]),
    }
    for what, found in wrong.items():
        assert any(what in line for line in found), (what, found)


def test_what_a_frozen_worker_had_buffered_may_follow_another_workers_end() -> None:
    late = record(2, 3, call=COOK)
    late.headers["tagstream-worker"] = b"w1"
    assert judged([*EVENTS, late], [DONE], [COMMIT]) == []
    late.headers["tagstream-worker"] = b"w0"
    assert judged([*EVENTS, late], [DONE], [COMMIT])


def test_only_what_retention_took_unanswered_is_forgiven() -> None:
    assert judged([], [], [COMMIT], lost=lambda _: True) == []
    assert judged(EVENTS[1:], [DONE], [COMMIT], lost=lambda _: True)


@pytest.mark.timeout(420)
def test_every_promise_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := no_kafka() or no_toxiproxy():
        pytest.skip(reason)
    monkeypatch.setattr(sys, "argv", ["chaos", "--seed", "20", "--minutes", "2"])
    assert chaos.main() == 0
