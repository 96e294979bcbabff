"""`tagstream dead-letters`: what nothing could answer, to be read and to be tried again.

In: settings, filters. Out: `Letter`s, from the topic's beginning to its end as it is now. A
redriven record is the letter's own bytes and key on the topic it came from, with the trace it
had and the count of its attempts; the letter itself stays where it is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from consumers.published import partitions
from infra.service import producing
from infra.settings import Settings
from infra.traffic import TrafficError
from producers.kafka import EventProducer, Message, TooLarge
from schemas.failures import ATTEMPTS, attempts

_POLL_MS = 200
_AFTER = 2
"""Polls after the end."""
_PREFIX = "tagstream-"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter; `place` is its own partition and offset, `source` the record's."""

    place: str
    time: datetime
    kind: str
    error: str
    message: str
    source: str
    attempts: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Filters; what is empty does not filter."""

    kind: str = ""
    error: str = ""
    place: str = ""
    since: datetime | None = None
    most_attempts: int = 0

    def fits(self, letter: Letter) -> bool:
        return (
            self.kind in ("", letter.kind)
            and self.error in ("", letter.error)
            and self.place in ("", letter.place)
            and (self.since is None or letter.time >= self.since)
            and (not self.most_attempts or letter.attempts <= self.most_attempts)
        )


async def letters(settings: Settings, wanted: Wanted) -> AsyncIterator[Letter]:
    """Oldest first within a partition. Raises `TrafficError`."""
    topic = settings.dead_letters_topic
    consumer = AIOKafkaConsumer(
        **settings.kafka_client(), enable_auto_commit=False, fetch_max_wait_ms=50
    )
    try:
        await consumer.start()
        if topic not in await consumer.topics():
            raise TrafficError(f"topic {topic} does not exist: tagstream topics create")
        places = sorted(await partitions(settings.kafka_client(), [topic]))
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        left = {place for place in places if begins[place] < ends[place]}
        for place in places:
            consumer.seek(place, begins[place])
        polls = 0
        while left or polls < _AFTER:  # some brokers name an end that is too low
            polls = 0 if left else polls + 1
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for letter in map(_letter, records):
                    if wanted.fits(letter):
                        yield letter
            for place in list(left):
                if await consumer.position(place) >= ends[place]:
                    left.discard(place)
    except (KafkaError, TimeoutError) as error:
        raise TrafficError(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    finally:
        await consumer.stop()


def _letter(record: ConsumerRecord) -> Letter:
    said = {name: value.decode("utf-8", "replace") for name, value in record.headers if value}
    return Letter(
        place=f"{record.partition}/{record.offset}",
        time=datetime.fromtimestamp(record.timestamp / 1_000, UTC),
        kind=said.get("tagstream-error-kind", ""),
        error=said.get("tagstream-error-class", ""),
        message=said.get("tagstream-error-message", ""),
        source=said.get("tagstream-source", ""),
        attempts=attempts(record.headers),
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )


async def redrive(
    settings: Settings, wanted: Wanted, rate: float, sent: Callable[[Letter, str], None]
) -> int:
    """How many were published again, `rate` a second; of the others `sent` hears why not.

    Raises `TrafficError`.
    """
    count = 0
    producer = EventProducer(producing(settings))
    found = [letter async for letter in letters(settings, wanted)]
    await producer.start()
    try:
        for letter in found:
            topic = letter.source.rsplit("/", 2)[0]
            bare = letter.key is None and letter.value is None
            if not topic or bare or any(name == "tagstream-value" for name, _ in letter.headers):
                sent(letter, "its bytes are only where it came from")
                continue
            headers = [(n, v) for n, v in letter.headers if not n.startswith(_PREFIX)]
            headers.append((ATTEMPTS, str(letter.attempts).encode()))
            try:
                await producer.deliver(Message(topic, letter.key, letter.value, headers))
            except TooLarge as error:
                sent(letter, str(error))
                continue
            sent(letter, "")
            count += 1
            await asyncio.sleep(1 / rate)
    finally:
        await producer.close()
    return count
