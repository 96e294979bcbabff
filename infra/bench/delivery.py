"""What a subscriber finds in the topics once an implementation has ended.

Read to the end by reading (the embedded broker's latest offsets are wrong): until nothing
has come for a while. A record that is no event is a `BenchError`.
"""

import time
from collections.abc import Sequence

import msgspec

from infra.bench.figures import Delivery
from infra.bench.processes import BenchError
from infra.bench.traffic import DONE, EVENTS, Ledger
from infra.bench.world import World

QUIET_S = 1.0
FETCH_MS = 100


async def verify(world: World, query_ids: Sequence[str]) -> Delivery:
    ledger = Ledger()
    async with world.reader([DONE, *EVENTS]) as reader:
        last = time.monotonic()
        while time.monotonic() - last < QUIET_S:
            for records in (await reader.getmany(timeout_ms=FETCH_MS)).values():
                for record in records:
                    _note(ledger, record.topic, record.value)
                last = time.monotonic()
    return ledger.delivery(query_ids)


def _note(ledger: Ledger, topic: str, value: bytes) -> None:
    try:
        ledger.note(topic, value)
    except msgspec.MsgspecError as error:
        raise BenchError(f"a record of {topic} is no event: {error}") from error
