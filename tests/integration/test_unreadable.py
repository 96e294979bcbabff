"""A record that aiokafka cannot read ends by its place, with what follows in its batch.

aiokafka reads a batch from its first record on: after one whose header's name is not UTF-8 no
other of the batch can be reached. What stands before, and later batches, are served.
"""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as RecordBatch

from infra.settings import Settings
from tests.integration.conftest import NewWorld
from tests.integration.output import search


class NotUtf8(str):
    """A header's name whose bytes no client should send, and some do."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


async def publish_unreadable(settings: Settings) -> None:
    """The second of three records in a batch has such a header."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = RecordBatch(2, 0, False, -1, -1, -1, 16_384)  # the C one takes str alone
        for query_id, name in (("a", "x"), ("b", NotUtf8("x")), ("c", "x")):
            value = search(query_id).value
            batch.append(key=None, value=value, timestamp=None, headers=[(name, b"1")])
        batch.close()
        await (await producer.send_batch(batch, settings.queries_topic, partition=0))
    finally:
        await producer.stop()


def test_header_name_that_is_not_utf8(kafka_world: NewWorld) -> None:
    new = kafka_world(partitions=1).create()
    asyncio.run(publish_unreadable(new.settings))
    new.publish([search("next")])
    with new.output() as output, new.service() as service:
        output.until_ended(4)
        service.stop()
        output.settled()
    assert output.statuses() == {"a": "complete", "next": "complete"}
    assert sorted(letter.source for letter in output.letters) == [
        f"{new.settings.queries_topic}/0/{offset}" for offset in (1, 2)
    ]
    assert {letter.headers["tagstream-error-class"] for letter in output.letters} == {b"Unreadable"}
    assert new.committed() == 4


def test_other_partitions_lose_nothing_by_it(kafka_world: NewWorld) -> None:
    """What was fetched together with it is fetched again."""
    new = kafka_world(partitions=2, window=4).create()
    new.publish([search(f"q{n}") for n in range(12)], 1)
    asyncio.run(publish_unreadable(new.settings))
    with new.output() as output, new.service() as service:
        output.until_ended(12 + 3, 60.0)
        service.stop()
        output.settled()
    assert sorted(output.statuses()) == sorted(["a", *(f"q{n}" for n in range(12))])
    assert set(output.done_counts().values()) == {1}
    assert new.committed() == 15
