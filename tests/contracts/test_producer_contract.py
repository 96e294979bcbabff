"""What the pipeline asks of a producer, of the real one on two brokers and of the fake alike.

In: a producer and two topics, of which one takes only small records. Out: what lies in them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic

from infra.embedded import Tansu
from infra.pipeline import Producer
from infra.settings import Settings
from producers.kafka import EventProducer, Message, ProducerSettings, TooLarge
from schemas import clock
from tests.fakes import FakeProducer
from tests.integration.output import Got, Output, make
from tests.real.clients import within
from tests.real.kafka import Kafka

Lies = Callable[[str, int], Awaitable[list[Message]]]
"""The messages of a topic, once there are so many."""

LIMIT = 1_000


class Place:
    """Where a producer writes: a broker, or memory."""

    def __init__(self, bootstrap: str | None, idempotence: bool) -> None:
        self._bootstrap, self._idempotence = bootstrap, idempotence
        name = f"p-{uuid4().hex[:8]}"
        self.big, self.small = f"{name}.big", f"{name}.small"

    def create(self) -> None:
        if self._bootstrap:
            limit = {"max.message.bytes": str(LIMIT)}
            topics = [NewTopic(self.big, 2, 1), NewTopic(self.small, 1, 1, topic_configs=limit)]
            within(make(self._bootstrap, topics))

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[tuple[Producer, Lies]]:
        if self._bootstrap is None:
            fake = FakeProducer({self.small: LIMIT})

            async def remembered(topic: str, count: int) -> list[Message]:
                del count
                return [message for message in fake.log if message.topic == topic]

            yield fake, remembered
            return
        client = {"bootstrap_servers": self._bootstrap}
        real = EventProducer(ProducerSettings(client=client, idempotence=self._idempotence))
        await real.start()
        try:
            yield real, self._read
        finally:
            await real.close()

    async def _read(self, topic: str, count: int) -> list[Message]:
        assert self._bootstrap
        return await asyncio.to_thread(self._listen, self._bootstrap, topic, count)

    def _listen(self, bootstrap: str, topic: str, count: int) -> list[Message]:
        with Output(Settings(kafka_bootstrap=bootstrap), [topic]) as output:
            output.until(lambda out: len(out.records) >= count, f"{count} records").settled()
            return [message(record) for record in output.records]


def message(got: Got) -> Message:
    return Message(got.topic, got.key, got.value, list(got.headers.items()))


@pytest.fixture(params=["fake", "tansu", "kafka"])
def place(request: pytest.FixtureRequest) -> Place:
    bootstrap = None
    if request.param != "fake":
        broker: Tansu | Kafka = request.getfixturevalue(request.param)
        bootstrap = broker.bootstrap
    made = Place(bootstrap, idempotence=request.param == "kafka")
    made.create()
    return made


LIMITED = pytest.mark.parametrize("place", ["fake", "kafka"], indirect=True)
"""Where a topic's size limit holds: the embedded broker has none."""


def test_a_message_arrives_as_it_is(place: Place) -> None:
    sent = [
        Message(place.big, b"k", b"v", [("a", b"1"), ("b", b"")]),
        Message(place.big, None, b"no key", []),
        Message(place.big, b"no value", None, []),
        Message(place.big, None, None, [("neither", b"1")]),
        Message(place.big, "\u05de".encode(), b"\xff\x00", []),
    ]

    async def work() -> list[Message]:
        async with place.producer() as (producer, lies):
            for one in sent:
                await producer.deliver(one)
            return await lies(place.big, len(sent))

    assert sorted(within(work()), key=repr) == sorted(sent, key=repr)


def test_records_are_dated_by_the_clock_that_does_not_jump(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replays look for events by their time, which a commit took from the same clock."""
    place = Place(kafka.bootstrap, idempotence=True)
    place.create()
    monkeypatch.setattr(clock, "_began", clock._began - 3_600)

    async def work() -> list[float]:
        async with place.producer() as (producer, _):
            await producer.deliver(Message(place.big, b"q", b"an event", []))
            await producer.deliver(Message(place.big, None, None, []))  # in a batch of its own
        consumer = AIOKafkaConsumer(
            place.big, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            return [(await consumer.getone()).timestamp / 1_000 for _ in range(2)]
        finally:
            await consumer.stop()

    assert within(work()) == pytest.approx([time.time() - 3_600] * 2, abs=60)


def test_what_is_settled_lies_there_in_order(place: Place) -> None:
    async def work() -> list[Message]:
        async with place.producer() as (producer, lies):
            receipts = [
                await producer.hand_over(Message(place.big, b"q", b"%d" % n, [])) for n in range(50)
            ]
            await producer.settle(receipts)
            assert all(receipt.settled for receipt in receipts)
            await producer.settle(receipts)
            await producer.deliver(Message(place.big, b"q", b"done", []))
            return await lies(place.big, 51)

    values = [one.value for one in within(work())]
    assert values == [b"%d" % n for n in range(50)] + [b"done"]


@LIMITED
def test_one_too_large_is_refused_and_its_neighbours_arrive(place: Place) -> None:
    values = [b"%d" % n * 100 for n in range(9)]

    async def work() -> list[Message]:
        async with place.producer() as (producer, lies):
            receipts = [
                await producer.hand_over(Message(place.small, b"q", value, []))
                for value in (*values[:4], b"x" * 2 * LIMIT, *values[4:])
            ]
            with pytest.raises(TooLarge, match=place.small):
                await producer.settle(receipts)
            assert [receipt.settled for receipt in receipts] == [True] * 4 + [False] + [True] * 5
            await producer.deliver(Message(place.small, b"q", b"after", []))
            return await lies(place.small, 10)

    got = [one.value for one in within(work(), 40.0)]
    assert set(got) == {*values, b"after"}
    assert got[-1] == b"after"


@LIMITED
def test_many_at_once_while_some_are_refused(place: Place) -> None:

    async def query(producer: Producer, number: int) -> str:
        large = number % 10 == 7
        value = b"%d " % number + b"x" * (2 * LIMIT if large else LIMIT // 4)
        receipts = [
            await producer.hand_over(Message(place.small, b"%d" % number, value, [])),
            await producer.hand_over(Message(place.big, b"%d" % number, b"%d" % number, [])),
        ]
        try:
            await producer.settle(receipts)
        except TooLarge:
            assert (large, [r.settled for r in receipts]) == (True, [False, True])
            return "refused"
        assert not large
        return "taken"

    async def work() -> tuple[list[str], list[Message], list[Message]]:
        async with place.producer() as (producer, lies):
            ends = await asyncio.gather(*(query(producer, n) for n in range(40)))
            return ends, await lies(place.small, 36), await lies(place.big, 40)

    ends, small, big = within(work(), 60.0)
    assert (ends.count("refused"), ends.count("taken")) == (4, 36)
    assert {int((one.value or b"").split()[0]) for one in small} == {
        n for n in range(40) if n % 10 != 7
    }
    assert {one.value for one in big} == {b"%d" % n for n in range(40)}


def test_a_cancelled_settle_may_be_asked_again(place: Place) -> None:
    async def work() -> list[Message]:
        async with place.producer() as (producer, lies):
            receipt = await producer.hand_over(Message(place.big, b"q", b"v", []))
            settling = asyncio.create_task(producer.settle([receipt]))
            await asyncio.sleep(0)
            settling.cancel()
            await asyncio.wait([settling])
            await producer.settle([receipt])
            return await lies(place.big, 1)

    assert [one.value for one in within(work())] == [b"v"]


def test_cancelled_while_its_producer_is_replaced(kafka: Kafka) -> None:
    """Whoever noticed the break may be gone: the replacement is made all the same."""
    place = Place(kafka.bootstrap, idempotence=True)
    place.create()

    async def work() -> None:
        async with place.producer() as (producer, _):
            large = asyncio.create_task(
                producer.deliver(Message(place.small, b"q", b"x" * 2 * LIMIT, []))
            )
            assert isinstance(producer, EventProducer)
            while producer._replacement is None:  # noqa: ASYNC110 # nobody tells us
                await asyncio.sleep(0)
            large.cancel()
            await asyncio.wait([large])
            await producer.deliver(Message(place.small, b"q", b"v", []))

    within(work())


def test_a_broker_that_is_away_is_waited_for(kafka: Kafka) -> None:
    place = Place(kafka.bootstrap, idempotence=True)
    place.create()

    async def work() -> list[Message]:
        settings = ProducerSettings(client=kafka.login(), io_timeout_ms=500)
        producer = EventProducer(settings)
        await producer.start()
        await producer.deliver(Message(place.big, b"q", b"0", []))
        kafka.kill()
        sending = asyncio.create_task(producer.deliver(Message(place.big, b"q", b"1", [])))
        while not producer.refused_for:  # noqa: ASYNC110 # nobody tells us
            await asyncio.sleep(0.05)
        kafka.start()  # here: a broker ends with the thread that started it
        await sending
        assert producer.refused_for == 0
        await producer.close()
        return await place._read(place.big, 2)

    try:
        values = [one.value for one in within(work(), 60.0)]
    finally:
        kafka.start()
    assert sorted(set(values), key=repr) == [b"0", b"1"]
