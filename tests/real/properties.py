"""The properties file of a broker that is also a controller, as pure functions.

In: who takes part, and where each listens. Out: the properties, by name.

Beside the clients' listener there is an inner one, plain and without a login, for the peers
and the tools, and the controllers' own. Whoever comes without a login is therefore a super
user: no client does, since its listener asks for one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import HOST

MECHANISM = "SCRAM-SHA-512"
ADMIN = "admin"


@dataclass(frozen=True)
class Seat:
    """Where one broker listens; `advertised` is where it sends its clients."""

    node: int
    client: int
    inner: int
    controller: int
    advertised: int


def cluster(seats: Sequence[Seat], seat: Seat, folder: Path) -> dict[str, str]:
    """One broker among its peers."""
    inner, controller = f"INNER://{HOST}:{seat.inner}", f"CONTROLLER://{HOST}:{seat.controller}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(seat.node),
        "controller.quorum.voters": ",".join(f"{s.node}@{HOST}:{s.controller}" for s in seats),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INNER",
        "listeners": f"CLIENT://{HOST}:{seat.client},{inner},{controller}",
        "advertised.listeners": f"CLIENT://{HOST}:{seat.advertised},{inner}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder / f"data-{seat.node}"),
        **_copies(len(seats)),
    }


def small() -> dict[str, str]:
    """Little memory, no waiting for members, no topics by accident."""
    return {
        "num.partitions": "8",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # a killed broker is let in again when its last session has run out
        "broker.session.timeout.ms": "2500",
        "broker.heartbeat.interval.ms": "400",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "4",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 << 20),
    }


def login_required(folder: Path) -> dict[str, str]:
    """SASL_SSL for the clients, and no rights but by ACLs."""
    client = "listener.name.client"
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": MECHANISM,
        f"{client}.{MECHANISM.lower()}.sasl.jaas.config": f"{module} required;",
        f"{client}.ssl.keystore.type": "PEM",
        f"{client}.ssl.keystore.location": str(folder / "keystore.pem"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:ANONYMOUS",
    }


def text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def _copies(brokers: int) -> dict[str, str]:
    """Every topic on up to three brokers, of which one may be down."""
    replicas, enough = str(min(brokers, 3)), "2" if brokers >= 3 else "1"
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": enough,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": enough,
    }
