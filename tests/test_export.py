"""The exported documents: valid in themselves, true of real records, and open to later fields.

In: what `schemas.export` derives from the structs. The records are encoded by the same
encoders that the service uses.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from typer.testing import CliRunner

from infra.cli import app
from infra.settings import Settings
from infra.topics import names
from producers.routes import DEFAULT_ROUTES
from schemas.events import SCHEMA_VERSION, Done, Event, PlanEvent, PolicyEvent, encode_event
from schemas.export import Json, Topics, asyncapi, documents, export
from schemas.failures import Failure
from schemas.profiles import Education, Profile
from schemas.queries import MAX_QUERY, SearchQuery, encode_query
from schemas.tools import (
    CALLS,
    INDUSTRIES,
    Call,
    Currency,
    DatePosted,
    EasyApply,
    Industry,
    IndustryName,
    NumApplicants,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Suggest,
    Title,
    encode_call,
    tool_name,
)

TOPICS = Topics(
    queries="search.queries",
    calls=DEFAULT_ROUTES,
    done="search.done",
    dead_letters="search.dead-letters",
)
DOCUMENTS = documents(TOPICS)
SCHEMAS = {name: document for name, document in DOCUMENTS.items() if "schema" in name}
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
FIRST, SECOND = list(INDUSTRIES)[:2]
COMMON: Json = {
    "query_id": "q-1",
    "index": 1,
    "model": "stub@1",
    "elapsed_ms": 12.5,
    "emitted_at": NOW,
}
SEARCH: Json = {"query": "nurse in leeds", "member_id": None, "locale": "en-GB"}
DONE = Done(
    query_id="q-1",
    status="expired",
    events=0,
    profile="none",
    queued_ms=0.0,
    first_event_ms=None,
    elapsed_ms=0.4,
    prompt_tokens=0,
    cached_tokens=0,
    output_tokens=0,
    reason=None,
)


def errors(file: str, record: bytes | Json) -> list[str]:
    """What is wrong with a record, by the schema of this name; formats count."""
    value = json.loads(record) if isinstance(record, bytes) else record
    validator = Draft202012Validator(
        DOCUMENTS[f"{file}.schema.json"], format_checker=FormatChecker()
    )
    return [error.message for error in validator.iter_errors(value)]


def event(call: Call) -> Event:
    match call:
        case Plan():
            return PlanEvent(**COMMON, **SEARCH, call=call)
        case Policy():
            return PolicyEvent(**COMMON, call=call)
        case _:
            return Event(**COMMON, call=call)


def references(document: Any) -> Iterator[str]:
    match document:
        case dict():
            for key, value in document.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        case list():
            for value in document:
                yield from references(value)


def resolved(document: Json, reference: str) -> Any:
    found: Any = document
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        found = found[step]
    return found


@pytest.mark.parametrize("name", SCHEMAS)
class TestEverySchema:
    def test_is_valid_json_schema(self, name: str) -> None:
        Draft202012Validator.check_schema(SCHEMAS[name])

    def test_references_resolve(self, name: str) -> None:
        for reference in references(SCHEMAS[name]):
            assert isinstance(resolved(SCHEMAS[name], reference), dict)

    def test_is_open_to_later_fields(self, name: str) -> None:
        assert "additionalProperties" not in json.dumps(SCHEMAS[name])

    def test_says_what_it_is(self, name: str) -> None:
        assert SCHEMAS[name]["$schema"].endswith("2020-12/schema")
        assert SCHEMAS[name]["$id"].startswith(f"urn:tagstream:{SCHEMA_VERSION}:")


CALLS_MADE: list[Call] = [
    Plan("self_reference"),
    Rewrite("nurse in Leeds"),
    Title("software engineer"),
    Salary(minimum=100_000),
    Salary(minimum=25.5, maximum=30, currency=Currency("USD"), period="hour"),
    DatePosted("week"),
    NumApplicants(10),
    EasyApply(),
    Industry(IndustryName(FIRST)),
    Suggest("industry", (IndustryName(SECOND),)),
    Policy("violence"),
]


@pytest.mark.parametrize("call", CALLS_MADE, ids=repr)
class TestEvents:
    def test_fits_its_topic_and_the_general_schema(self, call: Call) -> None:
        record = encode_event(event(call))
        topic = DEFAULT_ROUTES[tool_name(type(call))]
        assert errors(f"topics/{topic}", record) == []
        assert errors("event", record) == []
        assert errors("call", encode_call(call)) == []

    def test_fits_no_other_tools_topic(self, call: Call) -> None:
        record = encode_event(event(call))
        for tool in CALLS:
            if not isinstance(call, tool):
                assert errors(f"topics/{DEFAULT_ROUTES[tool_name(tool)]}", record)

    def test_a_field_added_later_passes(self, call: Call) -> None:
        record = json.loads(encode_event(event(call)))
        record["later"], record["call"]["later"] = 1, {"more": True}
        assert errors(f"topics/{DEFAULT_ROUTES[tool_name(type(call))]}", record) == []


class TestRecords:
    def test_queries(self) -> None:
        plain = SearchQuery(query_id="q-1", query=" " * 10 + "x" * MAX_QUERY + "\n")
        full = SearchQuery(
            query_id="q" * 128, query="x", member_id="m", issued_at=NOW, deadline_ms=1
        )
        for query in (plain, full):
            assert errors("query", encode_query(query)) == []
            assert errors("topics/search.queries", encode_query(query)) == []

    def test_done_with_nulls_and_without(self) -> None:
        full = msgspec.structs.replace(
            DONE, status="degraded", first_event_ms=3.25, events=4, reason="engine: down"
        )
        for done in (DONE, full):
            assert errors("done", encode_event(done)) == []
            assert errors("topics/search.done", encode_event(done)) == []

    def test_plan_and_policy_events(self) -> None:
        assert errors("plan-event", encode_event(event(Plan("non_job")))) == []
        assert errors("policy-event", encode_event(event(Policy("self_harm")))) == []
        assert errors("plan-event", encode_event(Event(**COMMON, call=Plan("criteria"))))

    def test_profiles(self) -> None:
        full = Profile(member_id="m", skills=("python",), education=(Education(school="X"),))
        assert errors("profile", msgspec.json.encode(full)) == []
        assert errors("profile", {"member_id": "m"}) == []
        assert errors("profile", {"title": "nurse"})

    @pytest.mark.parametrize(
        "wrong",
        [
            {"query": "x" * (MAX_QUERY + 1)},
            {"query": " \t\n"},
            {"query": None},
            {"query_id": ""},
            {"query_id": "q" * 129},
            {"issued_at": "2026-03-01T12:30:00"},
            {"issued_at": "yesterday"},
            {"deadline_ms": 0},
            {"locale": "en_US"},
        ],
        ids=lambda wrong: str(wrong)[:40],
    )
    def test_wrong_queries(self, wrong: Json) -> None:
        right = {"query_id": "q-1", "query": "nurse", "issued_at": "2026-03-01T12:30:00+01:00"}
        assert errors("query", right) == []
        assert errors("query", right | wrong)
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(json.dumps(right | wrong), type=SearchQuery)

    def test_a_query_needs_its_id(self) -> None:
        assert errors("query", {"query": "nurse"}) == ["'query_id' is a required property"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"tool": "teleport", "to": "Mars"},
            {"title": "nurse"},
            {"tool": "industry", "industry": "Alchemy"},
            {"tool": "suggest", "facet": "industry", "values": []},
            {"tool": "suggest", "facet": "industry", "values": [FIRST] * 4},
            {"tool": "salary", "minimum": 1, "currency": "ZZZ"},
            {"tool": "title", "title": ""},
        ],
        ids=str,
    )
    def test_wrong_calls(self, wrong: Json) -> None:
        record = json.loads(encode_event(event(Title("nurse"))))
        assert errors("event", record) == []
        assert errors("event", record | {"call": wrong})
        assert errors("call", wrong)

    def test_an_event_says_when_with_zone(self) -> None:
        record = json.loads(encode_event(event(Title("nurse"))))
        assert errors("event", record | {"emitted_at": "2026-03-01T12:30:00"})


class TestAsyncApi:
    document = asyncapi(TOPICS)

    def test_references_resolve(self) -> None:
        found = list(references(self.document))
        assert len(found) > 2 * len(CALLS)
        for reference in found:
            assert isinstance(resolved(self.document, reference), dict)

    def test_each_topic_is_a_channel(self) -> None:
        channels = self.document["channels"]
        assert {channel["address"] for channel in channels.values()} == set(names(Settings()))
        assert all(address == channel["address"] for address, channel in channels.items())

    def test_receives_queries_and_sends_the_rest(self) -> None:
        operations = self.document["operations"].values()
        received = [o["channel"]["$ref"] for o in operations if o["action"] == "receive"]
        assert received == ["#/channels/search.queries"]
        assert len({o["channel"]["$ref"] for o in operations}) == len(self.document["channels"])

    def test_schemas_are_valid_and_open(self) -> None:
        for schema in self.document["components"]["schemas"].values():
            Draft202012Validator.check_schema(schema)
        assert "additionalProperties" not in json.dumps(self.document)
        assert "discriminator" not in json.dumps(self.document)

    def test_title_events_carry_titles(self) -> None:
        channel = self.document["channels"]["search.tags.title"]
        [message] = (resolved(self.document, m["$ref"]) for m in channel["messages"].values())
        payload = resolved(self.document, message["payload"]["$ref"])
        assert payload["properties"]["call"] == {"$ref": "#/components/schemas/Title"}

    def headers_of(self, message: str) -> Draft202012Validator:
        found = self.document["components"]["messages"][message]["headers"]
        return Draft202012Validator(resolved(self.document, found["$ref"]))

    def test_headers_of_events(self) -> None:
        headers = {
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "content-type": "application/json",
            "tagstream-schema": SCHEMA_VERSION,
            "tagstream-source": "search.queries/3/141",
            "tagstream-worker": "host-1",
        }
        for message in ("TitleEvent", "PlanEvent", "PolicyEvent", "Done"):
            assert self.headers_of(message).is_valid(headers)
            assert not self.headers_of(message).is_valid(headers | {"tagstream-source": "here"})

    def test_headers_of_dead_letters(self) -> None:
        failure = Failure(
            kind="undecodable", error="NotJson", message="?",
            topic="search.queries", partition=0, offset=7,
        )  # fmt: skip
        headers = {name: value.decode() for name, value in failure.headers()}
        validator = self.headers_of("DeadLetter")
        assert validator.is_valid(headers)
        assert set(headers) == set(validator.schema["required"])


class TestFiles:
    def test_export_writes_what_is_documented(self, tmp_path: Path) -> None:
        files = export(tmp_path / "new" / "folder", TOPICS)
        assert {file.relative_to(tmp_path / "new" / "folder").as_posix() for file in files} == set(
            DOCUMENTS
        )
        for name in ("query", "profile", "call", "event", "plan-event", "policy-event", "done"):
            file = tmp_path / "new" / "folder" / f"{name}.schema.json"
            assert json.loads(file.read_bytes()) == DOCUMENTS[file.name]

    def test_same_bytes_again(self, tmp_path: Path) -> None:
        once, again = (export(tmp_path / name, TOPICS) for name in "ab")
        assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]

    def test_tools_that_share_a_topic(self) -> None:
        shared = msgspec.structs.replace(
            TOPICS, calls=DEFAULT_ROUTES | {"skill": "search.tags.title"}
        )
        found = asyncapi(shared)["channels"]
        assert set(found["search.tags.title"]["messages"]) == {"TitleEvent", "SkillEvent"}
        assert "search.tags.skill" not in found

    def test_the_command_follows_the_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TAGSTREAM_ROUTES", '{"title": "jobs.titles"}')
        monkeypatch.setenv("TAGSTREAM_QUERIES_TOPIC", "jobs.queries")
        result = CliRunner().invoke(app, ["schemas", "export", str(tmp_path)])
        assert result.exit_code == 0, result.output
        channels = json.loads((tmp_path / "asyncapi.json").read_bytes())["channels"]
        assert {"jobs.titles", "jobs.queries"} <= set(channels)
        assert not {"search.tags.title", "search.queries"} & set(channels)
        assert (tmp_path / "topics" / "jobs.titles.schema.json").exists()
