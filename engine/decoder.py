"""Cuts a model's text into calls, each the moment it is closed.

In: text, in pieces of any size. Out: a `Call` or a `Dropped` for every JSON object that
has closed, in order. Always holds: what comes out does not depend on where the text was
split; no call comes out of an object that has not closed; each character is looked at
once; at most `limit` characters are kept. A line's end in a string is never JSON: it ends
the object, so that a lost quote costs one line. One decoder serves one answer.
"""

import re

import msgspec

from schemas.tools import Call, decode_call

LIMIT = 4_096
"""Characters of one call; the longest valid one has about 1,100."""

_SHOWN = 200
_NO_TOOL = "Object missing required field `tool`"
_STRUCTURE = re.compile(r'[{}"]')
_STRING = re.compile(r'["\\\n]')


class Dropped(msgspec.Struct, frozen=True):
    """Text that is no call of the contract: a short reason (see `REASONS`), and which text."""

    reason: str
    detail: str
    text: str


REASONS = {
    "junk": "text between calls",
    "too_long": "a call longer than the decoder's limit",
    "malformed": "an object that is not JSON",
    "unknown_tool": "a tool that the contract does not have",
    "bad_arguments": "arguments that the tool's schema refuses",
    "cut": "a call that the stream's end cut off",
    "repeat": "a call that this answer has made already",
    "out_of_place": "a call that may not stand there",
    "unrelated": "a suggestion outside the row of the industries called",
    "too_many": "more calls than an answer may hold",
}


class Decoder:
    """One answer's decoder. `feed` text as it comes, `close` at the stream's end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._in_junk = False

    def feed(self, text: str) -> list[Call | Dropped]:
        """The calls that `text` closes."""
        found: list[Call | Dropped] = []
        at, start = 0, 0
        while at < len(text):
            if self._depth == 0:
                start = text.find("{", at)
                self._note_junk(text[at:] if start < 0 else text[at:start], found)
                if start < 0:
                    return found
                self._depth, self._in_junk, at = 1, False, start + 1
            elif self._escaped:
                self._escaped, at = False, at + (text[at] != "\n")
            elif (place := self._scan(text, at)) < 0:
                break
            else:
                at = place
                if self._depth == 0:
                    self._keep(text[start:at])
                    found.append(self._closed())
        if self._depth:
            self._keep(text[start:])
        return found

    def close(self) -> list[Dropped]:
        """What was left open: nothing is ever emitted from it."""
        if not self._depth:
            return []
        return [Dropped("cut", f"{self._size} characters were left open", self._take()[:_SHOWN])]

    def _scan(self, text: str, at: int) -> int:
        """Moves past the next structural character; -1 if there is none."""
        match = (_STRING if self._in_string else _STRUCTURE).search(text, at)
        if match is None:
            return -1
        match match.group():
            case "{":
                self._depth += 1
            case "}":
                self._depth -= 1
            case "\\":
                self._escaped = True
            case "\n":  # JSON has none in a string: it was left open, the next line is whole
                self._depth = 0
            case _:
                self._in_string = not self._in_string
        return match.end()

    def _keep(self, text: str) -> None:
        room = self._limit - self._size
        if text and room > 0:
            self._parts.append(text[:room])
        self._size += len(text)

    def _take(self) -> str:
        text = "".join(self._parts)
        self._parts.clear()
        self._size, self._depth = 0, 0
        self._in_string = self._escaped = False
        return text

    def _closed(self) -> Call | Dropped:
        size = self._size
        text = self._take()
        if size > self._limit:
            return Dropped(
                "too_long", f"{size} characters, {self._limit} are allowed", text[:_SHOWN]
            )
        try:
            call: Call = decode_call(text)
            return call
        except msgspec.ValidationError as error:
            said = str(error)
            unknown = said.endswith(" at `$.tool`") or said == _NO_TOOL
            reason = "unknown_tool" if unknown else "bad_arguments"
            return Dropped(reason, said[:_SHOWN], text[:_SHOWN])
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            return Dropped("malformed", str(error), text[:_SHOWN])

    def _note_junk(self, text: str, found: list[Call | Dropped]) -> None:
        if not self._in_junk and (text := text.strip()):
            self._in_junk = True
            found.append(Dropped("junk", "text between calls", ""))
