"""TLS in front of a plain server, for servers whose binary was built without it.

In: a folder with the certificates of `tests.real.certificates`, the plain server's port. Out: a
port that takes TLS connections and passes what they say on, for as long as the block lasts.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.embedded import HOST, free_port


@contextmanager
def terminator(folder: Path, upstream: int) -> Iterator[int]:
    """The port."""
    port, started = free_port(), threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "keystore.pem")
    ending = asyncio.Event()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, upstream)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        server = await asyncio.start_server(passed_on, HOST, port, ssl=context)
        started.set()
        await ending.wait()
        server.close()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield port
    finally:
        loops[0].call_soon_threadsafe(ending.set)
        thread.join(10)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
