"""Worlds for the running service, on whichever broker a test asks for.

In: the parts of `tests.real.fixtures`. Out: `tansu_world` and `kafka_world`, which make a
`World` of the test's own; `world`, which runs a test once on each of the two.
"""

from collections.abc import Callable

import pytest

from infra.embedded import Tansu, Valkey
from tests.real.kafka import Kafka
from tests.service import World

NewWorld = Callable[..., World]


@pytest.fixture
def tansu_world(tansu: Tansu, valkey: Valkey) -> NewWorld:
    """On the embedded broker, which has no idempotent producer."""
    return lambda **wanted: World(tansu.bootstrap, valkey.url, **{"idempotence": False, **wanted})


@pytest.fixture
def kafka_world(kafka: Kafka, valkey: Valkey) -> NewWorld:
    """On Apache Kafka."""
    return lambda **wanted: World(kafka.bootstrap, valkey.url, **wanted)


@pytest.fixture(params=["tansu", "kafka"])
def world(request: pytest.FixtureRequest) -> NewWorld:
    """On each."""
    made: NewWorld = request.getfixturevalue(f"{request.param}_world")
    return made
