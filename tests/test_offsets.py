"""Offsets against a naive model: a set of all that was handed out, and one of what is done."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumers.offsets import Offsets


class OffsetsMachine(RuleBasedStateMachine):
    """Any order of handing out and ending, gaps in offsets, ends told again, commits."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = Offsets()
        self.ends: dict[int, Callable[[], None]] = {}
        self.done: set[int] = set()
        self.begun: dict[int, float] = {}
        self.marks: list[int] = []

    def naive(self) -> int | None:
        """The lowest offset that is not done, else the one after all."""
        return min(set(self.ends) - self.done, default=max(self.ends, default=-1) + 1 or None)

    @rule(gap=st.sampled_from((0, 0, 0, 1, 5, 10**12)), begun=st.floats(0, 9))
    def hand_out(self, gap: int, begun: float) -> None:
        offset = max(self.ends, default=-1) + 1 + gap
        self.ends[offset] = self.offsets.track(offset, begun)
        self.begun[offset] = begun

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def end_any(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.ends)))
        self.ends[offset]()
        self.done.add(offset)

    @precondition(lambda self: set(self.ends) - self.done)
    @rule(newest=st.booleans())
    def end_one(self, newest: bool) -> None:
        offset = sorted(set(self.ends) - self.done)[-newest]
        self.ends[offset]()
        self.done.add(offset)

    @precondition(lambda self: self.ends)
    @rule(below=st.integers(0, 3))
    def falling_offsets_are_refused(self, below: int) -> None:
        with pytest.raises(ValueError, match="after"):
            self.offsets.track(max(self.ends) - below)

    @rule()
    def commit(self) -> None:
        if (mark := self.offsets.committable) is not None:
            self.offsets.committed = mark
        assert self.offsets.committable is None

    @invariant()
    def agrees(self) -> None:
        offsets, still = self.offsets, set(self.ends) - self.done
        mark = offsets.watermark
        assert mark == self.naive()
        assert offsets.pending == len(still)
        assert offsets.span == len([o for o in self.ends if mark is not None and o >= mark])
        assert offsets.next == (max(self.ends) + 1 if self.ends else None)
        above = [begun for o, begun in self.begun.items() if mark is not None and o >= mark]
        assert offsets.begun == min(above, default=None)
        if mark is not None:
            assert all(mark <= offset for offset in still)
            self.marks.append(mark)
            assert self.marks == sorted(self.marks)
            assert offsets.committable == (None if mark == offsets.committed else mark)


TestOffsets = OffsetsMachine.TestCase
TestOffsets.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(12)))
def test_any_order_ends_at_the_end(order: list[int]) -> None:
    offsets = Offsets()
    ends = [offsets.track(100 + n) for n in range(12)]
    ended: set[int] = set()
    for n in order:
        ends[n]()
        ended.add(n)
        assert offsets.watermark == 100 + next(i for i in range(13) if i not in ended)
    assert (offsets.pending, offsets.span) == (0, 0)


def test_before_the_first_there_is_nothing_to_commit() -> None:
    offsets = Offsets()
    assert (offsets.watermark, offsets.committable, offsets.next) == (None, None, None)
    offsets.committed = 7
    assert offsets.committable is None


def test_offset_zero_is_an_offset() -> None:
    offsets = Offsets()
    done = offsets.track(0)
    assert (offsets.watermark, offsets.committable) == (0, 0)
    done()
    assert offsets.watermark == 1


def test_a_topic_made_anew_is_committed_from_its_beginning() -> None:
    offsets = Offsets()
    offsets.committed = 500
    offsets.track(0)()
    assert offsets.committable == 1


def test_ended_again_counts_once() -> None:
    offsets = Offsets()
    first, second = offsets.track(3), offsets.track(4)
    second()
    second()
    assert (offsets.pending, offsets.span, offsets.watermark) == (1, 2, 3)
    first()
    first()
    second()
    assert (offsets.pending, offsets.span, offsets.watermark) == (0, 0, 5)
