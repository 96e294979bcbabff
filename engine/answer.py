"""One query's answer: which requests it takes, and which calls may stand where.

In: a model, the query, the profile. Out: calls as they close, dropped ones with their
reason, and one `Usage` at the end. The first request has the plan; a self-reference plan
ends it, and the answer goes on in a second request that has the profile.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from engine.decoder import Decoder, Dropped
from engine.draft import draft, settled
from engine.generation import Ending, Model, Piece
from engine.language import continuation, grammar, write
from engine.prompt import continued, render
from schemas.profiles import Profile
from schemas.tools import INDUSTRIES, Call, Industry, Location, Plan, Policy, Rewrite, Suggest

MAX_CALLS = 64
FIRST = grammar()
WITH_PROFILE = grammar(plan=False, rewrite=True)
WITHOUT_PROFILE = grammar(plan=False)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer cost, over all its requests. `complete` is False if a limit cut it."""

    complete: bool = True
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    queued_ms: float = 0.0
    first_token_ms: float = 0.0

    def and_then(self, ending: Ending) -> "Usage":
        """This and one more request; queue and first token are the first request's."""
        first = self.requests == 0
        return Usage(
            complete=ending.reason == "stop",
            requests=self.requests + 1,
            prompt_tokens=self.prompt_tokens + ending.prompt_tokens,
            cached_tokens=self.cached_tokens + ending.cached_tokens,
            output_tokens=self.output_tokens + ending.output_tokens,
            queued_ms=ending.queued_ms if first else self.queued_ms,
            first_token_ms=ending.first_token_ms if first else self.first_token_ms,
        )


async def answer(
    model: Model, query: str, profile: Profile | None, said: Sequence[Call] = ()
) -> AsyncGenerator[Call | Dropped | Usage]:
    """Calls as the model closes them. Closing the generator aborts the generation.

    With `said`, the calls of an answer that was broken off, only what follows them: the model
    goes on from their text. Raises `EngineError` if the model cannot answer.
    """
    rules = Rules(rewrite=profile is not None)
    for call in said:
        rules.judge(call)
        rules.wants_profile = False
    usage = Usage()
    home = profile.location if profile else None
    drafted = draft(query, home) if model.corrects else []
    prompt = render(query, drafted)
    requests = _rest(prompt, profile, said) if said else [(prompt, FIRST)]
    while requests:
        decoder = Decoder()
        async with aclosing(model.generate(*requests.pop())) as generation:
            async for heard in generation:
                if isinstance(heard, Piece):
                    for item in decoder.feed(heard.text):
                        yield rules.judge(
                            settled(item, query, drafted) if isinstance(item, Location) else item
                        )
                else:
                    usage = usage.and_then(heard)
        for cut in decoder.close():
            yield cut
        if rules.wants_profile:
            rules.wants_profile = False
            rest = WITH_PROFILE if profile else WITHOUT_PROFILE
            requests.append((continued(prompt, profile), rest))
    yield usage


def _rest(prompt: str, profile: Profile | None, said: Sequence[Call]) -> list[tuple[str, str]]:
    """The request that goes on after `said`, or none if nothing may follow."""
    first, last = said[0], said[-1]
    if (
        not isinstance(first, Plan)
        or first.intent == "non_job"
        or isinstance(last, Suggest | Policy)
    ):
        return []
    if first.intent != "self_reference":
        text, calls = prompt, said
    elif len(said) == 1:
        rest = WITH_PROFILE if profile else WITHOUT_PROFILE
        return [(continued(prompt, profile), rest)]
    else:
        text, calls = continued(prompt, profile), said[1:]
    called = any(isinstance(call, Industry) for call in said)
    denied = first.intent == "trust_violation"
    return [(text + write(calls), continuation(type(last), industry=called, denied=denied))]


class Rules:
    """What a grammar says clumsily or an unguided model may forget; one per answer.

    Plan first and once, nothing twice, one policy and for trust violations alone, nothing
    after a self-reference plan until it has its profile, `rewrite` only if there is one and
    before the tags, suggestions last, once, and from the row of an industry that was called.
    """

    def __init__(self, *, rewrite: bool = True) -> None:
        self.wants_profile = False
        self._rewrite = rewrite
        self._intent = ""
        self._made: set[Call] = set()
        self._industries: set[str] = set()
        self._last: type = Plan

    def judge(self, item: Call | Dropped) -> Call | Dropped:
        """The call if it may stand here, else why not."""
        if isinstance(item, Dropped):
            return item
        if reason := self._objection(item):
            return Dropped(reason, type(item).__name__, "")
        self._made.add(item)
        self._last = type(item)
        match item:
            case Plan(intent=intent):
                self._intent = intent
                self.wants_profile = intent == "self_reference"
            case Industry(industry=industry):
                self._industries.add(industry)
        return item

    def _objection(self, call: Call) -> str | None:
        if len(self._made) >= MAX_CALLS:
            return "too_many"
        if call in self._made:
            return "repeat"
        searched = self._intent in ("criteria", "self_reference") and not self.wants_profile
        match call:
            case Plan():
                allowed = not self._made
            case Policy():
                allowed = self._intent == "trust_violation" and self._last is Plan
            case Rewrite():
                asked = self._intent == "self_reference" and self._rewrite
                allowed = asked and searched and self._last is Plan
            case Suggest(values=values):
                allowed = searched and self._last is not Suggest and bool(self._industries)
                if allowed and not related(values, self._industries):
                    return "unrelated"
            case _:
                allowed = searched and self._last is not Suggest
        return None if allowed else "out_of_place"


def related(values: tuple[str, ...], industries: set[str]) -> bool:
    """All of `values` stand in the row of one of `industries`, none of them is one, none twice."""
    row = {name for industry in industries for name in INDUSTRIES[industry]} - industries
    return set(values) <= row and len(set(values)) == len(values)
