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
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from consumers.deliveries import Delivery, read
from consumers.partitions import Partition, abort, drain
from consumers.published import Outputs
from consumers.watermarks import OnCommit, Watermarks, unheard
from schemas.clock import steady

log = logging.getLogger(__name__)
Process = Callable[[Delivery], Coroutine[Any, Any, None]]

Fetched = tuple["Partition", ConsumerRecord, float, float]
"""A record that has been fetched but not started: when, in monotonic and epoch seconds."""

_POLL_MS = 200
_RETRY_S = 1.0
_SINGLY_S = 0.5


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


def _unreadable(tp: TopicPartition, offset: int, partition: Partition) -> Delivery:
    """A record of which only the place is known."""
    partition.known(offset)
    return Delivery(
        topic=tp.topic,
        partition=tp.partition,
        offset=offset,
        key=None,
        value=None,
        headers=(),
        timestamp=time.time(),
        received=time.monotonic(),
        received_at=time.time(),
        done=partition.offsets.track(offset, steady()),
        problem="a header's name in its batch is not UTF-8; read it at tagstream-source",
        problem_class="Unreadable",
    )


class QueryConsumer(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """One member of the group. `run` until `stop`; what is public is for telemetry and health."""

    def __init__(
        self,
        settings: ConsumerSettings,
        process: Process,
        on_commit: OnCommit = unheard,
        outputs: Outputs | None = None,
    ) -> None:
        """With `outputs`, a delivery says what was published for its record before."""
        self._settings = settings
        self._process = process
        self._consumer: AIOKafkaConsumer | None = None
        self._free = settings.window
        self._fetched: deque[Fetched] = deque()
        self._outputs = outputs
        self._recalls: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self.partitions: dict[TopicPartition, Partition] = {}
        self.assigned = False
        self.unrecalled = 0
        """Assignments after which what was published before could not be read."""
        self.watermarks = Watermarks(self.partitions, settings.io_timeout_ms / 1_000, on_commit)

    # --- the loop ---------------------------------------------------------------------

    async def run(self) -> None:
        """Until `stop` is called. Raises what `process` raised, or a `KafkaError` beyond repair."""
        await self._connect()
        if self._consumer is None:
            return
        loops = [
            asyncio.create_task(
                self.watermarks.commit_often(self._settings.commit_interval_ms / 1_000)
            ),
            asyncio.create_task(self.watermarks.probe_often()),
        ]
        for loop in loops:
            loop.add_done_callback(self._note_failure)
        try:
            while not (self._stopping.is_set() or self._failure):
                await self._poll()
            self._fetched.clear()
            await drain(self.partitions.values(), self._settings.shutdown_drain_ms / 1_000)
            if self._failure:
                raise self._failure
        finally:
            self._fetched.clear()
            loops += self._recalls
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
            found = [(self.partitions.get(tp), r) for tp, rs in batches.items() for r in rs]
        except UnicodeDecodeError:  # aiokafka, of a header's name
            await self._rewind()
            found = await self._read_singly()
        except KafkaError as error:
            if type(error) is KafkaError:  # its own coordination has ended, or is refused for good
                raise
            log.warning("cannot fetch from %s, trying again: %r", self._settings.topic, error)
            await self._rewind()
            await self._pause_for(_RETRY_S)
            return
        if self._stopping.is_set():
            return
        received, received_at = time.monotonic(), time.time()
        self._fetched += ((p, record, received, received_at) for p, record in found if p)
        self._fill()

    async def _rewind(self) -> None:
        """Back to what was handed out: a fetch that failed may have taken others' records along."""
        assert self._consumer
        for tp, partition in list(self.partitions.items()):
            try:
                mark = partition.offsets.next
                if mark is None:
                    mark = await self._consumer.committed(tp)
                if mark is None:
                    mark = (await self._consumer.beginning_offsets([tp]))[tp]
                self._consumer.seek(tp, mark)
            except (KafkaError, TimeoutError):
                continue  # no longer ours

    async def _read_singly(self) -> list[tuple[Partition | None, ConsumerRecord]]:
        """A record of each partition; of one that aiokafka cannot read only the place is known."""
        assert self._consumer
        found: list[tuple[Partition | None, ConsumerRecord]] = []
        for tp, partition in list(self.partitions.items()):
            try:
                async with asyncio.timeout(_SINGLY_S):
                    found.append((partition, await self._consumer.getone(tp)))
            except (TimeoutError, KafkaError):
                continue  # none there now, or no longer ours
            except UnicodeDecodeError:
                try:
                    offset = await self._consumer.position(tp)
                    if self.partitions.get(tp) is partition and not partition.revoked:
                        self._consumer.seek(tp, offset + 1)
                        self._open(partition, _unreadable(tp, offset, partition))
                except KafkaError:
                    continue
        return found

    def _fill(self) -> None:
        """Starts what has been fetched, as far as the window allows."""
        while self._fetched and self._free > 0:
            partition, *fetched = self._fetched.popleft()
            if not partition.revoked:  # else another member answers it, or we do, fetched anew
                self._start(partition, *fetched)
                self._hold(partition)
        if not self._fetched:
            self._room.set()

    def _start(
        self, partition: Partition, record: ConsumerRecord, received: float, received_at: float
    ) -> None:
        self.watermarks.follow(partition, record.offset)
        query, problem_class, problem = read(record.value)
        published = partition.known(record.offset)
        begun = min(partition.since, steady(received)) if published else steady(received)
        self._open(
            partition,
            Delivery(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=record.key,
                value=record.value,
                headers=record.headers,
                timestamp=record.timestamp / 1_000,
                received=received,
                received_at=received_at,
                done=partition.offsets.track(record.offset, begun),
                published=published,
                query=query,
                problem=problem,
                problem_class=problem_class,
            ),
        )

    def _open(self, partition: Partition, delivery: Delivery) -> None:
        self._free -= 1
        task = asyncio.create_task(self._process(delivery))
        partition.begins(task)
        task.add_done_callback(lambda ended: self._ended(partition, ended))

    def _ended(self, partition: Partition, task: asyncio.Task[None]) -> None:
        partition.ends(task)
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

    def frozen_for(self, now: float) -> float:
        """Seconds for which the slowest watermark has stood still over open work."""
        return max((p.frozen_for(now) for p in self.partitions.values()), default=0.0)

    # --- the group --------------------------------------------------------------------

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.partitions.clear()
        self.partitions.update((tp, Partition(tp)) for tp in assigned)
        self.assigned = True
        log.info("assigned %s", sorted((tp.topic, tp.partition) for tp in assigned))
        self.watermarks.assigned()
        if self._outputs and self._consumer and assigned:
            self._consumer.pause(*assigned)
            task = asyncio.create_task(self._recall(self._outputs, list(self.partitions.values())))
            self._recalls.add(task)
            task.add_done_callback(self._recalls.discard)
            task.add_done_callback(self._note_failure)

    async def _recall(self, outputs: Outputs, partitions: list[Partition]) -> None:
        """Nothing of a partition is begun until what was published for it before is known."""
        try:
            async with asyncio.timeout(outputs.limit_s):
                while not await self._recalled(outputs, partitions):  # noqa: ASYNC110 # no event
                    await asyncio.sleep(_RETRY_S / 2)
        except TimeoutError:
            self.unrecalled += 1
            log.warning(
                "what was published before is not known within replay_limit_ms: answers may differ"
            )
        finally:
            for partition in partitions:
                if not partition.revoked and self._consumer:
                    self._consumer.resume(partition.tp)

    async def _recalled(self, outputs: Outputs, partitions: list[Partition]) -> bool:
        """False if it had better be tried again."""
        mine = {f"{p.tp.topic}/{p.tp.partition}": p for p in partitions if not p.revoked}
        try:
            since = await outputs.since(self._settings.group, [p.tp for p in mine.values()])
            await self.watermarks.claim([p for p in mine.values() if p.tp not in since])
            for tp, one in since.items():
                mine[f"{tp.topic}/{tp.partition}"].since = one.time_ms / 1_000
            for source, published in (await outputs.read(since)).items():
                place, _, offset = source.rpartition("/")
                mine[place].published[int(offset)] = published
            for partition in mine.values():
                partition.recalled = True
        except (KafkaError, OSError) as error:
            log.warning("cannot read what was published before, trying again: %r", error)
            return False
        except Exception as error:  # a record of others' in an output topic must not stop us
            log.error("what was published before cannot be read: %r", error)
            self.unrecalled += 1
        return True

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finishes what it can, commits it, cancels the rest; all before the rebalance goes on."""
        leaving = [self.partitions[tp] for tp in revoked if tp in self.partitions]
        for partition in leaving:
            partition.revoked = True
        self.assigned = False
        for recall in self._recalls:
            recall.cancel()
        try:
            if await self.watermarks.commit(leaving, probe=True):
                await drain(leaving, self._settings.rebalance_drain_ms / 1_000)
                await self.watermarks.commit(leaving)
        finally:
            await abort(leaving, self._settings.io_timeout_ms / 1_000)
            for partition in leaving:
                self.partitions.pop(partition.tp, None)

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
                    self._consumer = self.watermarks.client = consumer
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
        await self.watermarks.commit(partitions)
        for partition in partitions:
            partition.revoked = True
        await abort(partitions, self._settings.io_timeout_ms / 1_000)
        self.watermarks.close()
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
