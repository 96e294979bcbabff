"""Which brokers a broker knows, asked in Kafka's own protocol without a client's library.

In: a port of loopback with a plain listener. Out: the numbers of the live brokers, the empty
set while there is no answer. It blocks for `PROBE_LIMIT_S` at most per step.
"""

import socket
import struct
from typing import BinaryIO

from infra.embedded import HOST, PROBE_LIMIT_S

METADATA, VERSION, CORRELATION, NO_NAME, NO_TOPICS, CREATE = 3, 4, 1, -1, 0, False
REQUEST = struct.pack(">hhihi?", METADATA, VERSION, CORRELATION, NO_NAME, NO_TOPICS, CREATE)


def known_brokers(port: int) -> frozenset[int]:
    try:
        with socket.create_connection((HOST, port), PROBE_LIMIT_S) as probe:
            probe.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
            with probe.makefile("rb") as answer:
                _length, _correlation, _throttle, count = struct.unpack(">iiii", answer.read(16))
                return frozenset(_broker(answer) for _ in range(count))
    except (OSError, struct.error):
        return frozenset()  # not yet, or cut off: the caller asks again until its limit


def _broker(answer: BinaryIO) -> int:
    (node,) = struct.unpack(">i", answer.read(4))
    _skip_string(answer)  # host
    answer.read(4)  # port
    _skip_string(answer)  # rack
    return int(node)


def _skip_string(answer: BinaryIO) -> None:
    (length,) = struct.unpack(">h", answer.read(2))
    answer.read(max(0, length))  # -1 is null
