"""What every command shares: where text goes, how an error ends it, the `--json` option.

Progress and errors go to stderr, data to stdout. Every error is one line and a non-zero exit.
"""

import logging
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.markup import escape

from infra.settings import Settings, SettingsError, load

T = TypeVar("T")
out = Console()
err = Console(stderr=True)
Json = Annotated[bool, typer.Option("--json", help="Answer with JSON, one object a line.")]


def stop(message: object) -> typer.Exit:
    """One line on stderr; raise what comes back."""
    err.print(f"tagstream: {message}", style="red", highlight=False, soft_wrap=True, markup=False)
    return typer.Exit(1)


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine under uvloop; the errors that users can meet become one line."""
    import uvloop

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # we say it in one line
    expected = _expected()
    try:
        return uvloop.run(work())
    except expected as error:
        raise stop(error) from None
    except ExceptionGroup as group:
        known, unknown = group.split(expected)
        if unknown or known is None:
            raise
        raise stop(known.exceptions[0]) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _expected() -> tuple[type[Exception], ...]:
    from engine.generation import EngineError
    from infra.bench.processes import BenchError
    from infra.demo import DemoError
    from infra.embedded import EmbeddedError
    from infra.service import Stopped
    from infra.topics import TopicsError
    from infra.traffic import TrafficError

    return (
        SettingsError, EngineError, BenchError, DemoError, EmbeddedError, Stopped, TopicsError,
        TrafficError,
    )  # fmt: skip


def settings() -> Settings:
    """Those in force, or an end with one line."""
    try:
        return load()
    except SettingsError as error:
        raise stop(error) from None


def note(text: str) -> None:
    """Progress, on stderr."""
    err.print(f"[dim]{escape(text)}[/dim]", highlight=False)


def show(items: Iterable[RenderableType]) -> None:
    """Tables and lines, on stdout."""
    for item in items:
        out.print(item, highlight=False, soft_wrap=isinstance(item, str))


def brief(call: dict[str, Any]) -> str:
    """A call in a few words: its tool and its values."""
    values = [v for k, v in call.items() if k not in ("tool", "facet") and v is not None]
    shown = ", ".join(str(v) if not isinstance(v, list) else ", ".join(v) for v in values)
    return f"{call['tool']} {shown}".strip()


def say(value: Any) -> None:
    """One JSON object on a line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
