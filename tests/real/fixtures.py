"""Real parts as pytest fixtures; a test whose part is not installed is skipped with a reason.

In: what each launcher asks for. Out: parts that have answered, ended and wiped afterwards.
A test that takes down a part of session or module scope brings it up again (`start`).
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from infra.embedded import Child, EmbeddedError, Tansu, Valkey
from tests.real import certificates
from tests.real.kafka import Kafka
from tests.real.kafka import missing as kafka_missing
from tests.real.toxiproxy import Toxiproxy
from tests.real.toxiproxy import missing as toxiproxy_missing

Part = TypeVar("Part", bound=Child)


@pytest.fixture(scope="session")
def tansu() -> Iterator[Tansu]:
    """The embedded broker, in memory."""
    with _installed(Tansu) as part:
        yield part


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A Valkey of the test's own."""
    with _installed(Valkey) as part:
        yield part


@pytest.fixture
def toxiproxy() -> Iterator[Toxiproxy]:
    """A Toxiproxy of the test's own."""
    _skip_if(toxiproxy_missing())
    with Toxiproxy() as part:
        yield part


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a part's data: unlike tmp_path it is gone after the test."""
    with tempfile.TemporaryDirectory(prefix="tagstream-") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker."""
    yield from _cluster(brokers=1, secure=False)


@pytest.fixture(scope="module")
def kafka_three() -> Iterator[Kafka]:
    """Three brokers, of which one may be down."""
    yield from _cluster(brokers=3, secure=False)


@pytest.fixture(scope="module")
def kafka_secure() -> Iterator[Kafka]:
    """One broker that asks for a login and grants nothing without an ACL."""
    yield from _cluster(brokers=1, secure=True)


def _cluster(*, brokers: int, secure: bool) -> Iterator[Kafka]:
    _skip_if(kafka_missing())
    if secure:
        _skip_if(certificates.missing())
    with (
        tempfile.TemporaryDirectory(prefix="tagstream-") as path,
        Kafka(Path(path), brokers=brokers, secure=secure) as cluster,
    ):
        yield cluster


def _installed(part: Callable[[], Part]) -> Part:
    try:
        return part()
    except EmbeddedError as error:
        pytest.skip(str(error))


def _skip_if(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)
