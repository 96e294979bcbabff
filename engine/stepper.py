"""The thread that vLLM lives in: it is made, stepped and ended there, and touched nowhere else.

In: asks and aborts, from a queue. Out: what each step has said, one batch a step. Always
holds: every ask that is not aborted is ended once, by an `Ending` or an `EngineError`; at
most `max_num_seqs` are inside vLLM, the others wait here in order. Nothing else imports
vllm, and this does so when it is made.

One thread for all of it, because a pool of OpenMP workers belongs to the thread that calls:
a second caller means a second pool, more workers than cores, and libgomp then puts every
worker to sleep at the end of every product (a third slower on two cores).
"""

import logging
import os
import queue
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.answer import FIRST, WITH_PROFILE, WITHOUT_PROFILE
from engine.delta import CORRECTS
from engine.draft import draft
from engine.generation import Ending, EngineError
from engine.language import added_tokens, write
from engine.prompt import instructions, render
from engine.weights import calm_threads
from schemas.tools import Plan

WHOLE = frozenset({write([Plan("self_reference")]), write([Plan("non_job")])})
"""Answers that are over once this is all they have said: no step is spent on their end token."""


WARM_UP_TOKENS = 4


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is made from."""

    path: str
    """A checkpoint's folder, or a hub's name (see `engine.weights`)."""
    name: str
    cache: Path | None = None
    """Where compiled kernels are kept; vLLM's own places if None."""
    threads: int = 0
    """Cores for the products of a step; 0 is all that this process may use."""
    kv_cache_gib: float = 1.0
    """Ignored on a GPU, where vLLM takes its share of the memory."""
    max_model_len: int = 8_192
    max_tokens: int = 256
    max_num_seqs: int = 64
    block_size: int = 32
    """Ignored on a GPU, where vLLM chooses it."""
    eager: bool = False
    guided: bool = True
    stream: bool = True
    examples: bool = True
    """Whether an untuned model is shown examples of answers."""


class Load(msgspec.Struct, frozen=True):
    """What runs and what waits now, and the totals since the start."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class Ask(msgspec.Struct, frozen=True):
    key: str
    prompt: str
    grammar: str
    asked_at: float


class Abort(msgspec.Struct, frozen=True):
    key: str


class Said(msgspec.Struct, frozen=True):
    """What a step added to one generation; with an ending or an error, the last."""

    key: str
    text: str = ""
    ending: Ending | None = None
    error: EngineError | None = None


class _Running(msgspec.Struct):
    """One generation inside vLLM."""

    asked_at: float
    begun_at: float
    prompt_tokens: int
    text: str = ""
    first_token_at: float = 0.0
    cached_tokens: int = 0
    output_tokens: int = 0


def environment(settings: EngineSettings) -> dict[str, str]:
    """What vLLM and torch read when they are imported; an operator's own values come first."""
    wanted = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CONFIGURE_LOGGING": "0",
        "VLLM_USE_AOT_COMPILE": "0",  # with it the compiled kernels are never found again
        # Unset, vLLM takes one thread for itself, whatever torch says.
        "OMP_NUM_THREADS": str(settings.threads or len(os.sched_getaffinity(0))),
    }
    if settings.cache:
        wanted["VLLM_CACHE_ROOT"] = str(settings.cache / "vllm")
        wanted["TORCHINDUCTOR_CACHE_DIR"] = str(settings.cache / "inductor")
    if Path(settings.path).is_dir():
        wanted["HF_HUB_OFFLINE"] = "1"
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


class Stepper:
    """An engine, warm once made. `load` may be read from any thread."""

    def __init__(
        self, settings: EngineSettings, inbox: "queue.SimpleQueue[Ask | Abort | None]"
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._waiting: deque[Ask] = deque()
        self._running: dict[str, _Running] = {}
        self._params: dict[str, Any] = {}
        self._prompt_tokens = self._cached_tokens = self._output_tokens = 0
        self._engine = self._made()
        self._tokenizer: Any = self._engine.get_tokenizer()
        vocabulary = self._tokenizer.get_vocab()
        tuned = all(token in vocabulary for token in added_tokens())
        self._prefix = [] if tuned else self._instructions()
        config = self._engine.vllm_config.model_config.hf_config
        self.corrects: bool = getattr(config, CORRECTS, False)
        self._warm_up()

    @property
    def load(self) -> Load:
        return Load(
            running=len(self._running),
            waiting=len(self._waiting),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
        )

    def run(self, tell: Callable[[list[Said]], None]) -> None:
        """Serves until the inbox says None."""
        while True:
            idle = not self._running and not self._waiting
            while idle or not self._inbox.empty():
                message = self._inbox.get()
                if message is None:
                    self._engine.engine_core.shutdown()
                    return
                if isinstance(message, Ask):
                    self._waiting.append(message)
                else:
                    self._abort(message.key)
                idle = False
            if said := self._begin() + self._step():
                tell(said)

    def _made(self) -> Any:
        calm_threads()
        os.environ.update(environment(self._settings))
        level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")  # its warnings are not about queries
        warnings.filterwarnings("ignore", category=FutureWarning, module="vllm")
        for name in ("vllm", "torch", "xgrammar"):
            logging.getLogger(name).setLevel(level)
        import torch
        from vllm import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        settings = self._settings
        sizes: dict[str, Any] = {}
        if current_platform.is_cpu():
            if not settings.eager and not (shutil.which("g++") or os.environ.get("CXX")):
                raise EngineError("g++ is missing: install it, or set TAGSTREAM_COMPILE=false")
            # torch may have been imported before the environment was set.
            if torch.get_num_threads() != (threads := int(os.environ["OMP_NUM_THREADS"])):
                torch.set_num_threads(threads)
            sizes = {
                "block_size": settings.block_size,
                "kv_cache_memory_bytes": int(settings.kv_cache_gib * 2**30),
            }
        args = EngineArgs(
            model=settings.path,
            max_model_len=settings.max_model_len,
            max_num_seqs=settings.max_num_seqs,
            enforce_eager=settings.eager,
            enable_prefix_caching=True,
            generation_config="vllm",
            disable_log_stats=True,
            use_tqdm_on_load=False,
            **sizes,
        )
        return LLMEngine.from_engine_args(args)

    def _instructions(self) -> list[int]:
        """The untuned model's examples, in whole blocks so that all of it is cached."""
        tokens = self._encode(
            instructions(self._tokenizer.eos_token, examples=self._settings.examples)
        )
        size = self._engine.vllm_config.cache_config.block_size
        prefix: list[int] = self._encode("\n") * (-len(tokens) % size) + tokens
        if len(prefix) + self._settings.max_tokens >= self._settings.max_model_len:
            raise EngineError(f"max_model_len is too small: the instructions have {len(prefix)}")
        return prefix

    def _encode(self, text: str) -> list[int]:
        readable = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
        encoded: list[int] = self._tokenizer.encode(readable, add_special_tokens=False)
        return encoded

    def _warm_up(self) -> None:
        """Compiles both shapes of a step, one token and several, and every grammar."""
        now = time.monotonic()
        for grammar in (FIRST, WITH_PROFILE, WITHOUT_PROFILE):
            for words in ("warehouse jobs", "nurse", "python developer in berlin, remote"):
                prompt = render(words, draft(words) if self.corrects else ())
                self._waiting.append(Ask(words + grammar, prompt, grammar, now))
            self._begin()
            # A grammar is compiled beside the steps: until it is, they do nothing.
            while any(run.output_tokens < WARM_UP_TOKENS for run in self._running.values()):
                self._step()
            self._waiting.clear()
            for key in list(self._running):
                self._abort(key)
        self._prompt_tokens = self._cached_tokens = self._output_tokens = 0

    def _sampling(self, grammar: str) -> Any:
        """vLLM copies what it is given, so one for each grammar does."""
        if grammar not in self._params:
            from vllm.sampling_params import (
                RequestOutputKind,
                SamplingParams,
                StructuredOutputsParams,
            )

            settings = self._settings
            self._params[grammar] = SamplingParams(
                temperature=0.0,
                max_tokens=settings.max_tokens,
                output_kind=RequestOutputKind["DELTA" if settings.stream else "FINAL_ONLY"],
                structured_outputs=(
                    StructuredOutputsParams(grammar=grammar) if settings.guided else None
                ),
            )
        return self._params[grammar]

    def _begin(self) -> list[Said]:
        """Hands what waits to vLLM, as far as there is room; the refusals."""
        from vllm.exceptions import VLLMClientError

        refused: list[Said] = []
        while self._waiting and len(self._running) < self._settings.max_num_seqs:
            ask = self._waiting.popleft()
            try:
                self._running[ask.key] = self._enter(ask)
            except (EngineError, VLLMClientError) as error:
                refused.append(Said(ask.key, error=EngineError(str(error))))
        return refused

    def _enter(self, ask: Ask) -> _Running:
        from vllm.inputs.engine import tokens_input

        begun_at = time.monotonic()
        tokens = self._prefix + self._encode(ask.prompt)
        room = self._settings.max_model_len - self._settings.max_tokens
        if len(tokens) > room:
            raise EngineError(f"the prompt has {len(tokens)} tokens, {room} are allowed")
        self._engine.add_request(ask.key, tokens_input(tokens), self._sampling(ask.grammar))
        return _Running(ask.asked_at, begun_at, prompt_tokens=len(tokens))

    def _abort(self, key: str) -> None:
        if self._running.pop(key, None):
            self._engine.abort_request([key])
        else:
            self._waiting = deque(ask for ask in self._waiting if ask.key != key)

    def _step(self) -> list[Said]:
        if not self._running:
            return []
        outputs = self._engine.step()
        return [self._hear(output) for output in outputs if output.request_id in self._running]

    def _hear(self, output: Any) -> Said:
        key, spoken = output.request_id, output.outputs[0]
        running = self._running[key]
        if not running.first_token_at:
            running.first_token_at = time.monotonic()
            running.cached_tokens = output.num_cached_tokens or 0
            self._prompt_tokens += running.prompt_tokens
            self._cached_tokens += running.cached_tokens
        running.output_tokens += len(spoken.token_ids)
        self._output_tokens += len(spoken.token_ids)
        running.text += spoken.text
        if not output.finished and running.text not in WHOLE:
            return Said(key, spoken.text)
        del self._running[key]
        if not output.finished:
            self._engine.abort_request([key])
        elif spoken.finish_reason not in ("stop", "length"):
            return Said(key, error=EngineError(f"the engine gave up: {spoken.finish_reason}"))
        return Said(key, spoken.text, _ending(running, spoken.finish_reason))


def _ending(running: _Running, reason: str | None) -> Ending:
    return Ending(
        reason="length" if reason == "length" else "stop",
        prompt_tokens=running.prompt_tokens,
        cached_tokens=running.cached_tokens,
        output_tokens=running.output_tokens,
        queued_ms=(running.begun_at - running.asked_at) * 1_000,
        first_token_ms=(running.first_token_at - running.asked_at) * 1_000,
    )
