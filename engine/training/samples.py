"""From a labelled search to the text a model learns: rendered by serving's own code.

In: a `Gold`. Out: a `Sample`, stretches of text of which some are learned, and its task. Always
holds: what is not learned is what serving writes, what is learned is what serving decodes.
"""

from random import Random
from typing import Any, Literal, get_args

import msgspec

from engine.draft import as_typed, draft
from engine.evaluation.gold import Gold
from engine.language import PLAN_SELF_REFERENCE, added_tokens, write
from engine.prompt import continued, render
from engine.training.vary import canonical
from schemas.profiles import Profile
from schemas.tools import INDUSTRIES, TEXTS, Call, IndustryName, Location, Suggest

Task = Literal["planning", "tagging", "rewriting", "suggestion"]
TASKS: tuple[Task, ...] = get_args(Task)

MOST_SUGGESTIONS = 3


class Sample(msgspec.Struct, frozen=True):
    """Stretches of text, each with whether it is learned; the last is followed by the end."""

    id: str
    task: Task
    stretches: tuple[tuple[str, bool], ...]
    tools: tuple[str, ...]


def sample(search: Gold, lacking: float = 0.0) -> Sample:
    """Raises `msgspec.ValidationError` if a call does not fit the schema.

    `lacking` is the share of its names that the draft loses, as lists lack many in life: made-up
    searches are made of the very lists. Half of that is the share of samples without a draft. A
    place with its region stays: the answer has to have the region, and nothing else tells it.
    """
    calls = answer(search)
    person = _profile(search.profile)
    chance = Random(search.id)
    found = draft(search.query, person.location if person else None)
    known = [c for c in found if type(c) not in TEXTS or _settled(c) or chance.random() >= lacking]
    if chance.random() < lacking / 2:
        known = [c for c in known if _settled(c)]
    first = render(search.query, known)
    stretches: tuple[tuple[str, bool], ...]
    if search.intent == "self_reference":
        second = continued(first, person).removeprefix(first + PLAN_SELF_REFERENCE)
        stretches = (
            (first, False),
            (PLAN_SELF_REFERENCE, True),
            (second, False),
            (write(calls[1:]), True),
        )
    else:
        stretches = ((first, False), (write(calls), True))
    return Sample(
        id=search.id,
        task=_task(search),
        stretches=tuple(s for s in stretches if s[0]),
        tools=tuple(dict.fromkeys(call["tool"] for call in canonical(search))),
    )


def _settled(call: Call) -> bool:
    return isinstance(call, Location) and "," in call.location


def answer(search: Gold) -> list[Call]:
    """The canonical answer as calls; suggestions are the first of the first industry's row."""
    calls: list[Call] = []
    for plain in canonical(search):
        if plain["tool"] == "suggest":
            calls += _suggested(calls)
        else:
            call = msgspec.convert(_whole(plain), Call)
            typed = search.intent != "self_reference"
            calls.append(as_typed(call, search.query) if typed else call)
    return calls


def _whole(plain: dict[str, Any]) -> dict[str, Any]:
    """85000, not 85000.0: fewer tokens."""
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in plain.items()}


def _suggested(calls: list[Call]) -> list[Call]:
    named = [call.industry for call in calls if hasattr(call, "industry")]
    for industry in named:
        row = [IndustryName(name) for name in INDUSTRIES[industry] if name not in named]
        if row:
            return [Suggest("industry", tuple(row[:MOST_SUGGESTIONS]))]
    return []


def _task(search: Gold) -> Task:
    """What the search is mostly for; what looks like harm and is none is planning too."""
    tools = {call["tool"] for call in search.gold}
    if search.intent in ("non_job", "trust_violation") or search.id.startswith(_PLANNING):
        return "planning"
    if search.intent == "self_reference":
        return "rewriting"
    return "suggestion" if "suggest" in tools else "tagging"


_PLANNING = ("groups", "moderator_queue", "troll_and_edge", "wrong_box")


def _profile(fields: dict[str, Any] | None) -> Profile | None:
    return msgspec.convert({"member_id": "", **fields}, Profile) if fields else None


def starts() -> dict[str, str]:
    """The words whose mean is where an added token's row starts (one word for each is too few).

    Of a call without a free value the words that tell it from the others, of the rest all.
    """
    found = {}
    for token in added_tokens():
        whole = token.startswith('{"tool"') and token.endswith("}\n")
        parts = [part for part in token.replace("_", " ").split('"') if part.strip(" {}:,[]\n")]
        told = parts[3:] if whole and len(parts) > 3 else parts
        found[token] = " ".join(told[-1:] if whole else told) or token
    return found
