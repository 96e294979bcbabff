"""What the bench publishes and reads back: topics, profiles, queries, and the ledger.

In: sizes and a seed. Out: profiles and queries in the contract's form, and a `Ledger` that
accounts for what came back. Pure: no broker, no cache.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from infra.bench.figures import Delivery
from producers.routes import DEFAULT_ROUTES
from schemas.profiles import Education, Profile
from schemas.queries import SearchQuery, encode_query

PARTITIONS = 8
QUERIES = "search.queries"
DONE = "search.done"
STUB_CALLS = 4
EVENTS = ("search.plans", "search.tags.title", "search.tags.location", "search.tags.workplace")
"""Where the stub engine's four calls go."""
TOPICS = (QUERIES, DONE, "search.dead-letters", *DEFAULT_ROUTES.values())
"""All of the contract's."""

WORDS = """
    remote senior software engineer nurse in chicago data analyst part time marketing manager
    warehouse driver near boston python accountant entry level hybrid teacher austin sales
""".split()


class Message(msgspec.Struct, frozen=True):
    """A query's record; the partition is named, so that all have the same share."""

    query_id: str
    key: bytes
    value: bytes
    partition: int


class _Arrival(msgspec.Struct, frozen=True):
    """What the ledger reads of an event or a `done`."""

    query_id: str
    index: int | None = None
    status: str | None = None
    profile: str | None = None


_decode_arrival = msgspec.json.Decoder(_Arrival).decode


def profiles(members: int) -> dict[str, bytes]:
    """By their keys in the cache."""
    return {f"profile:{member_id(member)}": profile(member) for member in range(members)}


def member_id(member: int) -> str:
    return f"bench-{member}"


def profile(member: int) -> bytes:
    """A full profile of about a kilobyte."""
    return msgspec.json.encode(
        Profile(
            member_id=member_id(member),
            title=f"Software Engineer {member % 7}",
            company=f"Company {member % 997}",
            industry="Information Technology",
            location="Naples, Florida",
            seniority="mid_senior",
            years_of_experience=member % 30,
            skills=tuple(f"skill {member * k % 997}" for k in range(1, 21)),
            past_titles=tuple(f"Developer {k}" for k in range(3)),
            past_companies=tuple(f"Company {(member + k) % 997}" for k in range(3)),
            education=(Education(school="State University", degree="BSc", field="Physics"),),
            updated_at="2026-01-01T00:00:00Z",
        )
    )


def messages(count: int, members: int, prefix: str, seed: int) -> Iterator[Message]:
    """Queries of two to six words; the same seed gives the same ones."""
    chance = random.Random(seed)
    for number in range(count):
        query = SearchQuery(
            query_id=f"{prefix}-{number}",
            query=" ".join(chance.choices(WORDS, k=chance.randint(2, 6))),
            member_id=member_id(chance.randrange(members)),
        )
        yield Message(
            query_id=query.query_id,
            key=(query.member_id or query.query_id).encode(),
            value=encode_query(query),
            partition=number % PARTITIONS,
        )


class Ledger:
    """Accounts for every event and `done` that a subscriber reads."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.events: Counter[tuple[str, int | None]] = Counter()
        self._unwell: set[str] = set()

    def note(self, topic: str, value: bytes) -> str:
        """One record; returns its query_id. Raises `msgspec.MsgspecError` if it has none."""
        arrival = _decode_arrival(value)
        if topic == DONE:
            self.done[arrival.query_id] += 1
            if (arrival.status, arrival.profile) != ("complete", "found"):
                self._unwell.add(arrival.query_id)
        else:
            self.events[arrival.query_id, arrival.index] += 1
        return arrival.query_id

    def delivery(self, query_ids: Sequence[str]) -> Delivery:
        """What became of these queries; others do not count."""
        wanted = [(query_id, index) for query_id in query_ids for index in range(STUB_CALLS)]
        asked = set(query_ids)
        events = {key: count for key, count in self.events.items() if key[0] in asked}
        done = {query_id: self.done[query_id] for query_id in query_ids if self.done[query_id]}
        unwell = len(self._unwell & asked)
        return Delivery(
            queries=len(query_ids),
            done=sum(done.values()),
            done_distinct=len(done),
            events=sum(events.values()),
            events_distinct=len(events),
            events_per_done=len(events) / len(done) if done else 0.0,
            unwell=unwell,
            complete=not unwell
            and len(done) == len(query_ids)
            and len(events) == len(wanted)
            and all(key in events for key in wanted),
        )
