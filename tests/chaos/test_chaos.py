"""The short schedule of faults, as CI runs it; `make chaos` draws another each time."""

import sys

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos.faults import FAULTS, schedule
from tests.real.kafka import missing as no_kafka
from tests.real.toxiproxy import missing as no_toxiproxy


def test_a_seed_makes_its_schedule_and_a_short_one_has_every_short_fault() -> None:
    assert schedule(7, 2.0) == schedule(7, 2.0)
    assert schedule(7, 2.0) != schedule(8, 2.0)
    short = {fault.name for fault in FAULTS if fault.short}
    assert {one.name for one in schedule(7, 2.0)} == short
    assert {one.name for one in schedule(7, 30.0)} == {fault.name for fault in FAULTS}


@pytest.mark.timeout(420)
def test_every_promise_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := no_kafka() or no_toxiproxy():
        pytest.skip(reason)
    monkeypatch.setattr(sys, "argv", ["chaos", "--seed", "20", "--minutes", "2"])
    assert chaos.main() == 0
