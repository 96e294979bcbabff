"""Predictions for a file of searches: `{"id", "query", "profile"}` in, `{"id", "calls"}` out.

Lines come out in the order they went in. A line that does not fit ends the run with its
number; nothing is written then.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress as Bar

from engine.answer import answer
from engine.generation import Model
from infra.service import Progress, running_model
from infra.settings import Settings
from infra.traffic import TrafficError, lines
from schemas.profiles import Profile
from schemas.tools import Tool


class Search(msgspec.Struct, frozen=True):
    """One line of the input; other fields, such as `gold`, are not looked at."""

    id: str
    query: str
    profile: dict[str, Any] | None = None


class Prediction(msgspec.Struct, frozen=True):
    id: str
    calls: list[Tool]


async def annotate(
    settings: Settings, source: Path, target: Path, at_once: int, progress: Progress
) -> int:
    """How many lines were written. Raises `TrafficError`, `EngineError`."""
    searches = [_read(source, number, line) for number, line in lines(source)]
    encode = msgspec.json.Encoder().encode
    with Bar(console=Console(stderr=True), transient=True) as bar:
        async with running_model(settings, progress) as model:
            task = bar.add_task("annotating", total=len(searches))
            room = asyncio.Semaphore(at_once)

            async def one(search: Search, profile: Profile | None) -> Prediction:
                async with room:
                    calls = await predicted(model, search.query, profile)
                bar.advance(task)
                return Prediction(search.id, calls)

            written = await asyncio.gather(*(one(*search) for search in searches))
    try:
        target.write_bytes(b"".join(encode(line) + b"\n" for line in written))
    except OSError as error:
        raise TrafficError(f"{target}: {error.strerror}") from None
    return len(written)


async def predicted(model: Model, query: str, profile: Profile | None) -> list[Tool]:
    """The calls of one answer. Raises `EngineError`."""
    return [item async for item in answer(model, query, profile) if isinstance(item, Tool)]


def _read(source: Path, number: int, line: bytes) -> tuple[Search, Profile | None]:
    try:
        search = msgspec.json.decode(line, type=Search)
        fields = search.profile
        profile = msgspec.convert({"member_id": "", **fields}, Profile) if fields else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrafficError(f"{source}:{number}: {error}") from None
    if not 1 <= len(search.query.strip()) <= 1_000:
        raise TrafficError(f"{source}:{number}: `query` has to have 1 to 1,000 characters")
    return search, profile
