"""The searches that `bench serve` asks, and when: real-looking ones, at random moments.

In: the samples in `infra/samples`, a rate, a seed. Out: profiles for the cache and queries'
records, with members named `bench-...`, so that nobody else's profile is touched; moments of
a Poisson process. The same seed gives the same ones. Pure but for reading the samples.
"""

import random
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from itertools import count, islice

import msgspec

from infra.bench.traffic import PARTITIONS, Message
from infra.traffic import lines, searches
from schemas.profiles import decode_profile
from schemas.queries import SearchQuery, encode_query

SEARCHES = ("searches.jsonl", "load.jsonl")
PROFILES = "profiles.jsonl"


def sample_searches() -> list[SearchQuery]:
    """All of them, in order."""
    found = []
    for name in SEARCHES:
        with as_file(files("infra").joinpath("samples", name)) as file:
            found += searches(file)
    return found


def sample_profiles() -> dict[str, bytes]:
    """By their keys in the cache."""
    with as_file(files("infra").joinpath("samples", PROFILES)) as file:
        found = [decode_profile(line) for _, line in lines(file)]
    return {
        f"profile:{_named(profile.member_id)}": msgspec.json.encode(
            msgspec.structs.replace(profile, member_id=_named(profile.member_id))
        )
        for profile in found
    }


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """The moments of a Poisson process from 0 to `seconds`; at least one."""
    chance = random.Random(seed)
    moments = [chance.expovariate(rate)]
    while (at := moments[-1] + chance.expovariate(rate)) < seconds:
        moments.append(at)
    return moments


def messages(samples: Sequence[SearchQuery], number: int, prefix: str, seed: int) -> list[Message]:
    """So many records; each sample once, in random order, before any of them comes again."""
    return [
        Message(
            query_id=query.query_id,
            key=(query.member_id or query.query_id).encode(),
            value=encode_query(query),
            partition=place % PARTITIONS,
        )
        for place, query in enumerate(islice(_shuffled(samples, prefix, seed), number))
    ]


def _shuffled(samples: Sequence[SearchQuery], prefix: str, seed: int) -> Iterator[SearchQuery]:
    chance = random.Random(seed)
    number = count()
    while True:
        for sample in chance.sample(samples, len(samples)):
            member = sample.member_id and _named(sample.member_id)
            yield msgspec.structs.replace(
                sample, query_id=f"{prefix}-{next(number)}", member_id=member
            )


def _named(member_id: str) -> str:
    return f"bench-{member_id}"
