"""One rate of `bench serve`: asks, watches, takes the time, makes the figures.

In: everything at work (the service, a subscriber, a sender), queries and when each is due.
Out: `RateFigures`. Cores and achieved queries are counted over the same seconds as the
queries, whatever still drains after them.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer

from infra.bench.openloop import Check, Watch, send, until_done
from infra.bench.processes import BenchError, Child
from infra.bench.shares import Burden, RateFigures, Seen, figures
from infra.bench.traffic import Message
from infra.bench.worker import ENGINE, Line, Speaker, Spoken, Starting
from infra.bench.world import World
from schemas.events import Done

LEAD_S = 0.2
decode_line: Callable[[bytes], Line] = msgspec.json.Decoder(Line).decode
decode_done = msgspec.json.Decoder(Done).decode


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A rate, its queries and their moments from 0; those before `warm_up_s` do not count."""

    rate: float
    queries: Sequence[Message]
    moments: Sequence[float]
    warm_up_s: float
    seconds: float
    drain_limit_s: float

    def keys(self) -> list[bytes]:
        return [query.query_id.encode() for query in self.queries]


class Mark(msgspec.Struct, frozen=True):
    """The state of a run at a moment; processor time in seconds."""

    at: float
    done: int
    service: float | None
    broker: float | None
    harness: float


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at work; `folder` is the worker's."""

    world: World
    service: Child
    watch: Watch
    check: Check
    sender: AIOKafkaProducer
    folder: Path

    async def measure(self, plan: Plan) -> RateFigures:
        """Raises `BenchError` if the service dies or nothing was due."""
        began = time.monotonic() + LEAD_S
        moments = [began + moment for moment in plan.moments]
        start, end = began + plan.warm_up_s, began + plan.warm_up_s + plan.seconds
        due = {k: at for k, at in zip(plan.keys(), moments, strict=True) if at >= start}
        if not due:
            raise BenchError(f"no query was due in {plan.seconds:g} s at {plan.rate:g} a second")
        marks = [asyncio.create_task(self._mark(at)) for at in (start, end)]
        try:
            late_s = await send(self.sender, plan.queries, moments, self.check)
            first, last = await asyncio.gather(*marks)
        finally:
            for mark in marks:
                mark.cancel()
        await until_done(self.watch, due, self.check, plan.drain_limit_s)
        passed = last.at - first.at
        return figures(
            self._seen(due),
            plan.rate,
            plan.seconds,
            achieved=(last.done - first.done) / passed,
            cores=_burden(first, last, passed),
            late_s=late_s,
        )

    async def _mark(self, at: float) -> Mark:
        await asyncio.sleep(at - time.monotonic())
        return Mark(
            time.monotonic(),
            len(self.watch.done),
            self.service.cpu_s(),
            self.world.broker_cpu_s(),
            time.process_time(),
        )

    def _seen(self, due: dict[bytes, float]) -> Seen:
        return Seen(
            due=due,
            first=dict(self.watch.first),
            done=dict(self.watch.done),
            said={k: decode_done(self.watch.said[k]) for k in due if k in self.watch.said},
            spoken=told(self.folder)[1],
        )


def told(folder: Path) -> tuple[str, dict[str, list[Spoken]]]:
    """The model's name, and the engine's times of every query until now."""
    model, spoken = "", defaultdict(list)
    for line in _lines(folder):
        match line:
            case Speaker(model=name):
                model = name
            case Spoken() as request:
                spoken[request.query_id].append(request)
    return model, spoken


class Relay:
    """A check that passes on what the engine does until it is warm."""

    def __init__(self, check: Check, folder: Path, progress: Callable[[str], None]) -> None:
        self._check, self._folder, self._progress = check, folder, progress
        self._passed_on = 0

    def __call__(self) -> None:
        self._check()
        doing = [line.doing for line in _lines(self._folder) if isinstance(line, Starting)]
        for text in doing[self._passed_on :]:
            self._progress(text)
        self._passed_on = len(doing)


def _lines(folder: Path) -> Iterator[Line]:
    file = folder / ENGINE
    if file.exists():
        # what has no line's end yet is still being written
        yield from map(decode_line, file.read_bytes().split(b"\n")[:-1])


def _burden(first: Mark, last: Mark, passed: float) -> Burden:
    def busy(before: float | None, after: float | None) -> float | None:
        return None if before is None or after is None else (after - before) / passed

    return Burden(
        service=busy(first.service, last.service),
        broker=busy(first.broker, last.broker),
        harness=(last.harness - first.harness) / passed,
    )
