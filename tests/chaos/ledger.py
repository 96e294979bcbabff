"""The ledger: what went in, what came out, and what the contract says of the two.

In: what the broker acknowledged to the publisher, every record of the output topics, and the
group's committed offsets, read from the broker while it all went on. Out: violations, in words,
and counts. It knows nothing of the code under test but the answers of an undisturbed engine.
"""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.settings import Settings
from schemas.tools import Call, encode_call
from tests.chaos.worker import calls
from tests.chaos.world import Asked
from tests.integration.output import Got

_TERMINAL = {"complete", "denied", "partial", "expired", "degraded", "failed"}
_EVERY_S = 0.5


class Committed(msgspec.Struct, frozen=True):
    """The group's offsets, and where the output topics ended right after they were read."""

    offsets: dict[int, int]
    ends: dict[tuple[str, int], int]


class Offsets(threading.Thread):
    """Reads committed offsets, and then the output's ends, again and again."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._settings, self._topics = settings, topics
        self._over = threading.Event()
        self.seen: list[Committed] = []

    def run(self) -> None:
        asyncio.run(self._read())

    def stop(self) -> None:
        self._over.set()
        self.join(20)

    async def _read(self) -> None:
        login = {"bootstrap_servers": self._settings.kafka_bootstrap, "request_timeout_ms": 4_000}
        admin = AIOKafkaAdminClient(**login)
        consumer = AIOKafkaConsumer(**login, enable_auto_commit=False)
        await admin.start()
        await consumer.start()
        try:
            places = [
                TopicPartition(topic, part["partition"])
                for topic in self._topics
                for part in (await admin.describe_topics([topic]))[0]["partitions"]
            ]
            while not self._over.is_set():
                try:
                    found = await admin.list_consumer_group_offsets(self._settings.group)
                    ends = await consumer.end_offsets(places)
                except (KafkaError, TimeoutError, OSError):
                    await asyncio.sleep(_EVERY_S)
                    continue
                self.seen.append(Committed(
                    {p.partition: o.offset for p, o in found.items()
                     if p.topic == self._settings.queries_topic and o.offset >= 0},
                    {(p.topic, p.partition): end for p, end in ends.items()},
                ))  # fmt: skip
                await asyncio.sleep(_EVERY_S)
        finally:
            await consumer.stop()
            await admin.close()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger found."""

    violations: list[str]
    accepted: int
    lost: int
    """To retention, unanswered."""
    undecodable: int
    statuses: dict[str, int]
    profiles: dict[str, int]
    repeated_done: int
    repeated_events: int
    commits_seen: int


def judge(
    accepted: Mapping[str, Asked], raw: Sequence[str], dones: Sequence[Got], events: Sequence[Got],
    letters: Sequence[Got], seen: Sequence[Committed], most_repeats: int,
    lost: Callable[[str], bool] = lambda _: False, *, obeys: bool = True,
) -> Verdict:  # fmt: skip
    """All invariants that can be read off the topics.

    `lost` says of a source whether retention may have taken it before it was answered.

    Where the engine does not obey the query's words, its answers are held against themselves:
    what is repeated has to be equal.
    """
    by_source: dict[str, list[Got]] = defaultdict(list)
    ended: dict[str, list[Got]] = defaultdict(list)
    for record in events:
        by_source[record.source].append(record)
    for record in dones:
        ended[record.source].append(record)
    dead = {letter.source for letter in letters}
    kept = {s: asked for s, asked in accepted.items() if s in ended or not lost(s)}
    unread = [source for source in raw if source in dead or not lost(source)]
    violations = [
        *_outcomes(kept, unread, ended, dead),
        *_events(kept, by_source, ended, obeys=obeys),
        *_commits(kept, unread, by_source, ended, letters, seen),
        *_traces(kept, [*dones, *events]),
    ]
    if not seen:
        violations.append("the committed offsets were never read")
    elif (left := _uncommitted(kept, unread, seen[-1])) > 0:
        violations.append(f"{left} records were not committed in the end")
    well = sum(d[0].json()["status"] == "complete" for d in ended.values())
    if well < 0.6 * len(kept):
        violations.append(f"only {well} of {len(kept)} queries are complete")
    repeated = sum(len(d) - 1 for d in ended.values())
    if repeated > most_repeats:
        violations.append(f"{repeated} done events repeated; {most_repeats} may be")
    said = [d[0].json() for d in ended.values()]
    return Verdict(
        violations=violations,
        accepted=len(accepted),
        lost=len(accepted) - len(kept),
        undecodable=len(raw),
        statuses=dict(Counter(s["status"] for s in said)),
        profiles=dict(Counter(s["profile"] for s in said)),
        repeated_done=repeated,
        repeated_events=sum(
            len(own) - len({r.json()["index"] for r in own}) for own in by_source.values()
        ),
        commits_seen=len(seen),
    )


def _outcomes(
    accepted: Mapping[str, Asked], raw: Sequence[str], ended: Mapping[str, list[Got]],
    dead: set[str],
) -> Iterator[str]:  # fmt: skip
    """Every accepted query has a done event; what nobody can decode is among the dead letters."""
    for source, asked in accepted.items():
        found = ended.get(source, [])
        if not found:
            yield f"{source} ({asked.query_id}) has no done event"
            continue
        first = found[0].json()
        if first["query_id"] != asked.query_id or first["status"] not in _TERMINAL:
            yield f"{source}: its done event says {first}"
        if first["status"] == "failed" and source not in dead:
            yield f"{source} failed and is not among the dead letters"
        if first["status"] == "failed" and "zhuge" not in asked.query and "zm" not in asked.query:
            yield f"{source} failed without a fault of its own: {first['reason']}"
    for source in raw:
        if source not in dead:
            yield f"{source} cannot be decoded and is not among the dead letters"
        if source in ended:
            yield f"{source} cannot be decoded and has a done event"


def _events(
    accepted: Mapping[str, Asked], by_source: Mapping[str, list[Got]],
    ended: Mapping[str, list[Got]], *, obeys: bool,
) -> Iterator[str]:  # fmt: skip
    """Gap-free; as many as the done event says; as undisturbed where both are complete."""
    for source, found in ended.items():
        asked = accepted.get(source)
        done = found[0].json()
        first: dict[int, Got] = {}
        for record in by_source.get(source, []):
            event = record.json()
            if (stood := first.setdefault(event["index"], record)) is not record:
                call, again = (msgspec.json.encode(r.json()["call"]) for r in (stood, record))
                if call != again:
                    yield (
                        f"{source}: event {event['index']} of {_who(stood)} was repeated as"
                        f" another by {_who(record)}; done: {', '.join(map(_ending, found))}"
                    )
        if asked is None:
            continue
        first = {i: r for i, r in first.items() if not _left_over(r, found[0])}
        if done["status"] != "failed" and sorted(first) != list(range(len(first))):
            yield f"{source}: the indexes are {sorted(first)}"
        if done["status"] != "failed" and len(first) != done["events"]:
            yield f"{source}: {len(first)} events, its {done['status']} event says {done['events']}"
        if done["status"] in ("complete", "denied"):
            wanted = undisturbed(asked, done["profile"])
            made = [
                msgspec.json.encode(first[i].json()["call"])
                for i in sorted(first)[: done["events"]]
            ]
            if obeys and done["status"] == "complete" and made != wanted:
                yield f"{source} {asked.query!r}: {made} instead of {wanted}"
        yield from _after_done(source, by_source.get(source, []), found)


def _left_over(event: Got, done: Got) -> bool:
    """What a frozen worker had in its buffer: it comes after another worker's done event."""
    after = event.topic == done.topic and event.offset > done.offset
    return after and _who(event) != _who(done)


def _who(record: Got) -> str:
    return record.headers["tagstream-worker"].decode()


def _ending(done: Got) -> str:
    return f"{done.json()['status']} by {_who(done)}"


def _after_done(source: str, events: Sequence[Got], dones: Sequence[Got]) -> Iterator[str]:
    """Of one worker: nothing after its last done event (both on one partition)."""
    last: dict[bytes, int] = {}
    for done in dones:
        last[done.headers["tagstream-worker"]] = done.offset
    for event in events:
        worker = event.headers["tagstream-worker"]
        same = event.topic == dones[0].topic
        if same and worker in last and event.offset > last[worker]:
            yield f"{source}: event {event.json()['index']} after the done event of {worker!r}"


def undisturbed(asked: Asked, profile: str) -> list[bytes]:
    """The calls of an undisturbed run with the same profile outcome."""
    place = f"Town{asked.member_id[1:]}" if profile == "found" and asked.member_id else None
    found: list[Call] = calls(_shown(asked.query), place, second=False)
    if len(found) == 1 and "mine" in asked.query.split():
        found += calls(_shown(asked.query), place, second=True)
    return [msgspec.json.encode(msgspec.json.decode(encode_call(call))) for call in found]


def _shown(query: str) -> str:
    return " ".join(query.split())


def _commits(
    accepted: Mapping[str, Asked], raw: Sequence[str], by_source: Mapping[str, list[Got]],
    ended: Mapping[str, list[Got]], letters: Sequence[Got], seen: Sequence[Committed],
) -> Iterator[str]:  # fmt: skip
    """Whatever lies below a committed offset had ended, events and all, when it was seen."""
    where: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for source in [*accepted, *raw]:
        _, part, place = source.rsplit("/", 2)
        where[int(part)].append((int(place), source))
    dead: dict[str, Got] = {}
    for letter in letters:
        dead.setdefault(letter.source, letter)
    checked: set[str] = set()
    for moment in seen:
        for partition, committed in moment.offsets.items():
            for offset, source in where[partition]:
                if offset >= committed or source in checked:
                    continue
                checked.add(source)
                records = [dead[source]] if source in dead else []
                if done := ended.get(source):
                    count = done[0].json()["events"]
                    records = [done[0], *_firsts(by_source.get(source, []))[:count]]
                ends = [moment.ends.get((r.topic, r.partition), 0) for r in records]
                late = any(r.offset >= end for r, end in zip(records, ends, strict=True))
                if late or not records:
                    yield f"{source} was committed before it had ended"


def _uncommitted(accepted: Mapping[str, Asked], raw: Sequence[str], last: Committed) -> int:
    found = 0
    for source in [*accepted, *raw]:
        _, part, place = source.rsplit("/", 2)
        found += int(place) >= last.offsets.get(int(part), 0)
    return found


def _firsts(events: Sequence[Got]) -> list[Got]:
    found: dict[int, Got] = {}
    for event in events:
        found.setdefault(event.json()["index"], event)
    return [found[index] for index in sorted(found)]


def _traces(accepted: Mapping[str, Asked], records: Sequence[Got]) -> Iterator[str]:
    for record in records:
        asked = accepted.get(record.source)
        parent = record.headers.get("traceparent", b"").decode()
        if asked and parent.split("-")[1:2] != [asked.trace_id]:
            yield f"{record.source}: the trace is {parent}, the query's {asked.trace_id}"
