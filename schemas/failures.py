"""A record that nothing could answer: what its dead letter's headers say."""

from typing import Literal

import msgspec

Kind = Literal["undecodable", "failed"]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a record is in the dead letters, and where it came from."""

    kind: Kind
    error: str
    message: str
    topic: str
    partition: int
    offset: int

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers, `tagstream-error-*` and `tagstream-source`."""
        return [
            ("tagstream-error-kind", self.kind.encode()),
            ("tagstream-error-class", self.error.encode()),
            ("tagstream-error-message", self.message.encode("utf-8", "replace")),
            ("tagstream-source", f"{self.topic}/{self.partition}/{self.offset}".encode()),
        ]
