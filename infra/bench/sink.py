"""A place for traces to go: takes whatever OTLP sends over HTTP, and counts it.

In: nothing. Out: `sink()`, which yields the address of one that lives in a process of its
own for the length of a `with` block, so that it costs the harness nothing; `received`, how
many requests it has taken. `python -m infra.bench.sink PORT` is that process.
"""

import http.client
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from infra.bench.processes import BenchError, child
from infra.embedded import HOST, accepts, free_port

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 20.0
ASK_LIMIT_S = 5.0
POLL_S = 0.05
LARGEST_BYTES = 64 << 20


@contextmanager
def sink() -> Iterator[int]:
    """Its port on loopback. Raises `BenchError` if it does not start."""
    port = free_port()
    argv = [sys.executable, "-m", "infra.bench.sink", str(port)]
    with child("sink", argv, os.environ | {"PYTHONPATH": str(ROOT)}, ROOT) as running:
        end = time.monotonic() + START_LIMIT_S
        while not accepts(port):
            running.check()
            if time.monotonic() > end:
                raise BenchError(f"the sink did not start in {START_LIMIT_S:g} s")
            time.sleep(POLL_S)
        yield port


def received(port: int) -> int:
    """How many requests it has taken until now. Raises `BenchError` if it does not answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ASK_LIMIT_S)
    try:
        connection.request("GET", "/")
        return int(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BenchError(f"the sink does not answer: {error}") from error
    finally:
        connection.close()


def _application() -> web.Application:
    taken = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal taken
        await request.read()
        taken += 1
        return web.Response(content_type="application/x-protobuf")

    async def tell(_: web.Request) -> web.Response:
        return web.Response(text=str(taken))

    application = web.Application(client_max_size=LARGEST_BYTES)
    application.router.add_get("/", tell)
    application.router.add_post("/v1/{kind}", take)
    return application


if __name__ == "__main__":
    web.run_app(
        _application(), host=HOST, port=int(sys.argv[1]), access_log=None, print=lambda *_: None
    )
