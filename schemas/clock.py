"""Epoch time for records and commits, which have to agree whatever is done to the wall clock.

Out: seconds. Always holds: it goes with monotonic time, from the wall clock as it was when the
process began; it jumps only when `set_anew` is called.
"""

import time

_began = time.time() - time.monotonic()


def steady(monotonic: float | None = None) -> float:
    """Epoch seconds now, or when the monotonic clock said `monotonic`."""
    return _began + (time.monotonic() if monotonic is None else monotonic)


def set_anew() -> None:
    """Takes the wall clock's word again: a broker says that ours is wrong."""
    global _began  # noqa: PLW0603 # one clock for the process
    _began = time.time() - time.monotonic()
