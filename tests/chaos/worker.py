"""A worker whose engine and clock misbehave on demand: `python -m tests.chaos.worker`.

In: the service's settings; CHAOS_FOLDER, where the harness says what time it is and where each
misbehaviour leaves a mark, so that it comes once; CHAOS_MEMORY, a limit in bytes. Out: the
service itself, with an engine that answers by a pure function of the query and does what a mark
in the query's text asks for (`zstall`, `zdies` ...), under the real supervisor.
"""

import asyncio
import contextlib
import os
import random
import resource
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import infra.service
from engine.generation import Ending, EngineBusy, EngineDown, Model, Piece
from engine.language import write
from engine.stepper import Load
from engine.supervisor import Limits, Supervised
from infra.console import run
from infra.service import Progress
from infra.settings import Settings, load
from schemas.tools import Call, Company, Location, Plan, Rewrite, Seniority, Skill, Title

NAME = "chaos@1"
KILL = "zkill"
ONCE = ("zstall", "zdies", "zbusy", "zblock", "zmemory", KILL)
"""Misbehaviours that come once for each query; whoever is next answers it."""
ALWAYS = ("zinvalid", "zcut", "zendless", "zwhole")
BLOCK_S = 12.0
BETWEEN_S = 0.1


def calls(query: str, place: str | None, *, second: bool) -> list[Call]:
    """What an undisturbed engine answers: the query's words decide."""
    words = query.split()
    if "mine" in words:
        if not second:
            return [Plan("self_reference")]
        return [Rewrite(f"jobs in {place}"), Location(place)] if place else []
    found: list[Call] = [] if second else [Plan("criteria")]
    makers: list[Callable[[str], Call]] = [Title, Company, Location, Skill]
    for maker, word in zip(makers, words, strict=False):
        found.append(maker(word))
    return [*found, Seniority("mid_senior")] if "senior" in words else found


class ChaoticEngine:
    """One engine; dies for good when asked to."""

    name = NAME
    corrects = False

    def __init__(self, folder: Path, delay: float) -> None:
        self._folder = folder
        self._delay = delay
        self._dead = False
        self._running = 0

    def metrics(self) -> Load:
        return Load(running=self._running)

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        self._running += 1
        try:
            async for said in self._said(prompt):
                yield said
        finally:
            self._running -= 1

    async def _said(self, prompt: str) -> AsyncGenerator[Piece | Ending]:
        if self._dead:
            raise EngineDown("dead")
        query = prompt.split("\n", maxsplit=1)[0].removeprefix("Search: ")
        marks = [mark for mark in (*ONCE, *ALWAYS) if mark in query.split()]
        asked = [mark for mark in marks if mark in ALWAYS or self._first(mark, query)]
        place = prompt.partition("location=")[2].partition("\n")[0].partition(";")[0]
        second = "self_reference" in prompt
        lines = [write([call]) for call in calls(query, place or None, second=second)]
        pause = self._delay / max(len(lines), 1) * random.uniform(0.5, 1.5)
        if "zbusy" in asked:
            raise EngineBusy("busy")
        if "zwhole" in asked:
            await asyncio.sleep(self._delay)
            yield Piece("".join(lines))
            lines = []
        for at, line in enumerate(lines):
            await asyncio.sleep(pause)
            if at == 1:
                for mark in asked:
                    async for piece in self._misbehave(mark):
                        yield piece
                        if isinstance(piece, Ending):
                            return
            middle = len(line) // 2
            yield Piece(line[:middle])
            yield Piece(line[middle:])
        yield Ending(reason="stop", output_tokens=len(lines))

    async def _misbehave(self, mark: str) -> AsyncIterator[Piece | Ending]:
        match mark:
            case "zstall":
                await asyncio.sleep(3_600)
            case "zdies":
                self._dead = True
                raise EngineDown("it died")
            case "zblock":
                time.sleep(BLOCK_S)  # noqa: ASYNC251 # that is the fault
            case "zmemory":
                held = []
                while True:
                    held.append(bytearray(1 << 26))
            case "zkill":
                await asyncio.sleep(BETWEEN_S)  # the call before is with the broker by now
                os.kill(os.getpid(), signal.SIGKILL)
            case "zinvalid":
                yield Piece('{"tool":"title"}\n{"tool":"nothing"}\nI am a poem\n')
            case "zcut":
                yield Ending(reason="length")
            case "zendless":
                for _ in range(200):
                    yield Piece('{"tool":"skill","skill":"again"}\n')
                yield Ending(reason="length")

    def _first(self, mark: str, query: str) -> bool:
        """Whether nobody has done so for this query yet."""
        name = f"{mark}-{'-'.join(query.split())[:80]}".replace("/", "_")
        try:
            with (self._folder / name).open("x") as made:
                made.write(str(os.getpid()))
        except FileExistsError:
            return False
        return True

    async def close(self) -> None:
        self._dead = True


@asynccontextmanager
async def _model(settings: Settings, progress: Progress) -> AsyncIterator[Model]:
    folder = Path(os.environ["CHAOS_FOLDER"])

    async def make() -> ChaoticEngine:
        return ChaoticEngine(folder, settings.stub_delay_ms / 1_000)

    limits = Limits(
        generations=2 * settings.window, stall=settings.stall_ms / 1_000, first_backoff=0.3,
        abandoned=1_000,
    )  # fmt: skip
    model = Supervised(make, limits)
    await model.start()
    try:
        yield model
    finally:
        await model.close()


def _jumping_clock(folder: Path) -> None:
    """Wall-clock time is off by as many seconds as the file `clock` says, from when it says so."""
    right = time.time
    said = [0.0, 0.0]

    def wrong() -> float:
        now = right()
        if now - said[1] > 0.2:
            said[1] = now
            with contextlib.suppress(OSError, ValueError):
                said[0] = float((folder / "clock").read_text())
        return now + said[0]

    time.time = wrong


def main() -> None:
    if limit := int(os.environ.get("CHAOS_MEMORY", "0")):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    _jumping_clock(Path(os.environ["CHAOS_FOLDER"]))
    infra.service.running_model = _model
    chosen = load()
    sys.exit(run(lambda: infra.service.serve(chosen)))


if __name__ == "__main__":
    main()
