"""Apache Kafka on loopback: one broker or three, each also a controller (KRaft).

In: an unpacked Apache Kafka, 3.5 or later, named by KAFKA_HOME, and Java 17 or later
(`missing` says what lacks); an empty folder for the data, which stays the caller's.
Out: `Kafka`, whose brokers can be started, stopped, killed, paused and resumed one by one;
`login` gives a client's options, `tool` runs one of Kafka's own tools.

What always holds:
- a started broker is in the cluster and answers for itself;
- ports and data stay the same over restarts;
- the inner listener is never proxied and never asks for a login: tools and the question
  whether a broker is up go there.
"""

import base64
import os
import signal
import ssl
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from infra.embedded import HOST, Child, EmbeddedError, free_port
from tests.real import certificates, java, properties
from tests.real.java import missing
from tests.real.metadata import known_brokers

__all__ = ["PASSWORDS", "Broker", "Kafka", "missing"]

START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
PASSWORDS = {properties.ADMIN: "admin-secret", "app": "app-secret"}  # admin may do everything


class Broker(Child):
    """One broker: `port` is where it listens, `seat.advertised` where it sends its clients."""

    def __init__(self, folder: Path, node: int, advertised: int | None) -> None:
        port = free_port()
        self.seat = properties.Seat(node, port, free_port(), free_port(), advertised or port)
        self.config = folder / f"broker-{node}.properties"
        super().__init__(
            f"kafka broker {node}",
            lambda _: java.command("kafka.Kafka", str(self.config), folder=folder),
            lambda _: node in known_brokers(self.seat.inner),
            port=port,
            limit_s=START_LIMIT_S,
        )

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        super().stop(limit_s)


class Kafka:
    """A cluster; `with` starts it, and kills it at the end."""

    def __init__(
        self,
        folder: Path,
        *,
        brokers: int = 1,
        secure: bool = False,
        extra: Mapping[str, str] | None = None,
        advertised: Mapping[int, int] | None = None,
    ) -> None:
        """`extra` properties override ours; `advertised` gives a broker a proxy's port."""
        if reason := missing():
            raise EmbeddedError(reason)
        ports = advertised or {}
        self.secure = secure
        self._folder = folder.resolve()
        self._extra = dict(extra or {})
        self._formatted = False
        self.brokers = [Broker(self._folder, n, ports.get(n)) for n in range(brokers)]

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{HOST}:{broker.seat.advertised}" for broker in self.brokers)

    def start(self) -> None:
        """Start those that are down, with their data, and wait until each one answers."""
        if not self._formatted:
            self._format()
        for broker in self.brokers:
            broker.spawn()
        for broker in self.brokers:
            broker.wait()

    def stop(self) -> None:
        """SIGTERM to all at once: a last one alone would wait for a quorum in vain."""
        for broker in self.brokers:
            if broker.running:
                os.kill(broker.pid, signal.SIGTERM)
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """SIGKILL to all."""
        for broker in self.brokers:
            broker.kill()

    def close(self) -> None:
        """End all at once, for good: the data is of no more use."""
        self.kill()
        for broker in self.brokers:
            broker.close()

    def login(self, user: str = "app", password: str | None = None) -> dict[str, Any]:
        """The options by which an aiokafka client reaches the cluster."""
        if not self.secure:
            return {"bootstrap_servers": self.bootstrap}
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(cafile=str(self.authority)),
            "sasl_mechanism": properties.MECHANISM,
            "sasl_plain_username": user,
            "sasl_plain_password": PASSWORDS[user] if password is None else password,
        }

    @property
    def authority(self) -> Path:
        """The certificate that clients of a secure cluster must trust."""
        return self._folder / "ca.pem"

    def tool(self, name: str, *arguments: str) -> str:
        """What one of Kafka's tools, a Java class, prints; it acts with all rights."""
        inner = ",".join(f"{HOST}:{broker.seat.inner}" for broker in self.brokers)
        return java.run(name, "--bootstrap-server", inner, *arguments, folder=self._folder)

    def _format(self) -> None:
        seats = [broker.seat for broker in self.brokers]
        common, users = properties.small(), []
        if self.secure:
            certificates.issue(self._folder)
            common |= properties.login_required(self._folder)
            for user, password in PASSWORDS.items():
                users += [
                    "--add-scram",
                    f"{properties.MECHANISM}=[name={user},password={password}]",
                ]
        # A leading dash would be read as an option, so the alphabet has none.
        cluster = base64.b64encode(uuid.uuid4().bytes, b"_0").decode().rstrip("=")
        for broker in self.brokers:
            own = properties.cluster(seats, broker.seat, self._folder)
            broker.config.write_text(properties.text(own | common | self._extra))
            what = ("--cluster-id", cluster, "--config", str(broker.config), *users)
            java.run("kafka.tools.StorageTool", "format", *what, folder=self._folder)
        self._formatted = True

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
