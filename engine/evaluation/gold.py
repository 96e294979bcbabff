"""Labelled searches, as docs/labels.md writes them, and what is wrong with one.

In: JSON lines. Out: `Gold` structs, or `GoldError` with file and line. `python -m
engine.evaluation.gold FILE ...` reads files as a strict reader would, beyond what the
format asks for: order, suggestions, values that neither query nor profile supports.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from schemas.profiles import Profile
from schemas.tools import CALLS, TEXTS, Intent, encode_call, tool_name

TEXT = {name: name for name in TEXTS.values()}
ORDER = [tool_name(tool) for tool in CALLS]
_MARKS = ("optional", "must_include", "must_exclude")


class GoldError(Exception):
    """A labelled search does not fit the format; one line says where and why."""


class Gold(msgspec.Struct, frozen=True, kw_only=True):
    """One labelled search; `gold` holds the calls with their lists and marks."""

    id: str
    query: str
    profile: dict[str, Any] | None = None
    gold: list[dict[str, Any]]

    @property
    def intent(self) -> str:
        return str(self.gold[0]["intent"])


def read(file: Path) -> Iterator[Gold]:
    """The file's searches. Raises `GoldError`."""
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            search = msgspec.json.decode(line, type=Gold)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GoldError(f"{file}:{number}: {error}") from None
        if problem := next(errors(search), None):
            raise GoldError(f"{file}:{number}: {problem}")
        yield search


def spellings(value: Any) -> list[str]:
    """The acceptable ones of a text value, the canonical first."""
    return value if isinstance(value, list) else [value]


def errors(search: Gold) -> Iterator[str]:
    """Why the search does not fit section 6."""
    if not 1 <= len(search.query.strip()) <= 1_000:
        yield "`query` has to have 1 to 1,000 characters"
    if search.profile is not None:
        try:
            msgspec.convert({"member_id": search.id, **search.profile}, Profile)
        except msgspec.ValidationError as error:
            yield f"profile: {error}"
    plans = [call for call in search.gold if call.get("tool") == "plan"]
    if search.gold[:1] != plans or plans[0].get("intent") not in get_args(Intent):
        yield "the first call, and no other, is a plan"
        return
    for call in search.gold[1:]:
        for form in _forms(call):
            try:
                msgspec.json.decode(msgspec.json.encode(form), type=_union())
            except msgspec.ValidationError as error:
                yield f"{call}: {error}"


def _forms(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every call that a gold call stands for."""
    plain = {name: value for name, value in call.items() if name not in _MARKS}
    match call.get("tool"):
        case "rewrite":
            yield plain | {"query": "x"}
        case "suggest":
            yield plain | {"facet": "industry", "values": ["Retail"]}
        case tool:
            field = TEXT.get(str(tool), "industry" if tool == "industry" else "")
            for value in spellings(call.get(field)) if field else [None]:
                yield plain | {field: value} if field else plain


def _union() -> Any:
    from schemas.tools import Call

    return Call


def doubts(search: Gold) -> Iterator[str]:
    """What a strict reader would ask about a search that fits."""
    intent, calls = search.intent, search.gold[1:]
    tools = [call["tool"] for call in calls]
    if tools != sorted(tools, key=ORDER.index):
        yield f"calls are not in the contract's order: {tools}"
    if intent == "non_job" and calls:
        yield "non_job has no call but its plan"
    if (intent == "trust_violation") != ("policy" in tools) or (
        "policy" in tools and len(tools) > 1
    ):
        yield "policy, alone, for trust_violation and for nothing else"
    if "rewrite" in tools and (intent != "self_reference" or search.profile is None):
        yield "a rewrite needs self_reference and a profile"
    industries = [call for call in calls if call["tool"] == "industry"]
    required = any(not call.get("optional") for call in industries)
    suggests = [call for call in calls if call["tool"] == "suggest"]
    if len(suggests) != bool(industries) or any(
        bool(call.get("optional")) == required for call in suggests
    ):
        yield "one suggest where there is an industry call, optional if all of those are"
    yield from _unsupported(search, calls)


def _unsupported(search: Gold, calls: list[dict[str, Any]]) -> Iterator[str]:
    said = _words(search.query)
    if search.intent == "self_reference" or search.profile:
        said |= _words(str(msgspec.to_builtins(search.profile)))
    for call in calls:
        field = TEXT.get(call["tool"])
        if field and not any(_words(s) & said for s in spellings(call[field])):
            yield f"no word of {call['tool']} {spellings(call[field])[0]!r} stands in the query"
    seen = [encode_call(call) for call in calls]
    if len(set(seen)) < len(seen):
        yield "a call stands there twice"


def _words(text: str) -> set[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return set(re.findall(r"[\w+#]+", folded))


def main() -> int:
    """Prints every error and doubt of the files named; 1 if there is an error."""
    bad = 0
    for name in sys.argv[1:]:
        count = 0
        try:
            for search in read(Path(name)):
                count += 1
                for doubt in doubts(search):
                    print(f"{name}: {search.id}: {search.query!r}: {doubt}")
        except (GoldError, OSError) as error:
            print(error, file=sys.stderr)
            bad = 1
        print(f"{name}: {count} searches")
    return bad


if __name__ == "__main__":
    sys.exit(main())
