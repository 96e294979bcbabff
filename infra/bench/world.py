"""The broker and the cache of one run, as fresh as they can be.

In: addresses, or none; profiles by their keys. Out: a `World` for the length of an
`async with` block: all topics of the contract, empty; profiles in the cache; clients for the
harness.

Without addresses both are embedded and new. A broker that is given must not have the
contract's topics (their records would be lost): they are made for each run and deleted after
it, and so are the profiles, whose names begin with `bench-`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from infra.bench.processes import BenchError, cpu_s
from infra.bench.traffic import PARTITIONS, TOPICS
from infra.embedded import Tansu, Valkey

ALREADY_EXISTS = 36
"""Kafka's error code of a topic that is there already, or is still being deleted."""
TOPICS_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
"""aiokafka's own stop can wait for a broker that is gone."""
POLL_S = 0.2
CACHE_BATCH = 1_000


class World:
    """Addresses, and the harness's own clients."""

    def __init__(
        self, bootstrap: str, redis_url: str, broker_pid: int | None, fetch_max_wait_ms: int
    ) -> None:
        self.bootstrap = bootstrap
        self.redis_url = redis_url
        self._broker_pid = broker_pid
        self._fetch_max_wait_ms = fetch_max_wait_ms

    def broker_cpu_s(self) -> float | None:
        """None for a broker that is not ours."""
        return None if self._broker_pid is None else cpu_s(self._broker_pid)

    @asynccontextmanager
    async def producer(self, linger_ms: int = 0) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            linger_ms=linger_ms,
            max_batch_size=1 << 18,
        )
        try:
            await producer.start()
            yield producer
        finally:
            await asyncio.wait_for(producer.stop(), STOP_LIMIT_S)

    @asynccontextmanager
    async def reader(self, topics: Sequence[str]) -> AsyncIterator[AIOKafkaConsumer]:
        """Reads every partition of `topics` from its first record, in no group."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
        )
        try:
            await consumer.start()
            consumer.assign(
                [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
            )
            yield consumer
        finally:
            await asyncio.wait_for(consumer.stop(), STOP_LIMIT_S)


@asynccontextmanager
async def world(
    kafka: str | None, redis: str | None, profiles: Mapping[str, bytes], fetch_max_wait_ms: int
) -> AsyncIterator[World]:
    """Raises `BenchError` or `EmbeddedError` if it cannot be made."""
    async with AsyncExitStack() as stack:
        pid = None
        if kafka is None:
            # not `embedded.broker()`: its pid is needed, to measure it
            tansu = Tansu()
            stack.push_async_callback(asyncio.to_thread, tansu.close)
            await asyncio.to_thread(tansu.start)
            kafka, pid = tansu.bootstrap, tansu.pid
            await _create_topics(kafka)
        else:
            await stack.enter_async_context(_borrowed_topics(kafka))
        if redis is None:
            valkey = Valkey()
            stack.push_async_callback(asyncio.to_thread, valkey.close)
            await asyncio.to_thread(valkey.start)
            redis = valkey.url
        else:
            stack.push_async_callback(_remove_profiles, redis, profiles)
        await _load_profiles(redis, profiles)
        yield World(kafka, redis, pid, fetch_max_wait_ms)


async def refuse_used_broker(kafka: str) -> None:
    """Raises `BenchError` if it cannot be reached or has any of the contract's topics."""
    try:
        async with _admin(kafka) as admin:
            used = sorted(set(TOPICS) & set(await admin.list_topics()))
    except KafkaError as error:
        raise BenchError(f"no answer from Kafka at {kafka}: {error}") from error
    if used:
        raise BenchError(
            f"{kafka} has {', '.join(used[:3])}{' ...' if len(used) > 3 else ''}: "
            "the bench deletes the contract's topics and only runs where there are none"
        )


@asynccontextmanager
async def _borrowed_topics(kafka: str) -> AsyncIterator[None]:
    await _create_topics(kafka)
    try:
        yield
    finally:
        async with _admin(kafka) as admin:
            await admin.delete_topics(list(TOPICS))


async def _create_topics(kafka: str) -> None:
    """Waits for those of the run before to be gone."""
    end = time.monotonic() + TOPICS_LIMIT_S
    missing = set(TOPICS)
    async with _admin(kafka) as admin:
        while missing:
            answer = await admin.create_topics(
                [NewTopic(topic, PARTITIONS, 1) for topic in sorted(missing)]
            )
            for topic, code, *message in answer.topic_errors:
                if code == 0:
                    missing.discard(topic)
                elif code != ALREADY_EXISTS or time.monotonic() > end:
                    raise BenchError(f"cannot create {topic}: error {code} {message}")
            if missing:
                await asyncio.sleep(POLL_S)


@asynccontextmanager
async def _admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _load_profiles(redis: str, profiles: Mapping[str, bytes]) -> None:
    async with Redis.from_url(redis) as cache:
        for keys in _batches(profiles):
            await cache.mset({key: profiles[key] for key in keys})


async def _remove_profiles(redis: str, profiles: Mapping[str, bytes]) -> None:
    async with Redis.from_url(redis) as cache:
        for keys in _batches(profiles):
            await cache.unlink(*keys)


def _batches(profiles: Mapping[str, bytes]) -> Iterator[Sequence[str]]:
    keys = list(profiles)
    return (keys[start : start + CACHE_BATCH] for start in range(0, len(keys), CACHE_BATCH))
