"""A query's life, top to bottom: profile, engine, events, done.

In: one delivery. Out: its events, then its `done` event, each acknowledged by the broker,
then `delivery.done()`. Always holds: exactly one outcome for each delivery; the done
event leaves after every event is acknowledged; a cancelled query hands over nothing more
and is not done, so its next owner answers it again.
"""

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from statistics import median
from typing import Any, Protocol, TypeVar

import msgspec

from consumers.deliveries import Delivery
from consumers.published import Published
from engine.answer import Usage, answer
from engine.decoder import Dropped
from engine.generation import EngineError, Model
from infra.outcome import Facts, status
from infra.telemetry import Telemetry, Trace
from producers.kafka import Message, Receipt, TooLarge
from producers.routes import Routes
from schemas.events import (
    SCHEMA_VERSION,
    Done,
    Event,
    PlanEvent,
    PolicyEvent,
    ProfileStatus,
    decode_event,
    encode_event,
)
from schemas.failures import Failure, Kind, attempts
from schemas.profiles import Profile
from schemas.queries import SearchQuery
from schemas.tools import Call, Plan, Policy, tool_name

log = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST_MS = 365 * 24 * 3_600_000
"""A deadline further away is none: no clock of ours takes every number."""
_MINUTE_S = 60.0
_USUAL_S = 30.0
_CUT = "the deadline cut the stream"
_SHORT = "less was left than the engine's usual time"

Baseline = Callable[[str, str | None], list[Call]]
"""The rule-based tagger: query and location in, calls out."""


class Profiles(Protocol):
    """Where profiles come from; never raises."""

    async def look_up(self, member_id: str | None) -> tuple[ProfileStatus, Profile | None]: ...


class Producer(Protocol):
    """Where messages go; waits while the broker refuses, raises `TooLarge`."""

    async def hand_over(self, message: Message) -> Receipt: ...
    async def settle(self, receipts: Sequence[Receipt]) -> None: ...
    async def deliver(self, message: Message) -> None: ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The pipeline's settings."""

    worker: str = "worker"
    done_topic: str = "search.done"
    dead_letters_topic: str = "search.dead-letters"
    deadline_ms: int | None = None
    expire_early: bool = False
    degrade_late: bool = False
    failed_per_minute: int = 0
    """0: no limit."""


class TooManyFailed(Exception):
    """Nothing answers any more: the service had better stop than go on."""


class Run(msgspec.Struct, kw_only=True, eq=False):
    """One query under way. Times in monotonic seconds."""

    query: SearchQuery
    delivery: Delivery
    trace: Trace
    headers: list[tuple[str, bytes]]
    queued_ms: float
    deadline: float | None
    model: str
    profile: ProfileStatus = "none"
    receipts: list[Receipt] = []
    said: list[Call] = []
    """Calls that an earlier delivery had published, from the first without a gap."""
    later: dict[int, bytes] = {}
    """Events that it had published after a gap."""
    strayed: bool = False
    """The answer now is another than theirs: it ends here."""
    first_event: float | None = None
    denied: bool = False
    usage: Usage = Usage()

    def elapsed_ms(self) -> float:
        return round((time.monotonic() - self.delivery.received) * 1_000, 3)


class Pipeline:
    """`process` is what the consumer calls for each delivery."""

    def __init__(
        self,
        model: Model,
        baseline: Baseline | None,
        profiles: Profiles,
        producer: Producer,
        routes: Routes,
        telemetry: Telemetry,
        options: Options,
    ) -> None:
        self._model = model
        self._baseline = baseline
        self._profiles = profiles
        self._producer = producer
        self._routes = routes
        self._telemetry = telemetry
        self._options = options
        self._took: deque[tuple[float, float]] = deque(maxlen=50)
        """When the last queries were answered, and how long the engine took for each."""
        self._failed: deque[float] = deque()

    async def process(self, delivery: Delivery) -> None:
        """One delivery, to its end. Cancelled: nothing is done, nothing more is handed over."""
        with self._telemetry.process(delivery) as trace:
            query_id = delivery.query.query_id if delivery.query else None
            if delivery.published and delivery.published.query_id != query_id:
                delivery.published = None  # of another record that once had this offset
            if delivery.published and delivery.published.done:
                self._telemetry.count("tagstream.replayed", kind="done")
            elif delivery.query is None:
                await self._dead_letter(
                    delivery, trace, "undecodable", delivery.problem_class, delivery.problem
                )
            else:
                run = self._begin(delivery, delivery.query, trace)
                facts = await self._answered(run)
                await self._finish(run, facts)
            delivery.done()
            self._telemetry.ended(delivery, trace)

    def _begin(self, delivery: Delivery, query: SearchQuery, trace: Trace) -> Run:
        issued = query.issued_at.timestamp() if query.issued_at else delivery.timestamp
        allowed = query.deadline_ms or self._options.deadline_ms
        if allowed is not None and allowed > _LONGEST_MS:
            allowed = None
        queued = delivery.received_at - issued
        return Run(
            query=query,
            delivery=delivery,
            trace=trace,
            headers=[
                ("content-type", b"application/json"),
                ("tagstream-schema", SCHEMA_VERSION.encode()),
                ("tagstream-source", delivery.source.encode()),
                ("tagstream-worker", self._options.worker.encode()),
            ],
            queued_ms=round(max(0.0, queued) * 1_000, 3),
            deadline=None if allowed is None else delivery.received + allowed / 1_000 - queued,
            model=self._model.name,
        )

    # --- the answer -------------------------------------------------------------------

    async def _answered(self, run: Run) -> Facts:
        """Events until the engine, the deadline or the baseline ends them."""
        try:
            return self._too_late(run) or await self._tried(run)
        except TooLarge as error:
            return Facts(failed=True, reason=str(error))
        except Exception as error:  # a bug: this query fails, in sight, and the next is served
            where = "".join(traceback.format_tb(error.__traceback__))  # its text may be personal
            log.error("%s failed: %s at\n%s", run.delivery.source, type(error).__name__, where)
            return Facts(failed=True, reason=f"{type(error).__name__} in the pipeline")

    async def _tried(self, run: Run) -> Facts:
        known = run.delivery.published
        if known and known.events and (facts := await self._repeat(run, known)):
            return facts
        with run.trace.step("look up profile"):
            asked = time.monotonic()
            run.profile, profile = await self._profiles.look_up(run.query.member_id)
            took = (time.monotonic() - asked) * 1_000
        self._telemetry.time("tagstream.profile.duration", took)
        if late := self._too_late(run):
            return late
        degrade = self._options.degrade_late and self._baseline is not None
        if degrade and not run.receipts and self._is_short(run):
            return await self._degraded(run, profile, _SHORT)
        return await self._generated(run, profile)

    def _too_late(self, run: Run) -> Facts | None:
        if run.deadline is None:
            return None
        left = run.deadline - time.monotonic()
        if run.delivery.published and run.delivery.published.events:
            # first its events are written again, if there is one to begin with
            begun = left <= 0 and (run.receipts or 0 not in run.delivery.published.events)
            return Facts(cut=True, denied=run.denied, reason=_CUT) if begun else None
        if left <= 0:
            return Facts(expired=True, reason="the deadline had passed")
        degrade = self._options.degrade_late and self._baseline is not None
        if self._options.expire_early and not degrade and self._is_short(run):
            return Facts(expired=True, reason=_SHORT)
        return None

    def _is_short(self, run: Run) -> bool:
        """Less is left than the engine's usual time."""
        now = time.monotonic()
        while self._took and self._took[0][0] < now - _USUAL_S:  # what was usual then
            self._took.popleft()
        if run.deadline is None or not self._took:
            return False
        return run.deadline - now < median(took for _, took in self._took)

    async def _generated(self, run: Run, profile: Profile | None) -> Facts:
        started = time.monotonic()
        cut: str | None = None
        try:
            said = tuple(run.said)
            async with aclosing(answer(self._model, run.query.query, profile, said)) as items:
                timed = items if run.deadline is None else _before(run.deadline, items)
                async for item in timed:
                    await self._take(run, item)
                    if run.strayed:
                        break
        except TimeoutError:
            cut = _CUT
        except EngineError as error:
            cut = f"engine: {error}"
            if not run.receipts:
                return await self._degraded(run, profile, cut)
        else:
            if run.usage.requests and not run.said:
                self._took.append((time.monotonic(), time.monotonic() - started))
            if run.strayed or run.later:
                cut = "what was published before could not be gone on from"
            elif not run.usage.complete:
                cut = "the length limit cut the stream"
            elif not run.receipts:
                return await self._degraded(run, profile, "engine: no valid call")
        run.trace.generated(started, run.usage, run.model)
        return Facts(cut=cut is not None, denied=run.denied, reason=cut)

    async def _repeat(self, run: Run, known: Published) -> Facts | None:
        """Writes again what was published for this record before; the end, if that was all."""
        run.later = dict(known.events)
        while (value := run.later.pop(len(run.receipts), None)) is not None:
            try:
                event = decode_event(value)
            except msgspec.DecodeError:
                return Facts(cut=True, denied=run.denied, reason="begun by another version")
            run.said.append(event.call)
            run.model = event.model
            run.denied |= isinstance(event.call, Plan) and event.call.intent == "trust_violation"
            await self._hand_over(run, event.call, value)
        self._telemetry.count("tagstream.replayed", kind="events")
        if run.said and run.model != self._model.name:
            return Facts(
                cut=True, denied=run.denied, reason=f"begun by {run.model}, which is not here"
            )
        return None

    async def _take(self, run: Run, item: Call | Dropped | Usage) -> None:
        match item:
            case Dropped(reason=reason):
                self._telemetry.count("tagstream.calls.dropped", reason=reason)
            case Usage():
                run.usage = item
                self._telemetry.time("tagstream.engine.queue.duration", item.queued_ms)
                self._telemetry.time("tagstream.engine.first_token.duration", item.first_token_ms)
            case _:
                await self._publish(run, item)

    async def _degraded(self, run: Run, profile: Profile | None, reason: str) -> Facts:
        """The rule-based answer, where nothing of the engine's had left."""
        if self._baseline is None:
            return Facts(failed=True, reason=reason)
        run.model = "baseline"
        for call in self._baseline(run.query.query, profile.location if profile else None):
            if not run.strayed:
                await self._publish(run, call)
        begun = bool(run.strayed or run.later)
        return Facts(degraded=not begun, cut=begun, denied=run.denied, reason=reason)

    # --- what leaves ------------------------------------------------------------------

    async def _publish(self, run: Run, call: Call) -> None:
        value = encode_event(self._event(run, call, run.elapsed_ms()))
        before = run.later.pop(len(run.receipts), None)
        if before is not None and (kept := decode_event(before).call) != call:
            run.strayed = True
            call, value = kept, before
        await self._hand_over(run, call, value)

    async def _hand_over(self, run: Run, call: Call, value: bytes) -> None:
        topic = self._routes.topic(call)
        sending = run.trace.sending(topic)
        message = Message(
            topic, run.query.query_id.encode(), value, [*sending.headers(), *run.headers]
        )
        receipt = await self._producer.hand_over(message)
        run.receipts.append(receipt)
        if run.first_event is None:
            run.first_event = run.elapsed_ms()
        if receipt.future is not None and self._telemetry.tracing:
            receipt.future.add_done_callback(lambda _: sending.end())
        self._telemetry.count("tagstream.events", tool=tool_name(type(call)))

    def _event(self, run: Run, call: Call, elapsed: float) -> Event:
        query = run.query
        common: dict[str, Any] = {
            "query_id": query.query_id,
            "index": len(run.receipts),
            "call": call,
            "model": run.model,
            "elapsed_ms": elapsed,
            "emitted_at": datetime.now(UTC),
        }
        match call:
            case Plan(intent=intent):
                run.denied = intent == "trust_violation"
                return PlanEvent(
                    **common, query=query.query, member_id=query.member_id, locale=query.locale
                )
            case Policy():
                return PolicyEvent(**common)
            case _:
                return Event(**common)

    async def _finish(self, run: Run, facts: Facts) -> None:
        """Every event acknowledged, then the done event, acknowledged too."""
        try:
            await self._producer.settle(run.receipts)
        except TooLarge as error:
            facts = msgspec.structs.replace(facts, failed=True, reason=str(error))
        if facts.failed:
            await self._dead_letter(
                run.delivery, run.trace, "failed", "Failed", facts.reason or "failed"
            )
        done = Done(
            query_id=run.query.query_id,
            status=status(facts),
            events=sum(receipt.settled for receipt in run.receipts),
            profile=run.profile,
            queued_ms=run.queued_ms,
            first_event_ms=run.first_event,
            elapsed_ms=run.elapsed_ms(),
            prompt_tokens=run.usage.prompt_tokens,
            cached_tokens=run.usage.cached_tokens,
            output_tokens=run.usage.output_tokens,
            reason=facts.reason,
        )
        with run.trace.step(f"send {self._options.done_topic}") as sending:
            await self._producer.deliver(
                Message(
                    self._options.done_topic,
                    run.query.query_id.encode(),
                    encode_event(done),
                    [*sending.headers(), *run.headers],
                )
            )
        self._telemetry.done(done)

    async def _dead_letter(
        self, delivery: Delivery, trace: Trace, kind: Kind, error: str, message: str
    ) -> None:
        """The record's own bytes and key. One too large even for there leaves its place behind.

        Raises `TooManyFailed`: then the record is left where it is.
        """
        if kind == "failed":
            self._count_failed()
        failure = Failure(
            kind=kind, error=error, message=message,
            topic=delivery.topic, partition=delivery.partition, offset=delivery.offset,
            attempts=attempts(delivery.headers) + 1,
        )  # fmt: skip
        headers = [*trace.headers(), *failure.headers()]
        letter = Message(self._options.dead_letters_topic, delivery.key, delivery.value, headers)
        try:
            await self._producer.deliver(letter)
        except TooLarge:
            omitted = ("tagstream-value", b"omitted: too large; read it at tagstream-source")
            await self._producer.deliver(
                Message(letter.topic, letter.key, b"", [*headers, omitted])
            )
        self._telemetry.count("tagstream.dead_letters", kind=kind)
        log.warning("%s went to the dead letters: %s: %s", delivery.source, error, message)

    def _count_failed(self) -> None:
        now = time.monotonic()
        self._failed.append(now)
        while self._failed[0] < now - _MINUTE_S:
            self._failed.popleft()
        if 0 < (limit := self._options.failed_per_minute) < len(self._failed):
            raise TooManyFailed(
                f"more than {limit} queries failed within a minute (failed_per_minute): stopping,"
                " so that the topic is not drained into the dead letters; the log says why they did"
            )


async def _before(deadline: float, items: AsyncGenerator[T]) -> AsyncIterator[T]:
    """The items, until `TimeoutError` at the deadline; what is done with them is not timed."""
    while True:
        async with asyncio.timeout_at(deadline):
            item = await anext(items, None)
        if item is None:
            return
        yield item
