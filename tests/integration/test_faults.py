"""The running service while parts of its world fail or move: nothing accepted is lost.

In: Apache Kafka, members of one group, kills, pauses, restarts, deleted records, a topic too
small for an event. Out: a done event for every query, repeats only where the contract has them.
"""

import signal
import tempfile

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.integration.conftest import NewWorld
from tests.integration.output import Got, Output, Sent, search
from tests.real.clients import within
from tests.real.kafka import Kafka
from tests.service import Service, World, eventually

SESSION_MS = 6_000  # the least that a broker allows


def queries(first: int, after: int) -> list[Sent]:
    return [search(f"q{n}") for n in range(first, after)]


def check_all_answered(output: Output, count: int) -> None:
    """Every query has a done event, every done event its events, and repeats are equal."""
    output.settled()
    counts = output.done_counts()
    assert sorted(counts) == sorted(f"q{n}" for n in range(count))
    assert set(output.statuses().values()) == {"complete"}
    assert not output.letters
    for query_id, events in output.by_query().items():
        calls = {event["index"]: event["call"] for event in events}
        assert sorted(calls) == [0, 1, 2, 3], query_id
        assert all(calls[event["index"]] == event["call"] for event in events)


def repeats(output: Output) -> int:
    return sum(output.done_counts().values()) - len(output.done_counts())


def workers(records: list[Got]) -> set[str]:
    return {record.headers["tagstream-worker"].decode() for record in records}


def test_killed_and_started_again(kafka_world: NewWorld) -> None:
    window, span = 8, 16
    world = kafka_world(
        window=window, partition_span=span, stub_delay_ms=200,
        commit_interval_ms=100, session_timeout_ms=SESSION_MS, partitions=2,
    ).create()  # fmt: skip
    with world.output() as output:
        with world.service() as service:
            service.until_ready()
            world.publish(queries(0, 60))
            output.until(lambda out: len(out.dones) >= 15, "fifteen done")
            service.kill()
        with world.service() as service:
            output.until_ended(60)
            service.stop()
        check_all_answered(output, 60)
    assert repeats(output) <= 2 * (span + window)
    assert world.committed() == 60


def test_what_another_model_had_begun_is_known_from_the_topics(kafka_world: NewWorld) -> None:
    """Killed between two events; the next worker has another engine and cannot go on."""
    world = kafka_world(
        window=4, stub_delay_ms=4_000, commit_interval_ms=100, session_timeout_ms=SESSION_MS,
        partitions=1,
    ).create()  # fmt: skip
    with world.output() as output:
        with world.service() as service:
            service.until_ready()
            world.publish(queries(0, 1))
            output.until(lambda out: len(out.dones) == 1, "one done", 60.0)
            world.publish(queries(1, 5))
            output.until(lambda out: len(out.events) >= 4 + 8, "two events of each")
            service.kill()
        ended = {f"q{n}" for n in range(1)}
        begun = {q: len(events) for q, events in output.by_query().items() if q not in ended}
        with tempfile.TemporaryDirectory() as folder:
            other = Service(
                world.environment | {"CHAOS_FOLDER": folder}, ("-m", "tests.chaos.worker")
            )
            with other as service:
                output.until_ended(5, 60.0).settled()
                assert service.metric("tagstream_replay_unread") == 0
                service.stop()
    assert output.statuses() == {"q0": "complete"} | dict.fromkeys(begun, "partial")
    for record in output.dones:
        done = record.json()
        if done["query_id"] in begun:
            assert done["events"] == begun[done["query_id"]]
            assert "stub@1" in done["reason"]


def test_a_member_comes_and_a_member_goes(kafka_world: NewWorld) -> None:
    """Both by the rules: what is open is finished before the partition moves, so no repeats."""
    world = kafka_world(stub_delay_ms=200, window=8, session_timeout_ms=SESSION_MS).create()
    with world.output() as output, world.service(worker="one") as one:
        one.until_ready()
        world.publish(queries(0, 80))
        output.until(lambda out: len(out.dones) >= 8, "eight done")
        with world.service(worker="two") as two:
            two.until(lambda: two.said("assigned [("), "the second has a partition")
            eventually(lambda: partitions(one) == partitions(two) == 1, "one partition each")
            world.publish(queries(80, 120))
            output.until_ended(120)
            assert workers(output.dones) == {"one", "two"}
            world.publish(queries(120, 140))
            one.stop()
            world.publish(queries(140, 150))
            output.until_ended(150)
            two.until_ready()
            assert partitions(two) == 2
            two.stop()
        check_all_answered(output, 150)
    assert repeats(output) == 0
    assert world.committed() == 150


def partitions(service: Service) -> float:
    return service.metric("tagstream_partitions")


def test_a_member_that_sleeps_through_its_session(kafka_world: NewWorld) -> None:
    world = kafka_world(
        stub_delay_ms=400, window=4, session_timeout_ms=SESSION_MS, rebalance_timeout_ms=SESSION_MS
    ).create()
    with world.output() as output, world.service(worker="one") as one:
        one.until_ready()
        world.publish(queries(0, 40))
        output.until(lambda out: len(out.dones) >= 4, "four done")
        one.signal(signal.SIGSTOP)
        with world.service(worker="two") as two:
            output.until_ended(40, 60.0)
            one.signal(signal.SIGCONT)
            world.publish(queries(40, 60))
            eventually(lambda: partitions(one) == 1, "the first is back")
            world.publish(queries(60, 100))
            output.until_ended(100)
            one.stop()
            two.stop()
        check_all_answered(output, 100)
    assert repeats(output) <= 8  # what was open when it fell asleep, once
    assert world.committed() == 100


def test_static_members_keep_their_partitions_over_a_restart(kafka_world: NewWorld) -> None:
    world = kafka_world(session_timeout_ms=15_000).create()
    with world.output() as output, world.service(group_instance_id="b", worker="b") as other:
        other.until_ready()
        with world.service(group_instance_id="a", worker="a") as service:
            service.until_ready()
            eventually(lambda: partitions(service) == partitions(other) == 1, "one each")
            world.publish(queries(0, 20), 0)
            world.publish(queries(20, 40), 1)
            output.until_ended(40).settled()
            before, moves = owners(output), other.log().count("assigned [(")
            service.stop()
        world.publish(queries(40, 60), 0)
        world.publish(queries(60, 80), 1)
        with world.service(group_instance_id="a", worker="a") as service:
            output.until_ended(80)
            assert other.log().count("assigned [(") == moves
            service.stop()
        other.stop()
        check_all_answered(output, 80)
    assert owners(output) == before
    assert repeats(output) == 0


def owners(output: Output) -> set[tuple[str, str]]:
    """Partition and worker."""
    return {(r.source.split("/")[1], workers([r]).pop()) for r in output.dones}


def test_the_broker_dies_and_comes_back(kafka: Kafka, kafka_world: NewWorld) -> None:
    world = kafka_world(stub_delay_ms=100, window=8, kafka_io_timeout_ms=1_500).create()
    with world.output() as output, world.service() as service:
        service.until_ready()
        world.publish(queries(0, 60))
        output.until(lambda out: len(out.dones) >= 10, "ten done")
        kafka.kill()
        try:
            service.until(lambda: not service.ready()[0], "not ready")
            assert "Kafka" in " ".join(service.ready()[1])
            assert service.get("/live")[0] == 200
        finally:
            kafka.start()
        output.until_ended(60, 60.0)
        service.until_ready()
        world.publish(queries(60, 70))
        output.until_ended(70)
        service.stop()
        check_all_answered(output, 70)
    assert world.committed() == 70


def test_records_deleted_before_they_were_read(kafka_world: NewWorld) -> None:
    """Once while it is away, once while it is behind: counted, and logged with the range."""
    world = kafka_world(partitions=1, window=1, max_partition_fetch_bytes=1_000).create()
    big = "p" * 2_000
    with world.output() as output:
        with world.service() as service:
            service.until_ready()
            world.publish(queries(0, 5))
            output.until_ended(5)
            service.stop()
        world.publish(queries(5, 15))
        delete(world, 12)
        with world.service(stub_delay_ms=800) as service:
            output.until_ended(5 + 1)
            service.until_ready()
            assert service.said("offsets 5 to 11 were deleted")
            for n in range(15, 25):  # each in a batch of its own
                world.publish([search(f"q{n}", page=big)])
            output.until(lambda out: "q15" in out.by_query(), "it is behind")
            delete(world, 23)
            output.until(lambda out: "q24" in out.done_counts(), "it has caught up", 60.0)
            read = {record.source for record in output.dones}
            lost = 25 - len(read)
            eventually(lambda: service.metric("tagstream_retention_gap") == lost, f"{lost} lost")
            assert service.said("to 22 were deleted")
            service.stop()
    assert world.committed() == 25


def delete(world: World, before: int) -> None:
    """Deletes the queries' records below an offset, as retention does."""

    async def work() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=world.settings.kafka_bootstrap)
        try:
            await admin.start()
            place = TopicPartition(world.queries, 0)
            await admin.delete_records({place: RecordsToDelete(before_offset=before)})
        finally:
            await admin.close()

    within(work())


def test_an_event_too_large_fails_its_query_alone(kafka_world: NewWorld) -> None:
    """The plan has the query's text; its topic takes no more than one plan of a short query."""
    world = kafka_world(routes={"plan": "plans"}, window=20)
    small = world.settings.routes["plan"]
    world.create(configs={small: {"max.message.bytes": "1000"}})
    huge = [search(f"huge{n}", "\U0001f600" * 900) for n in range(2)]
    with world.output() as output, world.service() as service:
        service.until_ready()
        world.publish([*queries(0, 10), huge[0], *queries(10, 20), huge[1], *queries(20, 40)])
        output.until(lambda out: len(out.done_counts()) == 42, "all done")
        service.until_ready()
        world.publish(queries(40, 50))
        output.until(lambda out: len(out.done_counts()) == 52, "all done")
        service.stop()
        output.settled()
    statuses = output.statuses()
    assert {query_id for query_id, status in statuses.items() if status != "complete"} == {
        "huge0", "huge1",
    }  # fmt: skip
    assert (statuses["huge0"], statuses["huge1"]) == ("failed", "failed")
    assert set(output.done_counts().values()) == {1}
    assert {letter.value for letter in output.letters} == {record.value for record in huge}
    assert {letter.headers["tagstream-error-kind"] for letter in output.letters} == {b"failed"}
    assert len(output.letters) == 2
    for record in output.dones:
        done = record.json()
        assert done["events"] == len({e["index"] for e in output.by_query()[done["query_id"]]})
        assert done["events"] in ((0, 3) if done["status"] == "failed" else (4,))
    assert world.committed() == 52
