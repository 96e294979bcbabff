"""Profiles against a real Valkey: what it holds, and what happens when it does not answer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from consumers.profiles import Found, Profiles, ProfileSettings
from infra.embedded import Valkey
from schemas.profiles import Education, Profile

LIMIT_MS = 300
GRACE_MS = 1_000
"""What a busy machine may add."""

PAUSE_MS = 300
Work = Callable[[Profiles, Redis], Awaitable[None]]


def profile(member: str, **fields: Any) -> str:
    rest = "".join(f',"{name}":{value}' for name, value in fields.items())
    return f'{{"member_id":"{member}"{rest}}}'


class Clock:
    """The breaker's, in our hands."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause_over(self) -> None:
        self.now += PAUSE_MS / 1_000


def with_profiles(valkey: Valkey, work: Work, clock: Clock | None = None, **changes: Any) -> None:
    """Runs `work`, closes, and leaves no task behind."""

    async def run() -> None:
        limits: dict[str, Any] = {
            "timeout_ms": 5_000,
            "breaker_pause_ms": PAUSE_MS,
            "breaker_failures": 3,
        }
        settings = ProfileSettings(url=valkey.url, **(limits | changes))
        reader = Profiles(settings, clock or time.monotonic)
        async with asyncio.timeout(20), Redis.from_url(valkey.url) as redis:
            await work(reader, redis)
            await reader.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    valkey.start()
    asyncio.run(run())


async def timed(answer: Awaitable[Found]) -> tuple[Found, float]:
    started = time.monotonic()
    return await answer, (time.monotonic() - started) * 1_000


def at_once(work: Coroutine[Any, Any, Found]) -> Found:
    """Its answer, which it must have without waiting for anything."""
    with pytest.raises(StopIteration) as stop:
        work.send(None)
    answer: Found = stop.value.value
    return answer


async def count(redis: Redis, name: str = "getrange") -> int:
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])


UNAVAILABLE: Found = ("unavailable", None)

# --- what it holds ------------------------------------------------------------------------

FULL = profile(
    "m", title='"nurse"', skills='["ICU","日本"]', education='[{"school":"Leeds"}]',
    years_of_experience="2.5", company="null", unknown="[1,{}]",
)  # fmt: skip
HELD: dict[str, tuple[bytes | str, Found]] = {
    "least": (profile("m"), ("found", Profile(member_id="m"))),
    "full": (FULL, ("found", Profile(
        member_id="m", title="nurse", skills=("ICU", "日本"), years_of_experience=2.5,
        education=(Education(school="Leeds"),),
    ))),
    "not JSON": ("{", ("invalid", None)),
    "text": ("nurse", ("invalid", None)),
    "null": ("null", ("invalid", None)),
    "a list": ("[]", ("invalid", None)),
    "not UTF-8": (b'{"member_id":"m","title":"\xff"}', ("invalid", None)),
    "NaN": (profile("m", years_of_experience="NaN"), ("invalid", None)),
    "deep": (profile("m", x="[" * 20_000 + "]" * 20_000), ("invalid", None)),
    "no member": ('{"title":"nurse"}', ("invalid", None)),
    "another's": (profile("n", title='"nurse"'), ("invalid", None)),
    "another shape": (profile("m", skills='"ICU"'), ("invalid", None)),
    "another type": (profile("m", title="5"), ("invalid", None)),
    "at the limit": (profile("m").ljust(65_536), ("found", Profile(member_id="m"))),
    "above the limit": (profile("m").ljust(65_537), ("invalid", None)),
}  # fmt: skip


def test_what_is_held(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        for name, (value, expected) in HELD.items():
            await redis.set("profile:m", value)
            assert await reader.look_up("m") == expected, name
        assert await reader.look_up("nobody") == ("missing", None)
        assert await reader.look_up(None) == ("none", None)
        for key, fill in (("list", redis.rpush), ("set", redis.sadd)):
            await fill(f"profile:{key}", "x")
            assert await reader.look_up(key) == ("invalid", None)

    with_profiles(valkey, work)


def test_odd_members(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        for member in ("", " ", "a b\r\nDEL x", "שלום 😀", "x" * 100_000, "*", "profile:m"):
            assert await reader.look_up(member) == ("missing", None)
            await redis.set(f"profile:{member}", profile("someone"))
            assert await reader.look_up(member) == ("invalid", None)

    with_profiles(valkey, work)


def test_a_huge_one_is_never_fetched_whole(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        await redis.set("profile:m", profile("m").ljust(5_000_000))
        before = (await redis.info("stats"))["total_net_output_bytes"]
        assert await reader.look_up("m") == ("invalid", None)
        assert (await redis.info("stats"))["total_net_output_bytes"] - before < 200_000

    with_profiles(valkey, work)


# --- one round trip -----------------------------------------------------------------------


def test_all_that_wait_share_a_round_trip(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        for n in range(50):
            await redis.set(f"profile:m{n}", profile(f"m{n}"))
        await reader.look_up("m0")
        before, asked = await redis.info("stats"), await count(redis)
        members = [f"m{n % 60}" for n in range(120)]
        found = await asyncio.gather(*map(reader.look_up, members))
        after = await redis.info("stats")
        for member, answer in zip(members, found, strict=True):
            known = int(member[1:]) < 50
            assert answer == (("found", Profile(member_id=member)) if known else ("missing", None))
        assert await count(redis) - asked == 60  # a member is asked for once
        # two are the errands of this test
        assert after["total_reads_processed"] - before["total_reads_processed"] <= 3
        assert after["total_connections_received"] == before["total_connections_received"]

    with_profiles(valkey, work)


def test_a_cancelled_waiter_does_not_hurt_the_others(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        await redis.set("profile:m", profile("m"))
        for moment in range(4):
            waiters = [asyncio.create_task(reader.look_up("m")) for _ in range(3)]
            waiters += [asyncio.create_task(reader.look_up("n"))]
            for _ in range(moment):
                await asyncio.sleep(0)
            waiters[0].cancel()
            waiters[3].cancel()
            found = await asyncio.gather(*waiters, return_exceptions=True)
            assert isinstance(found[0], asyncio.CancelledError)
            assert found[1] == found[2] == ("found", Profile(member_id="m"))
        assert await reader.look_up("n") == ("missing", None)

    with_profiles(valkey, work)


# --- when it does not answer --------------------------------------------------------------


def test_down_at_the_start_and_up_later(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        await redis.aclose()
        valkey.kill()
        for _ in range(3):
            answer, took = await timed(reader.look_up("m"))
            assert answer == UNAVAILABLE
            assert took < LIMIT_MS + GRACE_MS
        await asyncio.to_thread(valkey.start)
        assert at_once(reader.look_up("m")) == UNAVAILABLE  # the breaker's word
        clock.pause_over()
        assert await reader.look_up("m") == ("missing", None)
        assert await reader.look_up("m") == ("missing", None)

    clock = Clock()
    with caplog.at_level(logging.INFO):
        with_profiles(valkey, work, clock, timeout_ms=LIMIT_MS)
    said = [record.message for record in caplog.records if record.name == "consumers.profiles"]
    assert [line.split(",")[0] for line in said] == ["Redis cannot be used", "Redis answers again"]


def test_dying_in_mid_run(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        assert await reader.look_up("m") == ("missing", None)
        await redis.aclose()
        valkey.kill()
        answer, took = await timed(reader.look_up("m"))
        assert answer == UNAVAILABLE
        assert took < LIMIT_MS + GRACE_MS
        await asyncio.to_thread(valkey.start)
        assert await reader.look_up("m") == ("missing", None)

    with_profiles(valkey, work, timeout_ms=LIMIT_MS)


def test_hanging(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        for member in "abcde":
            await redis.set(f"profile:{member}", profile(member))
        assert (await reader.look_up("a"))[0] == "found"
        valkey.pause()
        for member in "abc":
            answer, took = await timed(reader.look_up(member))
            assert answer == UNAVAILABLE
            assert LIMIT_MS * 0.9 < took < LIMIT_MS + GRACE_MS
        assert {at_once(reader.look_up(member)) for member in "abcde"} == {UNAVAILABLE}
        clock.pause_over()
        probe = asyncio.create_task(timed(reader.look_up("a")))
        await asyncio.sleep(0)
        assert at_once(reader.look_up("b")) == UNAVAILABLE
        answer, took = await probe
        assert answer == UNAVAILABLE
        assert LIMIT_MS * 0.9 < took < LIMIT_MS + GRACE_MS
        assert at_once(reader.look_up("c")) == UNAVAILABLE
        valkey.resume()
        clock.pause_over()
        # no answer to an old question is taken for a new one's
        for member in "edcba":
            assert await reader.look_up(member) == ("found", Profile(member_id=member))

    clock = Clock()
    with_profiles(valkey, work, clock, timeout_ms=LIMIT_MS)


def test_others_that_wait_while_it_hangs_wait_no_longer(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        assert await reader.look_up("a") == ("missing", None)
        valkey.pause()
        tasks = []
        for n in range(10):
            tasks.append(asyncio.create_task(timed(reader.look_up(f"m{n}"))))
            await asyncio.sleep(LIMIT_MS / 20_000)
        for found, took in await asyncio.gather(*tasks):
            assert found == UNAVAILABLE
            assert took < LIMIT_MS + GRACE_MS
        valkey.resume()

    with_profiles(valkey, work, timeout_ms=LIMIT_MS, breaker_failures=50)


@pytest.mark.parametrize("moment", range(7))
def test_closing_answers_whoever_waits(valkey: Valkey, moment: int) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        assert await reader.look_up("a") == ("missing", None)
        valkey.pause()
        waiters = [asyncio.create_task(reader.look_up(member)) for member in "abab"]
        for _ in range(moment):
            await asyncio.sleep(0)
        await asyncio.sleep(0.02 if moment == 6 else 0)
        started = time.monotonic()
        await reader.close()
        assert set(await asyncio.gather(*waiters)) == {UNAVAILABLE}
        assert (time.monotonic() - started) * 1_000 < GRACE_MS
        valkey.resume()

    with_profiles(valkey, work)


def test_a_password_that_is_asked_for(valkey: Valkey) -> None:
    async def work(reader: Profiles, redis: Redis) -> None:
        await redis.config_set("requirepass", "secret")
        assert await reader.look_up("m") == UNAVAILABLE
        login: dict[str, Any] = {"timeout_ms": 5_000, "options": {"password": "secret"}}
        known = Profiles(ProfileSettings(url=valkey.url, **login))
        assert await known.look_up("m") == ("missing", None)
        await known.close()

    with_profiles(valkey, work)
