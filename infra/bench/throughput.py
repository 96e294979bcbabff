"""Queries a second, and what they cost: preloaded queries, stub delay 0.

Counted at a subscriber of `search.done`, from 2% done to all done, so that neither start-up
nor the group's first rebalance counts. The harness reads only `done` while it measures; that
everything else arrived is verified after the implementation has ended.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from infra.bench.delivery import verify
from infra.bench.figures import Throughput
from infra.bench.processes import BenchError, Child
from infra.bench.traffic import DONE, QUERIES, messages
from infra.bench.workload import Workload
from infra.bench.world import World

COUNTED_FROM = 0.02
SHORTEST_S = 0.2
FETCH_MS = 50
PRELOAD_LINGER_MS = 20


class Mark(msgspec.Struct, frozen=True):
    """The state of a run at a moment."""

    at: float
    done: int
    cpu_s: float | None
    broker_cpu_s: float | None


async def throughput(
    world: World,
    start: Callable[[], AbstractContextManager[Child]],
    workload: Workload,
    prefix: str,
    round_number: int,
) -> Throughput:
    """One run. Raises `BenchError` if it dies, does not start or is too short to measure."""
    query_ids = await _preload(world, workload, prefix)
    began = time.monotonic()
    with start() as child:
        first, last = await _follow(world, child, workload, began)
    seconds, done = last.at - first.at, last.done - first.done
    if seconds < SHORTEST_S or not done:
        raise BenchError(f"{done} queries in {seconds:.2f} s are too few to measure")
    return Throughput(
        implementation=child.name,
        round=round_number,
        queries_s=done / seconds,
        cpu_s_per_1000=per_1000(first.cpu_s, last.cpu_s, done),
        broker_cpu_s_per_1000=per_1000(first.broker_cpu_s, last.broker_cpu_s, done),
        start_s=first.at - began,
        delivery=await verify(world, query_ids),
        exit_code=child.exit_code,
    )


def per_1000(before: float | None, after: float | None, queries: int) -> float | None:
    """Seconds for a thousand queries; None if one is unknown or there were no queries."""
    if before is None or after is None or not queries:
        return None
    return (after - before) / queries * 1_000


async def _preload(world: World, workload: Workload, prefix: str) -> list[str]:
    query_ids = []
    sent = []
    async with world.producer(linger_ms=PRELOAD_LINGER_MS) as producer:
        for message in messages(workload.queries, workload.members, prefix, workload.seed):
            query_ids.append(message.query_id)
            sent.append(
                await producer.send(
                    QUERIES, message.value, key=message.key, partition=message.partition
                )
            )
        await asyncio.gather(*sent)
    return query_ids


async def _follow(
    world: World, child: Child, workload: Workload, began: float
) -> tuple[Mark, Mark]:
    """From enough done to all done, or to the limit."""
    distinct: set[bytes] = set()
    first: Mark | None = None
    async with world.reader([DONE]) as reader:
        while True:
            for records in (await reader.getmany(timeout_ms=FETCH_MS)).values():
                distinct.update(record.key for record in records)
            now, done = time.monotonic(), len(distinct)
            if first is None and done >= workload.queries * COUNTED_FROM:
                first = _mark(world, child, done)
            if first is None:
                child.check()
                if now - began > workload.start_limit_s:
                    raise BenchError(
                        f"{child.name} answered {done} queries in "
                        f"{workload.start_limit_s:g} s: {child.tail()}"
                    )
            elif done >= workload.queries or now - first.at > workload.run_limit_s:
                return first, _mark(world, child, done)
            else:
                child.check()


def _mark(world: World, child: Child, done: int) -> Mark:
    return Mark(time.monotonic(), done, child.cpu_s(), world.broker_cpu_s())
