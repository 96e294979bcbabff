"""Looks members' profiles up in Redis: one round trip for all that wait, within a limit.

In: a member's id. Out: the profile, or why there is none; never an exception, so that no
query ever waits or fails for it. After several failures in a row a breaker answers
`unavailable` at once, and lets one probe through from time to time.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from schemas.events import ProfileStatus
from schemas.profiles import Profile, decode_profile

log = logging.getLogger(__name__)
Found = tuple[ProfileStatus, Profile | None]
Batch = dict[str, asyncio.Future[Found]]
Answers = list[bytes | Exception | None]
"""Of one round trip, in its order; None: there was no answer."""


_TELL_EVERY_S = 10.0


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`options` goes to redis-py as it is (user, password, TLS)."""

    url: str
    options: dict[str, Any] = {}
    timeout_ms: int = 100
    max_bytes: int = 65_536
    breaker_failures: int = 5
    breaker_pause_ms: int = 2_000


class Breaker:
    """Opens after `failures` in a row, for `pause` seconds; then lets one attempt through."""

    def __init__(self, failures: int, pause: float) -> None:
        self._limit, self._pause = failures, pause
        self._failures = 0
        self._until = 0.0

    def allows(self, now: float) -> bool:
        if self._failures < self._limit:
            return True
        if now < self._until:
            return False
        self._until = now + self._pause  # one probe; the next one only after the pause
        return True

    def succeeded(self) -> bool:
        """True if this closed the breaker."""
        closed, self._failures = self._failures >= self._limit, 0
        return closed

    def failed(self, now: float) -> bool:
        """True if this opened the breaker."""
        self._failures += 1
        self._until = now + self._pause
        return self._failures == self._limit


class Profiles:
    """The reader. `look_up` may be called by any number of tasks; `close` when done."""

    def __init__(
        self, settings: ProfileSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._told = -math.inf
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_pause_ms / 1_000)
        self._redis = Redis.from_url(
            settings.url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # ours is over the whole trip; two may swallow a cancellation
            socket_connect_timeout=settings.timeout_ms / 1_000,
            **settings.options,
        )
        self._waiting: Batch = {}
        self._trips: set[asyncio.Task[Answers]] = set()

    async def look_up(self, member_id: str | None) -> Found:
        """`found` with the profile; else `missing`, `invalid`, `unavailable` or `none`."""
        if member_id is None:
            return "none", None
        future = self._waiting.get(member_id)
        if future is None:
            if not self._breaker.allows(self._clock()):
                return "unavailable", None
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._depart)
            future = self._waiting[member_id] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Whoever still waits is answered `unavailable`; no task is left."""
        self._depart()
        trips = list(self._trips)
        for trip in trips:
            trip.cancel()
        await asyncio.gather(*trips, return_exceptions=True)
        await self._redis.aclose()

    def _depart(self) -> None:
        batch, self._waiting = self._waiting, {}
        if not batch:  # `close` was quicker
            return
        trip = asyncio.create_task(self._round_trip(list(batch)))
        self._trips.add(trip)
        trip.add_done_callback(lambda trip: self._arrived(batch, trip))

    def _arrived(self, batch: Batch, trip: asyncio.Task[Answers]) -> None:
        """Answers all of the batch, however the trip ended."""
        self._trips.discard(trip)
        answers: Answers = [None] * len(batch)
        if not trip.cancelled():
            if error := trip.exception():
                log.error("a profile look-up failed: %r", error)
            else:
                answers = trip.result()
        for (member_id, future), raw in zip(batch.items(), answers, strict=True):
            future.set_result(self._read(member_id, raw))

    async def _round_trip(self, member_ids: list[str]) -> Answers:
        try:
            async with asyncio.timeout(self._settings.timeout_ms / 1_000):
                answers = await self._fetch(member_ids)
        except (RedisError, OSError, TimeoutError) as error:
            now = self._clock()
            self._breaker.failed(now)
            if now - self._told > _TELL_EVERY_S:
                self._told = now
                said = f"{type(error).__name__}: {error}"
                log.warning("Redis cannot be used, going on without profiles: %s", said)
            return [None] * len(member_ids)
        if self._breaker.succeeded():
            log.info("Redis answers again")
        return answers

    async def _fetch(self, member_ids: list[str]) -> Answers:
        pipeline = self._redis.pipeline(transaction=False)
        for member_id in member_ids:  # GETRANGE: a huge value is never fetched whole
            pipeline.getrange(f"profile:{member_id}", 0, self._settings.max_bytes)
        answers: Answers = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, RedisError) and not isinstance(answer, ResponseError):
                raise answer
        return answers

    def _read(self, member_id: str, raw: bytes | Exception | None) -> Found:
        if not isinstance(raw, bytes):
            wrong_type = str(raw).startswith("WRONGTYPE")
            return ("invalid" if wrong_type else "unavailable"), None
        if not raw:
            return "missing", None
        if len(raw) > self._settings.max_bytes:
            return "invalid", None
        try:
            profile = decode_profile(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "invalid", None
        return ("found", profile) if profile.member_id == member_id else ("invalid", None)
