"""What a query's end is called. Pure: in what happened, out the contract's status."""

import msgspec

from schemas.events import Status


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one query; several may be true at once."""

    failed: bool = False
    """Nothing could answer, or a topic will never hold what was answered."""
    expired: bool = False
    """The deadline had passed, or too little was left, before the engine began."""
    degraded: bool = False
    """The engine could not answer, no event had left, the baseline answered."""
    cut: bool = False
    """The deadline, the length limit or the engine's end cut the stream."""
    denied: bool = False
    """The plan is trust_violation."""
    reason: str | None = None


def status(facts: Facts) -> Status:
    """The first that applies: failed, expired, degraded, partial, denied, complete."""
    if facts.failed:
        return "failed"
    if facts.expired:
        return "expired"
    if facts.degraded:
        return "degraded"
    if facts.cut:
        return "partial"
    return "denied" if facts.denied else "complete"
