"""The job of the pipeline, as a service without guarantees would do it: what both peers share.

In: a record of `search.queries`, and how to publish. Out: four calls as the stub engine says
them, each published as the contract's event the moment it is "said" to its own topic, then,
once all four are acknowledged, the `done` event.

What is left out, so that the comparison is with the least work a service can do: the
decoder, headers, traces, metrics, dead letters, deadlines, retries.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis

from schemas.events import Done, Event, PlanEvent, ProfileStatus, encode_event
from schemas.profiles import decode_profile
from schemas.queries import SearchQuery
from schemas.tools import Call, Location, Plan, Title, Workplace

QUERIES = "search.queries"
DONE = "search.done"
CALLS: tuple[tuple[str, Call], ...] = (
    ("search.plans", Plan("criteria")),
    ("search.tags.title", Title("software engineer")),
    ("search.tags.location", Location("Naples")),
    ("search.tags.workplace", Workplace("remote")),
)
MODEL = "stub@1"

Publish = Callable[[str, bytes, bytes], Awaitable[Awaitable[object]]]
"""Topic, key and value: returns when the record is on its way; await the result for the ack."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The service's own settings, from the environment."""

    bootstrap: str
    redis_url: str
    group: str
    pause_s: float
    window: int
    fetch_max_wait_ms: int
    idempotence: bool


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises `KeyError` without an address, `ValueError` for what is no number."""
    return Settings(
        bootstrap=environment["TAGSTREAM_KAFKA_BOOTSTRAP"],
        redis_url=environment["TAGSTREAM_REDIS_URL"],
        group=environment.get("TAGSTREAM_GROUP", "tagstream"),
        pause_s=float(environment.get("TAGSTREAM_STUB_DELAY_MS", "0")) / 1_000 / len(CALLS),
        window=int(environment.get("TAGSTREAM_WINDOW", "64")),
        fetch_max_wait_ms=int(environment.get("TAGSTREAM_FETCH_MAX_WAIT_MS", "20")),
        idempotence=environment.get("TAGSTREAM_KAFKA_IDEMPOTENCE", "false").lower() == "true",
    )


async def answer(query: SearchQuery, cache: Redis, publish: Publish, pause_s: float) -> None:
    """Everything for one query. An error of the cache, the profile or the broker is raised."""
    received, received_at = time.monotonic(), datetime.now(UTC)
    profile = await _look_up(cache, query.member_id)
    key = query.query_id.encode()
    acknowledgements: list[Awaitable[object]] = []
    first_ms = 0.0
    for index, (topic, call) in enumerate(CALLS):
        await asyncio.sleep(pause_s)
        elapsed_ms = (time.monotonic() - received) * 1_000
        first_ms = first_ms or elapsed_ms
        event = encode_event(_event(query, index, call, elapsed_ms))
        acknowledgements.append(await publish(topic, key, event))
    await asyncio.gather(*acknowledgements)
    issued_at = query.issued_at if isinstance(query.issued_at, datetime) else received_at
    done = Done(
        query_id=query.query_id,
        status="complete",
        events=len(CALLS),
        profile=profile,
        queued_ms=(received_at - issued_at).total_seconds() * 1_000,
        first_event_ms=first_ms,
        elapsed_ms=(time.monotonic() - received) * 1_000,
        prompt_tokens=0,
        cached_tokens=0,
        output_tokens=2 * len(CALLS),
        reason=None,
    )
    await (await publish(DONE, key, encode_event(done)))


async def _look_up(cache: Redis, member_id: str | None) -> ProfileStatus:
    if member_id is None:
        return "none"
    value = await cache.get(f"profile:{member_id}")
    if value is None:
        return "missing"
    decode_profile(value)
    return "found"


def _event(query: SearchQuery, index: int, call: Call, elapsed_ms: float) -> Event:
    if isinstance(call, Plan):
        return PlanEvent(
            query_id=query.query_id,
            index=index,
            call=call,
            model=MODEL,
            elapsed_ms=elapsed_ms,
            emitted_at=datetime.now(UTC),
            query=query.query,
            member_id=query.member_id,
            locale=query.locale,
        )
    return Event(
        query_id=query.query_id,
        index=index,
        call=call,
        model=MODEL,
        elapsed_ms=elapsed_ms,
        emitted_at=datetime.now(UTC),
    )
