"""The demo: an embedded broker, cache and model; sample searches; what comes out, as it comes.

In: settings. Out: a time line per search, then tables; or, with JSON, an object per search
and one summary. Everything it starts has ended when it returns.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from importlib.resources import as_file, files
from operator import itemgetter
from statistics import quantiles
from typing import Any

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from infra import topics, traffic
from infra.console import brief
from infra.embedded import broker, cache
from infra.health import Health
from infra.service import Progress, service
from infra.settings import Settings
from infra.telemetry import set_up
from schemas.queries import SearchQuery

MEAN_GAP_S = 0.45
_WAIT_S = 60.0


class DemoError(Exception):
    """The demo did not come to its end; one line says why."""


class Line(msgspec.Struct):
    """One search's time line; times in milliseconds since it was published."""

    query: SearchQuery
    published: float
    calls: list[tuple[int, float, dict[str, Any]]] = []
    """Index, arrival, call; in the order of the stream, which topics do not keep."""
    topics: list[str] = []
    done: dict[str, Any] | None = None
    done_ms: float = 0.0

    @property
    def complete(self) -> bool:
        """Topics have no order among each other: the done event says how many there are."""
        return self.done is not None and len(self.calls) == self.done["events"]

    def text(self) -> Text:
        line = Text(f"{self.query.query:.60}", style="bold")
        line.append(f"  ({self.query.member_id})" if self.query.member_id else "", style="dim")
        line.append("\n   ")
        for _, milliseconds, call in self.calls:
            line.append(f" {milliseconds:.0f} ", style="dim")
            line.append(brief(call), style="cyan")
        if self.done:
            line.append(f" {self.done_ms:.0f} ", style="dim")
            style = "green" if self.done["status"] in ("complete", "denied") else "yellow"
            line.append(f"done: {self.done['status']}", style=style)
        return line


async def demo(settings: Settings, out: Console, progress: Progress, *, as_json: bool) -> None:
    """Raises `DemoError`, `EngineError`, `EmbeddedError`."""
    async with broker() as bootstrap, cache() as url:
        chosen = msgspec.structs.replace(
            settings,
            kafka_bootstrap=bootstrap,
            kafka_security_protocol="PLAINTEXT",
            kafka_idempotence=False,  # the embedded broker has no producer ids
            fetch_max_wait_ms=20,
            redis_url=url,
            http_port=None,
            log_format="text",
            log_level="WARNING",
        )
        progress(f"broker at {bootstrap}, cache at {url}")
        await topics.create(chosen, partitions=4, replication=1)
        with _sample("profiles.jsonl") as file:
            progress(f"{await traffic.load_profiles(chosen, file)} profiles loaded")
        with _sample("searches.jsonl") as file:
            queries = traffic.searches(file)
        telemetry, health = set_up(chosen), Health(chosen.ready_stall_ms / 1_000)
        async with service(chosen, progress, telemetry, health) as running:
            while health.problems(time.monotonic()):  # noqa: ASYNC110 # it is asked, it does not tell
                await asyncio.sleep(0.05)
            lines = await _watched(chosen, queries, out, as_json=as_json)
        _summary(lines, running.model.name, out, as_json=as_json)


def _sample(name: str) -> Any:
    return as_file(files("infra").joinpath("samples", name))


def _gaps() -> Iterator[float]:
    """As visitors come: exponential, the same ones every time."""
    chance = random.Random(7)
    return (chance.expovariate(1 / MEAN_GAP_S) for _ in itertools.count())


async def _watched(
    settings: Settings, queries: list[SearchQuery], out: Console, *, as_json: bool
) -> list[Line]:
    """Publishes, listens, and shows each search while it is answered."""
    lines: dict[str, Line] = {}
    ready = asyncio.Event()
    show = _Screen(out, lines, as_json)

    async def listening() -> None:
        async for heard in traffic.listen(settings, ready, earliest=True):
            line = lines.get(heard.value.get("query_id", ""))
            if line is None:
                continue
            since = (heard.arrived - line.published) * 1_000
            line.topics.append(heard.topic)
            if "call" in heard.value:
                line.calls.append((heard.value["index"], since, heard.value["call"]))
                line.calls.sort(key=itemgetter(0))
            else:
                line.done, line.done_ms = heard.value, since
            show.update(line)
            if len(lines) == len(queries) and all(line.complete for line in lines.values()):
                return

    def begin(query: SearchQuery) -> None:
        lines[query.query_id] = Line(query, time.time())

    async def publishing() -> None:
        await ready.wait()
        async for _ in traffic.publish(settings, queries, _gaps(), begin):
            pass

    with show:
        async with asyncio.TaskGroup() as group:
            group.create_task(publishing())
            listener = group.create_task(listening())
            group.create_task(_limited(listener, len(queries)))
    return list(lines.values())


async def _limited(listener: asyncio.Task[None], searches: int) -> None:
    _, waiting = await asyncio.wait([listener], timeout=_WAIT_S + searches * 2 * MEAN_GAP_S)
    if waiting:
        raise DemoError("not every search was answered in time; `tagstream serve` logs tell more")


class _Screen:
    """Finished searches scroll up, those under way are redrawn below (not with JSON)."""

    def __init__(self, out: Console, lines: dict[str, Line], as_json: bool) -> None:
        self._out, self._lines, self._as_json = out, lines, as_json
        self._live = Live(console=out, transient=True, refresh_per_second=20)

    def __enter__(self) -> None:
        if self._out.is_terminal and not self._as_json:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, line: Line) -> None:
        open_lines = [one.text() for one in self._lines.values() if not one.complete]
        if self._live.is_started:
            self._live.update(Group(*open_lines, Spinner("dots")))
        if line.complete and self._as_json:
            self._out.print_json(msgspec.json.encode(_record(line)).decode(), indent=None)
        elif line.complete:
            self._out.print(line.text())


def _record(line: Line) -> dict[str, Any]:
    return {
        "query": line.query.query,
        "calls": [{"ms": round(ms, 1), **call} for _, ms, call in line.calls],
        "done_ms": round(line.done_ms, 1),
        "done": line.done,
    }


def _summary(lines: list[Line], model: str, out: Console, *, as_json: bool) -> None:
    first = [min(ms for _, ms, _ in line.calls) for line in lines if line.calls]
    done = [line.done_ms for line in lines]
    own = [line.done["elapsed_ms"] for line in lines if line.done]
    latency = {"first event": first, "done": done, "done, received to acknowledged": own}
    topics = Counter(topic for line in lines for topic in line.topics)
    statuses = Counter(line.done["status"] for line in lines if line.done)
    if as_json:
        figures = {
            name: dict(zip(("p50", "p95"), _at(v), strict=True)) for name, v in latency.items()
        }
        summary = {"model": model, "latency_ms": figures, "events": topics, "statuses": statuses}
        return out.print_json(msgspec.json.encode(summary).decode(), indent=None)
    table = Table("ms from publishing", "p50", "p95", title=f"{len(lines)} searches, {model}")
    for name, values in latency.items():
        table.add_row(name, *(f"{value:.0f}" for value in _at(values)))
    events = Table("topic", "events")
    for topic, count in topics.most_common():
        events.add_row(topic, str(count))
    ends = Table("status", "searches")
    for status, count in statuses.most_common():
        ends.add_row(status, str(count))
    out.print()
    out.print(table, events, ends)
    return None


def _at(values: list[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return round(cuts[9], 1), round(cuts[18], 1)
