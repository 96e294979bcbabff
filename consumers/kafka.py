"""Reads the queries' topic: a bounded window of deliveries, offsets, rebalances, drain.

In: settings, and `process(delivery)`, which ends each delivery with `delivery.done()`.
Always holds: at most `window` deliveries are open; only watermarks are committed, always
with explicit offsets; after a partition is lost nothing of it is started, and what runs
is cancelled. Three fates: the broker's transient errors are retried here, a record that
does not decode goes to `process` as a problem, everything else ends `run`. Cancelling
`run` forces it: what is done is committed, what is open is left to the next owner.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    UnknownMemberIdError,
)
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from consumers.deliveries import Delivery, read
from consumers.offsets import Offsets

log = logging.getLogger(__name__)
Process = Callable[[Delivery], Coroutine[Any, Any, None]]

Fetched = tuple["Partition", ConsumerRecord, float, float]
"""A record that has been fetched but not started: when, in monotonic and epoch seconds."""

OnCommit = Callable[[str, int, int], None]
"""Topic, partition, watermark: acknowledged."""

_POLL_MS = 200
_PROBE_S = 2.0
_RETRY_S = 1.0


class ConsumerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and addresses; `client` goes to aiokafka as it is (bootstrap, TLS, SASL)."""

    topic: str
    group: str
    client: dict[str, Any]
    group_instance_id: str | None = None
    window: int = 64
    partition_span: int = 512
    commit_interval_ms: int = 500
    rebalance_drain_ms: int = 5_000
    shutdown_drain_ms: int = 20_000
    session_timeout_ms: int = 10_000
    rebalance_timeout_ms: int = 30_000
    fetch_max_wait_ms: int = 500
    max_partition_fetch_bytes: int = 262_144
    io_timeout_ms: int = 10_000


def _request_timeout_ms(settings: ConsumerSettings) -> int:
    """Joining is answered when every member has rejoined or is given up; others have own limits."""
    waits = (settings.io_timeout_ms, settings.fetch_max_wait_ms, settings.rebalance_timeout_ms)
    return max(waits) + 5_000


def _unheard(_topic: str, _partition: int, _watermark: int) -> None: ...


class Partition:
    """One assigned partition: its offsets, its running deliveries, its state."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.offsets = Offsets()
        self.tasks: set[asyncio.Task[None]] = set()
        self.revoked = False
        self.paused = False
        self.moved = time.monotonic()
        self.mark: int | None = None
        self.expected: int | None = None


class QueryConsumer(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """One member of the group. `run` until `stop`; `partitions` and `gaps` are for telemetry."""

    def __init__(
        self, settings: ConsumerSettings, process: Process, on_commit: OnCommit = _unheard
    ) -> None:
        self._settings = settings
        self._process = process
        self._on_commit = on_commit
        self._consumer: AIOKafkaConsumer | None = None
        self._free = settings.window
        self._fetched: deque[Fetched] = deque()
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()
        self._commit_lock = asyncio.Lock()
        self._failure: BaseException | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.partitions: dict[TopicPartition, Partition] = {}
        self.commits = 0
        self.gap_offsets = 0
        self.assigned = False
        self.answered_at = 0.0
        """Monotonic seconds of the last request that the broker answered."""
        self.lag = 0
        """Records of our partitions that are not below a watermark, as of the last probe."""

    # --- the loop ---------------------------------------------------------------------

    async def run(self) -> None:
        """Until `stop` is called. Raises what `process` raised, or a `KafkaError` beyond repair."""
        await self._connect()
        if self._consumer is None:
            return
        loops = [
            asyncio.create_task(self._commit_often()),
            asyncio.create_task(self._probe_often()),
        ]
        for loop in loops:
            loop.add_done_callback(self._note_failure)
        try:
            while not (self._stopping.is_set() or self._failure):
                await self._poll()
            self._fetched.clear()
            await self._drain(list(self.partitions.values()), self._settings.shutdown_drain_ms)
            if self._failure:
                raise self._failure
        finally:
            self._fetched.clear()
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
            await self._leave()

    def stop(self) -> None:
        """Fetch no more, finish what is open within the limit, commit, leave the group."""
        self._stopping.set()
        self._fetched.clear()
        self._room.set()

    @property
    def in_flight(self) -> int:
        return self._settings.window - self._free

    async def _poll(self) -> None:
        """Fetches a window's worth once the last one is under way."""
        assert self._consumer
        if self._fetched:
            self._room.clear()
            await self._room.wait()
            return
        window = self._settings.window
        try:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=window)
        except KafkaError as error:
            if type(error) is KafkaError:  # its own coordination has ended, or is refused for good
                raise
            log.warning("cannot fetch from %s, trying again: %r", self._settings.topic, error)
            await self._pause_for(_RETRY_S)
            return
        if self._stopping.is_set():
            return
        received, received_at = time.monotonic(), time.time()
        for tp, records in batches.items():
            if (partition := self.partitions.get(tp)) is not None:
                self._fetched += ((partition, record, received, received_at) for record in records)
        self._fill()

    def _fill(self) -> None:
        """Starts what has been fetched, as far as the window allows."""
        while self._fetched and self._free > 0:
            partition, *fetched = self._fetched.popleft()
            if not partition.revoked:  # else another member answers it
                self._start(partition, *fetched)
                self._hold(partition)
        if not self._fetched:
            self._room.set()

    def _start(
        self, partition: Partition, record: ConsumerRecord, received: float, received_at: float
    ) -> None:
        self._note_gap(partition, record.offset)
        if not partition.offsets.pending:
            partition.moved = time.monotonic()
        query, problem_class, problem = read(record.value)
        delivery = Delivery(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=record.headers,
            timestamp=record.timestamp / 1_000,
            received=received,
            received_at=received_at,
            done=partition.offsets.track(record.offset),
            query=query,
            problem=problem,
            problem_class=problem_class,
        )
        self._free -= 1
        task = asyncio.create_task(self._process(delivery))
        partition.tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(partition, ended))

    def _ended(self, partition: Partition, task: asyncio.Task[None]) -> None:
        partition.tasks.discard(task)
        if partition.offsets.watermark != partition.mark:
            partition.mark, partition.moved = partition.offsets.watermark, time.monotonic()
        self._free += 1
        self._hold(partition)
        self._fill()
        self._note_failure(task)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        """A bug: the run ends with it."""
        if not task.cancelled() and (error := task.exception()):
            self._failure = self._failure or error
            self._room.set()

    def _hold(self, partition: Partition) -> None:
        """Pauses a partition whose oldest open record lets too many pile up; resumes at half."""
        if partition.revoked or self._consumer is None:
            return
        span, limit = partition.offsets.span, self._settings.partition_span
        if not partition.paused and span >= limit:
            self._consumer.pause(partition.tp)
            partition.paused = True
        elif partition.paused and span <= limit // 2:
            self._consumer.resume(partition.tp)
            partition.paused = False

    async def _probe_often(self) -> None:
        """Asks for the ends of our partitions: is the broker there, and how far behind are we."""
        while True:
            await asyncio.sleep(_PROBE_S)
            if self._consumer is None or not self.partitions:
                continue
            try:
                async with asyncio.timeout(self._settings.io_timeout_ms / 1_000):
                    ends = await self._consumer.end_offsets(list(self.partitions))
            except (KafkaError, TimeoutError) as error:
                log.warning("Kafka does not answer: %r", error)
                continue
            self.answered_at = time.monotonic()
            self.lag = sum(
                max(0, end - mark)
                for tp, end in ends.items()
                if (partition := self.partitions.get(tp))
                and (mark := partition.offsets.position) is not None
            )

    def frozen_for(self, now: float) -> float:
        """Seconds for which the slowest watermark has stood still over open work."""
        open_since = [p.moved for p in self.partitions.values() if p.offsets.pending]
        return now - min(open_since) if open_since else 0.0

    # --- offsets ----------------------------------------------------------------------

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_interval_ms / 1_000)
            await self.commit(list(self.partitions.values()))

    async def commit(self, partitions: list[Partition], *, probe: bool = False) -> bool:
        """Commits what may be. False if the broker says that the partitions are lost.

        With `probe` watermarks that have not moved are committed again, to hear that word.
        """
        assert self._consumer
        async with self._commit_lock:
            marks = {
                p: mark
                for p in partitions
                if (mark := p.offsets.watermark if probe else p.offsets.committable) is not None
            }
            if not marks:
                return True
            offsets = {p.tp: OffsetAndMetadata(mark, "") for p, mark in marks.items()}
            try:
                async with asyncio.timeout(self._settings.io_timeout_ms / 1_000):
                    await self._consumer.commit(offsets)
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

    def _note_gap(self, partition: Partition, offset: int) -> None:
        expected, partition.expected = partition.expected, offset + 1
        if expected is not None and offset > expected:  # or compaction, or a transaction's marker
            self._spawn(self._check_gap(partition.tp, expected, offset))

    async def _check_gap(self, tp: TopicPartition, expected: int, offset: int) -> None:
        """Offsets between two records are lost only if the log begins after the first."""
        assert self._consumer
        begins = (await self._consumer.beginning_offsets([tp]))[tp]
        if begins > expected:
            self.gap_offsets += min(begins, offset) - expected
            log.error(
                "%s/%d: offsets %d to %d were deleted before they were read (retention)",
                tp.topic, tp.partition, expected, min(begins, offset) - 1,
            )  # fmt: skip

    async def _check_start(self, partition: Partition) -> None:
        assert self._consumer
        committed = await self._consumer.committed(partition.tp)
        if committed is None:
            return
        partition.offsets.committed = partition.offsets.committed or committed
        begins = (await self._consumer.beginning_offsets([partition.tp]))[partition.tp]
        await self._check_gap(partition.tp, committed, begins)

    # --- the group --------------------------------------------------------------------

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.answered_at = time.monotonic()
        self.partitions = {tp: Partition(tp) for tp in assigned}
        self.assigned = True
        log.info("assigned %s", sorted((tp.topic, tp.partition) for tp in assigned))
        for partition in self.partitions.values():
            self._spawn(self._check_start(partition))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finishes what it can, commits it, cancels the rest; all before the rebalance goes on."""
        leaving = [self.partitions[tp] for tp in revoked if tp in self.partitions]
        for partition in leaving:
            partition.revoked = True
        self.assigned = False
        try:
            if await self.commit(leaving, probe=True):
                await self._drain(leaving, self._settings.rebalance_drain_ms)
                await self.commit(leaving)
        finally:
            await self._abort(leaving)
            for partition in leaving:
                self.partitions.pop(partition.tp, None)

    async def _drain(self, partitions: list[Partition], limit_ms: int) -> None:
        tasks = [task for partition in partitions for task in partition.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=limit_ms / 1_000)

    async def _abort(self, partitions: list[Partition]) -> None:
        tasks = [task for partition in partitions for task in partition.tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            log.warning("%d queries were left to the partitions' next owner", len(tasks))
            await asyncio.wait(tasks, timeout=self._settings.io_timeout_ms / 1_000)

    # --- start and end ----------------------------------------------------------------

    async def _connect(self) -> None:
        settings = self._settings
        while not self._stopping.is_set():
            consumer = AIOKafkaConsumer(
                **settings.client,
                group_id=settings.group,
                group_instance_id=settings.group_instance_id,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=settings.session_timeout_ms // 3,
                rebalance_timeout_ms=settings.rebalance_timeout_ms,
                fetch_max_wait_ms=settings.fetch_max_wait_ms,
                max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
                request_timeout_ms=_request_timeout_ms(settings),
                metadata_max_age_ms=30_000,
            )
            try:
                await consumer.start()
                if settings.topic in await consumer.topics():
                    self._consumer = consumer
                    consumer.subscribe([settings.topic], listener=self)
                    return
                log.warning(
                    "topic %s does not exist; waiting for it (tagstream topics create)",
                    settings.topic,
                )
            except (KafkaError, TimeoutError) as error:
                log.warning("Kafka cannot be reached, trying again: %s", error)
            finally:
                if self._consumer is None:
                    await self._end(consumer)
            await self._pause_for(_RETRY_S)

    async def _leave(self) -> None:
        """Commits what is done, cancels what is not, and leaves the group."""
        assert self._consumer
        partitions = [p for p in self.partitions.values() if not p.revoked]
        await self.commit(partitions)
        for partition in partitions:
            partition.revoked = True
        await self._abort(partitions)
        for task in self._background:
            task.cancel()
        await self._end(self._consumer)

    async def _end(self, consumer: AIOKafkaConsumer) -> None:
        try:
            async with asyncio.timeout(self._settings.io_timeout_ms / 1_000):
                await consumer.stop()
        except (KafkaError, TimeoutError) as error:
            log.warning("left Kafka without its word: %r", error)

    async def _pause_for(self, seconds: float) -> None:
        """A sleep that `stop` ends."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except (KafkaError, TimeoutError) as error:
                log.warning("could not look for gaps: %r", error)

        task = asyncio.create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
