"""Three times as many queries as the engine can answer, each with a deadline of a second.

In: a stub engine of 40 queries a second, 120 a second for as long as OVERLOAD_SECONDS says (ten).
Out: every query ends; those past their deadline cost the engine nothing; the served ones keep to
it; memory stays; and seconds after the load all is as before.
"""

import os
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import NewWorld
from tests.integration.output import Output, search
from tests.service import Service, World, eventually

SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "10"))
WINDOW, DELAY_MS = 8, 200
RATE = 3 * WINDOW * 1_000 / DELAY_MS
DEADLINE_MS = 1_000


def load(world: World) -> int:
    """Publishes at the rate, ten times a second; how many."""
    count, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < SECONDS:
        due = int(passed * RATE) - count
        issued = datetime.now(UTC).isoformat()
        world.publish(
            [search(f"q{count + n}", issued_at=issued, deadline_ms=DEADLINE_MS) for n in range(due)]
        )
        count += due
        time.sleep(0.1)
    return count


def overload(world: World, service: Service, output: Output) -> dict[str, list[dict[str, Any]]]:
    """The done events by status."""
    service.until_ready()
    world.publish([search(f"warm{n}") for n in range(WINDOW)])
    output.until_ended(WINDOW)
    before = resident(service)
    count = load(world)
    ended = time.monotonic()
    output.until_ended(count + WINDOW, 60.0)
    assert time.monotonic() - ended < 15, "it did not recover within seconds"
    eventually(lambda: service.metric("tagstream_in_flight") == 0, "nothing is in flight")
    assert resident(service) < before * 1.25 + 40
    found: dict[str, list[dict[str, Any]]] = {}
    for record in output.dones:
        done = record.json()
        if not done["query_id"].startswith("warm"):
            found.setdefault(done["status"], []).append(done)
    assert sum(map(len, found.values())) == count, Counter(map(len, found.values()))
    eventually(lambda: world.committed() == count + WINDOW, "all is committed")
    return found


def resident(service: Service) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def answered(found: dict[str, list[dict[str, Any]]]) -> float:
    """The share of queries that got an answer, whole or by the rules."""
    served = sum(len(found.get(status, ())) for status in ("complete", "degraded"))
    share = served / sum(map(len, found.values()))
    print(f"answered: {share:.1%}; { ({status: len(dones) for status, dones in found.items()}) }")
    return share


@pytest.mark.timeout(300)
def test_what_is_too_late_costs_the_engine_nothing(kafka_world: NewWorld) -> None:
    world = kafka_world(
        stub_delay_ms=DELAY_MS, window=WINDOW, expire_early=True, partition_span=10_000
    ).create()
    with world.output() as output, world.service() as service:
        found = overload(world, service, output)
        service.stop()
    assert set(found) <= {"complete", "expired", "partial"}
    assert found["expired"]
    assert found["complete"]
    assert answered(found) < 0.5  # the engine can take a third
    assert all(done["output_tokens"] == 0 and done["events"] == 0 for done in found["expired"])
    late = [d for d in found["complete"] if d["queued_ms"] + d["elapsed_ms"] > DEADLINE_MS + 250]
    assert len(late) < 0.05 * len(found["complete"])


@pytest.mark.timeout(300)
def test_with_degraded_answers_more_are_answered(kafka_world: NewWorld) -> None:
    world = kafka_world(
        stub_delay_ms=DELAY_MS, window=WINDOW, expire_early=True, degrade_late=True,
        baseline=True, partition_span=10_000,
    ).create()  # fmt: skip
    with world.output() as output, world.service() as service:
        found = overload(world, service, output)
        models = {e["model"] for events in output.by_query().values() for e in events}
        service.stop()
    assert "baseline" in models
    assert found["degraded"]
    assert answered(found) > 0.5
    assert all("usual time" in done["reason"] for done in found["degraded"])
