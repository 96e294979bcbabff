"""The service in a process of its own, with its engine's time taken: a part of `bench serve`.

`python -m infra.bench.worker FOLDER` reads `settings.json` there and serves until SIGTERM. It
writes `engine.jsonl` there: `Starting` while the engine starts, one `Speaker` when it is warm,
and one `Spoken` whenever a request to it has ended. So the load generator has another event
loop, and knows of every query how much of its time was the engine's.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

import msgspec
import typer

from consumers.deliveries import Delivery
from engine.generation import Ending, Model, Piece
from infra.console import run
from infra.health import Health
from infra.service import Progress, running_model, service
from infra.settings import Settings
from infra.telemetry import Telemetry, Trace, set_up

SETTINGS = "settings.json"
ENGINE = "engine.jsonl"
asking: ContextVar[str] = ContextVar("asking", default="")
"""The query_id of the query that this task answers."""


class Starting(msgspec.Struct, frozen=True, tag="starting"):
    """What the engine does before it is warm."""

    doing: str


class Speaker(msgspec.Struct, frozen=True, tag="speaker"):
    """The model, warm."""

    model: str


class Spoken(msgspec.Struct, frozen=True, tag="spoken"):
    """One request to the model, in milliseconds since it was asked."""

    query_id: str
    first_piece_ms: float
    first_call_ms: float
    """Until the first call was closed: no event can leave before."""
    end_ms: float


Line = Starting | Speaker | Spoken


class Timed:
    """A `Model` that tells of every request that came to its end; otherwise the one inside."""

    def __init__(self, model: Model, tell: Callable[[Line], None]) -> None:
        self._model = model
        self._tell = tell

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def corrects(self) -> bool:
        return self._model.corrects

    def __getattr__(self, attribute: str) -> Any:
        """What health and telemetry ask of some models."""
        return getattr(self._model, attribute)

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        asked = time.monotonic()
        first = closed = 0.0
        async with aclosing(self._model.generate(prompt, grammar)) as generation:
            async for said in generation:
                passed = (time.monotonic() - asked) * 1_000
                if isinstance(said, Piece):
                    first = first or passed
                    closed = closed or (passed if "}" in said.text else 0.0)
                else:
                    end = closed or passed
                    self._tell(Spoken(asking.get(), first or passed, end, passed))
                yield said


class Naming(Telemetry):
    """Telemetry that records nothing, and lets the model know which query asks."""

    @contextmanager
    def process(self, delivery: Delivery) -> Iterator[Trace]:
        asking.set(delivery.query.query_id if delivery.query else "")
        with super().process(delivery) as trace:
            yield trace


async def work(settings: Settings, figures: IO[bytes]) -> None:
    """Serves until SIGTERM. Raises `EngineError`, and whatever ends the consumer."""
    set_up(settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def tell(line: Line) -> None:
        figures.write(msgspec.json.encode(line) + b"\n")

    @asynccontextmanager
    async def timed(settings: Settings, progress: Progress) -> AsyncIterator[Model]:
        async with running_model(settings, progress) as model:
            tell(Speaker(model.name))
            yield Timed(model, tell)

    telemetry, health = Naming(tracing=False), Health(settings.ready_stall_ms / 1_000)
    async with service(
        settings, lambda text: tell(Starting(text)), telemetry, health, timed
    ) as running:
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([running.consuming, stopped], return_when=asyncio.FIRST_COMPLETED)
        if running.consuming.done():
            running.consuming.result()


def main(folder: Path) -> int:
    settings = msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Settings)
    with (folder / ENGINE).open("wb", buffering=0) as figures:
        try:
            run(lambda: work(settings, figures))
        except typer.Exit as ended:
            return ended.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
