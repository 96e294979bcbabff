"""A delivery: one record of the queries' topic, decoded, with the one way to end it."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from consumers.published import Published
from schemas.queries import SearchQuery, decode_query

Headers = Sequence[tuple[str, bytes]]


class Delivery(msgspec.Struct, kw_only=True, eq=False):
    """What the pipeline is handed. `query` is None if the record does not fit the schema.

    `received` is monotonic seconds, `received_at` and `timestamp` are epoch seconds.
    `done()` says that the offset may move: call it when the outcome is acknowledged.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float
    received: float
    received_at: float
    done: Callable[[], None]
    query: SearchQuery | None = None
    problem: str = ""
    problem_class: str = ""
    published: Published | None = None
    """What an earlier delivery of the record has put into the output topics."""

    @property
    def source(self) -> str:
        """`topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def carrier(self) -> Iterator[tuple[str, str]]:
        """The headers as text, for the propagator."""
        for name, value in self.headers:
            if value is not None:
                yield name, value.decode("utf-8", "replace")


def read(value: bytes | None) -> tuple[SearchQuery | None, str, str]:
    """The query; or None, the error's class, and one line that says what is wrong."""
    if value is None:
        return None, "NullValue", "the record has no value; publish a JSON object"
    try:
        return decode_query(value), "", ""
    except UnicodeDecodeError as error:
        return None, "NotUtf8", f"the record is not UTF-8: {error.reason}"
    except msgspec.ValidationError as error:
        return None, "Invalid", f"the record does not fit the schema: {error}"
    except (msgspec.DecodeError, RecursionError) as error:
        return None, "NotJson", f"the record is not JSON: {error}"
