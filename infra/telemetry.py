"""Traces, metrics and logs: what they are called, and how they are set up.

In: settings and the standard OTEL_* variables. Out: a `Telemetry` that the pipeline tells
what happens. Without an exporter and without a port nothing is recorded. Query text and
profiles appear nowhere unless `personal_data` says so.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind

from consumers.deliveries import Delivery
from engine.answer import Usage
from infra.settings import Settings
from schemas.events import Done

log = logging.getLogger(__name__)
_FLUSH_S = 5.0
_providers: list[TracerProvider | MeterProvider] = []

MILLISECONDS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1_200, 2_000, 5_000)

COUNTERS = {
    "tagstream.queries": "Queries by status",
    "tagstream.events": "Events published, by tool",
    "tagstream.calls.dropped": "What the model said that is no call of the contract, by reason",
    "tagstream.dead_letters": "Records in the dead letters, by kind",
    "tagstream.replayed": "Redelivered queries whose events, or done event, were there already",
    "tagstream.profiles": "Profile look-ups, by outcome",
    "tagstream.tokens": "Tokens, by type: prompt, cached, output",
}
HISTOGRAMS = {
    "tagstream.first_event.duration": "From received to the first event handed over",
    "tagstream.done.duration": "From received to every event acknowledged",
    "tagstream.upstream.duration": "From issued_at to received",
    "tagstream.engine.queue.duration": "From asking the engine to its beginning",
    "tagstream.engine.first_token.duration": "From asking the engine to its first token",
    "tagstream.profile.duration": "One profile look-up",
}
GAUGES = {
    "tagstream.in_flight": "Queries in flight",
    "tagstream.window": "How many may be",
    "tagstream.watermark.lag": "Offsets handed out but above the watermark",
    "tagstream.lag": "Records behind the end of our partitions",
    "tagstream.partitions": "Partitions assigned",
    "tagstream.partitions.paused": "Of these, paused",
    "tagstream.commits": "Commits acknowledged",
    "tagstream.replay.unread": "Assignments after which what was published was not known",
    "tagstream.retention.gap": "Offsets deleted before they were read",
    "tagstream.tasks": "Tasks of the event loop",
    "tagstream.kafka.refused": "Seconds for which the broker has refused",
    "tagstream.engine.running": "Requests the engine works on",
    "tagstream.engine.waiting": "Requests that wait for it",
    "tagstream.engine.restarts": "How often it was restarted",
    "tagstream.engine.healthy": "1 if it answers",
}


class Trace:
    """One query's trace: its span, the headers its messages carry. Not recording by itself."""

    def __init__(self, delivery: Delivery) -> None:
        self._headers = [h for h in delivery.headers if h[0] in ("traceparent", "tracestate")]

    def headers(self) -> Iterable[tuple[str, bytes]]:
        """The caller's context, passed on."""
        return self._headers

    @contextmanager
    def step(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator["Trace"]:  # noqa: ARG002
        yield self

    def sending(self, topic: str) -> "Trace":  # noqa: ARG002
        return self

    def generated(self, started: float, usage: Usage, model: str) -> None: ...

    def end(self) -> None: ...


class RecordingTrace(Trace):
    """A trace that is recorded."""

    def __init__(self, tracer: trace.Tracer, span: Span, epoch: float) -> None:
        self._tracer, self._span, self._epoch = tracer, span, epoch
        self._context = trace.set_span_in_context(span)

    def headers(self) -> Iterable[tuple[str, bytes]]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier, self._context)
        return [(name, value.encode()) for name, value in carrier.items()]

    @contextmanager
    def step(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Trace]:
        span = self._tracer.start_span(name, self._context, kind)
        try:
            yield RecordingTrace(self._tracer, span, self._epoch)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()

    def sending(self, topic: str) -> Trace:
        """A message's own span; `end` when it is acknowledged."""
        attributes = {"messaging.system": "kafka", "messaging.destination.name": topic,
                      "messaging.operation.type": "send"}  # fmt: skip
        span = self._tracer.start_span(
            f"send {topic}", self._context, SpanKind.PRODUCER, attributes
        )
        return RecordingTrace(self._tracer, span, self._epoch)

    def generated(self, started: float, usage: Usage, model: str) -> None:
        """The engine's spans, from its own figures; `started` in monotonic seconds."""
        begin = self._epoch + started
        queued, first = begin + usage.queued_ms / 1e3, begin + usage.first_token_ms / 1e3
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
        }
        whole = self._tracer.start_span(
            f"text_completion {model}", self._context, SpanKind.CLIENT, attributes,
            start_time=_ns(begin),
        )  # fmt: skip
        inside = trace.set_span_in_context(whole)
        for name, start, end in (
            ("engine queue", begin, queued),
            ("engine prefill", queued, first),
            ("engine decode", first, self._epoch + time.monotonic()),
        ):
            self._tracer.start_span(name, inside, start_time=_ns(start)).end(_ns(max(start, end)))
        whole.end()

    def committing(self, topic: str) -> Trace:
        """From the done event's acknowledgement to the commit."""
        span = self._tracer.start_span(f"commit {topic}", self._context, SpanKind.CLIENT)
        return RecordingTrace(self._tracer, span, self._epoch)

    def end(self) -> None:
        self._span.end()


class Telemetry:
    """What the pipeline and the service tell; set up once by `set_up`."""

    def __init__(
        self,
        tracing: bool,
        personal_data: bool = False,
        group: str = "",
        *,
        metering: bool = False,
    ) -> None:
        self.tracing = tracing
        self._metering = metering
        self._personal_data = personal_data
        self._group = group
        self._tracer = trace.get_tracer("tagstream")
        self._commits: dict[tuple[str, int], deque[tuple[int, Trace]]] = defaultdict(deque)
        meter = metrics.get_meter("tagstream")
        self.meter = meter
        self._counters: dict[str, Counter] = {
            name: meter.create_counter(name, description=text) for name, text in COUNTERS.items()
        }
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(
                name, "ms", text, explicit_bucket_boundaries_advisory=MILLISECONDS
            )
            for name, text in HISTOGRAMS.items()
        }

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        if self._metering:
            self._counters[name].add(amount, labels)

    def time(self, name: str, milliseconds: float, **labels: str) -> None:
        if self._metering:
            self._histograms[name].record(milliseconds, labels)

    def observe(self, name: str, read: Callable[[], float]) -> None:
        """A gauge of `GAUGES`, read when it is collected."""

        def observed(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(read())]

        self.meter.create_observable_gauge(name, [observed], description=GAUGES[name])

    def done(self, done: Done) -> None:
        """A query's figures, from its done event."""
        if not self._metering:
            return
        self.count("tagstream.queries", status=done.status)
        self.count("tagstream.profiles", outcome=done.profile)
        self.time("tagstream.done.duration", done.elapsed_ms, status=done.status)
        self.time("tagstream.upstream.duration", done.queued_ms)
        if done.first_event_ms is not None:
            self.time("tagstream.first_event.duration", done.first_event_ms)
        for kind in ("prompt", "cached", "output"):
            self.count("tagstream.tokens", getattr(done, f"{kind}_tokens"), type=kind)

    @contextmanager
    def process(self, delivery: Delivery) -> Iterator[Trace]:
        """The span of one delivery, child of its publisher's."""
        if not self.tracing:
            yield Trace(delivery)
            return
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": delivery.topic,
            "messaging.destination.partition.id": str(delivery.partition),
            "messaging.kafka.offset": delivery.offset,
            "messaging.consumer.group.name": self._group,
        }
        if delivery.query is not None:
            attributes["tagstream.query_id"] = delivery.query.query_id
            if self._personal_data:
                attributes["tagstream.query"] = delivery.query.query
        context = propagate.extract(dict(delivery.carrier()))
        epoch = delivery.received_at - delivery.received
        with self._tracer.start_as_current_span(
            f"process {delivery.topic}", context, SpanKind.CONSUMER, attributes,
            start_time=_ns(delivery.received_at), record_exception=False,
        ) as span:  # fmt: skip
            yield RecordingTrace(self._tracer, span, epoch)

    def ended(self, delivery: Delivery, query: Trace) -> None:
        """From here the query waits for its commit: a span of its trace."""
        if self.tracing and isinstance(query, RecordingTrace):
            place = (delivery.topic, delivery.partition)
            self._commits[place].append((delivery.offset, query.committing(delivery.topic)))

    def committed(self, topic: str, partition: int, watermark: int) -> None:
        """Ends the commit spans of what the watermark has passed."""
        waiting = self._commits.get((topic, partition))
        if not waiting:
            return
        kept = deque(item for item in waiting if item[0] >= watermark)
        for offset, commit in waiting:
            if offset < watermark:
                commit.end()
        self._commits[topic, partition] = kept


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def set_up(settings: Settings, spans: SpanExporter | None = None) -> Telemetry:
    """Logs, and traces and metrics where an exporter or a port asks for them.

    Call it before the engine is made: a tracer provider is set once a process.
    """
    _log_to_stderr(settings)
    tracing = trace_spans(settings, spans)
    readers: list[MetricReader] = []
    if _exports("METRICS"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if not _off() and settings.http_port is not None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        readers.append(PrometheusMetricReader())
    if readers:
        meters = MeterProvider(readers, _resource(settings), shutdown_on_exit=False)
        metrics.set_meter_provider(meters)
        _providers.append(meters)
    return Telemetry(tracing, settings.personal_data, settings.group, metering=bool(readers))


def trace_spans(settings: Settings, spans: SpanExporter | None = None) -> bool:
    """Whether spans are recorded: sets a provider if an exporter asks for one; once a process."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return True
    if _off() or not (spans or _exports("TRACES")):
        return False
    provider = TracerProvider(resource=_resource(settings), shutdown_on_exit=False)
    _providers.append(provider)
    provider.add_span_processor(BatchSpanProcessor(spans or _span_exporter()))
    trace.set_tracer_provider(provider)
    return True


def _off() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"


def _exports(kind: str) -> bool:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{kind}_ENDPOINT")
    return not _off() and any(os.environ.get(name) for name in names)


def _resource(settings: Settings) -> Resource:
    return Resource.create(
        {"service.name": os.environ.get("OTEL_SERVICE_NAME", "tagstream"),
         "service.instance.id": settings.worker_name}
    )  # fmt: skip


def shut_down() -> None:
    """Flushes what is buffered, once; a collector that hangs holds the end up for a moment only."""
    providers, _providers[:] = list(_providers), []

    def flush() -> None:
        for provider in providers:
            provider.shutdown()

    flushing = threading.Thread(target=flush, daemon=True)
    if providers:
        flushing.start()
        flushing.join(_FLUSH_S)
    if flushing.is_alive():
        log.warning("the collector does not answer: the last spans and metrics are lost")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk, a closed pipe: no reason to end with an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


atexit.register(shut_down)


def _span_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class JsonLines(logging.Formatter):
    """One JSON object a line, with the trace's ids."""

    def format(self, record: logging.LogRecord) -> str:
        span = trace.get_current_span().get_span_context()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if span.is_valid:
            line |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines()
        if settings.log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # the rooms say it in one line
