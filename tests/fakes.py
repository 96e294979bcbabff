"""Stand-ins for the pipeline's parts, in memory, without a client or a model.

In: scripts. Out: `FakeProducer`, which passes the contract tests of the real one; `Script`, a
model that says what it is told; `FakeProfiles`; `delivery`, a record as the consumer hands it
over.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from consumers.deliveries import Delivery, read
from consumers.published import Published
from engine.generation import Ending, Piece
from producers.kafka import Message, Receipt, TooLarge
from schemas.events import ProfileStatus
from schemas.profiles import Profile

PLAN = '{"tool":"plan","intent":"criteria"}\n'
DENIED = '{"tool":"plan","intent":"trust_violation"}\n'
TITLE = '{"tool":"title","title":"nurse"}\n'
POLICY = '{"tool":"policy","category":"violence"}\n'


class FakeProducer:
    """Topics in memory; `limits` are the largest values they take, `away` holds all back."""

    def __init__(self, limits: dict[str, int] | None = None) -> None:
        self._limits = limits or {}
        self._back = asyncio.Event()
        self._back.set()
        self.handed: list[Message] = []
        self.log: list[Message] = []
        """What was acknowledged, in order."""

    def away(self) -> None:
        self._back.clear()

    def back(self) -> None:
        self._back.set()

    async def hand_over(self, message: Message) -> Receipt:
        self.handed.append(message)
        await asyncio.sleep(0)
        return Receipt(message)

    async def settle(self, receipts: Sequence[Receipt]) -> None:
        refused = None
        for receipt in receipts:
            if receipt.settled:
                continue
            await self._back.wait()
            message = receipt.message
            if len(message.value or b"") > self._limits.get(message.topic, 1 << 30):
                refused = refused or TooLarge(
                    f"{message.topic} does not take a record of this size"
                )
            else:
                receipt.settled = True
                self.log.append(message)
        if refused:
            raise refused

    async def deliver(self, message: Message) -> None:
        await self.settle([await self.hand_over(message)])


class Script:
    """A `Model` that says these lines and then ends, or raises what stands among them.

    One script per request; the last is said again. A number is a pause in seconds.
    """

    name = "script@1"
    corrects = False

    def __init__(self, *scripts: Sequence[str | float | Ending | Exception]) -> None:
        self._scripts = scripts
        self.prompts: list[str] = []
        self.closed = 0

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        script = self._scripts[min(len(self.prompts), len(self._scripts) - 1)]
        self.prompts.append(prompt)
        try:
            for item in script:
                match item:
                    case str():
                        yield Piece(item)
                    case Ending():
                        yield item
                        return
                    case Exception():
                        raise item
                    case _:
                        await asyncio.sleep(item)
            yield Ending(reason="stop", prompt_tokens=7, output_tokens=len(script))
        finally:
            self.closed += 1

    async def close(self) -> None:
        """Nothing to free."""


class FakeProfiles:
    """The same answer for every member."""

    def __init__(self, status: ProfileStatus = "missing", profile: Profile | None = None) -> None:
        self._found = status, profile

    async def look_up(self, member_id: str | None) -> tuple[ProfileStatus, Profile | None]:
        return ("none", None) if member_id is None else self._found


class Ended:
    """How often a delivery was done."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def delivery(
    value: bytes | None,
    offset: int = 0,
    key: bytes | None = b"k",
    published: Published | None = None,
) -> Delivery:
    """`done` is an `Ended`."""
    query, problem_class, problem = read(value)
    return Delivery(
        topic="search.queries", partition=3, offset=offset, key=key, value=value, headers=[],
        timestamp=time.time(), received=time.monotonic(), received_at=time.time(), done=Ended(),
        query=query, problem=problem, problem_class=problem_class, published=published,
    )  # fmt: skip
