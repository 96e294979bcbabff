"""What stands outside the service: publish searches, read the events, load profiles.

In: files, settings. Out: Kafka records, Redis keys, events as they come.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from redis.exceptions import RedisError

from infra.settings import Settings
from infra.telemetry import trace_spans
from infra.topics import names
from schemas.profiles import decode_profile
from schemas.queries import SearchQuery, decode_query, encode_query

_POLL_S = 0.02


class TrafficError(Exception):
    """A file, the broker or the cache cannot be used; one line says why."""


class Heard(msgspec.Struct, frozen=True):
    """An event as a subscriber sees it; `arrived` in epoch seconds."""

    topic: str
    value: dict[str, Any]
    arrived: float


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The file's lines that are not blank, numbered from 1. Raises `TrafficError`."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise TrafficError(f"{file}: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line


def searches(file: Path) -> list[SearchQuery]:
    """Searches, one JSON object a line; `query_id` is made where it is missing."""
    found = []
    for number, line in lines(file):
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
            fields.setdefault("query_id", str(uuid.uuid4()))
            found.append(decode_query(msgspec.json.encode(fields)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TrafficError(f"{file}:{number}: {error}") from None
    return found


async def publish(
    settings: Settings,
    queries: Sequence[SearchQuery],
    gaps: Iterator[float],
    about_to: Callable[[SearchQuery], None] = lambda _: None,
) -> AsyncIterator[SearchQuery]:
    """Publishes each query, `gaps` seconds apart, in a span of its own; yields it when sent."""
    trace_spans(settings)
    producer = AIOKafkaProducer(
        **settings.kafka_client(), acks="all", enable_idempotence=settings.kafka_idempotence
    )
    tracer = trace.get_tracer("tagstream")
    try:
        await producer.start()
        for query, gap in zip(queries, gaps, strict=False):
            await asyncio.sleep(gap)
            about_to(query)
            topic = settings.queries_topic
            with tracer.start_as_current_span(f"send {topic}", kind=SpanKind.PRODUCER):
                carrier: dict[str, str] = {}
                propagate.inject(carrier)
                headers = [(name, value.encode()) for name, value in carrier.items()]
                key = (query.member_id or query.query_id).encode()
                await producer.send_and_wait(topic, encode_query(query), key, headers=headers)
            yield query
    except KafkaError as error:
        raise TrafficError(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    finally:
        await producer.stop()


async def listen(
    settings: Settings, ready: asyncio.Event | None = None, *, earliest: bool = False
) -> AsyncIterator[Heard]:
    """Every event, done event and dead letter from now on, outside any group."""
    consumer = AIOKafkaConsumer(
        **settings.kafka_client(),
        enable_auto_commit=False,
        auto_offset_reset="earliest" if earliest else "latest",
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
    )
    try:
        await consumer.start()
        topics = set(names(settings)) - {settings.queries_topic}
        if missing := topics - await consumer.topics():
            raise TrafficError(f"topic {min(missing)} does not exist: tagstream topics create")
        consumer.subscribe(topics)
        while {place.topic for place in consumer.assignment()} != topics:  # noqa: ASYNC110 # nobody tells us
            await asyncio.sleep(_POLL_S)
        for place in consumer.assignment():
            await consumer.position(place)
        if ready:
            ready.set()
        async for record in consumer:
            yield Heard(record.topic, _value(record.value), time.time())
    except KafkaError as error:
        raise TrafficError(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    finally:
        await consumer.stop()


def _value(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"bytes": len(raw)}  # a dead letter holds what did not decode


async def load_profiles(settings: Settings, file: Path) -> int:
    """Sets `profile:{member_id}` for each line; the number set. Raises `TrafficError`."""
    found = []
    for number, line in lines(file):
        try:
            found.append((decode_profile(line).member_id, line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TrafficError(f"{file}:{number}: {error}") from None
    redis = Redis.from_url(settings.redis_url, **settings.redis_options())
    try:
        for start in range(0, len(found), 1_000):
            pipeline = redis.pipeline(transaction=False)
            for member_id, line in found[start : start + 1_000]:
                pipeline.set(f"profile:{member_id}", line)
            await pipeline.execute()
    except (RedisError, OSError) as error:
        raise TrafficError(f"Redis: {error}") from None
    finally:
        await redis.aclose()
    return len(found)
