"""What `bench serve` reports of one rate, and how it comes from what was seen.

In: when queries were due, what a subscriber saw, the `done` events, the engine's own times.
Out: `RateFigures`. Pure. Times are milliseconds; what never came is infinite (null in JSON).
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from infra.bench.figures import Percentiles, percentiles
from infra.bench.openloop import waits
from infra.bench.worker import Spoken
from schemas.events import Done

ANSWERED = ("complete", "denied")


class EngineShare(msgspec.Struct, frozen=True, kw_only=True):
    """Of the queries that the engine answered, over all their requests to it.

    `beside_first` and `beside_done` are what the stream adds: from received to the first
    send without the engine's time until the first call was closed, and from received to
    done without the engine's whole time.
    """

    queries: int
    first_piece_ms: Percentiles
    first_call_ms: Percentiles
    answer_ms: Percentiles
    beside_first_ms: Percentiles
    beside_done_ms: Percentiles


class Burden(msgspec.Struct, frozen=True, kw_only=True):
    """Cores busy while it was measured; None where it is not known."""

    service: float | None
    broker: float | None
    harness: float


class RateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Queries that were due after the warm-up; those before only make the load."""

    rate: float
    queries: int
    offered: float
    """Queries due a second."""
    achieved: float
    """`done` events a second in the same time."""
    unfinished: int
    statuses: dict[str, int]
    first_ms: Percentiles
    """From due to a subscriber's receipt of the first event; likewise `done_ms`."""
    done_ms: Percentiles
    queued_ms: Percentiles | None
    """From the broker's time of the record to received; this and what follows from `done`."""
    sent_first_ms: Percentiles | None
    """From received to the first send."""
    sent_done_ms: Percentiles | None
    engine: EngineShare | None
    events: float
    """A query; a mean."""
    output_tokens: float
    """A median."""
    prompt_tokens: float
    """A median, cached ones included."""
    cached_share: float
    """Of all prompt tokens."""
    cores: Burden
    sender_late_ms: float
    """How late the harness itself was at worst; it counts into the latencies."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one rate's queries, by query_id."""

    due: Mapping[bytes, float]
    first: Mapping[bytes, float]
    done: Mapping[bytes, float]
    said: Mapping[bytes, Done]
    spoken: Mapping[str, Sequence[Spoken]]


def figures(
    seen: Seen, rate: float, seconds: float, achieved: float, cores: Burden, late_s: float
) -> RateFigures:
    ends = [seen.said[key] for key in seen.due if key in seen.said]
    prompted = sum(end.prompt_tokens for end in ends)
    return RateFigures(
        rate=rate,
        queries=len(seen.due),
        offered=len(seen.due) / seconds,
        achieved=achieved,
        unfinished=len(seen.due) - len(ends),
        statuses=dict(Counter(end.status for end in ends).most_common()),
        first_ms=waits(seen.due, seen.first),
        done_ms=waits(seen.due, seen.done),
        queued_ms=_if_any(end.queued_ms for end in ends),
        sent_first_ms=_if_any(e.first_event_ms for e in ends if e.first_event_ms is not None),
        sent_done_ms=_if_any(end.elapsed_ms for end in ends),
        engine=_engine(ends, seen.spoken),
        events=statistics.fmean(end.events for end in ends) if ends else 0.0,
        output_tokens=_median(end.output_tokens for end in ends),
        prompt_tokens=_median(end.prompt_tokens for end in ends),
        cached_share=sum(end.cached_tokens for end in ends) / prompted if prompted else 0.0,
        cores=cores,
        sender_late_ms=late_s * 1_000,
    )


def _engine(ends: Sequence[Done], spoken: Mapping[str, Sequence[Spoken]]) -> EngineShare | None:
    answered = [
        (end, end.first_event_ms, own)
        for end in ends
        if end.status in ANSWERED
        and end.first_event_ms is not None
        and (own := spoken.get(end.query_id))
    ]
    if not answered:
        return None
    return EngineShare(
        queries=len(answered),
        first_piece_ms=percentiles(own[0].first_piece_ms for _, _, own in answered),
        first_call_ms=percentiles(own[0].first_call_ms for _, _, own in answered),
        answer_ms=percentiles(_whole(own) for _, _, own in answered),
        beside_first_ms=percentiles(first - own[0].first_call_ms for _, first, own in answered),
        beside_done_ms=percentiles(end.elapsed_ms - _whole(own) for end, _, own in answered),
    )


def _whole(own: Sequence[Spoken]) -> float:
    return sum(request.end_ms for request in own)


def _if_any(values: Iterable[float]) -> Percentiles | None:
    found = list(values)
    return percentiles(found) if found else None


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0
