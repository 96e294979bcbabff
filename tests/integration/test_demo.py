"""The demo as a newcomer runs it: embedded broker and cache, with the stub and with vLLM."""

import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from infra.embedded import accepts

DEMO = [sys.executable, "-m", "infra", "demo"]


def environment(**settings: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("TAGSTREAM_")}
    return env | {f"TAGSTREAM_{name.upper()}": value for name, value in settings.items()}


def ports(said: str) -> list[int]:
    """Where the demo says that its broker and its cache are."""
    found = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", said)]
    assert len(found) == 2
    return found


def demo(**settings: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The searches and the summary of `tagstream demo --json`; asserts that it ended well."""
    done = subprocess.run(
        [*DEMO, "--json"], env=environment(**settings),
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not any(accepts(port) for port in ports(done.stderr))
    *searches, summary = [json.loads(line) for line in done.stdout.splitlines()]
    return searches, summary


def check(searches: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    assert len(searches) >= 20
    for search in searches:
        assert len(search["calls"]) == search["done"]["events"]
        assert search["calls"][0]["tool"] == "plan"
    assert sum(summary["statuses"].values()) == len(searches)
    assert summary["events"]["search.plans"] == summary["events"]["search.done"] == len(searches)
    assert summary["latency_ms"]["done"]["p95"] >= summary["latency_ms"]["first event"]["p50"]


def test_demo_with_the_stub() -> None:
    searches, summary = demo(model="stub", stub_delay_ms="40")
    check(searches, summary)
    assert summary["statuses"] == {"complete": len(searches)}


@pytest.mark.timeout(300)
def test_demo_with_vllm() -> None:
    # One thread: slower, and no slower still on cores that others use too.
    searches, summary = demo(compile="false", threads="1", max_tokens="64")
    check(searches, summary)
    assert summary["model"].startswith("tagstream-135m@")
    assert {"denied", "complete"} <= set(summary["statuses"])
    assert "failed" not in summary["statuses"]
    assert "degraded" not in summary["statuses"]


def test_demo_that_is_interrupted_leaves_nothing_running() -> None:
    with subprocess.Popen(
        DEMO, env=environment(model="stub"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as child:  # fmt: skip
        assert child.stderr
        used = ports(child.stderr.readline())
        assert all(accepts(port) for port in used)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    assert child.returncode != 0
    assert not any(accepts(port) for port in used)
