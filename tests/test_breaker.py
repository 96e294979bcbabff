"""The breaker, with the clock in our hands."""

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.profiles import Breaker


def opened(at: float, failures: int = 3, pause: float = 2.0) -> Breaker:
    breaker = Breaker(failures, pause)
    for n in range(failures):
        assert breaker.allows(at)
        assert breaker.failed(at) == (n == failures - 1)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = opened(10.0)
    assert not breaker.allows(10.0)
    assert not breaker.allows(11.999)


def test_a_success_between_starts_the_count_anew() -> None:
    breaker = Breaker(3, 2.0)
    for _ in range(5):
        assert not breaker.failed(0.0)
        assert not breaker.failed(0.0)
        assert not breaker.succeeded()
    assert breaker.allows(0.0)


def test_one_probe_after_each_pause() -> None:
    breaker = opened(10.0)
    assert [breaker.allows(12.0 + n / 10) for n in range(20)] == [True] + [False] * 19
    assert breaker.allows(14.0)
    assert not breaker.allows(14.0)


def test_a_failed_probe_pauses_again_without_opening_again() -> None:
    breaker = opened(10.0)
    assert breaker.allows(12.0)
    assert not breaker.failed(12.5)
    assert not breaker.allows(14.4)
    assert breaker.allows(14.5)


def test_a_probe_that_succeeds_closes_it_once() -> None:
    breaker = opened(10.0)
    assert breaker.allows(12.0)
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert all(breaker.allows(12.0) for _ in range(5))
    assert not breaker.failed(12.0)


def test_a_look_up_that_left_before_may_still_close_it() -> None:
    breaker = opened(10.0)
    assert breaker.succeeded()
    assert breaker.allows(10.0)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from("ask fail pass".split()))),
)
def test_while_open_at_most_one_attempt_a_pause(
    failures: int, steps: list[tuple[float, str]]
) -> None:
    breaker, now, row, last = Breaker(failures, 2.0), 0.0, 0, float("-inf")
    for wait, step in steps:
        now += wait
        if step == "ask":
            allowed = breaker.allows(now)
            assert allowed == (row < failures or now >= last + 2.0)
            last = now if allowed and row >= failures else last
        elif step == "fail":
            row, last = row + 1, now
            assert breaker.failed(now) == (row == failures)
        else:
            assert breaker.succeeded() == (row >= failures)
            row = 0
