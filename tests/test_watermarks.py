"""What a commit says besides its offset: since when nothing above it was begun."""

import asyncio
import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from consumers.partitions import Partition
from consumers.published import Published
from consumers.watermarks import Watermarks, unheard
from schemas.clock import steady

PLACE = TopicPartition("queries", 0)
HOUR = 3_600.0


class Broker:
    """Takes commits."""

    def __init__(self) -> None:
        self.commits: list[OffsetAndMetadata] = []

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.commits.append(offsets[PLACE])


def commit(partition: Partition) -> tuple[int, float]:
    """The offset and, in epoch seconds, since when."""
    broker: Any = Broker()
    watermarks = Watermarks({PLACE: partition}, 1.0, unheard)
    watermarks.client = broker
    assert asyncio.run(watermarks.commit([partition], probe=True))
    said: OffsetAndMetadata = broker.commits[0]
    return said.offset, int(said.metadata) / 1_000


def test_since_the_oldest_record_that_is_open() -> None:
    partition = Partition(PLACE)
    began = steady() - HOUR
    partition.offsets.track(0, began - 1)()
    partition.offsets.track(1, began)
    partition.offsets.track(2, began + 1)()
    assert commit(partition) == pytest.approx((1, began), abs=0.002)


def test_since_now_when_nothing_is_open() -> None:
    partition = Partition(PLACE)
    partition.offsets.track(0, steady() - HOUR)()
    assert commit(partition) == pytest.approx((1, steady()), abs=5)


def test_since_an_earlier_owner_began_what_is_still_to_come_again() -> None:
    partition = Partition(PLACE)
    partition.since = steady() - HOUR
    partition.published["queries/0/1"] = Published("q")
    partition.offsets.track(0, steady())()
    assert commit(partition) == pytest.approx((1, partition.since), abs=0.002)


def test_a_wall_clock_that_jumps_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 24 * HOUR)
    assert steady() == pytest.approx(now, abs=60)
    partition = Partition(PLACE)
    partition.offsets.track(0)()
    assert commit(partition)[1] == pytest.approx(now, abs=60)
