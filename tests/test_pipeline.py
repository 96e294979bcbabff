"""A query's life with everything around it in memory: each end, and what is never done.

In: what the model says, how it fails, what Redis and the topics do. Out: the contract's
statuses, the events behind them, dead letters, and whether the offset may move.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from consumers.published import Published
from engine.generation import Ending, EngineDown
from infra.pipeline import Baseline, Options, Pipeline, TooManyFailed
from infra.telemetry import Telemetry
from producers.kafka import Message
from producers.routes import Routes
from schemas.profiles import Profile
from schemas.tools import Call, Plan, Title
from tests.fakes import (
    DENIED,
    PLAN,
    POLICY,
    TITLE,
    Ended,
    FakeProducer,
    FakeProfiles,
    Script,
    delivery,
)

TEXT = "a very private search"
LIMIT_S = 10.0


def record(query_id: str = "q", **fields: Any) -> bytes:
    return msgspec.json.encode({"query_id": query_id, "query": TEXT, **fields})


def baseline(query: str, location: str | None) -> list[Call]:
    assert query == TEXT
    return [Plan("criteria"), Title(location or "nurse")]


class House:
    """A pipeline and its fakes."""

    def __init__(
        self,
        model: Script,
        rules: Baseline | None = baseline,
        profiles: FakeProfiles | None = None,
        limits: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        self.producer = FakeProducer(limits)
        self.pipeline = Pipeline(
            model, rules, profiles or FakeProfiles(), self.producer, Routes(),
            Telemetry(tracing=False), Options(**options),
        )  # fmt: skip

    async def answer(self, value: bytes | None, published: Published | None = None) -> None:
        await self.pipeline.process(delivery(value, published=published))

    def on(self, topic: str) -> list[Any]:
        return [msgspec.json.decode(m.value or b"") for m in self.producer.log if m.topic == topic]

    @property
    def done(self) -> Any:
        (done,) = self.on("search.done")
        return done

    @property
    def letters(self) -> list[Message]:
        return [m for m in self.producer.log if m.topic == "search.dead-letters"]

    @property
    def calls(self) -> list[str]:
        """The tools of the events that were acknowledged."""
        others = {"search.done", "search.dead-letters"}
        return [
            msgspec.json.decode(m.value or b"")["call"]["tool"]
            for m in self.producer.log
            if m.topic not in others
        ]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, LIMIT_S))


CUT = Ending(reason="length", prompt_tokens=3)
PAST = "2026-01-01T00:00:00Z"
ENDS: dict[str, tuple[Script, dict[str, Any], str, list[str], str | None]] = {
    "complete": (Script([PLAN, TITLE]), {}, "complete", ["plan", "title"], None),
    "denied": (Script([DENIED, POLICY]), {}, "denied", ["plan", "policy"], None),
    "cut by the length": (Script([PLAN, TITLE[:20], CUT]), {}, "partial", ["plan"], "length limit"),
    "denied and cut": (Script([DENIED, CUT]), {}, "partial", ["plan"], "length limit"),
    "dies after an event": (
        Script([PLAN, TITLE[:20], EngineDown("gone")]), {}, "partial", ["plan"], "engine: gone",
    ),
    "dies before one": (
        Script([PLAN[:20], EngineDown("gone")]), {}, "degraded", ["plan", "title"], "engine: gone",
    ),
    "not up": (Script([EngineDown("starting")]), {}, "degraded", ["plan", "title"], "engine"),
    "says nothing": (Script([]), {}, "degraded", ["plan", "title"], "no valid call"),
    "says nothing of use": (Script(["I am a model\n"]), {}, "degraded", ["plan", "title"], "no v"),
    "deadline in mid-stream": (
        Script([PLAN, 5.0, TITLE]), {"deadline_ms": 300}, "partial", ["plan"], "the deadline",
    ),
    "deadline passed": (
        Script([PLAN]), {"issued_at": PAST, "deadline_ms": 1}, "expired", [], "the deadline",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_each_end(case: str) -> None:
    model, fields, status, calls, reason = ENDS[case]
    house = House(model)

    async def work() -> None:
        one = delivery(record(**fields))
        await house.pipeline.process(one)
        assert isinstance(one.done, Ended)
        assert one.done.count == 1

    run(work())
    done = house.done
    assert (done["status"], house.calls, done["events"]) == (status, calls, len(calls))
    assert (reason or "") in (done["reason"] or "")
    assert bool(done["reason"]) == (reason is not None)
    assert not house.letters
    assert house.producer.log[-1].topic == "search.done"
    if status == "expired":
        assert not model.prompts
    assert model.closed == len(model.prompts)


def test_without_a_baseline_an_engine_that_is_down_fails_the_query() -> None:
    house = House(Script([EngineDown("gone")]), rules=None)
    run(house.answer(record()))
    assert (house.done["status"], house.done["events"], house.calls) == ("failed", 0, [])
    (letter,) = house.letters
    assert (letter.key, letter.value) == (b"k", record())
    headers = dict(letter.headers)
    assert headers["tagstream-error-kind"] == b"failed"
    assert headers["tagstream-source"] == b"search.queries/3/0"


def test_expired_early_by_the_engines_usual_time() -> None:
    model = Script([PLAN, 0.2])
    house = House(model, expire_early=True)

    async def work() -> None:
        await house.answer(record("first", deadline_ms=60_000))
        await house.answer(record("second", deadline_ms=100))
        await house.answer(record("third", deadline_ms=60_000))

    run(work())
    assert [done["status"] for done in house.on("search.done")] == [
        "complete", "expired", "complete",
    ]  # fmt: skip
    assert len(model.prompts) == 2


def test_short_of_time_the_rules_answer_if_they_may() -> None:
    house = House(Script([PLAN, 0.3, TITLE]), degrade_late=True, expire_early=True)
    run(house.answer(record("slow")))
    issued = datetime.now(UTC).isoformat()
    run(house.answer(record("late", issued_at=issued, deadline_ms=150)))
    statuses = {done["query_id"]: done["status"] for done in house.on("search.done")}
    assert statuses == {"slow": "complete", "late": "degraded"}


def test_the_settings_deadline_is_for_those_that_name_none() -> None:
    house = House(Script([PLAN, 0.3, TITLE]), deadline_ms=100)

    async def work() -> None:
        await house.answer(record("default"))
        await house.answer(record("own", deadline_ms=60_000))

    run(work())
    assert [done["status"] for done in house.on("search.done")] == ["partial", "complete"]


def test_the_degraded_answer_has_the_profiles_location() -> None:
    profile = Profile(member_id="m", location="Leeds")
    house = House(Script([EngineDown("gone")]), profiles=FakeProfiles("found", profile))
    run(house.answer(record(member_id="m")))
    assert house.done["profile"] == "found"
    (title,) = house.on("search.tags.title")
    assert (title["call"]["title"], title["model"]) == ("Leeds", "baseline")


@pytest.mark.parametrize("status", ["found", "missing", "invalid", "unavailable"])
def test_no_profile_never_stops_a_query(status: Any) -> None:
    profile = Profile(member_id="m") if status == "found" else None
    house = House(Script([PLAN]), profiles=FakeProfiles(status, profile))
    run(house.answer(record(member_id="m")))
    assert (house.done["status"], house.done["profile"]) == ("complete", status)


def test_done_leaves_after_every_event_is_acknowledged() -> None:
    house = House(Script([PLAN, TITLE]))

    async def work() -> None:
        house.producer.away()
        one = delivery(record())
        processing = asyncio.create_task(house.pipeline.process(one))
        await asyncio.sleep(0.05)
        assert [message.topic for message in house.producer.handed] == [
            "search.plans", "search.tags.title",
        ]  # fmt: skip
        assert isinstance(one.done, Ended)
        assert one.done.count == 0
        house.producer.back()
        await processing
        assert one.done.count == 1

    run(work())
    assert [message.topic for message in house.producer.log] == [
        "search.plans", "search.tags.title", "search.done",
    ]  # fmt: skip


@pytest.mark.parametrize("after", [0.0, 0.02, 0.1])
def test_a_cancelled_query_hands_nothing_over_and_is_not_done(after: float) -> None:
    """At the profile, between two events, and while the broker keeps it waiting."""
    model = Script([PLAN, 0.05, TITLE])
    house = House(model)

    async def work() -> None:
        one = delivery(record())
        house.producer.away()
        processing = asyncio.create_task(house.pipeline.process(one))
        await asyncio.sleep(after)
        handed = list(house.producer.handed)
        processing.cancel()
        await asyncio.wait([processing])
        assert processing.cancelled()
        house.producer.back()
        await asyncio.sleep(0.1)
        assert house.producer.handed == handed
        assert isinstance(one.done, Ended)
        assert one.done.count == 0
        assert model.closed == len(model.prompts)

    run(work())
    assert not house.producer.log


def test_an_event_too_large_fails_the_query_and_the_others_are_counted() -> None:
    house = House(Script([PLAN, TITLE]), limits={"search.plans": 50})

    async def work() -> None:
        await house.answer(record())
        await house.answer(record("next"))

    run(work())
    first, second = house.on("search.done")
    assert (first["status"], first["events"]) == ("failed", 1)
    assert second["query_id"] == "next"
    assert [letter.value for letter in house.letters] == [record(), record("next")]


def test_a_dead_letter_too_large_for_its_topic_leaves_its_place() -> None:
    house = House(Script([PLAN]), limits={"search.dead-letters": 100})
    run(house.answer(b"x" * 200))
    (letter,) = house.letters
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (b"k", b"")
    assert headers["tagstream-value"].startswith(b"omitted")
    assert headers["tagstream-source"] == b"search.queries/3/0"


def test_a_bug_fails_its_query_in_sight_and_the_next_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House(Script([PLAN, ZeroDivisionError(TEXT)], [PLAN]))

    async def work() -> None:
        await house.answer(record())
        await house.answer(record("next"))

    run(work())
    first, second = house.on("search.done")
    assert (first["status"], second["status"]) == ("failed", "complete")
    assert first["reason"] == "ZeroDivisionError in the pipeline"
    assert "failed" in caplog.text


@pytest.mark.parametrize(
    "script",
    [
        [PLAN, TITLE],
        [PLAN, '{"tool":"title","title":7}\n', '{"tool":"x","y":"' + TEXT + '"}\n'],
        [EngineDown("gone")],
        [PLAN, ValueError(f"about {TEXT}")],
    ],
)
def test_what_was_searched_for_is_in_no_log(
    script: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    house = House(Script(script), rules=None)

    async def work() -> None:
        await house.answer(record())
        await house.answer(record()[:-1])
        await house.answer(record(query=TEXT * 100))
        await house.answer(record(query=[TEXT]))
        await house.answer(record(locale=TEXT))

    run(work())
    assert TEXT not in caplog.text


# --- again ----------------------------------------------------------------------------------

LEEDS = '{"tool":"location","location":"Leeds"}\n'
OSLO = '{"tool":"location","location":"Oslo"}\n'


def before(*lines: str, gap: int | None = None, model: str = "script@1") -> Published:
    """What an earlier delivery has published: these calls, one left out."""
    house = House(Script([*lines]))
    house.pipeline._model.name = model  # type: ignore[misc]
    run(house.answer(record()))
    events = {}
    for message in house.producer.log:
        value = message.value or b""
        if b'"index"' in value:
            events[msgspec.json.decode(value)["index"]] = value
    events.pop(gap, None)
    return Published("q", events)


def again(published: Published, *lines: str, **fields: Any) -> tuple[House, list[Any]]:
    """A house that has answered the redelivered record, and its events by index."""
    house = House(Script([*lines]))
    run(house.answer(record(**fields), published))
    values = [m.value or b"" for m in house.producer.log if b'"index"' in (m.value or b"")]
    return house, sorted(map(msgspec.json.decode, values), key=lambda event: event["index"])


def test_what_was_published_is_written_again_and_gone_on_from() -> None:
    published = before(PLAN, TITLE)
    house, events = again(published, LEEDS)
    assert house.done["status"] == "complete"
    assert house.done["events"] == 3
    assert [e["call"]["tool"] for e in events] == ["plan", "title", "location"]
    again_written = [m.value for m in house.producer.log if b'"index"' in (m.value or b"")]
    assert set(published.events.values()) <= set(again_written)
    assert isinstance(house.pipeline._model, Script)
    assert house.pipeline._model.prompts[0].endswith('"title":" nurse"}\n')


def test_a_query_that_had_ended_is_not_answered_again() -> None:
    published = before(PLAN)
    published.done = b"{}"
    house, events = again(published, TITLE)
    assert not events
    assert not house.producer.log


def test_what_another_query_had_published_at_this_place_is_not_its_own() -> None:
    published = before(PLAN)
    published.query_id, published.done = "another", b"{}"
    house, _ = again(published, PLAN, TITLE)
    assert house.done["events"] == 2


def test_events_after_the_answers_end_leave_it_partial() -> None:
    house, _ = again(before(PLAN, TITLE, LEEDS, gap=1), "")
    assert house.done["status"] == "partial"


def test_a_deadline_now_passed_leaves_it_partial() -> None:
    house, events = again(before(PLAN), TITLE, issued_at=PAST, deadline_ms=1)
    assert house.done["status"] == "partial"
    assert len(events) == 1


@pytest.mark.parametrize(("said", "status"), [(LEEDS, "complete"), (OSLO, "partial")])
def test_what_came_after_a_gap_stands(said: str, status: str) -> None:
    """The title never arrived, the place after it did: another place now ends it there."""
    house, events = again(before(PLAN, TITLE, LEEDS, gap=1), TITLE, said)
    assert house.done["status"] == status
    assert [e["call"].get("location") for e in events] == [None, None, "Leeds"]


def test_what_another_model_began_is_not_gone_on_from() -> None:
    house, events = again(before(PLAN, model="other@2"), TITLE)
    assert house.done["status"] == "partial"
    assert "other@2" in house.done["reason"]
    assert len(events) == 1


# --- failures -------------------------------------------------------------------------------


def test_a_dead_letter_counts_its_attempts() -> None:
    house = House(Script([EngineDown("gone")]), rules=None)
    again_sent = delivery(record())
    again_sent.headers = [("tagstream-attempts", b"2"), ("traceparent", b"x")]
    run(house.pipeline.process(again_sent))
    (letter,) = house.letters
    assert dict(letter.headers)["tagstream-attempts"] == b"3"


@pytest.mark.parametrize("said", [None, b"", b"x", b"9" * 40])
def test_a_count_of_attempts_that_is_none_stops_nothing(said: bytes | None) -> None:
    house = House(Script([PLAN]))
    broken = delivery(b"nonsense")
    broken.headers = [("tagstream-attempts", said)]  # type: ignore[list-item]
    run(house.pipeline.process(broken))
    assert dict(house.letters[0].headers)["tagstream-attempts"] == b"1"


def test_too_many_failures_stop_the_service_and_leave_the_record() -> None:
    house = House(Script([EngineDown("gone")]), rules=None, failed_per_minute=3)
    for n in range(3):
        run(house.answer(record(f"q{n}")))
    last = delivery(record("q3"))
    with pytest.raises(TooManyFailed, match="more than 3"):
        run(house.pipeline.process(last))
    assert len(house.letters) == 3
    assert isinstance(last.done, Ended)
    assert last.done.count == 0


def test_what_cannot_be_decoded_is_not_limited() -> None:
    house = House(Script([PLAN]), failed_per_minute=1)
    for _ in range(5):
        run(house.answer(b"nonsense"))
    assert len(house.letters) == 5
