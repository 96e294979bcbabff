"""The Java programs of an unpacked Apache Kafka: the server and its tools.

In: KAFKA_HOME, and Java on PATH or in JAVA_HOME.
Out: what lacks of these, the command line that starts a class, and a tool's output.
"""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from infra.embedded import EmbeddedError

AT_LEAST = 17
TOOL_LIMIT_S = 60.0
# One compiler, one collector, no shared counters: the programs live for seconds.
SPEED = ("-Xms64m", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
LOGGING = """<Configuration status="ERROR">
  <Appenders><Console name="out"><PatternLayout pattern="%p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def missing() -> str | None:
    """One line on what to install, or None when Kafka can be started."""
    home = os.environ.get("KAFKA_HOME", "")
    if not home or not list(Path(home, "libs").glob("kafka*.jar")):
        return "no Apache Kafka: unpack one and set KAFKA_HOME to its folder (with libs/*.jar)"
    java = _java()
    if java is None or _version(java) < AT_LEAST:
        return f"no Java {AT_LEAST} or later: install a JRE, on PATH or named by JAVA_HOME"
    return None


def command(name: str, *arguments: str, folder: Path, heap: str = "256m") -> list[str]:
    """The command line of a class; it logs and unpacks libraries as set up in the folder."""
    logging = folder / "log4j2.xml"
    if not logging.exists():
        logging.write_text(LOGGING)
    classes = str(Path(os.environ["KAFKA_HOME"], "libs").resolve() / "*")
    options = (f"-Dlog4j2.configurationFile={logging}", f"-Djava.io.tmpdir={folder}")
    setup = (f"-Xmx{heap}", *SPEED, *options, "-cp", classes)
    return [_java() or "java", *setup, name, *arguments]


def run(name: str, *arguments: str, folder: Path) -> str:
    """What the tool prints; an EmbeddedError when it fails."""
    line = command(name, *arguments, folder=folder)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=TOOL_LIMIT_S)
    if done.returncode:
        raise EmbeddedError(f"{name} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin" if home else None)


@cache
def _version(java: str) -> int:
    said = subprocess.run(
        [java, "-XX:-UsePerfData", "-version"], capture_output=True, text=True, check=False
    ).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0
