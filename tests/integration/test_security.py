"""Over TLS, with logins and rights, on real servers: it works, what lacks is said, no secret leaks.

In: Apache Kafka that asks for SASL/SCRAM over TLS and grants by ACL alone, Valkey with an ACL user
behind TLS, certificates made for the test. Out: answers; one line for each thing that is wrong;
nothing planted in logs, metrics, health or the print-out of settings.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from redis import Redis

from infra import topics
from infra.embedded import Valkey
from infra.settings import load
from tests.integration.output import Output, search
from tests.real import certificates
from tests.real.clients import within
from tests.real.kafka import PASSWORDS, Kafka
from tests.real.tls import terminator
from tests.service import ROOT, Service, environment, eventually

ACLS = "org.apache.kafka.tools.AclCommand"
REDIS_PASSWORD = "planted-redis-secret"
PERSONAL = ("Zyxwvillenurse", "Quuxburgh")
GROUP = "secure"


class Secured:
    """The topics on the secure broker, the cache behind TLS, and who may do what."""

    def __init__(self, kafka: Kafka, redis_port: int, folder: Path) -> None:
        self.kafka = kafka
        self.environment = environment(
            kafka_bootstrap=kafka.bootstrap,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="app",
            kafka_sasl_password=PASSWORDS["app"],
            kafka_ssl_ca_file=kafka.authority,
            redis_url=f"rediss://localhost:{redis_port}/0",
            redis_username="reader",
            redis_password=REDIS_PASSWORD,
            redis_ca_file=folder / "ca.pem",
            redis_timeout_ms=2_000,
            group=GROUP, model="stub", fetch_max_wait_ms=20,
        )  # fmt: skip
        self.settings = load(self.environment)

    def allow(self) -> None:
        """All that the service needs."""
        admin = load(self.environment | environment(
            kafka_sasl_username="admin", kafka_sasl_password=PASSWORDS["admin"]
        ))  # fmt: skip
        within(topics.create(admin, 1, 1))
        named = [part for name in topics.names(self.settings) for part in ("--topic", name)]
        self._grant("--operation", "All", *named)
        self._grant("--operation", "All", "--group", GROUP)
        self._grant("--operation", "IdempotentWrite", "--cluster")

    def _grant(self, *what: str) -> None:
        self.kafka.tool(ACLS, "--add", "--allow-principal", "User:app", *what)

    def service(self, **changed: object) -> Service:
        return Service(self.environment | environment(**changed))


@pytest.fixture(scope="module")
def secured(kafka_secure: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("redis")
    certificates.issue(folder)
    with Valkey() as valkey, terminator(folder, valkey.port) as port:
        with Redis.from_url(valkey.url) as redis:
            profile = {"member_id": "m", "title": PERSONAL[0], "location": PERSONAL[1]}
            redis.set("profile:m", msgspec.json.encode(profile))
            redis.acl_setuser(
                "reader", enabled=True, passwords=[f"+{REDIS_PASSWORD}"],
                keys=["profile:*"], commands=["+getrange", "+get", "+ping", "+hello", "+client"],
            )  # fmt: skip
            redis.config_set("requirepass", "only-for-the-default-user")
        made = Secured(kafka_secure, port, folder)
        made.allow()
        yield made


def test_answers_and_leaks_nothing(secured: Secured) -> None:
    admin = load(secured.environment | environment(
        kafka_sasl_username="admin", kafka_sasl_password=PASSWORDS["admin"]
    ))  # fmt: skip
    planted = [PASSWORDS["app"], REDIS_PASSWORD, *PERSONAL, "Wibblebrook"]
    with Output(admin, topics.names(admin)[1:]) as output, secured.service() as service:
        service.until_ready(60)
        subprocess.run(
            [sys.executable, "-m", "infra", "publish", "--help"], check=True, capture_output=True
        )
        publish(secured, [search("q1", "nurse in Wibblebrook", member_id="m")])
        output.until(lambda out: len(out.dones) == 1, "done", 60)
        assert output.dones[0].json()["profile"] == "found"
        assert output.dones[0].json()["status"] == "complete"
        said = [service.log(), service.get("/metrics")[1].decode(), str(service.ready())]
        service.stop()
        said.append(service.log())
    shown = subprocess.run(
        [sys.executable, "-m", "infra", "serve", "--show-settings", "--json"],
        cwd=ROOT, env=os.environ | secured.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["redis_password"]
    for text in [*said, shown.stdout, shown.stderr]:
        for secret in planted:
            assert secret not in text


def publish(secured: Secured, records: list[object]) -> None:
    from aiokafka import AIOKafkaProducer

    async def work() -> None:
        producer = AIOKafkaProducer(**secured.settings.kafka_client(), acks="all")
        await producer.start()
        try:
            for record in records:
                value = getattr(record, "value", None)
                await producer.send_and_wait(secured.settings.queries_topic, value, b"m")
        finally:
            await producer.stop()

    within(work())


def complains(service: Service, *words: str) -> None:
    """Its log has a line with all the words, and no stack trace; it goes on trying."""

    def said() -> bool:
        return any(all(w in line for w in words) for line in service.log().splitlines())

    eventually(said, f"a line with {words}", 40)
    assert "Traceback" not in service.log()
    assert service.process.poll() is None


def test_a_wrong_kafka_password_is_said(secured: Secured) -> None:
    with secured.service(kafka_sasl_password="wrong-planted") as service:
        complains(service, "uthentication")
        assert "wrong-planted" not in service.log()


def test_an_unknown_authority_is_said(secured: Secured, tmp_path: Path) -> None:
    certificates.issue(tmp_path)
    with secured.service(kafka_ssl_ca_file=tmp_path / "ca.pem") as service:
        complains(service, "CERTIFICATE_VERIFY_FAILED")


def test_an_expired_certificate_is_said(secured: Secured, tmp_path: Path) -> None:
    """A handshake comes before anything that the server behind it would say."""
    certificates.issue(tmp_path, expired=True)
    there = int(secured.kafka.bootstrap.rpartition(":")[2])
    with terminator(tmp_path, there) as port:
        kafka = {"kafka_bootstrap": f"localhost:{port}", "kafka_ssl_ca_file": tmp_path / "ca.pem"}
        with secured.service(**kafka) as service:
            complains(service, "certificate has expired")
        cache = {"redis_url": f"rediss://localhost:{port}/0", "redis_ca_file": tmp_path / "ca.pem"}
        with secured.service(**cache) as service:
            service.until_ready(60)
            publish(secured, [search("q4", member_id="m")])
            complains(service, "Redis", "certificate has expired")


def test_a_missing_right_is_said(secured: Secured) -> None:
    with secured.service(done_topic="search.elsewhere") as service:
        eventually(lambda: service.said("assigned [("), "it has the partition", 60)
        publish(secured, [search("q3")])
        complains(service, "search.elsewhere")


def test_a_wrong_redis_password_stops_nothing_and_is_said(secured: Secured) -> None:
    admin = load(secured.environment | environment(
        kafka_sasl_username="admin", kafka_sasl_password=PASSWORDS["admin"]
    ))  # fmt: skip
    wrong = secured.service(redis_password="wrong-planted")
    with Output(admin, topics.names(admin)[1:]) as output, wrong as service:
        service.until_ready(60)
        publish(secured, [search("q2", member_id="m")])
        output.until(lambda out: "q2" in out.done_counts(), "done", 60)
        done = next(r.json() for r in output.dones if r.json()["query_id"] == "q2")
        assert (done["status"], done["profile"]) == ("complete", "unavailable")
        complains(service, "Redis", "AuthenticationError")
        assert "wrong-planted" not in service.log()
        service.stop()
