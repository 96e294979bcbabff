"""Which offset of a partition may be committed, however out of order its records end.

In: offsets as they are handed out, in rising order, and the word that one is done. Out:
the watermark, the offset below which all is done. Always holds: the watermark never
passes an offset that is not done, and never falls. No clock, no client.
"""

from collections import deque
from collections.abc import Callable


class Offsets:
    """One partition, for as long as it is assigned."""

    def __init__(self) -> None:
        self._open: deque[_Entry] = deque()
        self._pending = 0
        self._end: int | None = None
        self.committed: int | None = None

    def track(self, offset: int, begun: float = 0.0) -> Callable[[], None]:
        """Takes an offset in, and when its work begins, in epoch seconds.

        The function that comes back says that it is done.

        Raises `ValueError` if offsets do not rise. The function may be called again:
        only the first call counts.
        """
        if self._end is not None and offset < self._end:
            raise ValueError(f"offset {offset} after {self._end - 1}")
        entry = _Entry(offset, begun)
        self._open.append(entry)
        self._pending += 1
        self._end = offset + 1

        def done() -> None:
            if not entry.done:
                entry.done = True
                self._pending -= 1
                while self._open and self._open[0].done:
                    self._open.popleft()

        return done

    @property
    def watermark(self) -> int | None:
        """The lowest offset that is not done, else the next one; None before the first."""
        return self._open[0].offset if self._open else self._end

    @property
    def begun(self) -> float | None:
        """Before it no record at or above the watermark was begun; None if none was."""
        return min((entry.begun for entry in self._open), default=None)

    @property
    def position(self) -> int | None:
        """The watermark; before the first record what was committed."""
        mark = self.watermark
        return self.committed if mark is None else mark

    @property
    def committable(self) -> int | None:
        """The watermark, unless it is what was committed."""
        mark = self.watermark
        return None if mark is None or mark == self.committed else mark

    @property
    def pending(self) -> int:
        """How many are not done."""
        return self._pending

    @property
    def span(self) -> int:
        """How many records a crash now would have answered again, done ones included."""
        return len(self._open)

    @property
    def next(self) -> int | None:
        """The offset after the last one handed out."""
        return self._end


class _Entry:
    __slots__ = ("begun", "done", "offset")

    def __init__(self, offset: int, begun: float) -> None:
        self.offset = offset
        self.begun = begun
        self.done = False
