"""What a model says while it speaks, whichever model it is: the real engine or the stub.

`Model` is the protocol that `engine.model`, `engine.supervisor` and `engine.stub` fulfil;
one contract suite tests them all.
"""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec


class Piece(msgspec.Struct, frozen=True):
    """Text the model has just added; never empty."""

    text: str


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The last thing of a generation: why it ended, and what it cost.

    `length` means that the token limit cut it. Times in milliseconds from the request.
    """

    reason: Literal["stop", "length"]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    queued_ms: float = 0.0
    first_token_ms: float = 0.0


class EngineError(Exception):
    """The engine did not answer."""


class EngineDown(EngineError):
    """It is dead, stalled, or not up yet."""


class EngineBusy(EngineError):
    """It refuses more requests for now."""


class Model(Protocol):
    """One small language model, asked one request at a time by each query."""

    @property
    def name(self) -> str:
        """Name and revision of the weights, as the events say it."""

    @property
    def corrects(self) -> bool:
        """Whether it was tuned on prompts that begin with a draft of the answer."""

    def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        """Pieces as they are generated, then one `Ending`.

        Closing the generator early aborts the generation. Raises `EngineError`.
        """
