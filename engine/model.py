"""The real engine: vLLM in this process, made and stepped in one thread of its own.

In: a prompt and a grammar. Out: the answer's text as it is generated. The event loop and
the thread exchange messages: requests and aborts through a queue, and what a step produced
through one callback a step. So a slow step never stops the loop, and a stalled one shows.
Always holds: a generation ends once, with an `Ending` or an `EngineError`; one that is
closed early is aborted in vLLM. Nothing else imports vllm, and this does so on `start`.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from engine.answer import FIRST, WITH_PROFILE, WITHOUT_PROFILE
from engine.generation import Ending, EngineDown, EngineError, Piece
from engine.language import PLAN_SELF_REFERENCE, added_tokens
from engine.prompt import instructions, render

log = logging.getLogger(__name__)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is made from."""

    path: str
    """A checkpoint's folder, or a hub's name (see `engine.weights`)."""
    name: str
    cache: Path | None = None
    """Where compiled kernels are kept; vLLM's own place if None."""
    threads: int = 0
    """Cores for the products of a step; 0 is all."""
    kv_cache_gib: float = 1.0
    """Ignored on a GPU, where vLLM takes its share of the memory."""
    max_model_len: int = 8_192
    max_tokens: int = 256
    max_num_seqs: int = 64
    block_size: int = 32
    eager: bool = False
    guided: bool = True
    stream: bool = True


class Load(msgspec.Struct, frozen=True):
    """What runs, what waits, and the totals since the start."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class _Ask(msgspec.Struct, frozen=True):
    id: str
    prompt: str
    grammar: str


class _Abort(msgspec.Struct, frozen=True):
    id: str


class _Said(msgspec.Struct, frozen=True):
    """What a step added to one generation; with an ending, the last."""

    id: str
    text: str = ""
    ending: Ending | None = None
    error: EngineError | None = None


class VllmModel:
    """A `Model`. `start` before use, `close` after; not to be started again."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._inbox: queue.SimpleQueue[_Ask | _Abort | None] = queue.SimpleQueue()
        self._heard: dict[str, asyncio.Queue[_Said]] = {}
        self._ids = count()
        self._down: EngineDown | None = EngineDown("the engine is not up yet")
        self._stepper: _Stepper | None = None
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    async def start(self) -> None:
        """Loads, compiles and warms up; raises `EngineDown` if it cannot."""
        loop = asyncio.get_running_loop()
        up: asyncio.Future[_Stepper] = loop.create_future()

        def tell(said: list[_Said]) -> None:
            loop.call_soon_threadsafe(self._deliver, said)

        def run() -> None:
            try:
                stepper = _Stepper(self._settings, self._inbox)
            except Exception as error:
                log.debug("the engine did not start", exc_info=True)
                down = EngineDown(f"the engine did not start: {_one_line(error)}")
                loop.call_soon_threadsafe(_fail, up, down)
                return
            loop.call_soon_threadsafe(_resolve, up, stepper)
            try:
                stepper.run(tell)
            except Exception as error:
                log.exception("the engine died")
                loop.call_soon_threadsafe(self._die, f"the engine died: {_one_line(error)}")
            else:
                loop.call_soon_threadsafe(self._die, "the engine is closed")

        self._thread = threading.Thread(target=run, name="engine", daemon=True)
        self._thread.start()
        self._stepper = await up
        self._down = None

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        if self._down:
            raise self._down
        ask = _Ask(str(next(self._ids)), prompt, grammar)
        heard = self._heard[ask.id] = asyncio.Queue()
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
            del self._heard[ask.id]
            if not ended:
                self._inbox.put(_Abort(ask.id))

    def metrics(self) -> Load:
        """Safe at any time; a moment old at most."""
        return self._stepper.load if self._stepper else Load()

    async def close(self) -> None:
        """Ends the thread after the step it is in; running generations get `EngineDown`."""
        self._inbox.put(None)
        if self._thread:
            await asyncio.to_thread(self._thread.join, 10.0)
        self._die("the engine is closed")

    def _deliver(self, batch: list[_Said]) -> None:
        for said in batch:
            if heard := self._heard.get(said.id):
                heard.put_nowait(said)

    def _die(self, reason: str) -> None:
        self._down = self._down or EngineDown(reason)
        self._deliver([_Said(key, error=self._down) for key in self._heard])


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _resolve(up: "asyncio.Future[_Stepper]", stepper: "_Stepper") -> None:
    if not up.done():
        up.set_result(stepper)


def _fail(up: "asyncio.Future[_Stepper]", error: EngineDown) -> None:
    if not up.done():
        up.set_exception(error)


def _environment(settings: EngineSettings) -> None:
    """What vLLM reads when it is imported; what the operator set stays."""
    wanted = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CONFIGURE_LOGGING": "0",
        "VLLM_USE_AOT_COMPILE": "0",  # with it the compiled kernels are never found again
    }
    if settings.cache:
        wanted["VLLM_CACHE_ROOT"] = str(settings.cache / "vllm")
    if Path(settings.path).is_dir():
        wanted["HF_HUB_OFFLINE"] = "1"
    if settings.threads:
        wanted["OMP_NUM_THREADS"] = str(settings.threads)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"))


class _Running(msgspec.Struct):
    """One generation inside vLLM."""

    asked_at: float
    stop_at_plan: bool
    first_token_at: float = 0.0
    tokens: int = 0


class _Stepper:
    """All that touches vLLM; lives in the engine's thread. `load` may be read from any."""

    def __init__(
        self, settings: EngineSettings, inbox: "queue.SimpleQueue[_Ask | _Abort | None]"
    ) -> None:
        _environment(settings)
        from vllm import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        self._settings = settings
        self._inbox = inbox
        self._running: dict[str, _Running] = {}
        self._params: dict[str, Any] = {}
        self.load = Load()
        args = EngineArgs(
            model=settings.path,
            max_model_len=settings.max_model_len,
            max_num_seqs=settings.max_num_seqs,
            block_size=settings.block_size,
            enforce_eager=settings.eager,
            enable_prefix_caching=True,
            generation_config="vllm",
            disable_log_stats=True,
            kv_cache_memory_bytes=int(settings.kv_cache_gib * 2**30),
        )
        self._engine = LLMEngine.from_engine_args(args)
        self._tokenizer: Any = self._engine.get_tokenizer()
        vocabulary = self._tokenizer.get_vocab()
        self._plan_token = vocabulary.get(PLAN_SELF_REFERENCE)
        tuned = all(token in vocabulary for token in added_tokens())
        self._prefix = [] if tuned else self._instructions()
        self._warm_up()

    def _instructions(self) -> list[int]:
        """The untuned model's examples, in whole blocks so that all of it is cached."""
        tokens = self._encode(instructions(self._tokenizer.eos_token))
        size = self._settings.block_size
        newline = self._encode("\n")
        return newline * (-len(tokens) % size) + tokens

    def _encode(self, text: str) -> list[int]:
        readable = text.encode("utf-8", "replace").decode("utf-8")
        encoded: list[int] = self._tokenizer.encode(readable, add_special_tokens=False)
        return encoded

    def _sampling(self, grammar: str) -> Any:
        if params := self._params.get(grammar):
            return params
        from vllm.sampling_params import (
            RequestOutputKind,
            SamplingParams,
            StructuredOutputsParams,
        )

        params = SamplingParams(
            temperature=0.0,
            max_tokens=self._settings.max_tokens,
            output_kind=RequestOutputKind.DELTA
            if self._settings.stream
            else RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(grammar=grammar)
            if self._settings.guided
            else None,
        )
        self._params[grammar] = params
        return params

    def _warm_up(self) -> None:
        for n, grammar in enumerate((FIRST, WITH_PROFILE, WITHOUT_PROFILE)):
            self._add(_Ask(f"warm-{n}", render("warehouse jobs"), grammar))
            while self._running:
                self._step()

    def run(self, tell: Any) -> None:
        """Serves until the inbox says None."""
        while True:
            while not self._running or not self._inbox.empty():
                message = self._inbox.get()
                if message is None:
                    self._engine.engine_core.shutdown()
                    return
                if isinstance(message, _Abort):
                    if self._running.pop(message.id, None):
                        self._engine.abort_request([message.id])
                elif refused := self._add(message):
                    tell([refused])
            if said := self._step():
                tell(said)

    def _add(self, ask: _Ask) -> _Said | None:
        """Hands a request to vLLM, or says why not."""
        tokens = self._prefix + self._encode(ask.prompt)
        room = self._settings.max_model_len - self._settings.max_tokens
        if len(tokens) > room:
            error = EngineError(f"the prompt has {len(tokens)} tokens, {room} are allowed")
            return _Said(ask.id, error=error)
        from vllm.inputs.engine import tokens_input

        self._running[ask.id] = _Running(time.monotonic(), ask.grammar == FIRST)
        prompt = tokens_input(tokens)
        self._engine.add_request(ask.id, prompt, self._sampling(ask.grammar))
        return None

    def _step(self) -> list[_Said]:
        return [said for output in self._engine.step() if (said := self._hear(output))]

    def _hear(self, output: Any) -> _Said | None:
        running = self._running.get(output.request_id)
        if running is None:
            return None
        now = time.monotonic()
        spoken = output.outputs[0]
        running.first_token_at = running.first_token_at or now
        running.tokens += len(spoken.token_ids)
        ending = None
        if output.finished:
            del self._running[output.request_id]
            ending = Ending(
                reason="length" if spoken.finish_reason == "length" else "stop",
                prompt_tokens=len(output.prompt_token_ids),
                cached_tokens=output.num_cached_tokens or 0,
                output_tokens=running.tokens,
                queued_ms=0.0,
                first_token_ms=(running.first_token_at - running.asked_at) * 1_000,
            )
        return _Said(output.request_id, spoken.text, ending)
