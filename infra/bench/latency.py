"""How long a searcher waits: an open loop at a given rate, with the stub engine's delay.

A query's clock starts when it was due to be sent, not when it was, so a harness or a broker
that falls behind is not left out. It stops at a subscriber's read of the first event and of
`done`. What has not come some seconds after the last send counts as infinite.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from infra.bench.delivery import verify
from infra.bench.figures import Latency, Percentiles, percentiles
from infra.bench.processes import BenchError, Child
from infra.bench.throughput import per_1000
from infra.bench.traffic import DONE, EVENTS, PARTITIONS, QUERIES, Message, messages
from infra.bench.workload import Workload
from infra.bench.world import World

POLL_S = 0.05
SETTLE_S = 1.0
FETCH_MS = 1_000


class Watch:
    """When a subscriber first saw an event and the `done` of each query."""

    def __init__(self) -> None:
        self.first: dict[bytes, float] = {}
        self.done: dict[bytes, float] = {}

    async def follow(self, reader: AIOKafkaConsumer) -> None:
        """Without end."""
        while True:
            found = await reader.getmany(timeout_ms=FETCH_MS)
            now = time.monotonic()
            for partition, records in found.items():
                seen = self.done if partition.topic == DONE else self.first
                for record in records:
                    seen.setdefault(record.key, now)


async def latency(
    world: World,
    start: Callable[[], AbstractContextManager[Child]],
    workload: Workload,
    prefix: str,
    round_number: int,
) -> Latency:
    """One run. Raises `BenchError` if it dies or does not start."""
    count = max(1, round(workload.rate * workload.seconds))
    queries = list(messages(count, workload.members, prefix, workload.seed))
    with start() as child:
        async with _subscriber(world, child) as (watch, check), world.producer() as producer:
            await _warm_up(producer, watch, check, workload, prefix)
            cpu, broker_cpu = child.cpu_s(), world.broker_cpu_s()
            due, late_s = await _send(producer, queries, workload.rate, check)
            await _until_done(watch, due, check, workload.drain_limit_s)
            done = sum(key in watch.done for key in due)
            cpu_per_1000 = per_1000(cpu, child.cpu_s(), done)
            broker_per_1000 = per_1000(broker_cpu, world.broker_cpu_s(), done)
            first_ms, done_ms = _waits(due, watch.first), _waits(due, watch.done)
    return Latency(
        implementation=child.name,
        round=round_number,
        first_ms=first_ms,
        done_ms=done_ms,
        unfinished=count - done,
        sender_late_ms=late_s * 1_000,
        cpu_s_per_1000=cpu_per_1000,
        broker_cpu_s_per_1000=broker_per_1000,
        delivery=await verify(world, [message.query_id for message in queries]),
        exit_code=child.exit_code,
    )


@asynccontextmanager
async def _subscriber(
    world: World, child: Child
) -> AsyncIterator[tuple[Watch, Callable[[], None]]]:
    """A watch at work, and what raises if the child or the subscriber is gone."""
    watch = Watch()
    async with world.reader([DONE, *EVENTS]) as reader:
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


async def _warm_up(
    producer: AIOKafkaProducer,
    watch: Watch,
    check: Callable[[], None],
    workload: Workload,
    prefix: str,
) -> None:
    """A query for each partition, then a rest."""
    keys = set()
    for message in messages(PARTITIONS, workload.members, f"{prefix}-warm", workload.seed):
        keys.add(message.query_id.encode())
        await producer.send_and_wait(
            QUERIES, message.value, key=message.key, partition=message.partition
        )
    end = time.monotonic() + workload.start_limit_s
    while not keys <= watch.done.keys():
        check()
        if time.monotonic() > end:
            raise BenchError(f"the first queries were not done in {workload.start_limit_s:g} s")
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(SETTLE_S)


async def _send(
    producer: AIOKafkaProducer,
    queries: Sequence[Message],
    rate: float,
    check: Callable[[], None],
) -> tuple[dict[bytes, float], float]:
    """When each query was due, and by how much the harness was late at worst."""
    due: dict[bytes, float] = {}
    sent = []
    late_s = 0.0
    began = time.monotonic()
    for number, message in enumerate(queries):
        at = began + number / rate
        wait = at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        late_s = max(late_s, time.monotonic() - at)
        due[message.query_id.encode()] = at
        sent.append(
            await producer.send(
                QUERIES, message.value, key=message.key, partition=message.partition
            )
        )
        check()
    await asyncio.gather(*sent)
    return due, late_s


async def _until_done(
    watch: Watch, due: Mapping[bytes, float], check: Callable[[], None], limit_s: float
) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and not due.keys() <= watch.done.keys():
        check()
        await asyncio.sleep(POLL_S)


def _waits(due: Mapping[bytes, float], seen: Mapping[bytes, float]) -> Percentiles:
    return percentiles(
        (seen[key] - at) * 1_000 if key in seen else math.inf for key, at in due.items()
    )
