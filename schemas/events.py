"""The output: a call in its envelope, and the one `done` event of each query."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.queries import Locale, QueryId
from schemas.tools import Call

SCHEMA_VERSION = "1"
POLICY_WARNING = (
    "This search query may violate our Professional Community Policies. "
    "Edit your search to try again"
)

Status = Literal["complete", "denied", "partial", "expired", "degraded", "failed"]
ProfileStatus = Literal["found", "missing", "invalid", "unavailable", "none"]
Count = Annotated[int, Meta(ge=0)]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A call, published the moment its text is complete in the model's stream."""

    query_id: QueryId
    index: Annotated[int, Meta(ge=0, description="0, 1, 2 ... in the order of the stream.")]
    call: Call
    model: Annotated[str, Meta(description="Name and revision of the weights.")]
    elapsed_ms: Annotated[float, Meta(description="Since the record was received.")]
    emitted_at: Annotated[datetime, Meta(tz=True)]


class PlanEvent(Event, frozen=True, kw_only=True):
    """On `search.plans`: the text too, so that selection can go on with it."""

    query: str
    member_id: str | None
    locale: Locale


class PolicyEvent(Event, frozen=True, kw_only=True):
    """On `search.policy`: the warning that the searcher is shown."""

    warning: str = POLICY_WARNING


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Once per query, after every event of it is acknowledged."""

    query_id: QueryId
    status: Status
    events: Annotated[int, Meta(ge=0, description="How many were published.")]
    profile: ProfileStatus
    queued_ms: Annotated[float, Meta(description="From issued_at to received.")]
    first_event_ms: float | None
    elapsed_ms: float
    prompt_tokens: Count
    cached_tokens: Count
    output_tokens: Count
    reason: str | None


encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
"""Of any event: what every one of them has."""
