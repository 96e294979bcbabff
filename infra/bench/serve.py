"""`tagstream bench serve`: the whole stream on the real engine, at given rates.

In: `ServeOptions` and settings. Out: a `ServeReport`. Broker and cache are embedded, or
given; the service is a process of its own (`infra.bench.worker`) with the engine that the
settings name, started once and warm before the first rate. At each rate queries arrive as a
Poisson process, first some seconds that do not count, then those that do; latency counts
from the scheduled arrival. The next rate begins when the queries of the one before are done.

A rate that cannot be measured is one line in the report, and ends it; what the harness
itself lacks is a `BenchError` or an `EmbeddedError`.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from infra.bench.load import arrivals, messages, sample_profiles, sample_searches
from infra.bench.machine import Machine, this_machine, versions
from infra.bench.openloop import Check, Watch, subscriber, until_done, warm_up
from infra.bench.processes import BenchError, child
from infra.bench.rates import Bench, Plan, Relay, told
from infra.bench.shares import RateFigures
from infra.bench.traffic import PARTITIONS
from infra.bench.worker import SETTINGS
from infra.bench.workload import CLEARED
from infra.bench.world import World, refuse_used_broker, world
from infra.settings import Settings
from producers.routes import DEFAULT_ROUTES
from schemas.queries import SearchQuery

ROOT = Path(__file__).resolve().parents[2]
EVENTS = (DEFAULT_ROUTES["plan"],)
"""Every answer's first event is its plan: more topics would only load the broker."""
FETCH_MAX_WAIT_MS = 20
SHOWN = (
    "model", "quantization", "compile", "guided", "stream", "threads", "window", "max_tokens",
    "stub_delay_ms",
)  # fmt: skip
"""The settings that the figures depend on most."""


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and for how long."""

    rates: tuple[float, ...] = (4, 8, 12, 16, 20, 30, 40)
    seconds: float = 30.0
    """Of each rate, counted."""
    warm_up_s: float = 5.0
    """Of each rate, before, at the same rate."""
    seed: int = 1
    kafka: str | None = None
    """None: embedded."""
    redis: str | None = None
    start_limit_s: float = 900.0
    """Until the engine is up: the first time it is prepared and compiled."""
    drain_limit_s: float = 10.0
    """After the last arrival of a rate: what comes later is unfinished."""
    settle_limit_s: float = 180.0
    """How long the next rate waits for the unfinished of the one before."""


class ServeReport(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    versions: dict[str, str]
    model: str
    settings: dict[str, Any]
    broker: str
    cache: str
    searches: int
    options: ServeOptions
    rates: tuple[RateFigures, ...]
    failure: str | None
    """Why a rate could not be measured, if one could not."""


Progress = Callable[[str], None]


async def run(options: ServeOptions, settings: Settings, progress: Progress) -> ServeReport:
    """Everything. Raises `BenchError` or `EmbeddedError` if nothing can be measured."""
    if not options.rates or min(*options.rates, options.seconds) <= 0 or options.warm_up_s < 0:
        raise BenchError("rates and seconds must be more than 0")
    if options.kafka:
        await refuse_used_broker(options.kafka)
    found = await versions(sys.executable)
    measured: list[RateFigures] = []
    made = world(options.kafka, options.redis, sample_profiles(), FETCH_MAX_WAIT_MS)
    failure = None
    async with made as there:
        with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as name:
            folder = Path(name)
            (folder / SETTINGS).write_bytes(
                msgspec.json.encode(_leading_there(settings, options, there))
            )
            try:
                await _measured(options, there, folder, measured, progress)
            except (BenchError, KafkaError, RedisError, TimeoutError) as error:
                failure = str(error) if isinstance(error, BenchError) else repr(error)
                if not measured:
                    raise BenchError(failure) from error
            model, _ = told(folder)
    return ServeReport(
        machine=this_machine(),
        versions=found,
        model=model,
        settings={name: getattr(settings, name) for name in SHOWN},
        broker="given" if options.kafka else "embedded",
        cache="given" if options.redis else "embedded",
        searches=len(sample_searches()),
        options=options,
        rates=tuple(measured),
        failure=failure,
    )


def _leading_there(settings: Settings, options: ServeOptions, there: World) -> Settings:
    """The worker's settings: those in force, but for where it leads and what it tells."""
    plain = Settings()
    return msgspec.structs.replace(
        settings,
        kafka_bootstrap=there.bootstrap,
        kafka_security_protocol="PLAINTEXT",
        kafka_idempotence=settings.kafka_idempotence and options.kafka is not None,
        redis_url=there.redis_url,
        redis_username=None,
        redis_password=None,
        redis_ca_file=None,
        group=f"tagstream-bench-{uuid4().hex[:8]}",
        group_instance_id=None,
        queries_topic=plain.queries_topic,
        done_topic=plain.done_topic,
        dead_letters_topic=plain.dead_letters_topic,
        routes={},
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        http_port=None,
        log_format="text",
        log_level="WARNING",
    )


async def _measured(
    options: ServeOptions,
    there: World,
    folder: Path,
    measured: list[RateFigures],
    progress: Progress,
) -> None:
    """One rate after the other, on one engine. Raises what ends a run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
    argv = [sys.executable, "-m", "infra.bench.worker", str(folder)]
    prefix = uuid4().hex[:8]
    samples = sample_searches()
    progress("starting the service")
    with child("the service", argv, kept | {"PYTHONPATH": str(ROOT)}, ROOT) as running:
        async with subscriber(there, running, EVENTS) as (watch, check), there.producer() as sender:
            first = messages(samples, PARTITIONS, f"{prefix}-warm", options.seed)
            relay = Relay(check, folder, progress)
            await warm_up(sender, watch, relay, first, options.start_limit_s)
            bench = Bench(
                world=there, service=running, watch=watch, check=check, sender=sender, folder=folder
            )
            for plan in _plans(options, samples, prefix):
                progress(f"{plan.rate:g} queries/s ...")
                found = await bench.measure(plan)
                measured.append(found)
                progress(f"{plan.rate:g} queries/s: {_brief(found)}")
                await _settled(watch, check, plan, options.settle_limit_s)


def _plans(options: ServeOptions, samples: Sequence[SearchQuery], prefix: str) -> Iterator[Plan]:
    for number, rate in enumerate(options.rates):
        seed = options.seed + number
        moments = arrivals(rate, options.warm_up_s + options.seconds, seed)
        yield Plan(
            rate=rate,
            queries=messages(samples, len(moments), f"{prefix}-{number}", seed),
            moments=moments,
            warm_up_s=options.warm_up_s,
            seconds=options.seconds,
            drain_limit_s=options.drain_limit_s,
        )


async def _settled(watch: Watch, check: Check, plan: Plan, limit_s: float) -> None:
    """Until nothing of this rate is left. Raises `BenchError` at the limit."""
    keys = plan.keys()
    if not await until_done(watch, keys, check, limit_s):
        left = len(set(keys) - watch.done.keys())
        raise BenchError(
            f"{left} queries of {plan.rate:g}/s were not done {limit_s:g} s later: "
            "what comes after it was not measured"
        )


def _brief(found: RateFigures) -> str:
    return (
        f"first p50 {found.first_ms.p50:.0f}, done p50 {found.done_ms.p50:.0f}, "
        f"p95 {found.done_ms.p95:.0f} ms"
    )
