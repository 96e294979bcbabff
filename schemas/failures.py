"""A record that nothing could answer: what its dead letter's headers say."""

from collections.abc import Iterable
from typing import Literal

import msgspec

Kind = Literal["undecodable", "failed"]
ATTEMPTS = "tagstream-attempts"
"""Header of dead letters and of redriven records: a number."""


def attempts(headers: Iterable[tuple[str, bytes]]) -> int:
    """What a record's headers say; 0 if nothing, or nothing that can be read."""
    said = next((value for name, value in headers if name == ATTEMPTS), None) or b""
    return int(said) if said.isdigit() and len(said) < 10 else 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a record is in the dead letters, and where it came from."""

    kind: Kind
    error: str
    message: str
    topic: str
    partition: int
    offset: int
    attempts: int = 1
    """How often the record was tried: more than once if it was redriven."""

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers, `tagstream-error-*` and `tagstream-source`."""
        return [
            ("tagstream-error-kind", self.kind.encode()),
            ("tagstream-error-class", self.error.encode()),
            ("tagstream-error-message", self.message.encode("utf-8", "replace")),
            (ATTEMPTS, str(self.attempts).encode()),
            ("tagstream-source", f"{self.topic}/{self.partition}/{self.offset}".encode()),
        ]
