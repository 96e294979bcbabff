"""JSON Schema 2020-12 and AsyncAPI 3.0, out of the structs.

In: `Topics`, the routing table that is in force. Out: files in a folder, as `export` lists.
Always holds: every schema comes from msgspec, and what msgspec cannot know (headers, keys)
from structs and types below; every `$ref` resolves inside its own file; no schema closes an
object, because fields are only ever added; the same topics give the same bytes.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.events import SCHEMA_VERSION, Done, Event, PlanEvent, PolicyEvent
from schemas.failures import Kind
from schemas.profiles import Profile
from schemas.queries import QueryId, SearchQuery
from schemas.tools import CALLS, Call, Plan, Policy, Tool, tool_name

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI = "3.0.0"

Json = dict[str, Any]


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """Where every message goes; `calls` is the routing table, topic by tool."""

    queries: str
    calls: Mapping[str, str]
    done: str
    dead_letters: str


# --- headers and keys -----------------------------------------------------------------

Source = Annotated[
    str,
    Meta(pattern=r"^.+/\d+/\d+$", description="Topic/partition/offset of the query's record."),
]
QueryKey = Annotated[str, Meta(description="member_id if known, else query_id.")]
SchemaVersion = Annotated[
    str, Meta(description="The value's schema.", examples=[SCHEMA_VERSION], pattern=r"^\d+$")
]


class TraceHeaders(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """W3C trace context; every Kafka header is UTF-8 text."""

    traceparent: (
        Annotated[str, Meta(pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
        | UnsetType
    ) = UNSET
    tracestate: str | UnsetType = UNSET


class EventHeaders(TraceHeaders, frozen=True, kw_only=True, rename="kebab"):
    """On every event; `traceparent` is that of the producing span."""

    content_type: Literal["application/json"]
    tagstream_schema: SchemaVersion
    tagstream_source: Source
    tagstream_worker: Annotated[str, Meta(description="Who answered.")]


class DeadLetterHeaders(TraceHeaders, frozen=True, kw_only=True, rename="kebab"):
    """Why a record is here, and where it came from."""

    tagstream_error_kind: Kind
    tagstream_error_class: str
    tagstream_error_message: str
    tagstream_attempts: Annotated[str, Meta(description="How often it was tried: a number.")]
    tagstream_source: Source
    tagstream_value: (
        Annotated[str, Meta(description="Only where the value was too large to be kept.")]
        | UnsetType
    ) = UNSET


# --- messages -------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of message; a dead letter's payload is whatever was published."""

    name: str
    summary: str
    headers: type[TraceHeaders]
    key: Any
    payload: type[msgspec.Struct] | None = None

    def document(self, schema: Callable[[Any], Json]) -> Json:
        """The AsyncAPI message; `schema` gives a type's own, or a reference to it."""
        typed = self.payload is not None
        content = "application/json" if typed else "application/octet-stream"
        found: Json = {
            "name": self.name,
            "summary": self.summary,
            "contentType": content,
            "headers": schema(self.headers),
            "bindings": {"kafka": {"key": schema(self.key), "bindingVersion": "0.5.0"}},
        }
        if typed:
            found["correlationId"] = {"location": "$message.payload#/query_id"}
            found["payload"] = schema(self.payload)
        return found


def event_of(tool: type[Tool]) -> type[Event]:
    """The envelope as its topic carries it: `call` is this tool's alone."""
    named: dict[type[Tool], type[Event]] = {Plan: PlanEvent, Policy: PolicyEvent}
    envelope = named.get(tool, Event)
    return msgspec.defstruct(
        f"{tool.__name__}Event",
        [("call", tool)],
        bases=(envelope,),
        namespace={"__doc__": envelope.__doc__},
        module=envelope.__module__,
        frozen=True,
        kw_only=True,
    )  # type: ignore[return-value] # defstruct says Struct; the base is an Event


_EVENTS = {tool_name(tool): event_of(tool) for tool in CALLS}
_QUERY = Message(
    name="SearchQuery",
    summary="A search as it was typed.",
    headers=TraceHeaders,
    key=QueryKey,
    payload=SearchQuery,
)
_DONE = Message(
    name="Done",
    summary="Once per query, after every event of it is acknowledged.",
    headers=EventHeaders,
    key=QueryId,
    payload=Done,
)
_DEAD_LETTER = Message(
    name="DeadLetter",
    summary="A record that nothing could answer: its own bytes and key.",
    headers=DeadLetterHeaders,
    key=Annotated[str | None, Meta(description="The record's own.")],
)


def channels(topics: Topics) -> dict[str, list[Message]]:
    """What each topic carries; tools that share a topic are several messages of it."""
    found: dict[str, list[Message]] = {topics.queries: [_QUERY]}
    for tool in CALLS:
        event = Message(
            name=_EVENTS[tool_name(tool)].__name__,
            summary=_summary(tool.__doc__ or ""),
            headers=EventHeaders,
            key=QueryId,
            payload=_EVENTS[tool_name(tool)],
        )
        found.setdefault(topics.calls[tool_name(tool)], []).append(event)
    found.setdefault(topics.done, []).append(_DONE)
    found.setdefault(topics.dead_letters, []).append(_DEAD_LETTER)
    return found


# --- documents ------------------------------------------------------------------------


def json_schema(name: str, types: Sequence[Any]) -> Json:
    """One of these types, as a document of its own."""
    refs, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    body = refs[0] if len(refs) == 1 else {"anyOf": list(refs)}
    identity = {"$schema": DIALECT, "$id": f"urn:tagstream:{SCHEMA_VERSION}:{name}"}
    return {**identity, **_open(body), "$defs": _open(components)}


def asyncapi(topics: Topics) -> Json:
    """The channels, seen from tagstream: it receives queries and sends the rest."""
    carried = channels(topics)
    messages = {message.name: message for kinds in carried.values() for message in kinds}
    structs = [kind.payload for kind in messages.values() if kind.payload is not None]
    headers = {kind.headers for kind in messages.values()}
    types = [*structs, *sorted(headers, key=lambda kind: kind.__name__)]
    refs, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    named = dict(zip(types, refs, strict=True))

    def schema(kind: Any) -> Json:
        return named[kind] if kind in named else msgspec.json.schema(kind)

    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "tagstream",
            "version": SCHEMA_VERSION,
            "description": "Search queries in, tool calls out, while the model still speaks.",
        },
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic, kinds) for topic, kinds in carried.items()},
        "operations": dict(_operation(topic, topics) for topic in carried),
        "components": {
            "messages": {name: kind.document(schema) for name, kind in messages.items()},
            "schemas": _open(components),
        },
    }


def _channel(topic: str, kinds: Sequence[Message]) -> Json:
    return {
        "address": topic,
        "messages": {kind.name: {"$ref": f"#/components/messages/{kind.name}"} for kind in kinds},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _operation(topic: str, topics: Topics) -> tuple[str, Json]:
    action = "receive" if topic == topics.queries else "send"
    return f"{action}.{topic}", {"action": action, "channel": {"$ref": f"#/channels/{topic}"}}


def _open(schema: Any) -> Any:
    """Without what closes an object to later fields, and OpenAPI's keyword; tidy texts."""
    match schema:
        case dict():
            kept = {
                key: _open(value)
                for key, value in schema.items()
                if not (key == "additionalProperties" and value is False)
                and not (key == "discriminator" and isinstance(value, dict) and "mapping" in value)
            }
            if isinstance(text := kept.get("description"), str):
                kept["description"] = _summary(text)
            return kept
        case list() | tuple():
            return [_open(value) for value in schema]
        case _:
            return schema


def _summary(text: str) -> str:
    """A docstring's first paragraph, on one line: the rest is for those who read the code."""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


# --- files ----------------------------------------------------------------------------


def documents(topics: Topics) -> dict[str, Json]:
    """Every document by its file's name."""
    plain: dict[str, Any] = {
        "query": SearchQuery,
        "profile": Profile,
        "call": Call,
        "event": Event,
        "plan-event": _EVENTS[tool_name(Plan)],
        "policy-event": _EVENTS[tool_name(Policy)],
        "done": Done,
    }
    found = {f"{name}.schema.json": json_schema(name, [kind]) for name, kind in plain.items()}
    for topic, kinds in channels(topics).items():
        payloads = [kind.payload for kind in kinds if kind.payload is not None]
        if payloads:
            found[f"topics/{topic}.schema.json"] = json_schema(f"topics:{topic}", payloads)
    return found | {"asyncapi.json": asyncapi(topics)}


def export(folder: Path, topics: Topics) -> list[Path]:
    """Writes them; the folder is made if missing. Raises `OSError`.

    `query`, `profile`, `call`, `event`, `plan-event`, `policy-event` and `done` as
    `NAME.schema.json`, each topic's value as `topics/TOPIC.schema.json`, `asyncapi.json`.
    """
    written = []
    for name, document in documents(topics).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        written.append(file)
    return written
