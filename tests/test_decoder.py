"""The decoder: the same events however the text is split, none from a cut tail, linear."""

import codecs
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import decoder as module
from engine.decoder import LIMIT, REASONS, Decoder, Dropped
from engine.language import added_tokens, write
from schemas.tools import Call, Plan, Skill, Title, encode_call
from tests.strategies import answers, calls

Events = list[Call | Dropped]
PLAN = '{"tool":"plan","intent":"criteria"}'
SKILL = '{"tool":"skill","skill":"x"}'
_TOKENS = re.compile(
    "|".join(map(re.escape, sorted(added_tokens(), key=len, reverse=True))) + "|.{1,4}", re.DOTALL
)


def said(pieces: Iterable[str], limit: int = LIMIT) -> Events:
    decoder = Decoder(limit)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.close()]


def by_byte(text: str) -> Iterator[str]:
    """As a UTF-8 stream comes: characters of several bytes are empty pieces until they end."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogatepass").decode
    return (decode(bytes([byte])) for byte in text.encode("utf-8", "surrogatepass"))


def reference(text: str) -> Iterator[str]:
    """Object by object, one character at a time; an open one as it is, junk not at all."""
    start, depth, quoted, escaped = 0, 0, False, False
    for at, char in enumerate(text):
        if quoted and char == "\n":
            depth, quoted, escaped = 0, False, False
        elif escaped:
            escaped = False
        elif quoted:
            quoted, escaped = char != '"', char == "\\"
        elif depth and char == '"':
            quoted = True
        elif char == "{":
            start = start if depth else at
            depth += 1
        elif depth and char == "}":
            depth -= 1
        else:
            continue
        if depth == 0:
            yield text[start : at + 1]
    if depth:
        yield text[start:]


# --- splitting --------------------------------------------------------------------------

_json_text = st.text(st.sampled_from('{}"\\\n :,[]abé😀'), max_size=40)
_fragments = st.one_of(
    calls.map(lambda call: write([call])),
    calls.map(lambda call: encode_call(call).decode().replace(":", " :\t").replace("}", "\n}")),
    st.builds('{{"tool":"{}"}}'.format, st.text(st.sampled_from("abc_é"), max_size=8)),
    st.builds('{{"tool":"title","title":{}}}'.format, _json_text),
    st.builds('{{"tool":"skill","skill":"{}"}}'.format, _json_text),
    st.sampled_from([
        r'{"tool":"title","title":"\ud83d\ude00 \u05d0"}', r'{"tool":"title","title":"\ud83d"}',
        r'{"tool":"title","title":"a\"}{\\"}', '{"tool":"title","title":"\ud800"}',
        '{"tool":"salary","minimum":1e999}', "{}", "}", '"', "\\", "```json\n", "\n\n",
        "שלום 👩🏽‍🚒 ",
        '{"tool":"plan","intent":{"a":{"b":"}"}}}', "{" * 40 + "}" * 40,
        '{"tool":"title","title":"' + "long" * 60 + '"}', '{"tool":"title","title":"open\n',
    ]),
    _json_text,
)  # fmt: skip
streams = st.builds(
    lambda parts, lost: "".join(parts)[: -lost or None],
    st.lists(_fragments, max_size=8),
    st.sampled_from((0, 0, 1, 2, 9)),
)


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams, st.lists(st.integers(0, 400), max_size=6), st.sampled_from((LIMIT, 150)))
def test_events_do_not_depend_on_the_split(text: str, cuts: list[int], limit: int) -> None:
    whole = said([text], limit)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    assert "".join(pieces) == text
    for way in (text, by_byte(text), _TOKENS.findall(text), pieces):
        assert said(way, limit) == whole


FIXED = [
    "", "{", "}", "{}", "{}{}", "junk", '{"tool":"easy_apply"}', f"{PLAN}\n{SKILL}",
    f"so: {SKILL} and {SKILL} then", '{"tool":"skill","skill":"}"}', '{"tool":"skill","skill":"{"}',
    r'{"tool":"skill","skill":"\""}', r'{"tool":"skill","skill":"\\"}{}', r'{"a":"\\\"}"}x{}',
    r'{"tool":"skill","skill":"\ud83d\ude00"}', r'{"tool":"skill","skill":"\ud83d"}{}',
    '{"tool":"skill","skill":"😀 é"}', '{"tool":"skill","skill":"שלום\u200f"}', "😀{}é{}日",
    '{"tool":"skill","skill":"\ud83d"}', '{"tool":"skill"}', '{"tool":"nope"}', '{"tool":5}',
    '{"tool":"skill","skill":["}"]}', '{"a":{"b":{"c":{}}}}', "{{{}}}}}{}", '"{"}{"}"}',
    '{"tool":"skill","skill":"a\nb"}', f'{{"tool":"skill","skill":"a\n{SKILL}', '{"a":"\\\n"}{}',
    '{ "tool" :\n"skill" , "skill"\t:\r\n"x" }', '{"tool":"num_applicants","maximum":1', "\\{\\}\\",
    '{"tool":"title","title":"a' + "a" * 60 + '"}{}', "\ufeff{}\x00{}\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", FIXED)
def test_every_two_cuts(text: str) -> None:
    whole = said([text], limit=60)
    assert said(by_byte(text), limit=60) == whole
    for b in range(len(text) + 1):
        for a in range(b + 1):
            assert said((text[:a], text[a:b], text[b:]), limit=60) == whole, (a, b)


def test_boundaries_are_those_of_a_plain_automaton() -> None:
    """Every text of up to six structural characters."""
    for size in range(7):
        for chars in product('{}"\\\na', repeat=size):
            text = "".join(chars)
            found = [e.text for e in said([text]) if isinstance(e, Dropped) and e.reason != "junk"]
            assert found == list(reference(text)), text


# --- what comes out -----------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(answers())
def test_a_call_comes_with_its_last_character_and_never_before(answer: list[Call]) -> None:
    text, decoder = write(answer), Decoder()
    waiting = list(answer)
    for at, char in enumerate(text):
        closed = text[at:].startswith("}\n")
        assert decoder.feed(char) == ([waiting.pop(0)] if closed else [])
    assert (waiting, decoder.close()) == ([], [])


@pytest.mark.parametrize("line", [PLAN, SKILL, '{"tool":"salary","minimum":12,"period":"year"}'])
def test_a_cut_tail_is_never_a_call(line: str) -> None:
    for at in range(1, len(line)):
        (event,) = said([line[:at]])
        assert isinstance(event, Dropped)
        assert event.reason == "cut"


BAD = {
    "junk": ["hello", "}", "]]", '"tool"', "```json"],
    "too_long": ['{"tool":"title","title":"' + "a" * LIMIT + '"}', "{" * LIMIT + "}" * LIMIT],
    "malformed": [
        "{tool:1}", '{"a"}', '{"tool":"plan",}', '{"tool":"title","title":NaN}', "{{}}",
        '{"tool":"title","title":"a\tb"}', r'{"tool":"title","title":"\ud800"}',
        '{"tool":"title","title":"\ud800"}', '{"tool":"title","title":"open', "{'tool':'plan'}",
        '{"tool":"title","title":"open\\',
    ],
    "unknown_tool": [
        "{}", '{"tool":"nope"}', '{"tool":null}', '{"tool":["plan"]}', '{"title":"x"}',
        '{"tool":"Plan","intent":"criteria"}', '{"tool":"a\\nb"}',
    ],
    "bad_arguments": [
        '{"tool":"plan"}', '{"tool":"plan","intent":"other"}', '{"tool":"plan","intent":null}',
        '{"tool":"plan","intent":"criteria","why":"x"}', '{"tool":"title","title":""}',
        '{"tool":"title","title":" \\u3000"}', '{"tool":"title","title":5}',
        '{"tool":"title","title":"' + "a" * 121 + '"}', '{"tool":"salary"}',
        '{"tool":"salary","minimum":-1}', '{"tool":"salary","minimum":1,"currency":"XXX"}',
        '{"tool":"num_applicants","maximum":1.5}', '{"tool":"industry","industry":"Wizardry"}',
        '{"tool":"suggest","facet":"industry","values":[]}', '{"tool":"policy","category":"spam"}',
        '{"tool":"plan","intent":"missing required field `tool`"}',
        '{"tool":"plan","intent":"criteria","$.tool":1}', '{"tool":"easy_apply","x":1}',
        '{"tool":"title","title":' + "[" * 1_500 + "]" * 1_500 + "}",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "text"), [(r, text) for r, texts in BAD.items() for text in texts]
)
def test_a_drop_has_its_reason_and_does_not_stop_the_rest(reason: str, text: str) -> None:
    first, *dropped, last = said(f"{PLAN}\n{text}\n{SKILL}\n")
    assert (first, last) == (Plan("criteria"), Skill("x"))
    (event,) = dropped
    assert isinstance(event, Dropped)
    assert event.reason == reason
    assert len(event.detail) <= 200
    assert len(event.text) <= 200


def test_every_reason_is_reachable() -> None:
    judged = {"repeat", "out_of_place", "unrelated", "too_many"}  # tests/test_answer.py
    assert set(BAD) | judged | {"cut"} == set(REASONS)


def test_junk_is_said_once_for_each_place() -> None:
    reasons = [event.reason for event in said("a b { } c\nd") if isinstance(event, Dropped)]
    assert reasons == ["junk", "unknown_tool", "junk"]


def test_values_come_as_they_were_said() -> None:
    assert said([r'{"tool":"title","title":" \ud83d\ude00 \u05d0\\ "}']) == [Title("😀 א\\")]
    assert said(['{"tool":"title","title":"' + " " * 100 + "a" * 20 + '"}']) == [Title("a" * 20)]


# --- limits -------------------------------------------------------------------------------

ENDLESS = {
    "string": ('{"tool":"title","title":"', "abcdefgh"),
    "escapes": ('{"a":"', "\\"),
    "nesting": ("{", '{"a":'),
    "numbers": ('{"a":', "1234567"),
    "junk": ("", "no call here "),
    "blank": ("", "\n"),
    "empty": ('{"a":"', ""),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_memory_is_bounded(kind: str) -> None:
    head, piece = ENDLESS[kind]
    decoder = Decoder(limit=512)
    decoder.feed(head + piece * 600)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            decoder.feed(piece)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4_096


class Counted(str):
    """Text that counts the characters that are looked at or copied."""

    work: ClassVar[int] = 0
    __slots__ = ()

    def __getitem__(self, key: Any) -> "Counted":
        part = Counted(super().__getitem__(key))
        Counted.work += len(part)
        return part

    def find(self, *args: Any) -> int:
        place, start = super().find(*args), args[1] if len(args) > 1 else 0
        Counted.work += (len(self) if place < 0 else place) - start
        return place

    def strip(self, chars: str | None = None, /) -> "Counted":
        Counted.work += len(self)
        return Counted(super().strip(chars))


class Scan:
    """A compiled pattern that counts the characters it passes."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def search(self, text: str, at: int) -> re.Match[str] | None:
        match = self._pattern.search(text, at)
        Counted.work += (match.end() if match else len(text)) - at
        return match


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "text",
    [SKILL + "\n", "x{}", '{"tool":"title","title":"', '{"', "{", "\\", '"', "}", "a", " ", '{"\n'],
)
def test_work_grows_with_the_text(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters looked at, not seconds: at most a few for each character of 100,000."""
    monkeypatch.setattr(module, "_STRING", Scan(module._STRING))
    monkeypatch.setattr(module, "_STRUCTURE", Scan(module._STRUCTURE))
    stream = (text * (100_000 // len(text) + 1))[:100_000]
    decoder = Decoder()
    monkeypatch.setattr(Counted, "work", 0)
    for at in range(0, len(stream), size):
        decoder.feed(Counted(stream[at : at + size]))
    assert Counted.work <= 4 * len(stream)
