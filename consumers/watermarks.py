"""What the broker is told of our offsets, and asked about them.

In: the assigned partitions. Out: commits of watermarks, always with explicit offsets; the
lag; offsets that retention deleted before they were read, counted and logged. What may
pass is tried again at the next turn.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from consumers.partitions import Partition
from schemas.clock import steady

log = logging.getLogger(__name__)
OnCommit = Callable[[str, int, int], None]
"""Topic, partition, watermark: acknowledged."""

_PROBE_S = 2.0
_RENEWED_S = 60.0
"""So old the word of an idle partition may be since when nothing of it was begun."""


def _since(partition: Partition) -> str:
    """Milliseconds: nothing at or above the watermark was begun before."""
    begun = partition.offsets.begun
    since = steady() if begun is None else begun
    if partition.since and (partition.published or not partition.recalled):
        since = min(since, partition.since)  # begun before they were ours, and not by us yet
    return str(int(since * 1_000))


def unheard(_topic: str, _partition: int, _watermark: int) -> None:
    """For those who need not hear of commits."""


class Watermarks:
    """Of one member of the group, from when `client` is set; `partitions` as they are then."""

    def __init__(
        self,
        partitions: dict[TopicPartition, Partition],
        limit: float,
        on_commit: OnCommit,
    ) -> None:
        self.client: AIOKafkaConsumer | None = None
        self._partitions = partitions
        self._limit = limit
        self._on_commit = on_commit
        self._lock = asyncio.Lock()
        self._looking: set[asyncio.Task[None]] = set()
        self.commits = 0
        self.gap_offsets = 0
        self.answered_at = 0.0
        """Monotonic seconds of the last request that the broker answered."""
        self.lag = 0
        """Records of our partitions that are not below a watermark, as of the last probe."""

    @property
    def _kafka(self) -> AIOKafkaConsumer:
        assert self.client
        return self.client

    async def commit_often(self, interval: float) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(interval)
            renew = time.monotonic() > renewed + _RENEWED_S
            if renew:
                renewed = time.monotonic()
            await self.commit(list(self._partitions.values()), renew=renew)

    async def commit(
        self, partitions: Collection[Partition], *, probe: bool = False, renew: bool = False
    ) -> bool:
        """Commits what may be. False if the broker says that the partitions are lost.

        With `probe` watermarks that have not moved are committed again, to hear that word; with
        `renew` those of idle partitions, so that no replay has to read from long ago.
        """

        def mark_of(partition: Partition) -> int | None:
            if renew and partition.idle:
                return partition.offsets.position
            return partition.offsets.watermark if probe else partition.offsets.committable

        async with self._lock:
            marks = {p: mark for p in partitions if (mark := mark_of(p)) is not None}
            if not marks:
                return True
            offsets = {p.tp: OffsetAndMetadata(mark, _since(p)) for p, mark in marks.items()}
            try:
                async with asyncio.timeout(self._limit):
                    await self._kafka.commit(offsets)
            except CommitFailedError as error:
                lost = isinstance(error.__cause__, IllegalGenerationError | UnknownMemberIdError)
                log.warning("offsets not committed, the group is rebalancing: %s", error)
                return not lost
            except (KafkaError, TimeoutError) as error:
                log.warning("offsets not committed, trying again: %r", error)
                return True
            for partition, mark in marks.items():
                partition.offsets.committed = mark
                self._on_commit(partition.tp.topic, partition.tp.partition, mark)
            self.commits += 1
            self.answered_at = time.monotonic()
            return True

    async def claim(self, partitions: Collection[Partition]) -> None:
        """Commits partitions whose commit does not say since when, or that have none.

        Raises `KafkaError`, `TimeoutError`.
        """
        if not partitions:
            return
        async with self._lock, asyncio.timeout(self._limit):
            begins = await self._kafka.beginning_offsets([p.tp for p in partitions])
            stand = {p: await self._kafka.committed(p.tp) for p in partitions if not p.revoked}
            fresh = {
                p.tp: OffsetAndMetadata(begins[p.tp] if at is None else at, _since(p))
                for p, at in stand.items()
            }
            if fresh:
                await self._kafka.commit(fresh)

    async def probe_often(self) -> None:
        """Asks for the ends of our partitions: is the broker there, and how far behind are we."""
        while True:
            await asyncio.sleep(_PROBE_S)
            if not self._partitions:
                continue
            try:
                async with asyncio.timeout(self._limit):
                    ends = await self._kafka.end_offsets(list(self._partitions))
            except (KafkaError, TimeoutError) as error:
                log.warning("Kafka does not answer: %r", error)
                continue
            self.answered_at = time.monotonic()
            self.lag = sum(
                max(0, end - mark)
                for tp, end in ends.items()
                if (partition := self._partitions.get(tp))
                and (mark := partition.offsets.position) is not None
            )

    def follow(self, partition: Partition, offset: int) -> None:
        """Notes a fetched offset; where some are left out, looks whether retention took them."""
        expected, partition.expected = partition.expected, offset + 1
        if expected is not None and offset > expected:  # or compaction, or a transaction's marker
            self._look(self._check_gap(partition.tp, expected, offset))

    def assigned(self) -> None:
        """Looks what the group had committed, and whether the logs still begin before it."""
        self.answered_at = time.monotonic()
        for partition in self._partitions.values():
            self._look(self._check_start(partition))

    def close(self) -> None:
        for task in self._looking:
            task.cancel()

    async def _check_gap(self, tp: TopicPartition, expected: int, offset: int) -> None:
        """Offsets between two records are lost only if the log begins after the first."""
        begins = (await self._kafka.beginning_offsets([tp]))[tp]
        if begins > expected:
            self.gap_offsets += min(begins, offset) - expected
            log.error(
                "%s/%d: offsets %d to %d were deleted before they were read (retention)",
                tp.topic, tp.partition, expected, min(begins, offset) - 1,
            )  # fmt: skip

    async def _check_start(self, partition: Partition) -> None:
        committed = await self._kafka.committed(partition.tp)
        if committed is None:
            return
        if partition.offsets.committed is None:
            partition.offsets.committed = committed
        begins = (await self._kafka.beginning_offsets([partition.tp]))[partition.tp]
        await self._check_gap(partition.tp, committed, begins)

    def _look(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except (KafkaError, TimeoutError) as error:
                log.warning("could not look for gaps: %r", error)

        task = asyncio.create_task(guarded())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)
