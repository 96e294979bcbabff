"""The stub engine: canned text at a set pace, for pipelines without a model.

It says the same lines for every query, in eight pieces over `delay_ms`, and goes through
the real decoder and rules. `TAGSTREAM_MODEL=stub` chooses it.
"""

import asyncio
from collections.abc import AsyncGenerator

from engine.generation import Ending, Piece
from engine.language import write
from schemas.tools import Location, Plan, Title, Workplace

_CALLS = (Plan("criteria"), Title("software engineer"), Location("Naples"), Workplace("remote"))


class StubModel:
    """A `Model` of four calls, each after a quarter of `delay_ms`."""

    name = "stub@1"
    corrects = False

    def __init__(self, delay_ms: float = 0.0) -> None:
        self._pause = delay_ms / 1_000 / len(_CALLS)
        self._lines = [write([call]) for call in _CALLS]

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:  # noqa: ARG002
        for line in self._lines:
            await asyncio.sleep(self._pause)
            middle = len(line) // 2
            yield Piece(line[:middle])
            yield Piece(line[middle:])
        yield Ending(
            reason="stop",
            prompt_tokens=len(prompt) // 4,
            output_tokens=2 * len(self._lines),
            first_token_ms=self._pause * 1_000,
        )

    async def close(self) -> None:
        """Nothing to free."""
