"""`tagstream dead-letters` on a real broker: listed, shown, and tried again."""

import json
import os
import subprocess
import sys
from typing import Any

from infra.settings import PREFIX
from tests.integration.conftest import NewWorld
from tests.integration.output import Sent, search
from tests.service import World

TRACE = "00-" + "ab" * 16 + "-" + "1" * 16 + "-01"


def tagstream(world: World, *words: str, code: int = 0) -> str:
    outer = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    done = subprocess.run(
        [sys.executable, "-m", "infra", "dead-letters", *words],
        env=outer | world.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def listed(world: World, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tagstream(world, "list", "--json", *words).splitlines()]


def test_listed_shown_and_redriven(world: NewWorld) -> None:
    made = world().create()
    headers = [("traceparent", TRACE.encode())]
    with made.output() as output, made.service() as service:
        service.until_ready()
        made.publish([Sent(b"not json", b"k1", headers), Sent(b"{}", b"k2"), search("q1")])
        output.until_ended(3)
        found = listed(made)
        assert {letter["error"] for letter in found} == {"NotJson", "Invalid"}
        assert [letter["attempts"] for letter in found] == [1, 1]
        assert not listed(made, "--kind", "failed")
        assert not listed(made, "--since", "2100-01-01T00:00")
        (broken,) = listed(made, "--error", "NotJson")
        shown = json.loads(tagstream(made, "show", broken["place"], "--json"))
        assert (shown["value"], shown["key"]) == ("not json", "k1")
        assert "not json" not in tagstream(made, "list")

        tagstream(made, "redrive", "--kind", "undecodable", "--error", "NotJson")
        output.until(lambda out: len(out.letters) == 3, "the record is back among the letters")
        service.stop()
    (again,) = [letter for letter in listed(made) if letter["attempts"] == 2]
    shown = json.loads(tagstream(made, "show", again["place"], "--json"))
    assert shown["value"] == "not json"
    assert shown["headers"]["traceparent"].split("-")[1] == TRACE.split("-")[1]
    assert len(listed(made, "--attempts", "1")) == 2


def test_errors_are_one_line(tansu_world: NewWorld) -> None:
    made = tansu_world()
    assert "does not exist" in tagstream(made, "list", code=1)
    made.create()
    assert "has no letter at 0/7" in tagstream(made, "show", "0/7", code=1)
    assert "choose of" in tagstream(made, "list", "--kind", "lost", code=1)
