"""What the pipeline bench reports, and how runs become figures.

In: runs, each of one implementation in one round. Out: per implementation and metric the
median with the lowest and the highest, and the ratios of the first implementation to each
other, taken round by round (two runs of one round had the machine in about the same mood).
Pure. Times are milliseconds; what never came is infinite (null in JSON).
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Test = Literal["throughput", "latency"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber found in the topics after the run."""

    queries: int
    done: int
    done_distinct: int
    events: int
    events_distinct: int
    events_per_done: float
    unwell: int
    """`done` events that say anything but complete with the profile found."""
    complete: bool
    """Every query has its `done` and all of its events, and none is unwell."""


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    p50: float
    p95: float
    p99: float


class Throughput(msgspec.Struct, frozen=True, kw_only=True, tag="throughput", tag_field="test"):
    """Preloaded queries at stub delay 0, from 2% of them done to all done."""

    implementation: str
    round: int
    queries_s: float
    cpu_s_per_1000: float | None
    broker_cpu_s_per_1000: float | None
    start_s: float
    delivery: Delivery
    exit_code: int


class Latency(msgspec.Struct, frozen=True, kw_only=True, tag="latency", tag_field="test"):
    """Open loop: from the scheduled send to arrival at a subscriber."""

    implementation: str
    round: int
    first_ms: Percentiles
    done_ms: Percentiles
    unfinished: int
    sender_late_ms: float
    """How late the harness itself was at worst; it counts into the latencies."""
    cpu_s_per_1000: float | None
    broker_cpu_s_per_1000: float | None
    delivery: Delivery
    exit_code: int


Run = Throughput | Latency


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A run without a result, and why, in one line."""

    test: Test
    implementation: str
    round: int
    reason: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    median: float
    lowest: float
    highest: float
    runs: int


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """The first implementation's figure divided by this peer's, round by round."""

    peer: str
    metric: str
    figure: Figure


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    test: Test
    implementation: str
    figures: dict[str, Figure]
    complete: bool
    """Whether every run of it was."""


def test_of(run: Run) -> Test:
    return "throughput" if isinstance(run, Throughput) else "latency"


def metrics(run: Run) -> dict[str, float]:
    """A run's numbers by name; what could not be measured is left out."""
    match run:
        case Throughput():
            named: dict[str, float | None] = {"queries_s": run.queries_s}
        case Latency():
            named = {
                f"{what}_{p}_ms": getattr(percentiles, p)
                for what, percentiles in (("first", run.first_ms), ("done", run.done_ms))
                for p in percentiles.__struct_fields__
            } | {"unfinished": run.unfinished}
    named |= {
        "cpu_s_per_1000": run.cpu_s_per_1000,
        "broker_cpu_s_per_1000": run.broker_cpu_s_per_1000,
    }
    return {name: value for name, value in named.items() if value is not None}


def summarise(runs: Sequence[Run]) -> tuple[Summary, ...]:
    """One for each test and implementation, in the order in which they first appear."""
    groups: dict[tuple[Test, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((test_of(run), run.implementation), []).append(run)
    return tuple(
        Summary(
            test=test,
            implementation=implementation,
            figures=_figures([metrics(run) for run in group]),
            complete=all(run.delivery.complete for run in group),
        )
        for (test, implementation), group in groups.items()
    )


def compare(runs: Sequence[Run], subject: str, test: Test) -> tuple[Ratio, ...]:
    """`subject` against each other implementation that has runs in the same rounds."""
    rounds: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        if test_of(run) == test:
            rounds.setdefault(run.implementation, {})[run.round] = metrics(run)
    ours = rounds.pop(subject, {})
    return tuple(
        Ratio(peer=peer, metric=metric, figure=figure)
        for peer, theirs in rounds.items()
        for metric, figure in _figures(
            [_quotients(ours[number], theirs[number]) for number in ours.keys() & theirs.keys()]
        ).items()
    )


def figure(values: Sequence[float]) -> Figure:
    """Raises `ValueError` if there are none."""
    return Figure(
        median=statistics.median(values),
        lowest=min(values),
        highest=max(values),
        runs=len(values),
    )


def percentiles(values: Iterable[float]) -> Percentiles:
    """By nearest rank. Raises `ValueError` if there are none."""
    ranked = sorted(values)
    if not ranked:
        raise ValueError("no values")

    def rank(share: float) -> float:
        return ranked[max(0, math.ceil(share * len(ranked)) - 1)]

    return Percentiles(p50=rank(0.50), p95=rank(0.95), p99=rank(0.99))


def _quotients(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """Without those that have no meaning: a zero below, or infinity by infinity."""
    return {
        name: value / theirs[name]
        for name, value in ours.items()
        if theirs.get(name) and not (math.isinf(value) and math.isinf(theirs[name]))
    }


def _figures(rows: Sequence[dict[str, float]]) -> dict[str, Figure]:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: figure(column) for name, column in columns.items()}
