"""The job on FastStream with faststream-concurrent-aiokafka: at least once, by batch commit.

As its README sets it up: the middleware first, `AckPolicy.MANUAL`, commits of 100 records or
5 seconds. Records are decoded by msgspec in FastStream's own decoder hook, and its run-time
type conversion is off, so that no record is parsed twice. Runs until SIGTERM.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage
from faststream_concurrent_aiokafka import (
    KafkaConcurrentProcessingMiddleware,
    initialize_concurrent_processing,
    stop_concurrent_processing,
)
from redis.asyncio import Redis

from schemas.queries import SearchQuery, decode_query

from .job import QUERIES, Settings, answer, read_settings

COMMIT_BATCH = 100
COMMIT_INTERVAL_S = 5.0


async def decode(message: KafkaMessage) -> SearchQuery:
    return decode_query(message.body)


def application(settings: Settings, cache: Redis) -> FastStream:
    broker = KafkaBroker(
        settings.bootstrap,
        acks="all",
        enable_idempotence=settings.idempotence,
        apply_types=False,
        logger=None,
    )
    broker.add_middleware(KafkaConcurrentProcessingMiddleware)

    async def publish(topic: str, key: bytes, value: bytes) -> asyncio.Future[object]:
        sent: asyncio.Future[object] = await broker.publish(value, topic, key=key, no_confirm=True)
        return sent

    async def process(query: SearchQuery) -> None:
        await answer(query, cache, publish, settings.pause_s)

    subscriber = broker.subscriber(
        QUERIES,
        group_id=settings.group,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.MANUAL,
        decoder=decode,
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
    )
    subscriber(process)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await initialize_concurrent_processing(
            context=broker.context,
            concurrency_limit=settings.window,
            commit_batch_size=COMMIT_BATCH,
            commit_batch_timeout_sec=COMMIT_INTERVAL_S,
        )
        try:
            yield
        finally:
            await stop_concurrent_processing(broker.context)

    return FastStream(broker, lifespan=lifespan, logger=None)


async def main() -> None:
    settings = read_settings(os.environ)
    async with Redis.from_url(settings.redis_url) as cache:
        await application(settings, cache).run()


if __name__ == "__main__":
    uvloop.run(main())
