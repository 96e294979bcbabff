"""How much is measured, and what an implementation is told.

In: numbers. Out: a frozen `Workload`, and the environment of an implementation: the
service's own settings (contract, section 7), nothing else of `TAGSTREAM_*` or `OTEL_*`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

CLEARED = ("TAGSTREAM_", "OTEL_")
"""Telemetry is off unless the bench turns it on."""
Positive = Annotated[int, Meta(gt=0)]
Seconds = Annotated[float, Meta(gt=0)]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The same for every implementation. Raises `ValueError` for what cannot be measured."""

    queries: Positive = 20_000
    """Of the throughput test."""
    rate: Seconds = 100.0
    """Queries a second in the latency test."""
    seconds: Seconds = 20.0
    delay_ms: float = 400.0
    """The stub engine's time for a query in the latency test; in the other it is 0."""
    window: Positive = 64
    fetch_max_wait_ms: Positive = 20
    idempotence: bool = False
    members: Positive = 10_000
    seed: int = 1
    start_limit_s: Seconds = 60.0
    """From the start of an implementation to its first answers."""
    run_limit_s: Seconds = 120.0
    """From the first answers to the last one, in the throughput test."""
    drain_limit_s: Seconds = 5.0
    """After the last send, in the latency test: what comes later is unfinished."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name not in ("delay_ms", "seed", "idempotence") and value <= 0:
                raise ValueError(f"`{name}` must be more than 0")
        if self.delay_ms < 0:
            raise ValueError("`delay_ms` must not be negative")


def environment(
    inherited: Mapping[str, str],
    workload: Workload,
    *,
    bootstrap: str,
    redis_url: str,
    group: str,
    delay_ms: float,
    path: Sequence[Path],
) -> dict[str, str]:
    """`path` is where Python finds the implementation."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(CLEARED)}
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(folder) for folder in path),
        "TAGSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "TAGSTREAM_REDIS_URL": redis_url,
        "TAGSTREAM_GROUP": group,
        "TAGSTREAM_MODEL": "stub",
        "TAGSTREAM_STUB_DELAY_MS": f"{delay_ms:g}",
        "TAGSTREAM_WINDOW": str(workload.window),
        "TAGSTREAM_FETCH_MAX_WAIT_MS": str(workload.fetch_max_wait_ms),
        "TAGSTREAM_KAFKA_IDEMPOTENCE": "true" if workload.idempotence else "false",
    }
