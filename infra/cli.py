"""The command line. Every error is one line on stderr and a non-zero exit."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.table import Table

from infra.bench.commands import app as bench_app
from infra.console import Json, brief, note, out, run, say, settings, show, stop
from infra.letters_commands import app as letters_app
from infra.settings import Settings, describe

T = TypeVar("T")
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
    ("schemas", schemas_app), ("bench", bench_app), ("dead-letters", letters_app),
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
    """Predictions for a file of searches (docs/labels.md has the form)."""
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


@app.command("eval")
def evaluate(
    gold: Annotated[Path, typer.Argument(help="Labelled searches (docs/labels.md has the form).")],
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="A second system, more than once if you like: `baseline` (the rules), "
            "`pretrained` and `zero-shot` (the base model with examples and without), "
            "`no-draft` (the model, not shown what the rules say), or a "
            "model's folder or name."
        ),
    ] = None,
    seen: Annotated[
        Path | None,
        typer.Option(help="Training's searches: recall apart for values they have."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="A page in Markdown, with every error to read.")
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Each search stands there twice, asked by two people.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Precision, recall and F1 of the model in settings on labelled searches."""
    from infra.evaluate import evaluate, tables

    chosen = settings()
    found = run(lambda: evaluate(chosen, gold, against or [], seen, report, note, pairs=pairs))
    if as_json:
        return say(found)
    return show(tables(found))


def _done(work: Callable[[], T]) -> T:
    """Long work on the main thread, so that Ctrl-C ends it; errors as `run` has them."""
    from engine.generation import EngineError

    try:
        return work()
    except EngineError as error:
        raise stop(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Gets train.jsonl, validation.jsonl, CARD.md.")],
    size: Annotated[int, typer.Option(min=1, help="Searches for training.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 1,
) -> None:
    """Make labelled searches: hand-written ones varied, and made-up ones."""
    from infra.training import synth

    _done(lambda: synth(folder, size, seed))


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="What `tagstream synth` made.")],
    out: Annotated[Path, typer.Argument(help="The run's folder: then a model to name.")],
    base: Annotated[
        str, typer.Option(help="`base`, a folder, or a name on a hub, of a causal model.")
    ] = "base",
    method: Annotated[str, typer.Option(help="lora or full.")] = "lora",
    batches: Annotated[
        str, typer.Option(help="homogeneous, heterogeneous or mixed: how tasks share batches.")
    ] = "heterogeneous",
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Homogeneous: tasks come in one by one.")
    ] = False,
    steps: Annotated[int, typer.Option(min=1)] = 2_000,
    size: Annotated[int, typer.Option(min=1, help="Samples a step.")] = 48,
    rate: Annotated[
        float | None, typer.Option(help="Peak learning rate. [default: 2e-3, full: 2e-4]")
    ] = None,
    floor: Annotated[float, typer.Option(help="The share of it that the cosine ends at.")] = 0.1,
    rank: Annotated[int, typer.Option(min=1, help="Of LoRA.")] = 32,
    balance: Annotated[
        float, typer.Option(help="A task's share is its size to this power; 0: all equal.")
    ] = 0.8,
    prompt_weight: Annotated[float, typer.Option(help="The prompt's part in the loss.")] = 0.0,
    start: Annotated[
        Path | None, typer.Option(help="A run whose weights to begin with, its optimizer not.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 1,
    cosines: Annotated[
        bool, typer.Option("--cosines", help="Log those of the tasks' gradients, by pair.")
    ] = False,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 200,
) -> None:
    """Fine-tune a model; killed, it goes on when the same command is given again."""
    from infra.training import recipe, train

    chosen = settings()
    try:
        asked = recipe(
            base=base, method=method, mode=batches, curriculum=curriculum, steps=steps, size=size,
            rate=rate, floor=floor, rank=rank, balance=balance, prompt_weight=prompt_weight,
            start=start, seed=seed,
        )  # fmt: skip
    except ValueError as error:
        raise stop(error) from None
    made = _done(lambda: train(chosen, data, out, asked, save_every, cosines=cosines))
    note(f"TAGSTREAM_MODEL={made} names the model")


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
