"""The service: every part made from settings, started in order, ended in order.

In: settings. Out: an exit code, 0 after SIGTERM. The engine is up and warm before the
first query is fetched; the HTTP port answers from the beginning.
"""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaError
from redis.asyncio.connection import parse_url

from consumers.kafka import ConsumerSettings, QueryConsumer
from consumers.profiles import Profiles, ProfileSettings
from consumers.published import Outputs
from engine.generation import Model
from engine.stub import StubModel
from infra.health import Health, listening
from infra.pipeline import Baseline, Options, Pipeline, TooManyFailed
from infra.settings import Settings, SettingsError, masked
from infra.telemetry import Telemetry, set_up, shut_down
from producers.kafka import EventProducer, ProducerSettings
from producers.routes import DEFAULT_ROUTES, Routes

log = logging.getLogger(__name__)
Progress = Callable[[str], None]
ModelMaker = Callable[[Settings, Progress], contextlib.AbstractAsyncContextManager[Model]]


class Stopped(Exception):
    """The service cannot go on; one line says why."""


@asynccontextmanager
async def running_model(settings: Settings, progress: Progress) -> AsyncIterator[Model]:
    """The model that settings name, warm. Raises `EngineError`."""
    if settings.model == "stub":
        yield StubModel(settings.stub_delay_ms)
        return
    from engine.model import EngineSettings, VllmModel
    from engine.supervisor import Limits, Supervised
    from engine.weights import prepare

    cache = Path(settings.model_cache).expanduser()
    checkpoint = await asyncio.to_thread(
        prepare, settings.model, cache, settings.quantization, progress
    )
    progress(f"starting the engine ({checkpoint.name})")
    engine = EngineSettings(
        path=str(checkpoint.path),
        name=checkpoint.name,
        cache=cache,
        threads=settings.threads,
        kv_cache_gib=settings.kv_cache_gib,
        max_model_len=settings.max_model_len,
        max_tokens=settings.max_tokens,
        max_num_seqs=max(16, settings.window),
        eager=not settings.compile,
        guided=settings.guided,
        stream=settings.stream,
        examples=settings.examples,
    )

    async def make() -> VllmModel:
        model = VllmModel(engine)
        await model.start()
        return model

    limits = Limits(generations=2 * settings.window, stall=settings.stall_ms / 1_000)
    model = Supervised(make, limits)
    await model.start()
    try:
        yield model
    finally:
        await model.close()


async def serve(settings: Settings, progress: Progress = log.info) -> int:
    """Until SIGTERM or SIGINT; a second one forces. Raises `EngineError`, `Stopped`."""
    telemetry = set_up(settings)
    health = Health(settings.ready_stall_ms / 1_000)
    started, stop = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        async with service(settings, progress, telemetry, health) as running:
            started.set()
            while not stop.is_set():
                await _first(running.consuming, stop)
                if reason := health.hopeless():
                    raise Stopped(reason)

    try:
        async with listening(settings, health):
            task = asyncio.create_task(main())
            _on_signals(started, stop, task)
            await task
        return 0
    except TooManyFailed as error:
        raise Stopped(str(error)) from None
    except KafkaError as error:
        raise Stopped(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    except asyncio.CancelledError:
        if not started.is_set():
            return 0
        log.error("forced to stop: open queries are left to the partitions' next owner")
        return 1
    finally:
        await asyncio.to_thread(shut_down)


def _on_signals(started: asyncio.Event, stop: asyncio.Event, main: asyncio.Task[None]) -> None:
    def asked() -> None:
        if stop.is_set() or not started.is_set():
            main.cancel()
        log.info("stopping: finishing the open queries; once more forces")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)


class Running(msgspec.Struct, frozen=True):
    """A service under way; `consuming` ends only when it fails or is stopped."""

    model: Model
    consuming: asyncio.Task[None]


@asynccontextmanager
async def service(
    settings: Settings,
    progress: Progress,
    telemetry: Telemetry,
    health: Health,
    model: ModelMaker | None = None,
) -> AsyncIterator[Running]:
    """The service, from a warm engine to a drained consumer. Raises `EngineError`."""
    async with contextlib.AsyncExitStack() as parts:
        making = (model or running_model)(settings, progress)
        engine, baseline, producer, profiles = await _start(settings, parts, making)
        routes = Routes(settings.routes)
        pipeline = Pipeline(
            engine, baseline, profiles, producer, routes, telemetry, _options(settings)
        )
        consumer = QueryConsumer(
            _consuming(settings), pipeline.process, telemetry.committed, _outputs(settings)
        )
        health.watch(consumer, producer, engine)
        _observe(telemetry, settings, consumer, producer, engine)
        _settle_memory()
        consuming = asyncio.create_task(consumer.run())
        log.info("serving with %s", engine.name)
        try:
            yield Running(engine, consuming)
        finally:
            consumer.stop()
            await consuming


def _settle_memory() -> None:
    """What is loaded stays: the collector need not walk it again at every few queries."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _start(
    settings: Settings,
    parts: contextlib.AsyncExitStack,
    making: contextlib.AbstractAsyncContextManager[Model],
) -> tuple[Model, Baseline | None, EventProducer, Profiles]:
    _check_addresses(settings)
    producer = EventProducer(producing(settings))
    profiles = Profiles(
        ProfileSettings(
            url=settings.redis_url,
            options=settings.redis_options(),
            timeout_ms=settings.redis_timeout_ms,
            max_bytes=settings.profile_max_bytes,
            breaker_failures=settings.redis_breaker_failures,
            breaker_pause_ms=settings.redis_breaker_pause_ms,
        )
    )
    parts.push_async_callback(profiles.close)
    parts.push_async_callback(producer.close)
    model = await parts.enter_async_context(making)
    baseline = await asyncio.to_thread(_baseline) if settings.baseline else None
    await producer.start()
    return model, baseline, producer, profiles


def _check_addresses(settings: Settings) -> None:
    """Raises `SettingsError`: the clients would only say so with a stack trace."""
    for name, read, value in (
        ("kafka_bootstrap", collect_hosts, settings.kafka_bootstrap),
        ("redis_url", parse_url, settings.redis_url),
    ):
        try:
            read(value)
        except ValueError as error:
            raise SettingsError(f"{name}: {masked(value)!r} is not allowed: {error}") from None


def _baseline() -> Baseline:
    from engine import baseline

    baseline.load()
    return baseline.tag


async def _first(work: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Until the task ends, `stop` is set, or a second is up; raises what the task raised."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([work, stopped], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if work.done():
        work.result()


def _options(settings: Settings) -> Options:
    return Options(
        worker=settings.worker_name,
        done_topic=settings.done_topic,
        dead_letters_topic=settings.dead_letters_topic,
        deadline_ms=settings.deadline_ms,
        expire_early=settings.expire_early,
        degrade_late=settings.degrade_late,
        failed_per_minute=settings.failed_per_minute,
    )


def _consuming(settings: Settings) -> ConsumerSettings:
    same = set(ConsumerSettings.__struct_fields__) & set(Settings.__struct_fields__)
    return ConsumerSettings(
        topic=settings.queries_topic,
        client=settings.kafka_client(),
        io_timeout_ms=settings.kafka_io_timeout_ms,
        **{name: getattr(settings, name) for name in same},
    )


def producing(settings: Settings) -> ProducerSettings:
    """How this service's events, and what is redriven, are sent."""
    return ProducerSettings(
        client=settings.kafka_client(),
        idempotence=settings.kafka_idempotence,
        linger_ms=settings.kafka_linger_ms,
        io_timeout_ms=settings.kafka_io_timeout_ms,
        max_record_bytes=settings.kafka_max_record_bytes,
    )


def _outputs(settings: Settings) -> Outputs | None:
    topics = [*(DEFAULT_ROUTES | settings.routes).values(), settings.done_topic]
    limit_s = settings.replay_limit_ms / 1_000
    return Outputs(settings.kafka_client(), topics, limit_s) if settings.replay else None


def _observe(
    telemetry: Telemetry,
    settings: Settings,
    consumer: QueryConsumer,
    producer: EventProducer,
    model: Model,
) -> None:
    loop = asyncio.get_running_loop()

    def load(name: str) -> float:
        """The engine's own figure; none while it is down, and the stub has none."""
        engine = getattr(model, "engine", None)
        return float(getattr(engine.metrics(), name)) if engine else 0.0

    gauges: dict[str, Callable[[], float]] = {
        "in_flight": lambda: consumer.in_flight,
        "window": lambda: settings.window,
        "watermark.lag": lambda: sum(p.offsets.span for p in consumer.partitions.values()),
        "lag": lambda: consumer.watermarks.lag,
        "partitions": lambda: len(consumer.partitions),
        "partitions.paused": lambda: sum(p.paused for p in consumer.partitions.values()),
        "commits": lambda: consumer.watermarks.commits,
        "replay.unread": lambda: consumer.unrecalled,
        "retention.gap": lambda: consumer.watermarks.gap_offsets,
        "tasks": lambda: len(asyncio.all_tasks(loop)),
        "kafka.refused": lambda: producer.refused_for,
        "engine.running": lambda: load("running"),
        "engine.waiting": lambda: load("waiting"),
        "engine.restarts": lambda: getattr(model, "restarts", 0),
        "engine.healthy": lambda: float(getattr(model, "healthy", True)),
    }
    for name, read in gauges.items():
        telemetry.observe(f"tagstream.{name}", read)
