"""The demo as a newcomer runs it: embedded broker and cache, with the stub and with vLLM."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def demo(**settings: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The searches and the summary of `tagstream demo --json`; asserts that it ended well."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TAGSTREAM_")}
    env |= {f"TAGSTREAM_{name.upper()}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", "infra", "demo", "--json"],
        env=env, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *searches, summary = [json.loads(line) for line in done.stdout.splitlines()]
    return searches, summary


def children() -> set[str]:
    """Brokers and caches that run on this machine, by process id and command."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")[0].decode()
            except OSError:
                continue
            if Path(command).name.startswith(("tansu", "valkey", "broker")):
                found.add(f"{folder.name} {command}")
    return found


def check(searches: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    assert len(searches) >= 20
    for search in searches:
        assert len(search["calls"]) == search["done"]["events"]
        assert search["calls"][0]["tool"] == "plan"
    assert sum(summary["statuses"].values()) == len(searches)
    assert summary["latency_ms"]["done"]["p95"] >= summary["latency_ms"]["first event"]["p50"]


def test_demo_with_the_stub_leaves_nothing_running() -> None:
    before = children()
    searches, summary = demo(model="stub", stub_delay_ms="40")
    check(searches, summary)
    assert summary["statuses"] == {"complete": len(searches)}
    assert children() <= before


@pytest.mark.timeout(300)
def test_demo_with_vllm() -> None:
    # One thread: slower, and no slower still on cores that others use too.
    searches, summary = demo(compile="false", threads="1", max_tokens="64")
    check(searches, summary)
    assert summary["model"].startswith("SmolLM2-135M-Instruct@")
    assert "failed" not in summary["statuses"]
    assert "degraded" not in summary["statuses"]


def test_demo_that_is_interrupted_leaves_nothing_running() -> None:
    before = children()
    env = os.environ | {"TAGSTREAM_MODEL": "stub"}
    with subprocess.Popen(
        [sys.executable, "-m", "infra", "demo"], env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        until = time.monotonic() + 30
        while not children() - before and time.monotonic() < until:
            time.sleep(0.05)
        assert children() - before
        child.send_signal(signal.SIGINT)
        assert child.wait(30) != 0
    assert children() <= before
