"""Keeps a model up: a `Model` that outlives the engines it is made from.

In: a way to make an engine. Out: that engine's generations, or at once `EngineDown` while
there is none, or `EngineBusy` when enough are running. An engine that dies, or says nothing
for too long while generations wait for it, is replaced after a back-off; its running
generations end with `EngineDown`. Always holds: at most one engine is served from; nothing
is left running after `close`. A stalled engine's thread cannot be killed: it is abandoned,
and after a few of them the supervisor is `hopeless` and the process had better be replaced.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Protocol

import msgspec

from engine.generation import Ending, EngineBusy, EngineDown, Model, Piece

log = logging.getLogger(__name__)


class Engine(Model, Protocol):
    """A model that is up, and can be closed."""

    async def close(self) -> None:
        """Ends its generations with `EngineDown` and frees what it holds."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When to give up, in seconds unless said."""

    generations: int = 128
    """How many may be admitted at once, running or queued."""
    stall: float = 30.0
    """Silence from an engine that has generations waiting for it."""
    start: float = 600.0
    close: float = 10.0
    first_backoff: float = 1.0
    most_backoff: float = 60.0
    abandoned: int = 2
    """How many stalled engines are left behind before it is hopeless."""


class Supervised:
    """A `Model` that restarts. `start` before use, `close` after."""

    def __init__(
        self,
        make: Callable[[], Awaitable[Engine]],
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._make = make
        self._limits = limits or Limits()
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._engine: Engine | None = None
        self._name = ""
        self._corrects = False
        self._why = "the engine is not up yet"
        self._admitted = 0
        self._waits: set[asyncio.Timeout] = set()
        self._heard_at = clock()
        self._failures = 0
        self._abandoned = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up = asyncio.Event()
        self.restarts = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def corrects(self) -> bool:
        return self._corrects

    @property
    def healthy(self) -> bool:
        return self._engine is not None

    @property
    def hopeless(self) -> bool:
        """No engine will come up again in this process."""
        return self._given_up.is_set()

    @property
    def engine(self) -> Engine | None:
        """The one that is up, for its metrics."""
        return self._engine

    async def until_hopeless(self) -> None:
        await self._given_up.wait()

    async def start(self) -> None:
        """Makes the first engine; if that fails, so does this."""
        self._take(await self._made())
        self._spawn(self._watch())

    async def close(self) -> None:
        """Ends every generation, the restart under way, and the engine."""
        engine = self._drop("the engine is closed")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if engine:
            await self._bury(engine)

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        engine = self._engine
        if engine is None:
            raise EngineDown(self._why)
        if self._admitted >= self._limits.generations:
            raise EngineBusy(f"{self._admitted} generations are running")
        self._admitted += 1
        try:
            async with aclosing(engine.generate(prompt, grammar)) as generation:
                while (said := await self._next(engine, generation)) is not None:
                    if isinstance(said, Ending):
                        self._failures = 0
                    yield said
        finally:
            self._admitted -= 1

    async def _next(
        self, engine: Engine, generation: AsyncGenerator[Piece | Ending]
    ) -> Piece | Ending | None:
        """What the engine says next, None at the end; `EngineDown` if it is no longer the one."""
        if self._engine is not engine:
            raise EngineDown(self._why)
        if not self._waits:
            self._heard_at = self._clock()
        try:
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                try:
                    said = await anext(generation, None)
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if not wait.expired():
                raise
            raise EngineDown(self._why) from None
        except EngineDown as error:
            self._lose(engine, str(error), stalled=False)
            raise
        self._heard_at = self._clock()
        return said

    async def _watch(self) -> None:
        """Looks for a stall. Waking up late itself means that the loop was held up."""
        pause = self._limits.stall / 4
        while True:
            asked_at = self._clock()
            await self._sleep(pause)
            now = self._clock()
            if now - asked_at > 2 * pause:
                self._heard_at = now
            silent = now - self._heard_at
            if self._engine and self._waits and silent > self._limits.stall:
                self._lose(self._engine, f"the engine stalled for {silent:.0f} s", stalled=True)

    def _lose(self, engine: Engine, why: str, *, stalled: bool) -> None:
        if self._engine is not engine:
            return
        log.error("%s", why)
        self._drop(why)
        self._abandoned += stalled
        self._spawn(self._replace(engine))

    def _drop(self, why: str) -> Engine | None:
        """Serves from no engine; the generations that wait for it end now."""
        engine, self._engine, self._why = self._engine, None, why
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())
        return engine

    async def _replace(self, engine: Engine) -> None:
        await self._bury(engine)
        while self._abandoned < self._limits.abandoned:
            await self._sleep(self._backoff())
            self._failures += 1
            try:
                self._take(await self._made())
            except Exception as error:  # whatever kept it from starting, the next try may not
                log.error("the engine did not restart: %s", error)
            else:
                self.restarts += 1
                return
        log.critical("%d engines stalled: this process cannot go on", self._abandoned)
        self._given_up.set()

    async def _made(self) -> Engine:
        try:
            async with asyncio.timeout(self._limits.start):
                return await self._make()
        except TimeoutError:
            self._abandoned += 1
            raise EngineDown("the engine did not start in time") from None

    async def _bury(self, engine: Engine) -> None:
        try:
            async with asyncio.timeout(self._limits.close):
                await engine.close()
        except Exception as error:  # it is lost already
            log.warning("the engine did not close: %s", error or type(error).__name__)

    def _take(self, engine: Engine) -> None:
        self._engine, self._name, self._corrects = engine, engine.name, engine.corrects

    def _backoff(self) -> float:
        """Doubles with every start that no generation has outlived; half of it is chance."""
        limits = self._limits
        full = min(limits.most_backoff, limits.first_backoff * 2.0 ** min(self._failures, 30))
        return full * (0.5 + self._chance() / 2)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
