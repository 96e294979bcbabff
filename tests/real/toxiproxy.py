"""Toxiproxy: a TCP proxy between a client and a part, with faults on demand.

In: `toxiproxy-server` in TOXIPROXY_HOME or on PATH (`missing` says so when it is neither).
Out: `Toxiproxy`, the server, and for each address behind it a `Proxy`, whose faults (toxics)
are added and taken away. Every call blocks until the server has confirmed it; a refusal is
an EmbeddedError with the server's own words.
"""

import http.client
import os
import shutil
from typing import Any

import msgspec

from infra.embedded import HOST, Child, EmbeddedError, free_port

CALL_LIMIT_S = 5.0


def missing() -> str | None:
    """One line on what to install, or None when it can be started."""
    if _binary() is None:
        return (
            "no Toxiproxy: unpack it and set TOXIPROXY_HOME to the folder with toxiproxy-server, "
            "or put that on PATH"
        )
    return None


class Proxy:
    """One address, `port` on loopback, that leads to another; open until told otherwise."""

    def __init__(self, server: "Toxiproxy", name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._server = server

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def add(
        self,
        toxic: str,
        *,
        stream: str = "downstream",
        toxicity: float = 1.0,
        **attributes: int,
    ) -> str:
        """Add a fault, and return its name: `add("latency", latency=400, jitter=100)`.

        Also timeout (timeout=0 hangs), bandwidth, slow_close, reset_peer, slicer, limit_data;
        `stream` is the direction, `toxicity` the share of connections.
        """
        name = f"{toxic}_{stream}"
        what = {"type": toxic, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self._server.call("POST", f"/proxies/{self.name}/toxics", {"name": name, **what})
        return name

    def remove(self, toxic: str) -> None:
        """Take a fault away, by the name that `add` returned."""
        self._server.call("DELETE", f"/proxies/{self.name}/toxics/{toxic}")

    def disable(self) -> None:
        """Cut what is open and refuse connections."""
        self._server.call("POST", f"/proxies/{self.name}", {"enabled": False})

    def enable(self) -> None:
        self._server.call("POST", f"/proxies/{self.name}", {"enabled": True})


class Toxiproxy(Child):
    """The server of all proxies; when it ends, they end."""

    def __init__(self) -> None:
        binary = _binary()
        if binary is None:
            raise EmbeddedError(str(missing()))
        super().__init__(
            "toxiproxy",
            lambda port: [binary, "-host", HOST, "-port", str(port)],
            self._answers_version,
        )

    def proxy(self, name: str, upstream: int, port: int | None = None) -> Proxy:
        """A way to the port `upstream`, by a free port or the given one."""
        listen = port or free_port()
        what = {"name": name, "listen": f"{HOST}:{listen}", "upstream": f"{HOST}:{upstream}"}
        self.call("POST", "/proxies", what)
        return Proxy(self, name, listen)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """One request to the server's own HTTP interface."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=CALL_LIMIT_S)
        try:
            connection.request(method, path, msgspec.json.encode(body) if body else None)
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace").strip()
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise EmbeddedError(f"toxiproxy: {method} {path}: {answer.status} {said}")

    def _answers_version(self, _: int) -> bool:
        try:
            self.call("GET", "/version")
        except (OSError, http.client.HTTPException):
            return False  # not yet: the caller asks again until its limit
        return True


def _binary() -> str | None:
    home = os.environ.get("TOXIPROXY_HOME")
    return (home and shutil.which("toxiproxy-server", path=home)) or shutil.which(
        "toxiproxy-server"
    )
