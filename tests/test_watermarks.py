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
from schemas.clock import set_anew, steady

PLACE = TopicPartition("queries", 0)
HOUR = 3_600.0


class Broker:
    """Takes commits."""

    def __init__(self) -> None:
        self.commits: list[OffsetAndMetadata] = []

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.commits.append(offsets[PLACE])


def commit(partition: Partition, *, renew: bool = False) -> tuple[int, float]:
    """The offset and, in epoch seconds, since when."""
    (said,) = commits(partition, probe=not renew, renew=renew)
    return said.offset, int(said.metadata) / 1_000


def commits(partition: Partition, *, probe: bool, renew: bool) -> list[OffsetAndMetadata]:
    broker: Any = Broker()
    watermarks = Watermarks({PLACE: partition}, 1.0, unheard)
    watermarks.client = broker
    assert asyncio.run(watermarks.commit([partition], probe=probe, renew=renew))
    return list(broker.commits)


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
    partition.published[1] = Published("q")
    partition.offsets.track(0, steady())()
    assert commit(partition) == pytest.approx((1, partition.since), abs=0.002)


def test_since_then_too_if_it_could_not_be_looked_up() -> None:
    partition = Partition(PLACE)
    partition.since = steady() - HOUR
    partition.offsets.track(0, steady())()
    assert commit(partition) == pytest.approx((1, partition.since), abs=0.002)
    partition.recalled = True
    assert commit(partition) == pytest.approx((1, steady()), abs=5)


def test_what_lies_before_a_record_that_came_is_not_waited_for() -> None:
    partition = Partition(PLACE)
    partition.published = {n: Published(f"q{n}") for n in (3, 4, 9)}
    assert partition.known(4) == Published("q4")
    assert list(partition.published) == [9]
    assert partition.known(12) is None
    assert not partition.published


def test_an_idle_partition_is_committed_again_and_one_that_may_hold_more_is_not() -> None:
    partition = Partition(PLACE)
    partition.offsets.committed = 7
    assert not commits(partition, probe=False, renew=True)
    partition.recalled = True
    assert commit(partition, renew=True) == pytest.approx((7, steady()), abs=5)
    partition.published[9] = Published("q")
    assert not commits(partition, probe=False, renew=True)


def test_a_clock_that_a_broker_calls_wrong_is_set_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + HOUR)
    set_anew()
    assert steady() == pytest.approx(now + HOUR, abs=5)
    monkeypatch.undo()
    set_anew()
    assert steady() == pytest.approx(time.time(), abs=5)


def test_a_wall_clock_that_jumps_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 24 * HOUR)
    assert steady() == pytest.approx(now, abs=60)
    partition = Partition(PLACE)
    partition.offsets.track(0)()
    assert commit(partition)[1] == pytest.approx(now, abs=60)
