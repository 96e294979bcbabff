"""The running service on Apache Kafka: events and done, signals, deadlines, bounds.

In: well-formed searches. Out: what the contract says of events, of `done`, of offsets after
SIGTERM, and of the port with /live, /ready and /metrics.
"""

import signal
from typing import Any

from tests.integration.conftest import NewWorld
from tests.integration.output import Got, Sent, search
from tests.service import eventually

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
STATE = ("tracestate", b"vendor=1")


def test_events_then_done(world: NewWorld) -> None:
    """Also: what was published before the group existed is answered."""
    new = world(one_topic=True, partitions=1).create()
    first = Sent(search("first", "  nurse leeds ").value, b"member", [TRACE, STATE])
    count = 20
    places = new.publish([first, *(search(f"q{n}") for n in range(1, count))])
    with new.output() as output, new.service(worker="w-7") as service:
        service.until_ready()
        output.until_ended(count)
        assert service.get("/live")[0] == 200
        assert service.metric("tagstream_queries_total", status="complete") == count
        assert service.metric("tagstream_events_total", tool="plan") == count
        assert service.metric("tagstream_window") == 64
        service.stop()
        output.settled()
    assert new.committed() == count
    assert (len(output.events), len(output.dones), len(output.letters)) == (4 * count, count, 0)
    for done, place in zip(sorted(output.dones, key=by_place), places, strict=True):
        query_id = done.json()["query_id"]
        events = [r for r in output.events if r.json()["query_id"] == query_id]
        check_done(done)
        check_events(events)
        for record in (*events, done):
            assert record.key == query_id.encode()
            assert record.source == place
            assert record.headers["tagstream-worker"] == b"w-7"
            assert record.headers["tagstream-schema"] == b"1"
            assert record.headers["content-type"] == b"application/json"
        assert max(event.offset for event in events) < done.offset
    passed_on = [r for r in output.records if r.headers.get("traceparent") == TRACE[1]]
    assert {r.key for r in passed_on} == {b"first"}
    assert len(passed_on) == 5
    assert {r.headers["tracestate"] for r in passed_on} == {STATE[1]}


def by_place(record: Got) -> int:
    return int(record.source.rsplit("/", 1)[1])


def check_done(record: Got) -> None:
    done = record.json()
    assert (done["status"], done["events"], done["profile"]) == ("complete", 4, "none")
    assert done["reason"] is None
    assert 0 <= done["first_event_ms"] <= done["elapsed_ms"]
    assert done["queued_ms"] >= 0


def check_events(records: list[Got]) -> None:
    events = [record.json() for record in records]
    assert [event["index"] for event in events] == [0, 1, 2, 3]
    assert [event["call"]["tool"] for event in events] == ["plan", "title", "location", "workplace"]
    plan, *others = events
    assert (plan["member_id"], plan["locale"]) == (None, "en-US")
    assert plan["query"].strip() == "nurse leeds"
    assert all("query" not in event for event in others)
    assert {event["model"] for event in events} == {"stub@1"}


def test_sigterm_finishes_what_is_open(kafka_world: NewWorld) -> None:
    world = kafka_world(window=5, stub_delay_ms=1_200, partitions=1).create()
    with world.output() as output:
        with world.service() as service:
            service.until_ready()
            world.publish(search(f"q{n}") for n in range(12))
            output.until(lambda out: len(out.events) >= 5, "five queries under way")
            service.stop()
            assert service.said("stopping")
            output.settled()
            assert output.done_counts() == {f"q{n}": 1 for n in range(5)}
            assert world.committed() == 5
        with world.service(stub_delay_ms=0):
            output.until_ended(12).settled()
    assert output.done_counts() == {f"q{n}": 1 for n in range(12)}


def test_sigterm_leaves_what_takes_too_long(kafka_world: NewWorld) -> None:
    world = kafka_world(stub_delay_ms=60_000, shutdown_drain_ms=300, partitions=1).create()
    with world.output() as output:
        with world.service() as service:
            service.until_ready()
            world.publish([Sent(b"bad"), search("a"), Sent(b"bad"), search("b")])
            service.until(lambda: service.metric("tagstream_in_flight") == 2, "two are open")
            service.stop()
            assert service.said("2 queries were left")
        assert world.committed() == 1
        with world.service(stub_delay_ms=0):
            output.until_ended(4).settled()
    assert output.done_counts() == {"a": 1, "b": 1}
    assert len(output.letters) == 3  # the second bad record was above the watermark


def test_a_second_signal_forces(kafka_world: NewWorld) -> None:
    new = kafka_world(stub_delay_ms=60_000, partitions=1).create()
    with new.output() as output:
        with new.service() as service:
            service.until_ready()
            new.publish([Sent(b"bad"), search("a"), search("b")])
            service.until(lambda: service.metric("tagstream_in_flight") == 2, "two are open")
            service.signal(signal.SIGTERM)
            service.until(lambda: service.said("stopping"), "it drains")
            service.signal(signal.SIGINT)
            assert service.ended(8.0) == 1
            assert "Traceback" not in service.log()
            assert service.said("forced to stop")
        assert new.committed() == 1
        with new.service(stub_delay_ms=0):
            output.until_ended(3).settled()
    assert output.done_counts() == {"a": 1, "b": 1}


def test_deadlines(kafka_world: NewWorld) -> None:
    world = kafka_world(stub_delay_ms=1_600, deadline_ms=1_000).create()
    past: dict[str, Any] = {"issued_at": "2026-01-01T00:00:00+01:00"}
    with world.output() as output, world.service() as service:
        service.until_ready()
        world.publish([
            search("expired", deadline_ms=5_000, **past),
            search("expired by default", **past),
            search("partial", deadline_ms=1_000),
            search("partial by default"),
            search("complete", deadline_ms=60_000),
            search("complete too", deadline_ms=2**40, **past),
        ])  # fmt: skip
        output.until_ended(6)
        service.stop()
        output.settled()
    by_query = output.by_query()
    for record in output.dones:
        done = record.json()
        assert done["status"] == done["query_id"].split()[0]
        count = done["events"]
        assert [event["index"] for event in by_query[done["query_id"]]] == list(range(count))
        match done["status"]:
            case "expired":
                assert (count, done["first_event_ms"]) == (0, None)
            case "partial":
                assert 0 < count < 4
                assert done["reason"] == "the deadline cut the stream"
            case _:
                assert count == 4
    assert len(output.dones) == 6


def test_never_more_than_the_window_is_open(kafka_world: NewWorld) -> None:
    world = kafka_world(window=3, stub_delay_ms=150).create()
    seen: list[float] = []
    with world.output() as output, world.service() as service:
        service.until_ready()
        world.publish(search(f"q{n}") for n in range(30))

        def all_done() -> bool:
            seen.append(service.metric("tagstream_in_flight"))
            return len(output.dones) == 30

        eventually(all_done, "thirty done")
        service.stop()
    assert max(seen) == 3
    assert set(output.done_counts().values()) == {1}


def test_a_partition_waits_for_its_oldest_record(kafka_world: NewWorld) -> None:
    """Dead letters end at once, the query before them does not: too many would pile up."""
    span, window = 4, 2
    world = kafka_world(
        window=window, partition_span=span, stub_delay_ms=3_000, partitions=1
    ).create()
    with world.output() as output, world.service() as service:
        service.until_ready()
        world.publish([search("slow"), *(Sent(b"bad") for _ in range(30))])
        service.until(lambda: service.metric("tagstream_partitions_paused") == 1, "it pauses")
        output.settled()
        assert not output.dones
        assert 0 < len(output.letters) < span + window
        assert service.metric("tagstream_watermark_lag") <= span + window
        output.until_ended(31)
        service.until(lambda: service.metric("tagstream_partitions_paused") == 0, "it resumes")
        service.stop()
        output.settled()
    assert (len(output.dones), len(output.letters)) == (1, 30)
    assert world.committed() == 31
