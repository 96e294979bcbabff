"""How fast the engine is on this machine: weights, compilation and grammar in every combination.

    python -m tests.benchmarks.engine [--runs 12] [--cache FOLDER]

Prints one row for each: milliseconds for one answer of 32 tokens alone (median and least),
for its first token, and tokens a second with eight at once. Each row is a process of its
own. `others` is the share of the machine that other processes took meanwhile: a row with
more than a few hundredths says little, because engines share cores badly.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import aclosing
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast

TOKENS = 32
AT_ONCE = 8


async def measure(arguments: argparse.Namespace) -> str:
    from engine.answer import WITHOUT_PROFILE
    from engine.generation import Ending
    from engine.model import EngineSettings, VllmModel
    from engine.prompt import render
    from engine.weights import prepare

    quantization = cast(Literal["none", "int8"], arguments.row[0])
    cache = Path(arguments.cache)
    checkpoint = prepare("base", cache, quantization, lambda _: None)
    model = VllmModel(
        EngineSettings(
            path=str(checkpoint.path), name=checkpoint.name, cache=cache, max_tokens=TOKENS,
            eager=arguments.row[1] == "eager", guided=arguments.row[2] == "grammar",
        )
    )  # fmt: skip
    numbers = iter(range(10**6))

    async def one() -> tuple[float, Ending]:
        began = time.perf_counter()
        prompt = render(f"nurse number {next(numbers)} jobs in a town by the sea, part time")
        async with aclosing(model.generate(prompt, WITHOUT_PROFILE)) as said:
            *_, ending = [each async for each in said]
        assert isinstance(ending, Ending)
        return (time.perf_counter() - began) * TOKENS / ending.output_tokens, ending

    began = time.perf_counter()
    await model.start()
    start = time.perf_counter() - began
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    busy = Busy()
    alone = [await one() for _ in range(arguments.runs)]
    rates: list[float] = []
    for _ in range(max(2, arguments.runs // 3)):
        began = time.perf_counter()
        together = await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        tokens = sum(ending.output_tokens for _, ending in together)
        rates.append(tokens / (time.perf_counter() - began))
    others = busy.others()
    await model.close()
    times = [seconds * 1_000 for seconds, _ in alone]
    first = statistics.median(ending.first_token_ms for _, ending in alone)
    return row(
        *arguments.row, f"{start:.0f}", f"{statistics.median(times):.0f}", f"{min(times):.0f}",
        f"{first:.0f}", f"{statistics.median(rates):.0f}", f"{others:.2f}",
    )  # fmt: skip


class Busy:
    """The share of the cores that other processes have taken since it was made."""

    def __init__(self) -> None:
        self._all, self._own = self._read()
        self._since = time.monotonic()

    def others(self) -> float:
        everyone, own = self._read()
        cores = (time.monotonic() - self._since) * (os.cpu_count() or 1)
        return max(0.0, (everyone - self._all - (own - self._own)) / cores)

    @staticmethod
    def _read() -> tuple[float, float]:
        user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split()[1:8])
        everyone = (user + nice + system) / os.sysconf("SC_CLK_TCK")
        return everyone, time.process_time()


def row(*cells: Any) -> str:
    return " | ".join(f"{cell!s:>9}" for cell in cells)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--cache", default=str(Path("~/.cache/tagstream").expanduser()))
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(asyncio.run(measure(arguments)), flush=True)
        return 0
    print(
        row(
            "weights",
            "kernels",
            "guide",
            "start s",
            "one ms",
            "least",
            "first ms",
            "tok/s 8",
            "others",
        )
    )
    for cells in product(("int8", "none"), ("compiled", "eager"), ("grammar", "free")):
        command = [
            sys.executable, "-m", "tests.benchmarks.engine", "--row", *cells,
            "--runs", str(arguments.runs), "--cache", arguments.cache,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        failed = (done.stderr.strip() or "failed").splitlines()[-1]
        print(row(*cells, failed) if done.returncode else done.stdout.strip("\n"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
