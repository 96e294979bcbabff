"""Hands messages to Kafka and waits for the broker's word.

In: messages. Out: receipts, and from `settle` the certainty that each was acknowledged.
Three fates: what may pass (no leader, no broker, no right, no topic) is sent again until
it is accepted, however long that takes; a record the topic will not hold raises
`TooLarge`; a producer the broker has fenced off is replaced by a new one.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.partitioner import murmur2

from schemas.clock import set_anew, steady

log = logging.getLogger(__name__)

_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_PATIENCE = 3
_LOOK_S = 0.5
_SIZE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError)


_hash = lru_cache(4_096)(murmur2)  # in Python, and the same key goes to every topic


def _partition(key: bytes | None, places: Sequence[int], _available: Sequence[int]) -> int:
    """As Kafka's own clients choose, so that a key's events are where readers expect them."""
    return places[(int(_hash(key or b"")) & 0x7FFFFFFF) % len(places)]


def _now_ms() -> int:
    """A record's time: replays look for events by it."""
    return int(steady() * 1_000)


class ProducerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`client` goes to aiokafka as it is (bootstrap, TLS, SASL)."""

    client: dict[str, Any]
    idempotence: bool = True
    linger_ms: int = 0
    io_timeout_ms: int = 10_000
    max_record_bytes: int = 4_194_304


class Message(msgspec.Struct, frozen=True):
    """One Kafka record to be."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Receipt(msgspec.Struct, eq=False):
    """A message in a producer's hands; settled when the broker has acknowledged it."""

    message: Message
    producer: AIOKafkaProducer | None = None
    future: asyncio.Future[object] | None = None
    settled: bool = False


class TooLarge(Exception):
    """The topic will never take this record: retrying cannot help."""


class ClosedError(RuntimeError):
    """A message for a producer that was not started, or is closed."""


class EventProducer:
    """acks=all, idempotent by setting. `start` before use, `close` after."""

    def __init__(
        self, settings: ProducerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._known: set[str] = set()
        """Topics that the producer in force has sent to: it has their metadata."""
        self._replacement: asyncio.Task[None] | None = None
        self._refused_since: float | None = None

    @property
    def refused_for(self) -> float:
        """Seconds for which the broker has refused, or been away; 0.0 if it takes what it gets."""
        return self._clock() - self._refused_since if self._refused_since is not None else 0.0

    async def start(self) -> None:
        """Waits for the broker as long as it takes."""
        attempt = 0
        while True:
            try:
                self._producer = await self._made()
                self._known.clear()
            except (KafkaError, TimeoutError) as error:
                self._refused(attempt, "the producer cannot reach Kafka", error)
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
            else:
                return self._accepted()

    async def hand_over(self, message: Message) -> Receipt:
        """Puts a message on its way, in order. Raises `TooLarge`."""
        receipt = Receipt(message)
        try:
            await self._send(receipt)
        except _SIZE_ERRORS as error:
            raise TooLarge(str(error)) from error
        except (KafkaError, TimeoutError) as error:
            await self._insist(receipt, error)
        return receipt

    async def settle(self, receipts: Sequence[Receipt]) -> None:
        """Returns when the broker has acknowledged every one.

        Raises `TooLarge` if it never will; the others are settled all the same.
        """
        pending = [r.future for r in receipts if r.future is not None and not r.future.done()]
        if pending:  # handed over together, mostly acknowledged together
            await asyncio.wait(pending, timeout=_LOOK_S)
        refused: TooLarge | None = None
        for receipt in receipts:
            if not receipt.settled:
                try:
                    await self._settle(receipt)
                except TooLarge as error:
                    refused = refused or error
        if refused:
            raise refused

    async def deliver(self, message: Message) -> None:
        """Hand over and settle."""
        await self.settle([await self.hand_over(message)])

    async def close(self) -> None:
        """Flushes within the time limit; what the broker has not taken by then is dropped."""
        if self._replacement is not None and not self._replacement.done():
            self._replacement.cancel()
            await asyncio.wait([self._replacement])
        producer, self._producer = self._producer, None
        if producer is not None:
            await self._end(producer)

    # --- one attempt ------------------------------------------------------------------

    async def _send(self, receipt: Receipt, *, alone: bool = False) -> None:
        message = receipt.message
        producer = receipt.producer = self._producer or await self._replaced()
        if alone or (message.key is None and message.value is None):
            receipt.future = await self._watched(self._batched(message, producer), producer)
            return
        sending = producer.send(
            message.topic, message.value, message.key,
            timestamp_ms=_now_ms(), headers=message.headers,
        )  # fmt: skip
        if message.topic in self._known:
            receipt.future = await sending  # aiokafka's own limit holds
        else:  # it waits for metadata, and for ever if it is stopped meanwhile
            receipt.future = await self._watched(sending, producer)
            self._known.add(message.topic)

    async def _watched(
        self, work: Coroutine[Any, Any, asyncio.Future[object]], producer: AIOKafkaProducer
    ) -> asyncio.Future[object]:
        """Within the limit, and no longer than the producer lives."""
        sending = asyncio.create_task(work)
        try:
            async with asyncio.timeout(self._settings.io_timeout_ms / 1_000):
                while not await self._done(sending, producer):
                    pass
        finally:
            sending.cancel()
        return sending.result()

    async def _batched(
        self, message: Message, producer: AIOKafkaProducer
    ) -> asyncio.Future[object]:
        """In a batch of its own: a broker refuses batches whole, whichever record is too large.

        Also the only way to send a record without key and value.
        """
        places = sorted(await producer.partitions_for(message.topic))
        batch = producer.create_batch()
        batch.append(
            key=message.key, value=message.value, timestamp=_now_ms(), headers=message.headers
        )
        batch.close()
        place = _partition(message.key, places, places)
        sent: asyncio.Future[object] = await producer.send_batch(
            batch, message.topic, partition=place
        )
        return sent

    async def _done(self, work: "asyncio.Future[Any]", producer: AIOKafkaProducer | None) -> bool:
        """Looks for a while. What a replaced producer has not done by its end, it never will."""
        done, _ = await asyncio.wait([work], timeout=_LOOK_S)
        if not done and self._producer not in (None, producer):
            raise TimeoutError("its producer has ended")
        return bool(done)

    async def _acknowledged(self, receipt: Receipt) -> None:
        """Waits on; sending again while the producer still tries would only add repeats."""
        future = receipt.future
        assert future
        if future.done():
            future.result()
            return
        limit, since, told = self._settings.io_timeout_ms / 1_000, self._clock(), 0
        while not await self._done(future, receipt.producer):
            if (limits := int((self._clock() - since) / limit)) > told:
                if limits >= _PATIENCE:
                    raise KafkaError("no word from the broker")
                self._refused(told, f"{receipt.message.topic} is not acknowledged", TimeoutError())
                told = limits
        future.result()
        self._accepted()

    # --- when it is refused -----------------------------------------------------------

    async def _settle(self, receipt: Receipt) -> None:
        try:
            await self._acknowledged(receipt)
        except _SIZE_ERRORS:
            await self._insist(receipt, None, alone=True)
        except (KafkaError, TimeoutError) as error:
            await self._insist(receipt, error)
        receipt.settled = True

    async def _insist(
        self, receipt: Receipt, error: Exception | None, *, alone: bool = False
    ) -> None:
        """Sends again until the broker accepts; a fenced or broken producer is replaced first.

        Raises `TooLarge` if the record, alone in its batch, is refused for its size.
        """
        attempt = 0
        while True:
            if error is not None:
                self._refused(attempt, f"{receipt.message.topic} is refused", error)
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            if isinstance(error, InvalidTimestampError):
                set_anew()
            if self._broken_by(error):
                await self._replace(receipt.producer)
            attempt += 1
            try:
                await self._send(receipt, alone=alone)
                await self._acknowledged(receipt)
            except _SIZE_ERRORS as too_large:
                if alone:
                    if self._broken_by(None):
                        await self._replace(receipt.producer)
                    topic = receipt.message.topic
                    raise TooLarge(f"{topic} does not take a record of this size") from too_large
                alone, error = True, None
            except (KafkaError, TimeoutError) as again:
                error = again
            else:
                return self._accepted()

    def _accepted(self) -> None:
        if self._refused_since is not None:
            log.info("Kafka accepts again after %.1f s", self.refused_for)
            self._refused_since = None

    def _refused(self, attempt: int, what: str, error: Exception) -> None:
        if self._refused_since is None:
            self._refused_since = self._clock()
        if attempt in (0, 5) or attempt % 30 == 0:
            log.warning("%s, waiting and trying again: %r", what, error)

    def _broken_by(self, error: Exception | None) -> bool:
        """Whether a producer is of no more use after this; None: a batch was refused for its size.

        A refused batch leaves a hole in an idempotent producer's sequence.
        """
        if error is None:
            return self._settings.idempotence
        return isinstance(error, KafkaError) and not error.retriable

    async def _replace(self, broken: AIOKafkaProducer | None) -> None:
        """A new producer, once for all who saw the same one fail."""
        if broken is not None and self._producer is broken:
            log.warning("replacing the Kafka producer")
            self._producer = None
            self._replacement = asyncio.create_task(self._renew(broken))
        await self._replaced()

    async def _replaced(self) -> AIOKafkaProducer:
        """The producer in force. Whoever waits may be cancelled; the replacement goes on."""
        while self._producer is None:
            if self._replacement is None or self._replacement.done():
                raise ClosedError
            await asyncio.shield(self._replacement)
        return self._producer

    async def _renew(self, broken: AIOKafkaProducer) -> None:
        await self._end(broken)
        await self.start()

    async def _made(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._settings.client,
            acks="all",
            enable_idempotence=self._settings.idempotence,
            linger_ms=self._settings.linger_ms,
            request_timeout_ms=self._settings.io_timeout_ms,
            max_request_size=self._settings.max_record_bytes,
            partitioner=_partition,
        )
        try:
            async with asyncio.timeout(2 * self._settings.io_timeout_ms / 1_000):
                await producer.start()
        except BaseException:
            await self._end(producer)
            raise
        return producer

    async def _end(self, producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(self._settings.io_timeout_ms / 1_000):
                await producer.stop()
        except (KafkaError, TimeoutError) as error:
            log.warning("the Kafka producer did not end cleanly: %r", error)
