"""The command line. Every error is one line on stderr and a non-zero exit."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from infra.bench.commands import app as bench_app
from infra.console import Json, brief, note, out, run, say, settings, stop
from infra.settings import Settings, describe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Query understanding as a stream: search queries in from Kafka, tool calls out to "
    "their topics while the model still speaks. Settings are TAGSTREAM_* variables: "
    "`tagstream serve --show-settings` lists them.",
)
topics_app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")
profiles_app = typer.Typer(no_args_is_help=True, help="The members' profiles in Redis.")
schemas_app = typer.Typer(no_args_is_help=True, help="JSON Schema and AsyncAPI.")
for name, group in (
    ("topics", topics_app), ("profiles", profiles_app),
    ("schemas", schemas_app), ("bench", bench_app),
):  # fmt: skip
    app.add_typer(group, name=name)


def main() -> None:
    """The console script."""
    try:
        app()
    except BrokenPipeError:
        sys.exit(0)


@app.command()
def demo(as_json: Json = False) -> None:
    """See it work: embedded broker, cache and model, sample searches, no other set-up."""
    from infra.demo import demo

    chosen = settings()
    run(lambda: demo(chosen, out, note, as_json=as_json))


@app.command()
def serve(
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print every setting and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The service, against the Kafka and Redis in settings. SIGTERM drains; twice forces."""
    chosen = settings()
    if show_settings:
        return _show(chosen, as_json)
    from infra.service import serve

    raise typer.Exit(run(lambda: serve(chosen)))


def _show(chosen: Settings, as_json: bool) -> None:
    rows = describe(chosen)
    if as_json:
        return say({name: value for name, value, _, _ in rows})
    table = Table("TAGSTREAM_...", "value", "allowed", "meaning")
    for row in rows:
        table.add_row(row[0].upper(), *row[1:])
    return out.print(table)


@app.command()
def ask(
    query: Annotated[str, typer.Argument(help="The search, as typed.")],
    profile: Annotated[Path | None, typer.Option(help="A file with the member's profile.")] = None,
    as_json: Json = False,
) -> None:
    """One query, without Kafka: the calls as the model makes them."""
    import time

    chosen = settings()
    found = _profile(profile)

    async def work() -> None:
        from engine.answer import Usage, answer
        from engine.decoder import Dropped
        from infra.service import running_model

        async with running_model(chosen, note) as model:
            asked = time.monotonic()
            async for item in answer(model, query, found):
                ms = f"{(time.monotonic() - asked) * 1_000:5.0f} ms"
                match item:
                    case Usage():
                        note(f"{ms}  end: {item.prompt_tokens} tokens in, {item.output_tokens} out")
                    case Dropped():
                        note(f"{ms}  dropped, {item.reason}: {item.detail}")
                    case _ if as_json:
                        say(item)
                    case _:
                        out.print(f"{ms}  {brief(msgspec.to_builtins(item))}", highlight=False)

    if not 1 <= len(query.strip()) <= 1_000:
        raise stop("QUERY has to have 1 to 1,000 characters")
    run(work)


def _profile(file: Path | None) -> Any:
    from schemas.profiles import decode_profile

    if file is None:
        return None
    try:
        return decode_profile(file.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise stop(f"{file}: {error}") from None


@app.command()
def annotate(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="id, query, profile a line.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="id, calls a line.")],
    at_once: Annotated[int, typer.Option(help="Queries in flight.")] = 8,
) -> None:
    """Predictions for a file of searches, in the contract's format."""
    from infra.annotate import annotate

    chosen = settings()
    written = run(lambda: annotate(chosen, source, target, at_once, note))
    note(f"{written} searches annotated: {target}")


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(help="Searches, one JSON object a line.")],
    rate: Annotated[float, typer.Option(help="Searches a second; 0: as fast as they go.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Publish searches to the queries' topic."""
    from infra import traffic

    chosen = settings()

    async def work() -> int:
        queries, sent = traffic.searches(file), 0
        gaps = itertools.repeat(1 / rate if rate else 0.0)
        async for query in traffic.publish(chosen, queries, gaps):
            sent += 1
            if as_json:
                say({"query_id": query.query_id})
        return sent

    sent = run(work)
    note(f"{sent} searches published to {chosen.queries_topic}")


@app.command()
def tail(
    earliest: Annotated[bool, typer.Option(help="From the beginning, not from now.")] = False,
    as_json: Json = False,
) -> None:
    """Every event as it comes, until Ctrl-C."""
    from infra import traffic

    chosen = settings()

    async def work() -> None:
        async for heard in traffic.listen(chosen, earliest=earliest):
            if as_json:
                say({"topic": heard.topic, **heard.value})
            else:
                out.print(
                    f"[cyan]{heard.topic}[/cyan] {json.dumps(heard.value, ensure_ascii=False)}",
                    soft_wrap=True,
                    highlight=False,
                )

    run(work)


@topics_app.command("create")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic.")] = 8,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each.")] = 1,
    as_json: Json = False,
) -> None:
    """Make the topics that are missing."""
    from infra import topics

    chosen = settings()
    made = run(lambda: topics.create(chosen, partitions, replication))
    if as_json:
        return say(made)
    table = Table("topic", "")
    for topic, new in made.items():
        table.add_row(topic, "made" if new else "there already")
    return out.print(table)


@profiles_app.command("load")
def profiles_load(file: Annotated[Path, typer.Argument(help="Profiles, one a line.")]) -> None:
    """Write profiles to Redis, as profile:{member_id}."""
    from infra import traffic

    chosen = settings()
    note(f"{run(lambda: traffic.load_profiles(chosen, file))} profiles loaded")


@schemas_app.command("export")
def schemas_export(folder: Annotated[Path, typer.Argument(help="Made if missing.")]) -> None:
    """Write JSON Schema and AsyncAPI, as derived from the structs."""
    from producers.routes import DEFAULT_ROUTES
    from schemas.export import Topics, export

    chosen = settings()
    topics = Topics(
        queries=chosen.queries_topic,
        calls=DEFAULT_ROUTES | chosen.routes,
        done=chosen.done_topic,
        dead_letters=chosen.dead_letters_topic,
    )
    try:
        for file in export(folder, topics):
            out.print(str(file), highlight=False, soft_wrap=True)
    except OSError as error:
        raise stop(f"{folder}: {error.strerror}") from None
