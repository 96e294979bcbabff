"""The command line as users meet it: child processes, exit codes, one line for an error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.embedded import Tansu, Valkey

COMMANDS = "demo serve ask annotate publish tail topics profiles schemas bench".split()


def tagstream(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command, with these settings and none of the environment's."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TAGSTREAM_")}
    env |= {f"TAGSTREAM_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "infra", *words],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error, which is one line and no stack trace."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_names_every_command() -> None:
    done = tagstream("--help")
    assert done.returncode == 0
    assert [c for c in COMMANDS if f" {c} " not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = tagstream(command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_settings_are_shown_with_secrets_masked() -> None:
    url = "redis://reader:hunter2@cache:6379/0"
    done = tagstream("serve", "--show-settings", "--json", redis_url=url, redis_password="hunter3")
    shown = records(done)[0]
    assert shown["redis_url"] == "redis://reader:***@cache:6379/0"
    assert "hunter" not in done.stdout + done.stderr
    assert shown["window"] == "64"


def test_unknown_setting_is_one_line_with_a_suggestion() -> None:
    line = one_line(tagstream("serve", windw="3"))
    assert "TAGSTREAM_WINDW" in line
    assert "window" in line


def test_ask_answers_with_calls() -> None:
    calls = records(tagstream("ask", "nurse", "--json", model="stub"))
    assert [call["tool"] for call in calls] == ["plan", "title", "location", "workplace"]


@pytest.mark.parametrize("query", ["   ", "x" * 1_001])
def test_ask_refuses_a_query_that_the_contract_refuses(query: str) -> None:
    assert "1 to 1,000" in one_line(tagstream("ask", query, model="stub"))


def test_ask_says_what_is_wrong_with_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"title": "Nurse"}')
    line = one_line(tagstream("ask", "nurse", "--profile", str(file), model="stub"))
    assert str(file) in line
    assert "member_id" in line


def test_ask_says_which_model_is_missing() -> None:
    assert "no-such-folder" in one_line(tagstream("ask", "nurse", model="./no-such-folder"))


def test_annotate_keeps_ids_and_order(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines: list[dict[str, Any]] = [
        {"id": f"a{n}", "query": f"nurse {n}", "profile": None, "gold": []} for n in range(9)
    ]
    source.write_text("\n".join(map(json.dumps, lines)))
    done = tagstream("annotate", str(source), str(target), model="stub")
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["id"] for line in written] == [line["id"] for line in lines]
    assert written[0]["calls"][0] == {"tool": "plan", "intent": "criteria"}


def test_annotate_names_the_line_that_does_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "1", "query": "nurse"}\n{"id": "2"}\n')
    line = one_line(tagstream("annotate", str(source), str(tmp_path / "out"), model="stub"))
    assert f"{source}:2" in line
    assert not (tmp_path / "out").exists()


def test_topics_profiles_publish_and_tail(tansu: Tansu, valkey: Valkey, tmp_path: Path) -> None:
    at = {
        "kafka_bootstrap": tansu.bootstrap, "redis_url": valkey.url,
        "kafka_idempotence": "false", "queries_topic": "cli.queries",
    }  # fmt: skip
    made = records(tagstream("topics", "create", "--partitions", "2", "--json", **at))[0]
    assert made["cli.queries"] is True
    again = records(tagstream("topics", "create", "--json", **at))[0]
    assert set(again.values()) == {False}

    profiles = tmp_path / "profiles.jsonl"
    profiles.write_text('{"member_id": "m1", "title": "Nurse"}\n')
    assert tagstream("profiles", "load", str(profiles), **at).returncode == 0

    searches = tmp_path / "searches.jsonl"
    searches.write_text('{"query": "nurse", "member_id": "m1"}\n{"query_id": "b", "query": "x"}\n')
    sent = records(tagstream("publish", str(searches), "--json", **at))
    assert len(sent) == 2
    assert sent[1] == {"query_id": "b"}


def test_publish_names_the_line_that_does_not_fit(tmp_path: Path) -> None:
    searches = tmp_path / "searches.jsonl"
    searches.write_text('{"query": "nurse"}\n{"query": ""}\n')
    assert f"{searches}:2" in one_line(tagstream("publish", str(searches)))


def test_no_broker_is_one_line(tmp_path: Path) -> None:
    searches = tmp_path / "searches.jsonl"
    searches.write_text('{"query": "nurse"}\n')
    at = {"kafka_bootstrap": "127.0.0.1:1", "redis_url": "redis://127.0.0.1:1/0"}
    assert "127.0.0.1:1" in one_line(tagstream("topics", "create", **at))
    assert "127.0.0.1:1" in one_line(tagstream("publish", str(searches), **at))
    profiles = tmp_path / "profiles.jsonl"
    profiles.write_text('{"member_id": "m1"}\n')
    assert "Redis" in one_line(tagstream("profiles", "load", str(profiles), **at))


def test_schemas_are_exported(tmp_path: Path) -> None:
    assert tagstream("schemas", "export", str(tmp_path)).returncode == 0
    assert json.loads((tmp_path / "asyncapi.json").read_text())["asyncapi"] == "3.0.0"
