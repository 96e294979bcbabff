"""What was already published for records that come again: the output topics are the record.

In: the output topics, and for each partition that is assigned its committed offset and the time
its commit carries, before which nothing above that offset was begun. Out: for each record at or
above it, by its source, what lies in the output topics. Nothing is written and nothing is read
until partitions are assigned; then the topics are read from that time to their ends, once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

_SKEW_MS = 60_000
"""Workers' clocks may differ by so much."""

_POLL_MS = 200
_STOP_S = 5.0


class Published(msgspec.Struct):
    """Of one record: its events' values by index, and its done event's."""

    query_id: str
    events: dict[int, bytes] = {}
    done: bytes | None = None


class _Value(msgspec.Struct):
    query_id: str
    index: int | None = None
    status: str | None = None


class Since(msgspec.Struct, frozen=True):
    """A partition's committed offset, and when the oldest record above it was begun (ms)."""

    offset: int
    time_ms: int


async def partitions(client: Mapping[str, Any], topics: Sequence[str]) -> list[TopicPartition]:
    """All of the topics that are there. Raises `KafkaError`."""
    admin = AIOKafkaAdminClient(**client)
    try:
        await admin.start()
        described = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    return [
        TopicPartition(topic["topic"], part["partition"])
        for topic in described
        if not topic["error_code"]
        for part in topic["partitions"]
    ]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


class Outputs:
    """The output topics of one service. `client` goes to aiokafka as it is."""

    def __init__(self, client: Mapping[str, Any], topics: Sequence[str], limit_s: float) -> None:
        self._client = client
        self._topics = list(dict.fromkeys(topics))
        self.limit_s = limit_s
        """For all of it, from the first question to the last record."""
        self._decode = msgspec.json.Decoder(_Value).decode

    async def since(
        self, group: str, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Since]:
        """The commits of those that have one and say when. Raises `KafkaError`."""
        admin = AIOKafkaAdminClient(**self._client)
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(group, partitions=list(places))
        finally:
            await admin.close()
        if not set(places) <= set(found):  # the coordinator has moved, and aiokafka does not say so
            raise KafkaError("the group's offsets are not to be had")
        return {
            place: Since(commit.offset, int(commit.metadata))
            for place, commit in found.items()
            if commit.offset >= 0 and _is_number(commit.metadata or "")
        }

    async def read(self, wanted: Mapping[TopicPartition, Since]) -> dict[str, Published]:
        """By source. Raises `KafkaError`."""
        found: dict[str, Published] = {}
        if not wanted:
            return found
        consumer = AIOKafkaConsumer(**self._client, enable_auto_commit=False, fetch_max_wait_ms=50)
        try:
            await consumer.start()
            ends = await consumer.end_offsets(list(wanted))
            behind = {p: since for p, since in wanted.items() if since.offset < ends[p]}
            if behind:  # else nothing comes again
                await self._read(consumer, behind, found)
        finally:
            await asyncio.wait_for(consumer.stop(), _STOP_S)
        return found

    async def _read(
        self,
        consumer: AIOKafkaConsumer,
        wanted: Mapping[TopicPartition, Since],
        found: dict[str, Published],
    ) -> None:
        places = await partitions(self._client, self._topics)
        since = max(0, min(one.time_ms for one in wanted.values()) - _SKEW_MS)
        consumer.assign(places)
        starts = await consumer.offsets_for_times(dict.fromkeys(places, since))
        ends = await consumer.end_offsets(places)
        left = set()
        for place in places:
            start = starts.get(place)
            if start is not None and start.offset < ends[place]:
                consumer.seek(place, start.offset)
                left.add(place)
            else:
                consumer.seek(place, ends[place])
        while left:
            for place, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                for record in records:
                    self._take(record, wanted, found)
                if records and records[-1].offset + 1 >= ends[place]:
                    left.discard(place)
            for place in list(left):  # the last offsets may hold no record
                if await consumer.position(place) >= ends[place]:
                    left.discard(place)

    def _take(
        self, record: Any, wanted: Mapping[TopicPartition, Since], found: dict[str, Published]
    ) -> None:
        said = next((v for k, v in record.headers if k == "tagstream-source"), None) or b""
        source = said.decode("utf-8", "replace")
        topic, _, place = source.rpartition("/")
        topic, _, number = topic.rpartition("/")
        if not (_is_number(number) and _is_number(place)):
            return
        since = wanted.get(TopicPartition(topic, int(number)))
        if since is None or int(place) < since.offset:
            return
        try:
            value = self._decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # not ours
        one = found.setdefault(source, Published(value.query_id))
        if value.status is not None:
            one.done = one.done or record.value
        elif value.index is not None:
            one.events.setdefault(value.index, record.value)
