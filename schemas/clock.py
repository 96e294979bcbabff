"""Epoch time for records and commits, which have to agree whatever is done to the wall clock.

Out: seconds. Always holds: never falls, never jumps within a process; it follows the wall clock
as it was when the process began, and monotonic time from there.
"""

import time

_BEGAN = time.time() - time.monotonic()


def steady(monotonic: float | None = None) -> float:
    """Epoch seconds now, or when the monotonic clock said `monotonic`."""
    return _BEGAN + (time.monotonic() if monotonic is None else monotonic)
