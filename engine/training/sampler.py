"""Which samples stand in which batch: homogeneous, heterogeneous or mixed.

In: each sample's task, tools and length, and how batches are to be made. Out: steps, each a
list of micro-batches of indices whose gradients are added up. Pure and seeded: a step can be
made again after a kill by drawing as many.

- `homogeneous`: a step's batch is of one task, drawn at random, or by curriculum: tasks come in
  one after the other, in the order of `TASKS`, over the first half of the run.
- `heterogeneous`: a batch is drawn from all tasks; samples of about one length stand together.
- `mixed`: a step has a micro-batch of each task.

Upsampling: a task's share is its size to the power of `balance` (1: as it is, 0: all equal);
within it a sample with a rare call is drawn up to three times as often.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

import msgspec

from engine.training.samples import TASKS, Task

Mode = Literal["homogeneous", "heterogeneous", "mixed"]
_POOL = 16
"""Batches drawn together and then cut by length, so that little is padded."""
_MOST_REPEATS = 3.0


class Item(msgspec.Struct, frozen=True):
    """What the sampler sees of a sample."""

    task: Task
    tools: tuple[str, ...]
    length: int


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    mode: Mode = "homogeneous"
    size: int = 48
    """Samples a step."""
    balance: float = 0.8
    curriculum: bool = False
    seed: int = 1


def steps(items: Sequence[Item], how: Batching, count: int) -> Iterator[list[list[int]]]:
    """`count` steps. Raises `ValueError` if there is nothing to draw from."""
    if not items:
        raise ValueError("there are no samples")
    rng = Random(how.seed)
    streams = {t: _stream(items, t, rng) for t in TASKS if any(i.task == t for i in items)}
    tasks = list(streams)
    sizes = Counter(item.task for item in items)
    shares = [sizes[t] ** how.balance for t in tasks]
    if how.mode == "mixed":
        yield from _mixed(items, how, count, streams, shares)
        return
    waiting: dict[str, list[list[int]]] = {}
    for step in range(count):
        if how.mode == "homogeneous":
            known = _known(len(tasks), step, count) if how.curriculum else len(tasks)
            task = rng.choices(tasks[:known], shares[:known])[0]
            key: str = task
            drawn = [task] * how.size * _POOL
        else:
            key = "all"
            drawn = rng.choices(tasks, shares, k=how.size * _POOL)
        if not waiting.get(key):
            indices = [next(streams[task]) for task in drawn]
            waiting[key] = _cut(items, indices, how.size, rng)
        yield [waiting[key].pop()]


def _known(tasks: int, step: int, count: int) -> int:
    return min(tasks, 1 + int(step * tasks / max(count // 2, 1)))


def _mixed(
    items: Sequence[Item],
    how: Batching,
    count: int,
    streams: dict[Task, Iterator[int]],
    shares: list[float],
) -> Iterator[list[list[int]]]:
    total = sum(shares)
    parts = {t: max(1, round(how.size * s / total)) for t, s in zip(streams, shares, strict=True)}
    rng = Random(how.seed + 1)
    waiting: dict[str, list[list[int]]] = {}
    for _ in range(count):
        for task, size in parts.items():
            if not waiting.get(task):
                indices = [next(streams[task]) for _ in range(size * _POOL)]
                waiting[task] = _cut(items, indices, size, rng)
        yield [waiting[task].pop() for task in parts]


def _cut(items: Sequence[Item], indices: list[int], size: int, rng: Random) -> list[list[int]]:
    """Batches of samples of about one length, in any order."""
    indices.sort(key=lambda i: items[i].length)
    batches = [indices[at : at + size] for at in range(0, len(indices), size)]
    rng.shuffle(batches)
    return batches


def _stream(items: Sequence[Item], task: Task, rng: Random) -> Iterator[int]:
    """A task's samples over and over, each time in another order, rare calls more often."""
    own = [i for i, item in enumerate(items) if item.task == task]
    counts = Counter(tool for i in own for tool in items[i].tools)
    usual = sorted(counts.values())[len(counts) // 2]
    while True:
        order: list[int] = []
        for i in own:
            rarest = min((counts[tool] for tool in items[i].tools), default=usual)
            wanted = min(_MOST_REPEATS, max(1.0, (usual / rarest) ** 0.5))
            order += [i] * (int(wanted) + (rng.random() < wanted % 1))
        rng.shuffle(order)
        yield from order
