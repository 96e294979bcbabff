"""`tagstream dead-letters ...`: options in, tables or JSON out; only `show` has the query."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, get_args

import msgspec
import typer
from rich.table import Table

from infra.console import Json, note, out, run, say, settings, stop
from schemas.failures import Kind as LetterKind

if TYPE_CHECKING:
    from infra.letters import Letter, Wanted

app = typer.Typer(no_args_is_help=True, help="Records that nothing could answer.")
Kind = Annotated[str, typer.Option(help="undecodable or failed; empty: both.")]
Error = Annotated[str, typer.Option(help="Only this error's class.")]
Since = Annotated[
    datetime | None, typer.Option(help="Only letters since then (UTC).", formats=["%Y-%m-%dT%H:%M"])
]
MostAttempts = Annotated[int, typer.Option(min=0, help="Only tried at most so often; 0: any.")]


def _wanted(kind: str, error: str, since: datetime | None, most: int, place: str = "") -> "Wanted":
    if kind not in ("", *get_args(LetterKind)):
        raise stop(f"--kind {kind}: choose of {', '.join(get_args(LetterKind))}")
    from infra.letters import Wanted

    aware = since.replace(tzinfo=UTC) if since else None
    return Wanted(kind=kind, error=error, since=aware, most_attempts=most, place=place)


@app.command("list")
def letters_list(
    kind: Kind = "", error: Error = "", since: Since = None, attempts: MostAttempts = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """One line a letter, without what was searched for."""
    from infra.letters import letters

    chosen, wanted = settings(), _wanted(kind, error, since, attempts)

    async def work() -> "list[Letter]":
        return [letter async for letter in letters(chosen, wanted)]

    found = run(work)
    if as_json:
        for letter in found:
            say({n: getattr(letter, n) for n in _SHOWN})
        return
    table = Table(*_SHOWN)
    for letter in found:
        table.add_row(*(str(getattr(letter, name)) for name in _SHOWN))
    out.print(table)


_SHOWN = ("place", "time", "kind", "error", "message", "source", "attempts")


@app.command("show")
def letters_show(
    place: Annotated[str, typer.Argument(help="partition/offset, as `list` has it.")],
    as_json: Json = False,
) -> None:
    """One letter whole: headers, key and value as they are."""
    from infra.letters import Wanted, letters

    chosen, wanted = settings(), Wanted(place=place)

    async def work() -> "Letter | None":
        return await anext(aiter(letters(chosen, wanted)), None)

    letter = run(work)
    if letter is None:
        raise stop(f"{chosen.dead_letters_topic} has no letter at {place}: see `list`")
    shown = {name: getattr(letter, name) for name in _SHOWN}
    shown |= {"key": _text(letter.key), "value": _text(letter.value)}
    shown["headers"] = {name: _text(value) for name, value in letter.headers}
    if as_json:
        return say(shown)
    return out.print_json(msgspec.json.encode(shown).decode())


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


@app.command("redrive")
def letters_redrive(
    kind: Kind = "failed", error: Error = "", since: Since = None, attempts: MostAttempts = 0,
    place: Annotated[str, typer.Option(help="Only this one: partition/offset.")] = "",
    rate: Annotated[float, typer.Option(min=0.1, help="Records a second.")] = 20.0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Publish letters' records again where they came from, their attempts counted."""
    from infra.letters import redrive

    chosen, wanted = settings(), _wanted(kind, error, since, attempts, place)

    def sent(letter: "Letter", problem: str) -> None:
        if problem:
            note(f"{letter.place} is not published again: {problem}")
        elif as_json:
            say({"place": letter.place, "source": letter.source, "attempts": letter.attempts})

    count = run(lambda: redrive(chosen, wanted, rate, sent))
    note(f"{count} records published again")
