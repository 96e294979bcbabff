"""`tagstream bench ...`: options in, tables or JSON out, progress on stderr.

Each report says the machine and the versions, and what its figures mean.
"""

from typing import Annotated

import typer

from infra.console import Json, note, run, say, settings, show, stop

app = typer.Typer(no_args_is_help=True, help="Measure; each says machine and versions.")
Kafka = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A broker without the contract's topics, not ours."),
]
Redis = Annotated[str | None, typer.Option(metavar="URL", help="A cache, not ours.")]


@app.command()
def pipeline(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved; the order rotates.")] = 3,
    queries: Annotated[int, typer.Option(min=1, help="Of a throughput run.")] = 20_000,
    rate: Annotated[float, typer.Option(help="Queries a second of a latency run.")] = 100.0,
    seconds: Annotated[float, typer.Option(help="Its length.")] = 20.0,
    delay: Annotated[float, typer.Option(help="The stub's ms for a query in it.")] = 400.0,
    window: Annotated[int, typer.Option(min=1, help="Queries in flight.")] = 64,
    members: Annotated[int, typer.Option(min=1, help="Profiles in the cache.")] = 10_000,
    implementation: Annotated[
        list[str] | None,
        typer.Option(
            help="tagstream, bare or concurrent, again for more; default: all. Also"
            " tagstream-replay: it does not know what was published before."
        ),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="throughput or latency; default: both.")
    ] = None,
    telemetry: Annotated[
        bool, typer.Option("--telemetry", help="tagstream once more, with telemetry on.")
    ] = False,
    idempotence: Annotated[
        bool,
        typer.Option("--idempotence", help="Idempotent producers; not on the embedded broker."),
    ] = False,
    kafka: Kafka = None,
    redis: Redis = None,
    peer_python: Annotated[
        str | None, typer.Option(metavar="PYTHON", help="One that has tagstream[peers].")
    ] = None,
    as_json: Json = False,
) -> None:
    """The stream with a stub engine, beside other implementations of the same job."""
    from infra.bench import pipeline as bench
    from infra.bench.tables import pipeline_tables
    from infra.bench.workload import Workload

    names = tuple(implementation or (bench.SERVICE, *bench.PEERS))
    if telemetry and bench.TELEMETRY not in names:
        names += (bench.TELEMETRY,)
    if unknown := set(test or ()) - set(bench.TESTS):
        raise stop(f"--test: {', '.join(sorted(unknown))}; choose of {', '.join(bench.TESTS)}")
    try:
        workload = Workload(
            queries=queries, rate=rate, seconds=seconds, delay_ms=delay, window=window,
            members=members, idempotence=idempotence,
        )  # fmt: skip
    except ValueError as error:
        raise stop(error) from None
    options = bench.PipelineOptions(
        implementations=names,
        tests=tuple(name for name in bench.TESTS if not test or name in test),
        rounds=rounds,
        workload=workload,
        kafka=kafka,
        redis=redis,
        peer_python=peer_python,
    )
    report = run(lambda: bench.run(options, lambda progress: note(bench.line(progress))))
    if as_json:
        say(report)
    else:
        show(pipeline_tables(report))
    if not report.runs:
        raise stop(f"every run failed: {report.failures[0].reason}")


@app.command()
def serve(
    rates: Annotated[
        str, typer.Option(metavar="N,N,...", help="Queries a second.")
    ] = "4,8,12,16,20,30,40",
    seconds: Annotated[float, typer.Option(help="Of each rate, counted.")] = 30.0,
    warm_up: Annotated[float, typer.Option(help="Seconds of each rate before, not counted.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of the arrivals and the order of searches.")] = 1,
    kafka: Kafka = None,
    redis: Redis = None,
    as_json: Json = False,
) -> None:
    """The whole stream on the engine that settings name: open loop, Poisson arrivals."""
    from infra.bench import serve as bench
    from infra.bench.tables import serve_tables

    try:
        wanted = tuple(float(rate) for rate in rates.split(","))
    except ValueError:
        raise stop(f"--rates: {rates!r} is not a list of numbers, such as 4,8,12") from None
    options = bench.ServeOptions(
        rates=wanted, seconds=seconds, warm_up_s=warm_up, seed=seed, kafka=kafka, redis=redis
    )
    chosen = settings()
    report = run(lambda: bench.run(options, chosen, note))
    if as_json:
        say(report)
    else:
        show(serve_tables(report))
    if report.failure:
        raise stop(report.failure)


@app.command()
def decoder(
    repeats: Annotated[
        int, typer.Option(min=1, help="Of each figure, which is their median.")
    ] = 200,
    as_json: Json = False,
) -> None:
    """Time per token of the answers' decoder, and its growth from 1 to 100 KB."""
    from infra.bench import decoder as bench
    from infra.bench.tables import decoder_tables

    report = run(lambda: bench.run(repeats, note))
    if as_json:
        say(report)
    else:
        show(decoder_tables(report))
