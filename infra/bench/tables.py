"""Reports as tables for a terminal. Pure: a report in, what rich can print out."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table

from infra.bench.figures import Figure, Ratio, Summary, Test
from infra.bench.machine import Machine
from infra.bench.pipeline import PipelineReport

ROWS: dict[Test, dict[str, str]] = {
    "throughput": {
        "queries_s": "queries/s",
        "cpu_s_per_1000": "CPU s per 1,000",
        "broker_cpu_s_per_1000": "broker's",
    },
    "latency": {
        **{
            f"{what}_{share}_ms": f"{what} {share}, ms"
            for what in ("first", "done")
            for share in ("p50", "p95", "p99")
        },
        "unfinished": "unfinished",
        "cpu_s_per_1000": "CPU s per 1,000",
    },
}


def pipeline_tables(report: PipelineReport) -> Iterator[RenderableType]:
    """A table of medians and one of ratios for each test, the failures, and what it ran on."""
    for test, rows in ROWS.items():
        summaries = [summary for summary in report.summaries if summary.test == test]
        if summaries:
            yield _medians(test, rows, summaries)
        if ratios := report.ratios.get(test):
            yield _ratios(f"{test}: {report.subject} divided by", rows, ratios)
    for failure in report.failures:
        yield f"round {failure.round} {failure.test} {failure.implementation}: {failure.reason}"
    load = report.workload
    yield (
        f"{report.rounds} rounds: median (lowest-highest); broker {report.broker}, cache "
        f"{report.cache}, {load.members:,} profiles, window {load.window}"
    )
    yield (
        f"throughput: {load.queries:,} queries, stub delay 0; latency: {load.rate:g} queries/s "
        f"for {load.seconds:g} s, stub delay {load.delay_ms:g} ms, from the scheduled send"
    )
    yield from origin(report.machine, report.versions)
    if report.peer_versions != report.versions:
        yield f"peers: {listed(report.peer_versions)}"


def _medians(test: Test, rows: Mapping[str, str], summaries: Sequence[Summary]) -> Table:
    table = Table(test, *(summary.implementation for summary in summaries))
    for metric, name in rows.items():
        table.add_row(name, *(spread(summary.figures.get(metric)) for summary in summaries))
    table.add_row("all arrived", *("yes" if summary.complete else "NO" for summary in summaries))
    return table


def _ratios(title: str, rows: Mapping[str, str], ratios: Sequence[Ratio]) -> Table:
    found = {(ratio.peer, ratio.metric): ratio.figure for ratio in ratios}
    peers = list(dict.fromkeys(ratio.peer for ratio in ratios))
    table = Table(title, *peers)
    for metric, name in rows.items():
        table.add_row(name, *(spread(found.get((peer, metric))) for peer in peers))
    return table


def origin(machine: Machine, versions: Mapping[str, str]) -> Iterator[str]:
    """The machine and the versions, a line each."""
    yield f"{machine.cpu}, {machine.cores} cores, {machine.system}"
    yield listed(versions)


def listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def spread(figure: Figure | None) -> str:
    """`12.3 (11.9-13.0)`; the median alone where there was one run."""
    if figure is None:
        return "-"
    if figure.runs == 1:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.lowest)}-{number(figure.highest)})"


def number(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
