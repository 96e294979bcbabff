"""Records of the queries' topic: what fits is a query, what does not has a class and one line."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from consumers.deliveries import Delivery, read
from schemas.queries import MAX_QUERY

LONGEST_LINE = 300


def record(**fields: Any) -> bytes:
    return json.dumps({"query_id": "q", "query": "cook"} | fields, ensure_ascii=False).encode()


def raw(query: str, rest: str = "") -> bytes:
    return f'{{"query_id":"q","query":"{query}"{rest}}}'.encode()


HUGE = "x" * 900_000
BAD = {
    "no value": (None, "NullValue"),
    "nothing": (b"", "NotJson"),
    "white space": (b" \n", "NotJson"),
    "text": (b"cook", "NotJson"),
    "cut": (record()[:-1], "NotJson"),
    "two objects": (record() * 2, "NotJson"),
    "a byte order mark": (b"\xef\xbb\xbf" + record(), "NotJson"),
    "UTF-16": (record().decode().encode("utf-16"), "NotJson"),
    "NaN": (raw("cook", ',"x":NaN'), "NotJson"),
    "Infinity": (raw("cook", ',"deadline_ms":Infinity'), "NotJson"),
    "single quotes": (b"{'query_id':'q','query':'cook'}", "NotJson"),
    "a bare newline": (raw("a\nb"), "NotJson"),
    "half a surrogate pair": (raw(r"\ud83d"), "NotJson"),
    "deep nesting": (raw("cook", ',"x":' + "[" * 100_000 + "]" * 100_000), "NotJson"),
    "deep objects": (raw("cook", ',"x":' + '{"a":' * 100_000), "NotJson"),
    "not UTF-8": (b'{"query_id":"q","query":"caf\xe9"}', "NotUtf8"),
    "not UTF-8 in the id": (b'{"query_id":"\xff","query":"cook"}', "NotUtf8"),
    "surrogates as bytes": (b'{"query_id":"q","query":"\xed\xa0\x80"}', "NotUtf8"),
    "null": (b"null", "Invalid"),
    "a number": (b"5", "Invalid"),
    "a string": (b'"cook"', "Invalid"),
    "an array": (b'["q","cook"]', "Invalid"),
    "no query": (b'{"query_id":"q"}', "Invalid"),
    "no id": (b'{"query":"cook"}', "Invalid"),
    "an empty object": (b"{}", "Invalid"),
    "query null": (record(query=None), "Invalid"),
    "query a number": (record(query=5), "Invalid"),
    "query a list": (record(query=["cook"]), "Invalid"),
    "an empty query": (record(query=""), "Invalid"),
    "a blank query": (record(query=" \t\n\u3000\u2003"), "Invalid"),
    "1,001 characters": (record(query="a" * 1_001), "Invalid"),
    "1,001 emoji": (record(query="😀" * 1_001), "Invalid"),
    "900 KB of query": (record(query=HUGE), "Invalid"),
    "900 KB of blanks": (record(query=" " * 900_000), "Invalid"),
    "an empty id": (record(query_id=""), "Invalid"),
    "an id of 129": (record(query_id="a" * 129), "Invalid"),
    "900 KB of id": (record(query_id=HUGE), "Invalid"),
    "id a number": (record(query_id=5), "Invalid"),
    "member a number": (record(member_id=5), "Invalid"),
    "member an object": (record(member_id={}), "Invalid"),
    "locale null": (record(locale=None), "Invalid"),
    "locale empty": (record(locale=""), "Invalid"),
    "locale with an underscore": (record(locale="en_US"), "Invalid"),
    "900 KB of locale": (record(locale=HUGE), "Invalid"),
    "time without zone": (record(issued_at="2026-01-02T03:04:05"), "Invalid"),
    "time a number": (record(issued_at=1_700_000_000), "Invalid"),
    "time null": (record(issued_at=None), "Invalid"),
    "no time at all": (record(issued_at="yesterday"), "Invalid"),
    "31 February": (record(issued_at="2026-02-31T00:00:00Z"), "Invalid"),
    "900 KB of time": (record(issued_at=HUGE), "Invalid"),
    "deadline zero": (record(deadline_ms=0), "Invalid"),
    "deadline negative": (record(deadline_ms=-1), "Invalid"),
    "deadline a fraction": (record(deadline_ms=1.5), "Invalid"),
    "deadline text": (record(deadline_ms="100"), "Invalid"),
    "deadline true": (record(deadline_ms=True), "Invalid"),
    "deadline of 5,000 digits": (raw("cook", ',"deadline_ms":' + "9" * 5_000), "Invalid"),
    "deadline beyond floats": (raw("cook", ',"deadline_ms":1e400'), "Invalid"),
    "the last of two keys": (raw("cook", ',"query":5'), "Invalid"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_has_a_class_and_one_line(name: str) -> None:
    value, expected = BAD[name]
    query, problem_class, line = read(value)
    assert query is None
    assert problem_class == expected
    assert line.isprintable()
    assert 0 < len(line) <= LONGEST_LINE


GOOD: dict[str, tuple[bytes, dict[str, Any]]] = {
    "the least": (record(), {"query_id": "q", "query": "cook", "member_id": None,
                             "locale": "en-US", "issued_at": UNSET, "deadline_ms": None}),
    "unknown fields": (record(x=[1, {"y": None}], zz=HUGE), {"query": "cook"}),
    "1,000 characters": (record(query="a" * 1_000), {"query": "a" * 1_000}),
    "1,000 and blanks": (record(query="  " + "a" * 1_000 + "\n"), {"query": f"  {'a' * 1_000}\n"}),
    "1,000 emoji": (record(query="😀" * 1_000), {"query": "😀" * 1_000}),
    "one character": (record(query="c"), {"query": "c"}),
    "emoji and right to left": (record(query="👩🏽‍🚒 שלום نجار"), {"query": "👩🏽‍🚒 שלום نجار"}),
    "escapes": (raw(r"\ud83d\ude00 \u0000 \" \\"), {"query": '😀 \0 " \\'}),
    "an id of 128": (record(query_id="é" * 128), {"query_id": "é" * 128}),
    "nulls": (record(member_id=None, deadline_ms=None), {"member_id": None, "deadline_ms": None}),
    "a zone": (record(issued_at="2026-01-02T03:04:05+02:00"),
               {"issued_at": datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)}),
    "UTC": (record(issued_at="2026-01-02T03:04:05.5Z"),
            {"issued_at": datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)}),
    "locale": (record(locale="zh-Hant-TW"), {"locale": "zh-Hant-TW"}),
    "the last of two keys": (raw("cook", ',"query":"chef"'), {"query": "chef"}),
    "white space around": (b"\n " + record() + b" \n", {"query": "cook"}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_record_is_a_query(name: str) -> None:
    value, expected = GOOD[name]
    query, problem_class, line = read(value)
    assert (problem_class, line) == ("", "")
    assert query is not None
    assert {field: getattr(query, field) for field in expected} == expected


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
_fields = st.sampled_from(
    ("query_id", "query", "member_id", "locale", "issued_at", "deadline_ms", "other")
)


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=60)
    | _values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(_fields, _values).map(lambda fields: record(**fields))
    | st.builds(lambda at, byte: record()[:at] + byte + record()[at:], st.integers(0, 30),
                st.binary(min_size=1, max_size=1))
)  # fmt: skip
def test_whatever_comes_there_is_a_query_or_a_line(value: bytes) -> None:
    query, problem_class, line = read(value)
    if query is None:
        assert problem_class in ("NotJson", "NotUtf8", "Invalid")
        assert line.isprintable()
        assert 0 < len(line) <= LONGEST_LINE
    else:
        assert (problem_class, line) == ("", "")
        assert 1 <= len(query.query.strip()) <= MAX_QUERY
        assert query.query_id


def delivery(headers: Sequence[tuple[str, Any]] = ()) -> Delivery:
    return Delivery(
        topic="search.queries", partition=3, offset=42, key=None, value=None, headers=headers,
        timestamp=1.0, received=2.0, received_at=3.0, done=lambda: None,
    )  # fmt: skip


def test_a_delivery_names_its_source() -> None:
    assert delivery().source == "search.queries/3/42"


def test_the_carrier_is_text_whatever_the_headers_are() -> None:
    headers = [("traceparent", b"00-1-2-01"), ("odd", b"\xff"), ("none", None), ("", b"")]
    assert list(delivery(headers).carrier()) == [
        ("traceparent", "00-1-2-01"), ("odd", "\ufffd"), ("", ""),
    ]  # fmt: skip
