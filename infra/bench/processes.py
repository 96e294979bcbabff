"""An implementation as a child process: started, watched, measured, always ended.

In: a command and its environment. Out: a `Child` for the length of a `with` block.

What always holds:
- it has a process group of its own, and the whole group is gone after the block: SIGTERM,
  then SIGKILL after a limit; on Linux also when the harness itself is killed;
- one that dies is one line, a `BenchError` with the end of its output;
- nothing is left on disk: output goes to a file without a name.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from infra.embedded import GUARD

STOP_LIMIT_S = 10.0
POLL_S = 0.02
TAIL_BYTES = 8_192
TAIL_CHARACTERS = 300
TICKS_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class BenchError(Exception):
    """One line: why something could not be measured."""


class Child:
    """A running implementation."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._output = output

    @property
    def exit_code(self) -> int:
        """After `stop`; negative is the signal that ended it."""
        return self._process.returncode

    def check(self) -> None:
        """Raises `BenchError` if it is no longer running."""
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with {code}: {self.tail()}")

    def cpu_s(self) -> float | None:
        return cpu_s(self.pid)

    def tail(self) -> str:
        """The end of what it has printed, on one line."""
        descriptor = self._output.fileno()
        start = max(0, os.fstat(descriptor).st_size - TAIL_BYTES)
        # pread: the child writes at the shared position, which must not move
        said = " | ".join(
            line.strip()
            for line in os.pread(descriptor, TAIL_BYTES, start)
            .decode(errors="replace")
            .splitlines()
            if line.strip()
        )
        return said[-TAIL_CHARACTERS:] or "it printed nothing"

    def stop(self) -> None:
        """The whole group. Blocks, so that no cancellation leaves a process behind."""
        if self._signal(signal.SIGTERM):
            end = time.monotonic() + STOP_LIMIT_S
            while self._process.poll() is None and time.monotonic() < end:
                time.sleep(POLL_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False  # nobody is left in the group
        return True


@contextmanager
def child(
    name: str, argv: Sequence[str], environment: Mapping[str, str], directory: Path
) -> Iterator[Child]:
    """Runs `argv`, whose first word is an absolute path, until the end of the block."""
    guarded = [*argv]
    if sys.platform == "linux":
        guarded = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), *argv]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
        )
        running = Child(name, process, output)
        try:
            yield running
        finally:
            running.stop()


def cpu_s(group: int) -> float | None:
    """User and system seconds of a process group, children it waited for included.

    None where there is no /proc.
    """
    if not PROC.is_dir():
        return None
    ticks = 0
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            # after the name, which may hold anything: state, parent, group, session ...
            fields = stat.rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_S
