"""`tagstream eval`: which system is asked what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from engine.generation import Model
from infra import evaluate
from infra.settings import Settings
from tests.fakes import Script

PLAN = {"tool": "plan", "intent": "criteria"}
WELDER = {"tool": "title", "title": "welder"}


def test_the_same_model_with_and_without_a_draft(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Script] = []
    made: list[Settings] = []

    @asynccontextmanager
    async def running(settings: Settings, _: object) -> AsyncIterator[Model]:
        made.append(settings)
        model = Script(['{"tool":"plan","intent":"criteria"}\n{"tool":"title","title":"welder"}\n'])
        model.corrects = True
        asked.append(model)
        yield model

    monkeypatch.setattr(evaluate, "running_model", running)
    file = tmp_path / "gold.jsonl"
    file.write_bytes(msgspec.json.encode({"id": "1", "query": "welder", "gold": [PLAN, WELDER]}))
    against = [evaluate.NO_DRAFT, evaluate.ZERO_SHOT, evaluate.PRETRAINED, evaluate.BASELINE]
    work = evaluate.evaluate(Settings(model="m"), file, against, None, None, lambda _: None)
    found = asyncio.run(work)
    prompts = [model.prompts for model in asked]
    assert prompts[0][0].endswith("Search: welder\n")
    assert "title" in prompts[0][0]
    assert prompts[1] == ["Search: welder\n"]
    assert [(s.model, s.examples) for s in made] == [
        ("m", True), ("m", True), ("base", False), ("base", True),
    ]  # fmt: skip
    assert [one.system for one in found.reports] == [
        "script@1", "script@1 no-draft", "script@1 zero-shot", "script@1 pretrained", "baseline",
    ]  # fmt: skip
    assert all(one.right == 1 for one in found.reports)
