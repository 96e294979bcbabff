"""Searches whose answer is known without a labeller.

In: the public lists. Out: `Gold`s: `titles` and `cities` that training keeps out, each a whole
search, level words by the contract's rule; `pairs`, made-up criteria searches each asked by two
people, one after the other: only whether the answers are equal counts.
`python -m engine.training.probes FOLDER` writes them.
"""

import sys
from functools import cache
from pathlib import Path
from random import Random

import msgspec

from engine.baseline.lists import fold
from engine.evaluation.gold import Gold
from engine.evaluation.scoring import normal
from engine.training import compose, sources
from engine.training.parts import Call, Pool
from engine.training.synth import HELD_OUT, voices
from engine.training.vary import pool

_PLAN: Call = {"tool": "plan", "intent": "criteria"}


@cache
def _training() -> Pool:
    """The values of the hand-written searches that training has."""
    return pool([s for name, each in voices().items() if name not in HELD_OUT for s in each])


def titles(count: int, seed: int = 1) -> list[Gold]:
    """Bare titles, in lower case."""
    known = set(map(normal, _training().titles))
    unknown = [t for t in sources.titles(kept=True) if normal(t.calls[0]["title"]) not in known]
    drawn = Random(seed).sample(unknown, count)
    return [
        Gold(id=f"title-{n}", query=one.text.lower(), gold=[_PLAN, *one.calls])
        for n, one in enumerate(drawn, 1)
    ]


def cities(count: int, seed: int = 1) -> list[Gold]:
    """Bare cities, as they are written."""
    known = {normal(place.partition(",")[0]) for place in _training().places}
    unknown = [c for c in sources.cities(kept=True) if normal(fold(c.name)) not in known]
    drawn = Random(seed).sample(unknown, count)
    return [
        Gold(
            id=f"city-{n}",
            query=city.name,
            gold=[_PLAN, {"tool": "location", "location": [city.name, fold(city.name)]}],
        )
        for n, city in enumerate(drawn, 1)
    ]


def pairs(count: int, seed: int = 1) -> list[Gold]:
    """Criteria searches of two parts and more; two people with rich profiles ask each."""
    rng = Random(seed)
    values = pool([s for name in HELD_OUT for s in voices()[name]])
    found: list[Gold] = []
    while len(found) < 2 * count:
        search = compose.criteria(rng, values)
        if len(search.gold) < 3:
            continue
        for who in "ab":
            person = compose.profile(rng, values, compose.home(rng))
            found.append(Gold(
                id=f"pair-{len(found) // 2 + 1}{who}", query=search.query, profile=person,
                gold=search.gold,
            ))  # fmt: skip
    return found


def main(folder: Path) -> None:
    """Writes the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, searches in (
        ("titles", titles(1_000)), ("cities", cities(1_000)), ("pairs", pairs(1_000)),
    ):  # fmt: skip
        lines = [msgspec.json.encode(search) + b"\n" for search in searches]
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
