"""The job on bare aiokafka: a task for each record, a semaphore, auto-commit.

It guarantees nothing: an offset may be committed before its query is answered. That makes it
the least a stream processor in Python can cost. Runs until SIGTERM; an error ends it.
"""

import asyncio
import os
import signal
from contextlib import suppress

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.asyncio import Redis

from schemas.queries import decode_query

from .job import QUERIES, Settings, answer, read_settings


async def consume(settings: Settings) -> None:
    async with (
        Redis.from_url(settings.redis_url) as cache,
        AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            acks="all",
            enable_idempotence=settings.idempotence,
        ) as producer,
        AIOKafkaConsumer(
            QUERIES,
            bootstrap_servers=settings.bootstrap,
            group_id=settings.group,
            auto_offset_reset="earliest",
            enable_auto_commit=True,
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
        ) as consumer,
        asyncio.TaskGroup() as tasks,
    ):
        window = asyncio.Semaphore(settings.window)

        async def publish(topic: str, key: bytes, value: bytes) -> asyncio.Future[object]:
            sent: asyncio.Future[object] = await producer.send(topic, value, key=key)
            return sent

        async def process(value: bytes) -> None:
            try:
                await answer(decode_query(value), cache, publish, settings.pause_s)
            finally:
                window.release()

        async for record in consumer:
            await window.acquire()
            tasks.create_task(process(record.value))


async def main() -> None:
    consuming = asyncio.create_task(consume(read_settings(os.environ)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consuming.cancel)
    with suppress(asyncio.CancelledError):  # SIGTERM: the way it is meant to end
        await consuming


if __name__ == "__main__":
    uvloop.run(main())
