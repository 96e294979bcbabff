"""The real engine, seen from the event loop: generations in, text out as it is generated.

vLLM itself lives in a thread of its own (`engine.stepper`). Asks and aborts go there
through a queue; what a step has said comes back by one callback a step. So a slow step
never stops the loop, and a stalled one shows. Always holds: a generation ends once, with an
`Ending` or an `EngineError`; one that is closed early is aborted in vLLM.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable
from itertools import count

from engine.generation import Ending, EngineDown, Piece
from engine.stepper import Abort, Ask, EngineSettings, Load, Said, Stepper

__all__ = ["EngineSettings", "Load", "VllmModel"]

log = logging.getLogger(__name__)

CLOSE_SECONDS = 10.0


class VllmModel:
    """A `Model`. `start` before use, `close` after; it is not started again."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._inbox: queue.SimpleQueue[Ask | Abort | None] = queue.SimpleQueue()
        self._heard: dict[str, asyncio.Queue[Said]] = {}
        self._keys = count()
        self._why_down = "the engine is not up yet"
        self._stepper: Stepper | None = None
        self._ended = asyncio.Event()

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def corrects(self) -> bool:
        return self._stepper is not None and self._stepper.corrects

    async def start(self) -> None:
        """Loads, compiles and warms up; raises `EngineDown` if it cannot.

        Cancelled, it leaves a thread that ends as soon as it is up.
        """
        loop = asyncio.get_running_loop()
        up: asyncio.Future[Stepper] = loop.create_future()

        def post(call: Callable[..., None], *args: object) -> None:
            if not loop.is_closed():  # else nobody listens
                loop.call_soon_threadsafe(call, *args)

        def run() -> None:
            doing = "did not start"
            try:
                stepper = Stepper(self._settings, self._inbox)
                post(_resolve, up, stepper)
                doing = "died"
                stepper.run(lambda said: post(self._deliver, said))
                why = "the engine is closed"
            except Exception as error:  # whatever vLLM raises, this engine is over
                log.debug("the engine %s", doing, exc_info=True)
                why = f"the engine {doing}: {_one_line(error)}"
            post(self._end, up, why)

        threading.Thread(target=run, name="engine", daemon=True).start()
        try:
            self._stepper = await up
        except asyncio.CancelledError:
            self._inbox.put(None)
            raise
        self._why_down = ""

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        """See `Model`. A prompt that is too long is an `EngineError`."""
        if self._why_down:
            raise EngineDown(self._why_down)
        ask = Ask(str(next(self._keys)), prompt, grammar, time.monotonic())
        heard = self._heard[ask.key] = asyncio.Queue()
        self._inbox.put(ask)
        ended = False
        try:
            while not ended:
                said = await heard.get()
                ended = said.ending is not None or said.error is not None
                if said.error:
                    raise said.error
                if said.text:
                    yield Piece(said.text)
                if said.ending:
                    yield said.ending
        finally:
            del self._heard[ask.key]
            if not ended:
                self._inbox.put(Abort(ask.key))

    def metrics(self) -> Load:
        """A step old at most."""
        return self._stepper.load if self._stepper else Load()

    async def close(self) -> None:
        """Ends the thread after the step it is in; running generations get `EngineDown`."""
        started = self._stepper is not None
        self._fall("the engine is closed")
        self._inbox.put(None)
        if started:
            try:
                await asyncio.wait_for(self._ended.wait(), CLOSE_SECONDS)
            except TimeoutError:
                log.warning("the engine's thread does not end; it is left behind")

    def _deliver(self, batch: list[Said]) -> None:
        for said in batch:
            if heard := self._heard.get(said.key):
                heard.put_nowait(said)

    def _fall(self, why: str) -> None:
        """The first reason stands."""
        self._why_down = self._why_down or why
        self._deliver([Said(key, error=EngineDown(self._why_down)) for key in self._heard])

    def _end(self, up: "asyncio.Future[Stepper]", why: str) -> None:
        if not up.done():
            up.set_exception(EngineDown(why))
        self._fall(why)
        self._ended.set()


def _resolve(up: "asyncio.Future[Stepper]", stepper: Stepper) -> None:
    if not up.done():
        up.set_result(stepper)


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
