"""Raw records in, and every record of the output topics out, outside any group.

In: settings that name the broker and the topics. Out: `Output`, which reads from the
beginning in a thread of its own for as long as its block lasts, over a broker's restarts;
`publish`, which sends bytes as they are; `committed`, a group's offsets.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from infra.settings import Settings

LIMIT_S = 30.0
QUIET_S = 0.7
Headers = list[tuple[str, bytes]]


class Sent(msgspec.Struct, frozen=True):
    """A record to be."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


class Got(msgspec.Struct, frozen=True):
    """A record of an output topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    def json(self) -> dict[str, Any]:
        return msgspec.json.decode(self.value or b"", type=dict[str, Any])

    @property
    def source(self) -> str:
        return self.headers["tagstream-source"].decode()


def search(query_id: str, query: str = "nurse leeds", **fields: object) -> Sent:
    """A well-formed query's record."""
    value = msgspec.json.encode({"query_id": query_id, "query": query, **fields})
    return Sent(value, query_id.encode())


async def make(bootstrap: str, topics: Sequence[NewTopic]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        answer = await admin.create_topics(topics)
        assert not any(code for _, code, *_ in answer.topic_errors), answer
    finally:
        await admin.close()


async def publish(
    bootstrap: str, topic: str, records: Sequence[Sent], partition: int | None = None
) -> list[str]:
    """Sends them in order, as they are: also without a key and a value; where each one lies."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    try:
        await producer.start()
        sent = [await _send(producer, topic, record, partition) for record in records]
        return [f"{p.topic}/{p.partition}/{p.offset}" for p in await asyncio.gather(*sent)]
    finally:
        await producer.stop()


async def _send(
    producer: AIOKafkaProducer, topic: str, record: Sent, partition: int | None
) -> "asyncio.Future[Any]":
    if record.key is None and record.value is None:
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=list(record.headers))
        future = await producer.send_batch(batch, topic, partition=partition or 0)
    else:
        future = await producer.send(
            topic, record.value, record.key, partition,
            timestamp_ms=record.timestamp_ms, headers=list(record.headers),
        )  # fmt: skip
    return cast("asyncio.Future[Any]", future)


async def committed(settings: Settings) -> dict[int, int]:
    """The group's offsets on the queries' topic, by partition; 0 where there is none."""
    login = {"bootstrap_servers": settings.kafka_bootstrap}
    topic = settings.queries_topic
    admin = AIOKafkaAdminClient(**login)
    consumer = AIOKafkaConsumer(**login, group_id=settings.group, enable_auto_commit=False)
    try:
        await admin.start()
        (described,) = await admin.describe_topics([topic])
        places = [TopicPartition(topic, p["partition"]) for p in described["partitions"]]
        await consumer.start()
        consumer.assign(places)
        return {place.partition: await consumer.committed(place) or 0 for place in places}
    finally:
        await consumer.stop()
        await admin.close()


class Output:
    """What has come out so far; `with` begins to read."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._topics = list(dict.fromkeys(topics))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._failure: BaseException | None = None
        self._heard = time.monotonic()
        self.records: list[Got] = []

    @property
    def dones(self) -> list[Got]:
        return [r for r in self.records if self._is_done(r)]

    @property
    def letters(self) -> list[Got]:
        return [r for r in self.records if r.topic == self._settings.dead_letters_topic]

    @property
    def events(self) -> list[Got]:
        letters = self._settings.dead_letters_topic
        return [r for r in self.records if r.topic != letters and not self._is_done(r)]

    def _is_done(self, record: Got) -> bool:
        return record.topic == self._settings.done_topic and b'"status"' in (record.value or b"")

    def done_counts(self) -> "Counter[str]":
        """How many done events each query has."""
        return Counter(record.json()["query_id"] for record in self.dones)

    def statuses(self) -> dict[str, str]:
        """Of each query: the first done event stands."""
        found: dict[str, str] = {}
        for record in self.dones:
            found.setdefault(record.json()["query_id"], record.json()["status"])
        return found

    def by_query(self) -> dict[str, list[dict[str, Any]]]:
        """The events of each query, in the order in which they lie."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.events:
            found[record.json()["query_id"]].append(record.json())
        return found

    def until(
        self, true: "Callable[[Output], object]", what: str, limit_s: float = LIMIT_S
    ) -> Self:
        end = time.monotonic() + limit_s
        while not true(self):
            if self._failure:
                raise self._failure
            counts = f"{len(self.events)} events, {len(self.dones)} done, {len(self.letters)} dead"
            assert time.monotonic() < end, f"not within {limit_s:g} s: {what}; there are {counts}"
            time.sleep(0.02)
        return self

    def until_ended(self, count: int, limit_s: float = LIMIT_S) -> Self:
        """Until so many records have ended: distinct sources of done events and dead letters."""
        return self.until(
            lambda out: len({r.source for r in out.dones + out.letters}) >= count,
            f"{count} records ended", limit_s,
        )  # fmt: skip

    def settled(self) -> Self:
        """Until nothing more has come for a while."""
        return self.until(lambda out: time.monotonic() - out._heard > QUIET_S, "quiet")

    # --- the thread ---------------------------------------------------------------------

    def _read(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error

    async def _run(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._settings.kafka_client(), enable_auto_commit=False,
            auto_offset_reset="earliest", fetch_max_wait_ms=50, request_timeout_ms=5_000,
            max_partition_fetch_bytes=4 << 20,
        )  # fmt: skip
        await consumer.start()
        try:
            while not set(self._topics) <= await consumer.topics():  # noqa: ASYNC110 # nobody tells us
                await asyncio.sleep(0.1)
            consumer.subscribe(self._topics)
            while not self._ending.is_set():
                await self._take(consumer)
        finally:
            await asyncio.wait_for(consumer.stop(), 10)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        try:
            batches = await consumer.getmany(timeout_ms=100)
        except KafkaError:  # the broker is away: that is a test's own doing
            await asyncio.sleep(0.1)
            return
        for records in batches.values():
            self._heard = time.monotonic()
            self.records += [
                Got(r.topic, r.partition, r.offset, r.key, r.value, dict(r.headers))
                for r in records
            ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(20)
