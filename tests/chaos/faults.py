"""Faults, and the seeded schedule of them.

In: the world. Out: each fault injects, holds, and heals what it has injected before it returns.
A fault's numbers are drawn when the schedule is made, so that a seed replays it.
"""

import signal
import time
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from tests.chaos.world import Worker, World

Inject = Callable[[World, Random], None]


class Fault(msgspec.Struct, frozen=True):
    name: str
    inject: Inject
    short: bool = True
    """Stands in the short schedule."""


class Planned(msgspec.Struct, frozen=True):
    """A fault with the pause before it, in seconds, and its own seed."""

    after: float
    name: str
    seed: int


def schedule(seed: int, minutes: float) -> list[Planned]:
    """Every fault of the schedule's length in a drawn order, and again until time is up."""
    rng = Random(seed)
    left, planned = minutes * 60.0, []
    while left > 0:
        order = [fault for fault in FAULTS if fault.short or minutes > 10]
        rng.shuffle(order)
        for fault in order:
            after = rng.uniform(0.5, 3.0)
            planned.append(Planned(round(after, 1), fault.name, rng.randrange(10**6)))
            left -= after + SECONDS.get(fault.name, USUAL_S)
            if left <= 0 and len(planned) >= len(order):
                break
    return planned


USUAL_S = 2.4
"""What a fault takes, as measured; those that take another time:"""
SECONDS = {"freeze": 9, "block": 12, "storm": 15, "all_brokers_down": 19, "rolling_restart": 16,
           "broker_killed": 9, "unwritable": 7, "full_window": 10, "comes_back": 5, "retention": 5,
           "slow_connection": 5, "kill": 0, "term": 1, "too_large": 1}  # fmt: skip


def kill(world: World, rng: Random) -> None:
    world.worker(rng).kill()


def term(world: World, rng: Random) -> None:
    """By the rules: it drains, and ends with 0."""
    worker = world.worker(rng)
    worker.expected = True
    worker.signal(signal.SIGTERM)
    code = worker.ended(world.drain_limit_s)
    if code != 0:
        world.complain(f"{worker.name} ended with {code} after SIGTERM")


def freeze(world: World, rng: Random) -> None:
    """Longer than the session: the group goes on without it, then it wakes."""
    worker = world.worker(rng)
    worker.signal(signal.SIGSTOP)
    time.sleep(world.session_s + rng.uniform(2, 4))
    worker.signal(signal.SIGCONT)


def block(world: World, _: Random) -> None:
    world.ask("zblock")
    time.sleep(12)


def out_of_memory(world: World, _: Random) -> None:
    world.ask("zmemory")
    time.sleep(3)


def storm(world: World, rng: Random) -> None:
    """Members come and go faster than the group settles."""
    for _ in range(3):
        extra = world.join()
        until_assigned(extra)
        time.sleep(rng.uniform(0.2, 1.5))
        (extra.kill if rng.random() < 0.5 else extra.quit)()


def comes_back(world: World, _: Random) -> None:
    """Partitions are taken away and are back at once."""
    for extra in (world.join(), world.join()):
        until_assigned(extra)
        extra.quit()


def full_window(world: World, _: Random) -> None:
    """Partitions are taken away while every slot is taken."""
    world.join_when_full(90.0).quit()


def killed_between_sends(world: World, _: Random) -> None:
    world.kill_by_query(90.0)


def retention(world: World, rng: Random) -> None:
    """What nobody has read is deleted: the group's offset is out of range."""
    world.retention(rng)


def until_assigned(worker: Worker) -> None:
    worker.until(lambda: worker.said("assigned [("), "it has partitions", 60.0)


def engine(mark: str) -> Inject:
    def inject(world: World, rng: Random) -> None:
        for _ in range(rng.randrange(1, 4)):
            world.ask(mark)
        time.sleep(2)

    return inject


def broker_killed(world: World, rng: Random) -> None:
    """Leader of some partitions, coordinator of some group, or both."""
    broker = rng.choice(world.kafka.brokers)
    broker.kill()
    time.sleep(rng.uniform(3, 8))
    world.kafka.start()


def all_brokers_down(world: World, _: Random) -> None:
    world.kafka.kill()
    world.expect_unready(15.0)
    time.sleep(5)
    world.kafka.start()


def rolling_restart(world: World, _: Random) -> None:
    for broker in world.kafka.brokers:
        broker.stop()
        broker.spawn()
        broker.wait()
        time.sleep(1)


def unwritable(world: World, rng: Random) -> None:
    """An output topic refuses everything for a while."""
    topic = rng.choice([world.settings.done_topic, world.settings.routes["plan"]])
    world.configure(topic, "min.insync.replicas=4")  # of three: every write is refused
    time.sleep(rng.uniform(2, 5))
    world.configure(topic, "min.insync.replicas=2")


def too_large(world: World, _: Random) -> None:
    """One record that no output topic takes; its query fails, alone."""
    world.ask("zhuge")
    time.sleep(1)


def slow_connection(world: World, rng: Random) -> None:
    proxy = rng.choice(world.proxies)
    name = proxy.add("latency", latency=rng.randrange(200, 900), jitter=150)
    time.sleep(rng.uniform(3, 6))
    proxy.remove(name)


def cut_connection(world: World, rng: Random) -> None:
    proxy = rng.choice(world.proxies)
    proxy.disable()
    time.sleep(rng.uniform(1, 4))
    proxy.enable()


def redis_down(world: World, rng: Random) -> None:
    world.redis.disable()
    time.sleep(rng.uniform(1, 3))
    world.redis.enable()


def redis_hangs(world: World, rng: Random) -> None:
    name = world.redis.add("timeout", timeout=0)
    time.sleep(rng.uniform(1, 4))
    world.redis.remove(name)


def redis_slow(world: World, rng: Random) -> None:
    name = world.redis.add("latency", latency=rng.randrange(50, 300))
    time.sleep(rng.uniform(1, 4))
    world.redis.remove(name)


def wrong_type(world: World, rng: Random) -> None:
    world.spoil_profile(rng)


def clock_jumps(world: World, rng: Random) -> None:
    (world.folder / "clock").write_text(str(rng.choice((-3_600, 3_600, 86_400))))
    time.sleep(rng.uniform(2, 4))
    (world.folder / "clock").write_text("0")


def undecodable(world: World, _: Random) -> None:
    world.publish_raw([b"\xff\xfe", b"{}", b'{"query_id":"x"}'])


FAULTS: Sequence[Fault] = (
    Fault("kill", kill), Fault("term", term), Fault("freeze", freeze),
    Fault("block", block, short=False), Fault("out_of_memory", out_of_memory, short=False),
    Fault("storm", storm), Fault("engine_stalls", engine("zstall")),
    Fault("engine_dies", engine("zdies")), Fault("engine_busy", engine("zbusy")),
    Fault("invalid_output", engine("zinvalid")), Fault("cut_output", engine("zcut")),
    Fault("endless_output", engine("zendless")), Fault("whole_answers", engine("zwhole")),
    Fault("broker_killed", broker_killed), Fault("all_brokers_down", all_brokers_down, short=False),
    Fault("rolling_restart", rolling_restart, short=False), Fault("unwritable", unwritable),
    Fault("too_large", too_large), Fault("slow_connection", slow_connection),
    Fault("cut_connection", cut_connection), Fault("redis_down", redis_down),
    Fault("redis_hangs", redis_hangs), Fault("redis_slow", redis_slow),
    Fault("wrong_type", wrong_type), Fault("clock_jumps", clock_jumps),
    Fault("undecodable", undecodable), Fault("killed_between_sends", killed_between_sends),
    Fault("comes_back", comes_back), Fault("full_window", full_window),
    Fault("retention", retention, short=False),
)  # fmt: skip
BY_NAME = {fault.name: fault for fault in FAULTS}
