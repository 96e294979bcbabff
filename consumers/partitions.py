"""One assigned partition: what is open of it, and how its end is made.

In: tasks, one for each open delivery. Out: whether it stands still, and their orderly or
forced end. Lives from an assignment to the next revocation.
"""

import asyncio
import logging
import time
from collections.abc import Iterable

from aiokafka import TopicPartition

from consumers.offsets import Offsets
from consumers.published import Published

log = logging.getLogger(__name__)


class Partition:
    """Its offsets, its running deliveries, its state."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.offsets = Offsets()
        self.tasks: set[asyncio.Task[None]] = set()
        self.revoked = False
        self.paused = False
        self.published: dict[int, Published] = {}
        """What lies in the output topics for records that come again, by offset."""
        self.since = 0.0
        """Epoch seconds before which nothing of that was begun; 0.0 if it is not known."""
        self.recalled = False
        """Whether `published` has been looked up."""
        self.expected: int | None = None
        """The offset after the last one fetched."""
        self._mark: int | None = None
        self._moved = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing comes again as far as is known."""
        return self.recalled and not self.offsets.span and not self.published

    def known(self, offset: int) -> Published | None:
        """What lies there for the record at an offset; of those before it no one asks again."""
        found = self.published.get(offset)
        if self.published:
            self.published = {at: one for at, one in self.published.items() if at > offset}
        return found

    def begins(self, task: asyncio.Task[None]) -> None:
        if not self.tasks:
            self._moved = time.monotonic()
        self.tasks.add(task)

    def ends(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.offsets.watermark != self._mark:
            self._mark, self._moved = self.offsets.watermark, time.monotonic()

    def frozen_for(self, now: float) -> float:
        """Seconds for which the watermark has stood still over open work."""
        return now - self._moved if self.offsets.pending else 0.0


async def drain(partitions: Iterable[Partition], limit: float) -> None:
    """Lets what is open end, for at most `limit` seconds."""
    tasks = [task for partition in partitions for task in partition.tasks]
    if tasks:
        await asyncio.wait(tasks, timeout=limit)


async def abort(partitions: Iterable[Partition], limit: float) -> None:
    """Cancels what is open, and waits at most `limit` seconds for it to end."""
    tasks = [task for partition in partitions for task in partition.tasks]
    for task in tasks:
        task.cancel()
    if tasks:
        log.warning("%d queries were left to the partitions' next owner", len(tasks))
        await asyncio.wait(tasks, timeout=limit)
