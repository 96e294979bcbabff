"""The world that chaos strikes: three brokers and a cache behind proxies, workers, a publisher.

In: a folder, a seed, how many queries a second. Out: `World`, with what faults need; every
record the broker has acknowledged is in `accepted`, with its source. A worker that ends without
being asked to is started again, as an operator's platform would.
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from redis import Redis

from infra.embedded import Valkey, free_port
from tests import service
from tests.chaos.worker import KILL
from tests.integration.output import Got, Output, Sent, committed
from tests.real.clients import within
from tests.real.kafka import Kafka
from tests.real.toxiproxy import Proxy, Toxiproxy

FULL = "/dev/full"
MEMBERS = 40
PARTITIONS = 4
SESSION_MS = 6_000
DRAIN_MS = 8_000
WINDOW = 16
WORDS = tuple(
    "nurse cook welder clerk pilot baker tutor miner acme globex initech hooli leeds oslo lagos"
    " pune lima perth excel python welding arabic senior remote".split()
)


class Asked(msgspec.Struct, frozen=True):
    """A query that the broker has acknowledged."""

    query_id: str
    query: str
    member_id: str | None
    trace_id: str


class Worker(service.Service):
    """A worker process with a name; `expected` once it was told to end.

    A deaf one can write no log: its disk is full.
    """

    def __init__(
        self, name: str, settings: dict[str, str], *, real: bool, deaf: bool = False
    ) -> None:
        super().__init__(settings, service.SERVE if real else ("-m", "tests.chaos.worker"))
        self.name = name
        self.expected = False
        if deaf:
            self._log.close()
            self._log = open(FULL, "wb", buffering=0)  # noqa: SIM115 # closed with the block

    def kill(self) -> None:
        self.expected = True
        super().kill()

    def log(self) -> str:
        return "" if self._log.name == FULL else super().log()

    def quit(self) -> None:
        """SIGTERM, without waiting for the end."""
        self.expected = True
        self.process.terminate()


class World:
    """As a block: everything starts, and at its end everything is gone."""

    def __init__(
        self, folder: Path, seed: int, rate: float, workers: int, *, real: bool = False
    ) -> None:
        """With `real`, workers have the tuned model in vLLM instead of the engine that obeys."""
        self.folder, self.real = folder, real
        self.session_s = SESSION_MS / 1_000
        self.drain_limit_s = DRAIN_MS / 1_000 + 10
        self.accepted: dict[str, Asked] = {}
        self.raw: list[str] = []
        """Sources of records that no one can decode."""
        self.complaints: list[str] = []
        self.extra: list[Worker] = []
        self.deaths = 0
        self.struck = 0
        """Workers that a query has killed; each left its mark in the folder."""
        self._gone: list[tuple[int, range]] = []
        """Partition and offsets that retention has deleted above what was committed."""
        self._rng = Random(seed)
        self._rate, self._count = rate, workers
        self._parts = ExitStack()
        self._ending, self._over = threading.Event(), threading.Event()
        self._urgent: list[str] = []
        self._number = 0
        self._burst = 0
        self._closed, self._starting = threading.Event(), threading.Lock()
        """No worker is started while the one is set, and it is set while none is being started."""

    # --- what faults use ----------------------------------------------------------------

    def worker(self, rng: Random) -> Worker:
        """One of those that run."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            running = [w for w in self.workers if w.process.poll() is None and not w.expected]
            if running:
                return rng.choice(running)
            time.sleep(0.1)
        raise AssertionError("no worker runs")

    def join(self) -> Worker:
        """One more worker for a while."""
        self.extra.append(self._started(f"extra-{time.monotonic_ns()}"))
        return self.extra[-1]

    def ask(self, mark: str) -> None:
        """The next query bears the mark."""
        self._urgent.append(mark)

    def kill_by_query(self, limit_s: float) -> None:
        """A query kills its worker between two sends; returns once one has.

        One whose engine goes down under it does not: then another is asked to.
        """
        before, asked = self.struck, 0.0

        def struck() -> bool:
            nonlocal asked
            if time.monotonic() > asked + 10:
                asked = time.monotonic()
                self.ask(KILL)
            return self.struck > before

        service.eventually(struck, "a worker was killed", limit_s)

    def join_when_full(self, limit_s: float) -> Worker:
        """Publishes more than can be answered; once a window is full, one more worker joins.

        Returns when that one has partitions: they were taken from a worker that was full.
        """
        extra: Worker | None = None

        def full(worker: Worker) -> bool:
            with contextlib.suppress(OSError, ValueError):  # it is about to end, or begins
                return worker.metric("tagstream_in_flight") >= WINDOW
            return False

        def taken() -> bool:
            nonlocal extra
            self._burst = self._burst or 20
            if extra is None and any(map(full, list(self.workers))):
                extra = self.join()
            return extra is not None and extra.said("assigned [(")

        try:
            service.eventually(taken, "partitions taken from a full window", limit_s)
        finally:
            self._burst = 0
        assert extra
        return extra

    def retention(self, rng: Random) -> None:
        """While no worker runs, deletes all that one partition of the queries holds."""
        place = TopicPartition(self.settings.queries_topic, rng.randrange(PARTITIONS))
        with self._starting:
            self._closed.set()
        try:
            for worker in [*self.workers, *self.extra]:
                worker.kill()
            done = within(committed(self.settings), 30.0)[place.partition]
            self._burst = 200
            wanted = f"{place.topic}/{place.partition}/"

            def unread() -> int:
                offsets = [int(s.removeprefix(wanted)) for s in list(self.accepted)
                           if s.startswith(wanted)]  # fmt: skip
                return sum(offset >= done for offset in offsets)

            service.eventually(lambda: unread() >= 20, "20 records that nobody has read", 60.0)
            end = within(_delete_all(self.settings.kafka_bootstrap, place), 60.0)
            after = within(committed(self.settings), 30.0)[place.partition]
        except (KafkaError, TimeoutError) as error:
            raise AssertionError(f"nothing could be deleted: {error!r}") from None
        finally:
            self._closed.clear()
        self._gone.append((place.partition, range(done, end)))
        assert done == after < end, f"{done}, then {after} committed; deleted below {end}"

    def lost(self, source: str) -> bool:
        """Whether retention may have taken it before it was answered."""
        _, partition, offset = source.rsplit("/", 2)
        return any(int(partition) == p and int(offset) in taken for p, taken in self._gone)

    def complain(self, what: str) -> None:
        """Something that must not be was seen; the run fails, and goes on."""
        print(f"  COMPLAINT: {what}", file=sys.stderr, flush=True)
        self.complaints.append(what)

    def configure(self, topic: str, config: str) -> None:
        self.kafka.tool(
            "kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics",
            "--entity-name", topic, "--add-config", config,
        )  # fmt: skip

    def expect_unready(self, limit_s: float) -> None:
        """Each worker has work and cannot commit: it has to say that it is not ready."""
        end = time.monotonic() + limit_s
        open_ones = [w for w in self.workers if w.process.poll() is None]
        while open_ones and time.monotonic() < end:
            open_ones = [w for w in open_ones if w.process.poll() is None and w.ready()[0]]
            time.sleep(0.2)
        for worker in open_ones:
            self.complain(f"{worker.name} is ready after {limit_s:g} s without brokers")

    def spoil_profile(self, rng: Random) -> None:
        """A key of another type where a profile should be."""
        key = f"profile:m{rng.randrange(MEMBERS)}"
        with Redis.from_url(self.valkey.url) as redis:
            kept = redis.get(key)
            redis.delete(key)
            redis.lpush(key, "not a string")
            time.sleep(2)
            redis.delete(key)
            redis.set(key, kept if isinstance(kept, bytes) else b"")

    def publish_raw(self, values: Sequence[bytes]) -> None:
        """Records that cannot be decoded; they have to end as dead letters."""
        self.raw += self._topics.publish([Sent(value) for value in values])

    # --- start and end ------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self) -> Self:
        enter = self._parts.enter_context
        toxiproxy = enter(Toxiproxy())
        ports = {node: free_port() for node in range(3)}
        self.kafka = Kafka(self.folder, brokers=3, advertised=ports)
        self.proxies: list[Proxy] = [
            toxiproxy.proxy(f"kafka-{node}", broker.seat.client, ports[node])
            for node, broker in enumerate(self.kafka.brokers)
        ]
        enter(self.kafka)
        self.valkey = enter(Valkey())
        self.redis = toxiproxy.proxy("redis", self.valkey.port)
        self.collector = toxiproxy.proxy("collector", self.valkey.port)
        self.collector.add("timeout", timeout=0)
        with Redis.from_url(self.valkey.url) as redis:
            for n in range(MEMBERS):
                profile = {"member_id": f"m{n}", "location": f"Town{n}"}
                redis.set(f"profile:m{n}", msgspec.json.encode(profile))
        self._topics = service.World(
            self.kafka.bootstrap, f"redis://{self.redis.address}", partitions=PARTITIONS, copies=3,
            one_topic=True, routes={"plan": "plans"}, stub_delay_ms=300, window=WINDOW,
            partition_span=64, commit_interval_ms=200, session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=8_000, rebalance_drain_ms=3_000, shutdown_drain_ms=DRAIN_MS,
            stall_ms=1_500, kafka_io_timeout_ms=3_000, baseline=True, max_tokens=64,
        )  # fmt: skip
        plans = self._topics.settings.routes["plan"]
        self._topics.create(configs={plans: {"max.message.bytes": "3000"}})
        self.settings = self._topics.settings
        self.output: Output = enter(self._topics.output())
        self.workers = [self._started(f"w{n}") for n in range(self._count)]
        for worker in self.workers:
            worker.until_ready(240 if self.real else 60)
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._publish, self._watch)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def _started(self, name: str) -> Worker:
        own = service.environment(worker=name)
        if self.real:
            own |= service.environment(model="tagstream", compile=False, stall_ms=20_000)
        chaos = {"CHAOS_FOLDER": str(self.folder), "CHAOS_MEMORY": str(6 << 30)}
        # The second worker can write no log, and its collector of traces never answers.
        deaf = name.startswith("w1")
        if deaf:
            chaos["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{self.collector.address}"
        settings = self._topics.environment | own | chaos
        worker = Worker(name, settings, real=self.real, deaf=deaf)
        worker.start()
        return worker

    def quiet(self) -> None:
        """No more queries; returns when every accepted one has ended, or complains."""
        self._ending.set()
        self._threads[0].join(60)
        wanted = set(self.accepted) | set(self.raw)

        def ended() -> bool:
            records = [*self.output.dones, *self.output.letters]
            return not missing(records)

        def missing(records: Sequence[Got]) -> set[str]:
            return {s for s in wanted - {r.source for r in records} if not self.lost(s)}

        try:
            service.eventually(ended, "every record ended", 120.0)
        except AssertionError:
            records = [*self.output.dones, *self.output.letters]
            left = missing(records)
            self.complain(f"{len(left)} never ended: {sorted(left)[:5]}")

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._over.set()
        for thread in getattr(self, "_threads", []):
            thread.join(60)
        for worker in [*getattr(self, "workers", []), *self.extra]:
            worker.close()
        self._parts.close()

    # --- threads ------------------------------------------------------------------------

    def _publish(self) -> None:
        asyncio.run(self._stream())

    async def _stream(self) -> None:
        # Not idempotent: such a producer of aiokafka's is of no more use after a fatal error.
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka.bootstrap, acks="all", request_timeout_ms=5_000
        )
        await producer.start()
        waiting: set[asyncio.Task[None]] = set()
        while not self._ending.is_set():
            task = asyncio.create_task(self._send(producer, *self._next()))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            if self._burst:
                self._burst -= 1
            else:
                await asyncio.sleep(self._rng.expovariate(self._rate))
        if waiting:
            await asyncio.wait(waiting, timeout=50)
        await asyncio.wait_for(producer.stop(), 10)

    async def _send(self, producer: AIOKafkaProducer, asked: Asked, record: dict[str, Any]) -> None:
        header = f"00-{asked.trace_id}-{'1' * 16}-01".encode()
        value = msgspec.json.encode(record)
        key = (asked.member_id or asked.query_id).encode()
        while True:
            try:
                sent = await producer.send(
                    self.settings.queries_topic, value, key, headers=[("traceparent", header)]
                )
                place = await sent
            except KafkaError:
                if self._ending.is_set():
                    return
                await asyncio.sleep(0.5)
            else:
                self.accepted[f"{place.topic}/{place.partition}/{place.offset}"] = asked
                return

    def _next(self) -> tuple[Asked, dict[str, Any]]:
        self._number += 1
        words = self._rng.sample(WORDS, self._rng.randrange(1, 5))
        if self._rng.random() < 0.15:
            words.append("mine")
        if self._urgent:
            mark = self._urgent.pop()
            words = [*self._rng.sample(WORDS, 3), mark, str(self._number)]
            if mark == "zhuge":
                words.append("\U0001f600" * 900)
        member = f"m{self._rng.randrange(MEMBERS + 10)}" if self._rng.random() < 0.7 else None
        query_id, query = f"q{self._number}", " ".join(words)
        asked = Asked(query_id, query, member, f"{self._rng.getrandbits(128) | 1:032x}")
        return asked, {"query_id": query_id, "query": query, "member_id": member}

    def _watch(self) -> None:
        """Starts workers again that have ended."""
        while not self._over.wait(0.3):
            for at, worker in enumerate(self.workers):
                with self._starting:
                    code = worker.process.poll()
                    if code is None or self._closed.is_set() or self._over.is_set():
                        continue
                    self._mourn(worker, code)
                    self.workers[at] = self._started(f"{worker.name.split('.')[0]}.{self.deaths}")

    def _mourn(self, worker: Worker, code: int) -> None:
        """Notes a worker's end; complains of one that nobody asked for."""
        pid = str(worker.process.pid)
        if any(mark.read_text() == pid for mark in self.folder.glob(f"{KILL}-*")):
            self.struck += 1
        elif not worker.expected:
            said = worker.log()[-1_000:] or "(its disk was full)"
            self.complain(f"{worker.name} ended by itself with {code}: {said}")
        worker.close()
        self.deaths += 1


async def _delete_all(bootstrap: str, place: TopicPartition) -> int:
    """The offset below which all is deleted."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        everything = {place: RecordsToDelete(before_offset=-1)}
        for _ in range(20):
            try:
                return int((await admin.delete_records(everything))[place])
            except KafkaError:  # the partition's leader has just gone
                await asyncio.sleep(1)
        raise AssertionError(f"{place}: nothing could be deleted")
    finally:
        await admin.close()
