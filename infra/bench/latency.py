"""How long a searcher waits: an open loop at a given rate, with the stub engine's delay.

In: a world, what starts an implementation, a workload. Out: one `Latency`. What has not come
some seconds after the last send counts as infinite.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from infra.bench.delivery import verify
from infra.bench.figures import Latency
from infra.bench.openloop import send, subscriber, until_done, waits, warm_up
from infra.bench.processes import Child
from infra.bench.throughput import per_1000
from infra.bench.traffic import EVENTS, PARTITIONS, messages
from infra.bench.workload import Workload
from infra.bench.world import World


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
    first = messages(PARTITIONS, workload.members, f"{prefix}-warm", workload.seed)
    with start() as child:
        async with subscriber(world, child, EVENTS) as (watch, check), world.producer() as producer:
            await warm_up(producer, watch, check, first, workload.start_limit_s)
            cpu, broker_cpu = child.cpu_s(), world.broker_cpu_s()
            began = time.monotonic()
            schedule = [began + number / workload.rate for number in range(count)]
            late_s = await send(producer, queries, schedule, check)
            due = dict(zip((query.query_id.encode() for query in queries), schedule, strict=True))
            await until_done(watch, due, check, workload.drain_limit_s)
            done = sum(key in watch.done for key in due)
            cpu_per_1000 = per_1000(cpu, child.cpu_s(), done)
            broker_per_1000 = per_1000(broker_cpu, world.broker_cpu_s(), done)
            first_ms, done_ms = waits(due, watch.first), waits(due, watch.done)
    return Latency(
        implementation=child.name,
        round=round_number,
        first_ms=first_ms,
        done_ms=done_ms,
        unfinished=count - done,
        sender_late_ms=late_s * 1_000,
        cpu_s_per_1000=cpu_per_1000,
        broker_cpu_s_per_1000=broker_per_1000,
        delivery=await verify(world, [query.query_id for query in queries]),
        exit_code=child.exit_code,
    )
