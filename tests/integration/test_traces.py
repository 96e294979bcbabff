"""One trace from the publisher's span to each event and the commit, as a collector gets it.

In: `tagstream publish` and the service, both told to export to a receiver of OTLP over HTTP.
Out: the spans, whose parents lead to the publisher's, and outputs that carry their own.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from infra.embedded import HOST
from tests.integration.conftest import NewWorld
from tests.integration.output import Got, Sent
from tests.service import ROOT, World

TEXT = "a very private search"


class Span(msgspec.Struct, frozen=True):
    """What the tests look at."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: frozenset[str]


class Collector:
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []
        posts = self.posts

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer((HOST, 0), Receiver)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        port = self._server.server_address[1]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    @property
    def spans(self) -> list[Span]:
        found = []
        for path, body in self.posts:
            if path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        for s in scope.spans:
                            ids = (s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex())
                            keys = frozenset(attribute.key for attribute in s.attributes)
                            found.append(Span(s.name, *ids, keys))
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def publish(world: World, collector: Collector, folder: Path, count: int) -> None:
    file = folder / "searches.jsonl"
    searches = [{"query_id": f"q{n}", "query": TEXT, "member_id": "m"} for n in range(count)]
    file.write_bytes(b"\n".join(map(msgspec.json.encode, searches)))
    command = [sys.executable, "-m", "infra", "publish", str(file)]
    environment = {**os.environ, **world.environment, **collector.environment}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)


def test_one_trace_from_the_publisher_to_the_commit(
    tansu_world: NewWorld, collector: Collector, folder: Path
) -> None:
    world = tansu_world().create()
    count = 3
    with world.output() as output, world.service(collector.environment) as service:
        service.until_ready()
        publish(world, collector, folder, count)
        world.publish([Sent(b"bad")])
        output.until_ended(count + 1)
        service.stop()
        assert TEXT not in service.log()
        output.settled()
    spans = {span.id: span for span in collector.spans}
    published = [s for s in spans.values() if s.name == f"send {world.queries}" and not s.parent]
    assert len(published) == count
    assert len({span.trace for span in published}) == count
    for first in published:
        check_trace(world, first, [s for s in spans.values() if s.trace == first.trace])
    records = output.events + output.dones + output.letters
    assert len(records) == count * 5 + 1
    carried = [carrier(record) for record in records]
    assert len(set(carried)) == len(records)
    for (trace, span), record in zip(carried, records, strict=True):
        assert spans[span].trace == trace
        if record.topic != world.settings.dead_letters_topic:
            assert spans[span].name == f"send {record.topic}"
            assert trace in {first.trace for first in published}
    assert any(path == "/v1/metrics" for path, _ in collector.posts)
    assert not any(TEXT.encode() in body for _, body in collector.posts)


def check_trace(world: World, first: Span, spans: list[Span]) -> None:
    (process,) = [span for span in spans if span.parent == first.id]
    assert process.name == f"process {world.queries}"
    names = sorted(span.name for span in spans if span.parent == process.id)
    events, done = world.settings.routes["plan"], world.settings.done_topic
    assert names == sorted([
        "look up profile", "text_completion stub@1", *[f"send {events}"] * 4,
        f"send {done}", f"commit {world.queries}",
    ])  # fmt: skip
    (engine,) = [span for span in spans if span.name.startswith("text_completion")]
    inside = sorted(span.name for span in spans if span.parent == engine.id)
    assert inside == ["engine decode", "engine prefill", "engine queue"]
    assert "gen_ai.usage.output_tokens" in engine.attributes
    assert not any("tagstream.query" in span.attributes for span in spans)


def carrier(record: Got) -> tuple[str, str]:
    """The trace and the span that a record's header names."""
    _, trace, span, _ = record.headers["traceparent"].decode().split("-")
    return trace, span


def test_query_text_is_recorded_only_where_a_setting_says_so(
    tansu_world: NewWorld, collector: Collector, folder: Path
) -> None:
    world = tansu_world(personal_data=True).create()
    with world.output() as output, world.service(collector.environment) as service:
        service.until_ready()
        publish(world, collector, folder, 1)
        output.until_ended(1)
        service.stop()
    assert any(TEXT.encode() in body for path, body in collector.posts if path == "/v1/traces")
