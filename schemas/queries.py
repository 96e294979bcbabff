"""The input: one search-query event per Kafka record.

In: the record's bytes. Out: a `SearchQuery`, or `msgspec.ValidationError` /
`msgspec.DecodeError` / `UnicodeDecodeError` with one line that says what is wrong.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_QUERY = 1_000

QueryId = Annotated[str, Meta(min_length=1, max_length=128, description="Unique per search.")]
Locale = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$", max_length=64, description="BCP 47 tag."),
]


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search as it was typed. Unknown extra fields are ignored.

    Raises `ValueError` (`msgspec.ValidationError` when decoding) if the trimmed query
    is empty or longer than `MAX_QUERY` characters.
    """

    query_id: QueryId
    query: Annotated[
        str,
        Meta(
            description="The text as typed; 1 to 1,000 characters after trimming.",
            extra_json_schema={"pattern": r"^\s*(\S|\S[\s\S]{0,998}\S)\s*$"},
        ),
    ]
    member_id: str | None = None
    locale: Locale = "en-US"
    issued_at: (
        Annotated[
            datetime, Meta(tz=True, description="RFC 3339 with zone; default: the record's time.")
        ]
        | UnsetType
    ) = UNSET
    deadline_ms: (
        Annotated[
            int, Meta(gt=0, description="After issued_at + this many ms the answer is useless.")
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        length = len(self.query.strip())
        if not 1 <= length <= MAX_QUERY:
            raise ValueError(
                f"`query` has {length} characters after trimming; 1 to {MAX_QUERY} are allowed"
            )


decode_query = msgspec.json.Decoder(SearchQuery).decode
encode_query = msgspec.json.Encoder().encode
