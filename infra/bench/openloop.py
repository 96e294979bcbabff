"""An open loop: queries leave when they are due, whatever has become of those before.

In: queries and when each is due. Out: when a subscriber saw the first event and the `done`
of each. A query's clock starts when it was due to be sent, not when it was, so a harness or a
broker that falls behind is not left out. What has not come counts as infinite.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from infra.bench.figures import Percentiles, percentiles
from infra.bench.processes import BenchError, Child
from infra.bench.traffic import DONE, QUERIES, Message
from infra.bench.world import World

POLL_S = 0.05
SETTLE_S = 1.0
FETCH_MS = 1_000
Check = Callable[[], None]
"""Raises if what is measured, or what measures, is gone."""


class Watch:
    """When a subscriber first saw an event and the `done` of each query, by query_id."""

    def __init__(self) -> None:
        self.first: dict[bytes, float] = {}
        self.done: dict[bytes, float] = {}
        self.said: dict[bytes, bytes] = {}
        """The `done` events themselves."""

    async def follow(self, reader: AIOKafkaConsumer) -> None:
        """Without end."""
        while True:
            found = await reader.getmany(timeout_ms=FETCH_MS)
            now = time.monotonic()
            for partition, records in found.items():
                for record in records:
                    if partition.topic == DONE:
                        self.done.setdefault(record.key, now)
                        self.said.setdefault(record.key, record.value)
                    else:
                        self.first.setdefault(record.key, now)


@asynccontextmanager
async def subscriber(
    world: World, child: Child, events: Sequence[str]
) -> AsyncIterator[tuple[Watch, Check]]:
    """A watch at work on `done` and these topics, and what raises if either is gone."""
    watch = Watch()
    async with world.reader([DONE, *events]) as reader:
        following = asyncio.create_task(watch.follow(reader))

        def check() -> None:
            child.check()
            if following.done():
                following.result()  # it ends by an error only

        try:
            yield watch, check
        finally:
            following.cancel()
            await asyncio.wait([following])


async def warm_up(
    producer: AIOKafkaProducer,
    watch: Watch,
    check: Check,
    queries: Iterable[Message],
    limit_s: float,
) -> None:
    """All of them done, then a rest. Raises `BenchError` at the limit."""
    keys = set()
    for message in queries:
        keys.add(message.query_id.encode())
        await producer.send_and_wait(
            QUERIES, message.value, key=message.key, partition=message.partition
        )
    if not await until_done(watch, keys, check, limit_s):
        raise BenchError(f"the first queries were not done in {limit_s:g} s")
    await asyncio.sleep(SETTLE_S)


async def send(
    producer: AIOKafkaProducer, queries: Sequence[Message], due: Sequence[float], check: Check
) -> float:
    """Each when it is due, in monotonic seconds; by how much the harness was late at worst."""
    sent = []
    late_s = 0.0
    for message, at in zip(queries, due, strict=True):
        wait = at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        late_s = max(late_s, time.monotonic() - at)
        sent.append(
            await producer.send(
                QUERIES, message.value, key=message.key, partition=message.partition
            )
        )
        check()
    await asyncio.gather(*sent)
    return late_s


async def until_done(watch: Watch, keys: Iterable[bytes], check: Check, limit_s: float) -> bool:
    """Whether all were done before the limit."""
    left = set(keys)
    end = time.monotonic() + limit_s
    while left := left - watch.done.keys():
        if time.monotonic() > end:
            return False
        check()
        await asyncio.sleep(POLL_S)
    return True


def waits(due: Mapping[bytes, float], seen: Mapping[bytes, float]) -> Percentiles:
    """Milliseconds from due to seen."""
    return percentiles(
        (seen[key] - at) * 1_000 if key in seen else math.inf for key, at in due.items()
    )
