"""`tagstream bench pipeline`: the service beside two peers that do the same job.

In: `PipelineOptions`. Out: a `PipelineReport` of every run, its failures, the medians and the
ratios, with the machine and the versions. The peers are in `tests/benchmarks/peers`, in a
checkout of the project only, and need the extra `peers`.

`tagstream+telemetry` is the service once more, with Prometheus on a port and traces sent to a
sink, and `tagstream-replay` without knowing what was published before; both are reported
beside, not instead.

Each run has a fresh broker and cache. Rounds are interleaved and the order rotates, so that
neither a warm machine nor a busy minute favours one. A run that fails is one line in the
report, and the others go on; what the harness itself lacks is a `BenchError` or an
`EmbeddedError`.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import get_args
from uuid import uuid4

import msgspec
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from infra.bench.figures import (
    Failure,
    Latency,
    Ratio,
    Run,
    Summary,
    Test,
    Throughput,
    compare,
    summarise,
)
from infra.bench.latency import latency
from infra.bench.machine import Machine, this_machine, versions
from infra.bench.processes import BenchError, Child, child
from infra.bench.sink import received, sink
from infra.bench.throughput import throughput
from infra.bench.traffic import profiles
from infra.bench.workload import Workload, environment
from infra.bench.world import World, refuse_used_broker, world
from infra.embedded import HOST, free_port

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "tagstream"
TELEMETRY = "tagstream+telemetry"
NO_REPLAY = "tagstream-replay"
PEERS = ("bare", "concurrent")
PEERS_PATH = ROOT / "tests" / "benchmarks"
IMPLEMENTATIONS = (SERVICE, TELEMETRY, NO_REPLAY, *PEERS)
TESTS: tuple[Test, ...] = get_args(Test)
RUN_FAILS = (BenchError, KafkaError, RedisError, TimeoutError)
"""What ends a run and not the bench."""
NEEDED = {
    "bare": ("aiokafka", "msgspec", "redis", "uvloop"),
    "concurrent": ("faststream", "faststream-concurrent-aiokafka", "msgspec", "redis", "uvloop"),
}


class PipelineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The first implementation is the one that the others are compared with."""

    implementations: tuple[str, ...] = (SERVICE, *PEERS)
    tests: tuple[Test, ...] = TESTS
    rounds: int = 3
    workload: Workload = Workload()
    kafka: str | None = None
    """None: embedded, fresh for each run."""
    redis: str | None = None
    peer_python: str | None = None
    """The interpreter that has the peers' packages; None: this one."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Before each run (`result` is None) and after it."""

    step: int
    steps: int
    round: int
    test: Test
    implementation: str
    result: Run | Failure | None = None


class PipelineReport(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    versions: dict[str, str]
    peer_versions: dict[str, str]
    broker: str
    cache: str
    workload: Workload
    rounds: int
    subject: str
    runs: tuple[Run, ...]
    failures: tuple[Failure, ...]
    summaries: tuple[Summary, ...]
    ratios: dict[Test, tuple[Ratio, ...]]


def silent(progress: Progress) -> None:
    """For callers who do not show progress."""


def line(progress: Progress) -> str:
    """Progress in words."""
    now = f"{progress.step}/{progress.steps} {progress.test} of {progress.implementation}"
    match progress.result:
        case None:
            return f"{now} ..."
        case Throughput(queries_s=rate):
            return f"{now}: {rate:,.0f} queries/s"
        case Latency(first_ms=first, done_ms=done):
            return f"{now}: first p50 {first.p50:.0f} ms, done p50 {done.p50:.0f} ms"
        case Failure(reason=reason):
            return f"{now} failed: {reason}"


async def run(
    options: PipelineOptions, progress: Callable[[Progress], None] = silent
) -> PipelineReport:
    """Everything. Raises `BenchError` or `EmbeddedError` if nothing can be measured."""
    ours, theirs = await _checked(options)
    runs: list[Run] = []
    failures: list[Failure] = []
    plan = list(_plan(options))
    for step, (number, test, name) in enumerate(plan, 1):
        now = Progress(step=step, steps=len(plan), round=number, test=test, implementation=name)
        progress(now)
        result: Run | Failure
        try:
            result = await _measure(options, test, name, number)
        except RUN_FAILS as error:
            reason = str(error) if isinstance(error, BenchError) else repr(error)
            result = Failure(test=test, implementation=name, round=number, reason=reason)
            failures.append(result)
        else:
            runs.append(result)
        progress(msgspec.structs.replace(now, result=result))
    subject = options.implementations[0]
    return PipelineReport(
        machine=this_machine(),
        versions=ours,
        peer_versions=theirs,
        broker="given" if options.kafka else "embedded",
        cache="given" if options.redis else "embedded",
        workload=options.workload,
        rounds=options.rounds,
        subject=subject,
        runs=tuple(runs),
        failures=tuple(failures),
        summaries=summarise(runs),
        ratios={test: compare(runs, subject, test) for test in options.tests},
    )


async def _checked(options: PipelineOptions) -> tuple[dict[str, str], dict[str, str]]:
    """The versions here and in the peers' interpreter; or `BenchError` for what is missing."""
    unknown = set(options.implementations) - set(IMPLEMENTATIONS)
    if unknown or not options.implementations or options.rounds < 1:
        raise BenchError(
            f"cannot measure {', '.join(sorted(unknown)) or 'nothing'}: "
            f"choose of {', '.join(IMPLEMENTATIONS)}, in one round or more"
        )
    ours = await versions(sys.executable)
    theirs = await versions(options.peer_python) if options.peer_python else ours
    for name in options.implementations:
        lacking = [package for package in NEEDED.get(name, ()) if package not in theirs]
        if lacking:
            raise BenchError(
                f"{name} needs {', '.join(lacking)}: pip install 'tagstream[peers]', "
                "or name an interpreter that has them"
            )
        if name in PEERS and not (PEERS_PATH / "peers" / f"{name}.py").is_file():
            raise BenchError(f"{name} is not here: the peers are in a checkout of the project")
    if options.kafka:
        await refuse_used_broker(options.kafka)
    return ours, theirs


def _plan(options: PipelineOptions) -> Iterator[tuple[int, Test, str]]:
    """Every run: round, test, implementation; each round starts with another one."""
    names = options.implementations
    for number in range(options.rounds):
        first = number % len(names)
        for test in options.tests:
            for name in names[first:] + names[:first]:
                yield number, test, name


async def _measure(options: PipelineOptions, test: Test, name: str, number: int) -> Run:
    workload = options.workload
    cached = profiles(workload.members)
    made = world(options.kafka, options.redis, cached, workload.fetch_max_wait_ms)
    # new names for each run: a broker or cache that is given may remember the run before
    prefix = uuid4().hex[:8]
    async with made as there:
        match test:
            case "throughput":
                start = _starter(options, name, there, prefix, 0.0)
                return await throughput(there, start, workload, prefix, number)
            case "latency":
                start = _starter(options, name, there, prefix, workload.delay_ms)
                return await latency(there, start, workload, prefix, number)


def _starter(
    options: PipelineOptions, name: str, there: World, prefix: str, delay_ms: float
) -> Callable[[], AbstractContextManager[Child]]:
    if name in (SERVICE, TELEMETRY, NO_REPLAY):
        argv, path = [sys.executable, "-m", "infra", "serve"], [ROOT]
    else:
        python = options.peer_python or sys.executable
        argv, path = [python, "-m", f"peers.{name}"], [PEERS_PATH, ROOT]
    told = environment(
        os.environ,
        options.workload,
        bootstrap=there.bootstrap,
        redis_url=there.redis_url,
        group=f"tagstream-bench-{prefix}",
        delay_ms=delay_ms,
        path=path,
    )
    if name == TELEMETRY:
        return lambda: _observed(argv, told)
    if name == NO_REPLAY:
        told["TAGSTREAM_REPLAY"] = "false"
    return lambda: child(name, argv, told, ROOT)


@contextmanager
def _observed(argv: Sequence[str], told: Mapping[str, str]) -> Iterator[Child]:
    """With telemetry on. Raises `BenchError` if no traces arrived at the sink."""
    with sink() as port:
        telemetry = {
            "TAGSTREAM_HTTP_HOST": HOST,
            "TAGSTREAM_HTTP_PORT": str(free_port()),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{HOST}:{port}/v1/traces",
        }
        with child(TELEMETRY, argv, {**told, **telemetry}, ROOT) as running:
            yield running
        if not received(port):
            raise BenchError(f"{TELEMETRY} sent no traces: {running.name} ran without telemetry")
