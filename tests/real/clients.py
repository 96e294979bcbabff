"""Short errands to the real parts, through the clients that tagstream itself uses.

In: a launcher's address or `login`. Out: what the part answered. Each opens and closes its
own client; `within` bounds an errand's time, since some clients wait for ever.
"""

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

LIMIT_S = 20.0
Answer = TypeVar("Answer")


def within(work: Coroutine[Any, Any, Answer], limit_s: float = LIMIT_S) -> Answer:
    """Run it on a loop of its own; hanging is a failure."""
    return asyncio.run(asyncio.wait_for(work, limit_s))


async def create(login: dict[str, Any], copies: int = 1) -> str:
    """A new topic of one partition."""
    topic = f"parts-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(**login)
    try:
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, copies)])
    finally:
        await admin.close()
    return topic


async def send(login: dict[str, Any], topic: str, *values: bytes, idempotent: bool = True) -> None:
    producer = AIOKafkaProducer(**login, enable_idempotence=idempotent)
    try:
        await producer.start()
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read(login: dict[str, Any], topic: str, count: int) -> list[bytes]:
    """The first `count` values of the topic."""
    consumer = AIOKafkaConsumer(**login, auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def ping(port: int, limit_s: float = 2.0) -> float:
    """How long a PING took."""
    async with Redis(port=port, socket_timeout=limit_s, retry=Retry(NoBackoff(), 0)) as redis:
        started = time.perf_counter()
        assert await redis.ping()
        return time.perf_counter() - started


def ended(pid: int) -> bool:
    """Whether the process is gone, or only its exit status is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
