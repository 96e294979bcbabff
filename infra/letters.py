"""`tagstream dead-letters`: what nothing could answer, to be read and to be tried again.

In: settings, filters. Out: `Letter`s, from the topic's beginning to its end as it is now. A
redriven record is the letter's own bytes and key on the topic it came from, with the trace it
had and the count of its attempts; the letter itself stays where it is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from consumers.published import partitions
from infra.settings import Settings
from infra.traffic import TrafficError
from schemas.failures import ATTEMPTS, attempts

_POLL_MS = 200
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
    topic, asked = settings.dead_letters_topic, datetime.now(UTC)
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
        fetched: dict[TopicPartition, list[ConsumerRecord]] = {}
        while left or fetched:  # once more after the end: some brokers name it too low
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            for records in fetched.values():
                for letter in map(_letter, records):
                    if wanted.fits(letter) and letter.time <= asked:
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
    settings: Settings, wanted: Wanted, rate: float, sent: Callable[[Letter], None]
) -> int:
    """How many were published again, `rate` a second. Raises `TrafficError`."""
    count = 0
    producer = AIOKafkaProducer(
        **settings.kafka_client(), acks="all", enable_idempotence=settings.kafka_idempotence
    )
    try:
        await producer.start()
        async for letter in letters(settings, wanted):
            topic = letter.source.rsplit("/", 2)[0]
            if not topic or any(name == "tagstream-value" for name, _ in letter.headers):
                continue  # without its bytes: they are only where it came from
            headers = [(n, v) for n, v in letter.headers if not n.startswith(_PREFIX)]
            headers.append((ATTEMPTS, str(letter.attempts).encode()))
            await producer.send_and_wait(topic, letter.value, letter.key, headers=headers)
            sent(letter)
            count += 1
            await asyncio.sleep(1 / rate)
    except (KafkaError, TimeoutError) as error:
        raise TrafficError(f"Kafka at {settings.kafka_bootstrap}: {error}") from None
    finally:
        await producer.stop()
    return count
