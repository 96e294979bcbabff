"""`make chaos`: a seeded schedule of faults, and the ledger's verdict.

    python -m tests.chaos                     the short schedule, under four minutes
    python -m tests.chaos --minutes 30        a long one, every fault
    python -m tests.chaos --seed 7            the schedule of seed 7 again
    python -m tests.chaos --only freeze kill  these faults alone
    python -m tests.chaos --real              the tuned model in vLLM, with the faults that fit it

Needs Apache Kafka (KAFKA_HOME) and Toxiproxy (TOXIPROXY_HOME or PATH). Exit code 1: something
the contract promises did not hold; what, is printed, with the seed that replays it.
"""

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import msgspec

from infra import topics
from tests.chaos.faults import BY_NAME, Planned, schedule
from tests.chaos.ledger import Offsets, Verdict, judge
from tests.chaos.world import WINDOW, World
from tests.real.kafka import missing as no_kafka
from tests.real.toxiproxy import missing as no_toxiproxy


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults")
    parser.add_argument("--rate", type=float, default=20.0, help="queries a second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=sorted(BY_NAME), default=[])
    parser.add_argument("--real", action="store_true", help="workers with the model in vLLM")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON on stdout")
    asked = parser.parse_args()
    if reason := no_kafka() or no_toxiproxy():
        print(f"chaos: {reason}", file=sys.stderr)
        return 2
    planned = schedule(asked.seed, asked.minutes)
    if asked.real:
        asked.rate, asked.workers = min(asked.rate, 2.0), 1
        planned = [one for one in planned if one.name in REAL]
    if asked.only:
        planned = [one for one in planned if one.name in asked.only] or [
            Planned(1.0, name, asked.seed) for name in asked.only
        ]
    out = sys.stderr if asked.json else sys.stdout
    print(f"seed {asked.seed}: {len(planned)} faults, {asked.rate:g} queries a second", file=out)
    with tempfile.TemporaryDirectory(prefix="tagstream-chaos-") as folder:
        verdict, complaints = strike(Path(folder), asked, planned, out)
    if asked.json:
        print(msgspec.json.encode(verdict).decode())
    for line in [*complaints, *verdict.violations[:60]]:
        print(f"VIOLATION: {line}", file=out)
    bad = len(complaints) + len(verdict.violations)
    print(report(verdict, bad, asked.seed), file=out)
    return bool(bad)


def strike(
    folder: Path, asked: argparse.Namespace, planned: list[Planned], out: object
) -> tuple[Verdict, list[str]]:
    """Runs the schedule and judges it."""
    with World(folder, asked.seed, asked.rate, asked.workers, real=asked.real) as world:
        settings = world.settings
        outputs = [n for n in topics.names(settings) if n != settings.queries_topic]
        offsets = Offsets(settings, list(dict.fromkeys(outputs)))
        offsets.start()
        began = time.monotonic()
        for one in planned:
            time.sleep(one.after)
            print(f"{time.monotonic() - began:7.1f} s  {one.name}", file=out, flush=True)  # type: ignore[call-overload]
            try:
                BY_NAME[one.name].inject(world, Random(one.seed))
            except AssertionError as error:
                world.complain(f"{one.name}: {error}")
        time.sleep(3)
        world.quiet()
        finish(world)
        world.output.settled()
        offsets.stop()
        # Each fault may interrupt a window; what had ended is not answered again.
        most = (len(planned) + world.deaths) * WINDOW
        verdict = judge(
            world.accepted, world.raw, world.output.dones, world.output.events,
            world.output.letters, offsets.seen, most, world.lost, obeys=not asked.real,
        )  # fmt: skip
        return verdict, world.complaints


REAL = {"kill", "term", "freeze", "broker_killed", "redis_down", "redis_hangs", "unwritable",
        "slow_connection", "cut_connection", "undecodable", "clock_jumps"}  # fmt: skip


def finish(world: World) -> None:
    """What has to be so when all is quiet."""
    for worker in world.workers:
        try:
            worker.until_ready(240.0 if world.real else 60.0)
        except AssertionError as error:
            world.complain(f"{worker.name} when all is quiet: {error}: {worker.ready()[1]}")
            continue
        for name in (
            "tagstream_in_flight", "tagstream_partitions_paused", "tagstream_engine_running",
        ):  # fmt: skip
            if worker.metric(name):
                world.complain(
                    f"{worker.name}: {name} is {worker.metric(name):g} when all is quiet"
                )
        if (tasks := worker.metric("tagstream_tasks")) > MOST_TASKS:
            world.complain(f"{worker.name} has {tasks:g} tasks when all is quiet")
        if not world.real and (memory := resident(worker.process.pid)) > MOST_MIB:
            world.complain(f"{worker.name} holds {memory:.0f} MiB")
    for worker in world.workers:
        worker.expected = True
        try:
            worker.stop()
        except AssertionError as error:
            world.complain(f"{worker.name} after SIGTERM: {error}")
    for extra in world.extra:
        if extra.process.poll() is None:
            extra.quit()  # its fault did not come to its end
        try:
            code = extra.ended()
        except AssertionError as error:
            world.complain(f"{extra.name}: {error}")
        else:
            if code not in (0, -signal.SIGKILL):
                world.complain(f"{extra.name} ended with {code}")


MOST_MIB = 700.0
MOST_TASKS = 60


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def report(verdict: Verdict, bad: int, seed: int) -> str:
    statuses = ", ".join(f"{n} {status}" for status, n in sorted(verdict.statuses.items()))
    return (
        f"{verdict.accepted} queries accepted: {statuses}; {verdict.undecodable} undecodable; "
        f"{verdict.lost} deleted unread; "
        f"{verdict.repeated_done} done events repeated, {verdict.repeated_events} events; "
        f"commits looked at {verdict.commits_seen} times; "
        + (f"{bad} VIOLATIONS (--seed {seed} replays it)" if bad else "every promise held")
    )


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers go away: that is the point
    sys.exit(main())
