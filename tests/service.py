"""The running service, as a child process, and the topics on either side of it.

In: a broker's address, a Redis URL, settings by their names in small letters. Out: `World`,
topics of a test's own; `Service`, `python -m infra serve` with the stub engine; `Output`,
every record of the output topics from the beginning, read outside any group.

What always holds: every wait has a limit, and what it waited for is said when it is up; the
child is ended with the block, and killed when it does not end; all events of a world are on
one topic of one partition unless the test routes a tool elsewhere; with `one_topic` the done
events are there too, so that the order is seen.
"""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import uuid4

import msgspec
from aiokafka.admin import NewTopic

from infra import topics
from infra.embedded import HOST, free_port
from infra.settings import PREFIX, Settings, load
from schemas.tools import CALLS, tool_name
from tests.integration.output import Output, Sent, committed, make, publish
from tests.real.clients import within

ROOT = Path(__file__).parents[1]
START_S = 30.0
LIMIT_S = 30.0
EXIT_S = 30.0
POLL_S = 0.05
SERVE = ("-m", "infra", "serve")


class World:
    """Topics of a test's own on a broker, and the settings that lead a service there."""

    def __init__(
        self,
        bootstrap: str,
        redis_url: str,
        *,
        partitions: int = 2,
        idempotence: bool = True,
        copies: int = 1,
        one_topic: bool = False,
        routes: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        name = f"t-{uuid4().hex[:8]}"
        own = {tool: f"{name}.{topic}" for tool, topic in (routes or {}).items()}
        tools = {tool_name(tool): f"{name}.events" for tool in CALLS} | own
        self.environment = environment(
            kafka_bootstrap=bootstrap,
            kafka_idempotence=idempotence,
            redis_url=redis_url,
            group=name,
            queries_topic=f"{name}.queries",
            done_topic=f"{name}.events" if one_topic else f"{name}.done",
            dead_letters_topic=f"{name}.dead",
            routes=msgspec.json.encode(tools).decode(),
            **{"model": "stub", "baseline": False, "fetch_max_wait_ms": 20, **settings},
        )
        self.settings: Settings = load(self.environment)
        self._partitions, self._copies = partitions, copies

    def create(self, *, but: str = "", configs: Mapping[str, dict[str, str]] | None = None) -> Self:
        """Makes every topic `but` one: the input with as many partitions as asked, others with 1.

        `configs` are topics' own, by name.
        """
        self._make([name for name in topics.names(self.settings) if name != but], configs or {})
        return self

    def make(self, name: str) -> None:
        """Makes one topic."""
        self._make([name], {})

    def _make(self, names: list[str], configs: Mapping[str, dict[str, str]]) -> None:
        wanted = [
            NewTopic(
                name,
                self._partitions if name == self.queries else 1,
                self._copies,
                topic_configs=configs.get(name, {}),
            )
            for name in dict.fromkeys(names)
        ]
        within(make(self.settings.kafka_bootstrap, wanted), 60.0)

    @property
    def queries(self) -> str:
        return self.settings.queries_topic

    def publish(self, records: Iterable[Sent], partition: int | None = None) -> list[str]:
        """Sends them as they are; where each one lies, as `tagstream-source` says it."""
        work = publish(self.settings.kafka_bootstrap, self.queries, list(records), partition)
        return within(work, 60.0)

    def committed(self) -> int:
        """The sum of the group's offsets on the queries' topic."""
        return sum(within(committed(self.settings)).values())

    def output(self) -> Output:
        """Listens to the output topics; use it as a block."""
        names = [name for name in topics.names(self.settings) if name != self.queries]
        return Output(self.settings, names)

    def service(self, others: Mapping[str, str] | None = None, **settings: object) -> "Service":
        """A worker; `others` are environment variables that are not tagstream's."""
        return Service(self.environment | environment(**settings) | dict(others or {}))


class Service:
    """One worker. `with` starts it; the block's end kills it if it still runs."""

    def __init__(self, settings: Mapping[str, str], command: Sequence[str] = SERVE) -> None:
        self._command = command
        self.port = free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            f"{PREFIX}HTTP_PORT": str(self.port),
            f"{PREFIX}HTTP_HOST": HOST,
            "PYTHONWARNINGS": "default",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 # closed with the block

    def start(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, *self._command],
            cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        return self

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process
        return self._process

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, limit_s: float = EXIT_S) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {limit_s:g} s") from None

    def stop(self) -> None:
        """SIGTERM; the exit code has to be 0."""
        self.signal(signal.SIGTERM)
        assert (code := self.ended()) == 0, f"exit code {code}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    # --- what it says -------------------------------------------------------------------

    def log(self) -> str:
        """Everything it has printed."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def said(self, text: str) -> bool:
        return text in self.log()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5.0)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ready(self) -> tuple[bool, list[str]]:
        """Whether it is, and why not."""
        try:
            status, body = self.get("/ready")
        except OSError as error:
            return False, [f"no answer: {error}"]
        said: dict[str, Any] = msgspec.json.decode(body)
        assert said["ready"] == (status == http.client.OK)
        return said["ready"], said["problems"]

    def metric(self, name: str, **labels: str) -> float:
        """The sum over the metric's series that have these labels."""
        found = 0.0
        for line in self.get("/metrics")[1].decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(
                f'{label}="{wanted}"' in series for label, wanted in labels.items()
            ):
                found += float(value)
        return found

    def until(self, true: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
        """Waits for it while the service runs."""
        eventually(lambda: true() or self._running(), what, limit_s)

    def until_ready(self, limit_s: float = START_S) -> Self:
        self.until(lambda: self.ready()[0], "ready", limit_s)
        return self

    def _running(self) -> bool:
        assert self.process.poll() is None, "it ended"
        return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # pytest shows it with the failure
            print(f"exit code {self.process.poll()}; the log ends:\n{self.log()[-6_000:]}")
        self.close()

    def close(self) -> None:
        """It runs no more, and its log is gone."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()


def environment(**settings: object) -> dict[str, str]:
    """Settings as the environment has them."""
    return {
        f"{PREFIX}{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.items()
    }


def eventually(true: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Waits until it is true; `what` says what did not come about."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, f"not within {limit_s:g} s: {what}"
        time.sleep(POLL_S)
