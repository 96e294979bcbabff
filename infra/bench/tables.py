"""Reports as tables for a terminal. Pure: a report in, what rich can print out."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table

from infra.bench.decoder import DecoderReport
from infra.bench.figures import Figure, Percentiles, Ratio, Summary, Test
from infra.bench.machine import Machine
from infra.bench.pipeline import PipelineReport
from infra.bench.serve import ServeReport
from infra.bench.shares import RateFigures

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
RATES_ABREAST = 4
"""Columns of a table that 80 characters hold."""


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


def serve_tables(report: ServeReport) -> Iterator[RenderableType]:
    """A column for each rate: what searchers wait, whose share it is, what it costs."""
    for start in range(0, len(report.rates), RATES_ABREAST):
        rates = report.rates[start : start + RATES_ABREAST]
        table = Table("queries/s", *(f"{found.rate:g}" for found in rates))
        for name, of in SERVE_ROWS.items():
            table.add_row(name, *(of(found) for found in rates))
        yield table
    yield (
        "ms, p50/p95/p99. first and done: from the scheduled arrival to a subscriber's receipt. "
        "sent: from received to handed to the broker, as `done` says it. "
        "engine: its own share; beside: what the stream adds to it."
    )
    options = report.options
    yield (
        f"{report.model}; {options.seconds:g} s of each rate after {options.warm_up_s:g} s of "
        f"warm-up, Poisson arrivals, seed {options.seed}, {report.searches} sample searches; "
        f"broker {report.broker}, cache {report.cache}"
    )
    yield ", ".join(f"{name} {value}" for name, value in report.settings.items())
    yield from origin(report.machine, report.versions)


def _per_rate() -> dict[str, Callable[[RateFigures], str]]:
    def engine(name: str) -> Callable[[RateFigures], str]:
        return lambda found: shares(getattr(found.engine, name, None))

    return {
        "offered/achieved": lambda found: f"{found.offered:.1f}/{found.achieved:.1f}",
        "first": lambda found: shares(found.first_ms),
        "done": lambda found: shares(found.done_ms),
        "unfinished": lambda found: f"{found.unfinished} of {found.queries}",
        "sent: first": lambda found: shares(found.sent_first_ms),
        "sent: done": lambda found: shares(found.sent_done_ms),
        "engine: first piece": engine("first_piece_ms"),
        "engine: first call": engine("first_call_ms"),
        "engine: answer": engine("answer_ms"),
        "beside: first": engine("beside_first_ms"),
        "beside: done": engine("beside_done_ms"),
        "queued before us": lambda found: shares(found.queued_ms),
        "statuses": lambda found: " ".join(f"{k} {v}" for k, v in found.statuses.items()),
        "tokens out, median": lambda found: f"{found.output_tokens:g}",
        "tokens in (cached)": lambda f: f"{f.prompt_tokens:g} ({f.cached_share:.0%})",
        "cores: service": lambda found: cores(found.cores.service),
        "cores: broker": lambda found: cores(found.cores.broker),
        "cores: harness": lambda found: cores(found.cores.harness),
        "sender late, ms": lambda found: f"{found.sender_late_ms:.0f}",
    }


SERVE_ROWS = _per_rate()


def shares(found: Percentiles | None) -> str:
    """`41/66/80`."""
    if found is None:
        return "-"
    return "/".join(
        f"{value:.0f}" if value >= 10 else f"{value:.1f}"
        for value in (found.p50, found.p95, found.p99)
    )


def cores(busy: float | None) -> str:
    return "-" if busy is None else f"{busy:.2f}"


def decoder_tables(report: DecoderReport) -> Iterator[RenderableType]:
    """Time per token by cut, then time per kilobyte by text, cut and size."""
    paces = Table("cut", "answers", "tokens", "us a token")
    for pace in report.paces:
        paces.add_row(pace.cut, str(pace.answers), str(pace.tokens), spread(pace.us_per_token))
    yield paces
    sizes = [f"{size} KB" for size in report.growths[0].us_per_kb]
    growths = Table("us a KB of", "cut", *sizes, f"{sizes[-1]} / {sizes[0]}")
    for growth in report.growths:
        costs = (number(cost.median) for cost in growth.us_per_kb.values())
        growths.add_row(growth.text, growth.cut, *costs, f"{growth.ratio:.2f}")
    yield growths
    yield (
        f"medians of {report.repeats} repeats. tuned: added tokens and words; plain, pieces: "
        "four characters each; whole: the answer at once, counted in the tuned model's tokens"
    )
    yield from origin(report.machine, report.versions)


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
