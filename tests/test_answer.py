"""One answer: which requests it takes, what it cost, and how it ends."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from engine.answer import (
    FIRST,
    WITH_PROFILE,
    WITHOUT_PROFILE,
    Usage,
    answer,
)
from engine.decoder import Dropped
from engine.draft import draft
from engine.generation import Ending, EngineBusy, EngineDown, EngineError, Piece
from engine.language import write
from engine.prompt import continued, render
from schemas.profiles import Profile
from schemas.tools import (
    INDUSTRIES,
    Call,
    Industry,
    IndustryName,
    Location,
    NumApplicants,
    Plan,
    Rewrite,
    Seniority,
    Suggest,
    Title,
    Workplace,
)

Item = Call | Dropped | Usage
ENDING = Ending(
    reason="stop", prompt_tokens=10, cached_tokens=4, output_tokens=3, queued_ms=1, first_token_ms=2
)
PROFILE = Profile(member_id="m", title="nurse", location="Leeds")


class Spoken:
    """A model that says the given texts, a request each, and notes what it was asked."""

    name = "spoken@1"
    corrects = False

    def __init__(self, *says: str, ending: Ending = ENDING, error: EngineError | None = None):
        self._says = list(says)
        self._ending = ending
        self._error = error
        self.asked: list[tuple[str, str]] = []
        self.closed = 0

    async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
        self.asked.append((prompt, grammar))
        says = self._says.pop(0)
        try:
            for at in range(0, len(says), 5):
                await asyncio.sleep(0)
                yield Piece(says[at : at + 5])
            if self._error:
                raise self._error
            yield self._ending
        finally:
            self.closed += 1


def heard(
    model: Spoken, profile: Profile | None = None, said: Sequence[Call] = (), query: str = "a query"
) -> list[Item]:
    async def listen() -> list[Item]:
        return [item async for item in answer(model, query, profile, said)]

    return asyncio.run(listen())


CRITERIA, SELF = Plan("criteria"), Plan("self_reference")
BANKING = Industry(IndustryName("Banking"))
TITLE, REWRITE = Title("cook"), Rewrite("cook in Leeds")


def suggest(*names: str) -> Suggest:
    return Suggest("industry", tuple(map(IndustryName, names)))


ROW = INDUSTRIES["Banking"]
NOT_IN_ROW = next(name for name in INDUSTRIES if name not in (*ROW, "Banking"))


# --- requests -----------------------------------------------------------------------------


def test_a_criteria_answer_is_one_request() -> None:
    said: list[Call] = [CRITERIA, TITLE, BANKING, NumApplicants(5), suggest(ROW[0])]
    model = Spoken(write(said))
    *items, usage = heard(model, PROFILE)
    assert items == said
    assert model.asked == [(render("a query"), FIRST)]
    assert usage == Usage(
        requests=1, prompt_tokens=10, cached_tokens=4, output_tokens=3,
        queued_ms=1, first_token_ms=2,
    )  # fmt: skip


def test_a_model_that_corrects_is_shown_the_draft_in_each_of_its_requests() -> None:
    model = Spoken(write([SELF]), write([TITLE]))
    model.corrects = True
    heard(model, PROFILE, query="cook springfield, like mine")
    home = PROFILE.location
    first = render("cook springfield, like mine", draft("cook springfield, like mine", home))
    assert first.count("\n") > 1
    assert model.asked == [(first, FIRST), (continued(first, PROFILE), WITH_PROFILE)]
    again = Spoken(write([TITLE]))
    again.corrects = True
    heard(again, PROFILE, [CRITERIA], query="cook springfield")
    assert again.asked[0][0] == render("cook springfield", draft("cook springfield", home)) + write(
        [CRITERIA]
    )


def test_self_reference_asks_again_with_the_profile() -> None:
    rest: list[Call] = [REWRITE, TITLE, Location("Leeds")]
    model = Spoken(write([SELF]), write(rest))
    *items, usage = heard(model, PROFILE)
    assert items == [SELF, *rest]
    first = render("a query")
    assert model.asked == [(first, FIRST), (continued(first, PROFILE), WITH_PROFILE)]
    assert "title=nurse" in model.asked[1][0]
    assert usage == Usage(
        requests=2, prompt_tokens=20, cached_tokens=8, output_tokens=6,
        queued_ms=1, first_token_ms=2,
    )  # fmt: skip
    assert model.closed == 2


def test_self_reference_without_a_profile_has_no_rewrite() -> None:
    model = Spoken(write([SELF]), write([REWRITE, Seniority("director")]))
    *items, usage = heard(model)
    assert items == [SELF, Dropped("out_of_place", "Rewrite", ""), Seniority("director")]
    first = render("a query")
    assert model.asked == [(first, FIRST), (continued(first, None), WITHOUT_PROFILE)]
    assert isinstance(usage, Usage)


def test_an_unguided_model_that_talks_on_after_its_plan() -> None:
    model = Spoken(write([SELF, Title("invented")]), write([SELF, TITLE]))
    *items, _ = heard(model, PROFILE)
    assert items == [
        SELF, Dropped("out_of_place", "Title", ""), Dropped("repeat", "Plan", ""), TITLE,
    ]  # fmt: skip
    assert len(model.asked) == 2


def test_repeats_are_seen_across_requests_and_never_a_third_is_made() -> None:
    model = Spoken(write([SELF]), write([TITLE, TITLE, SELF]))
    *items, _ = heard(model, PROFILE)
    assert items == [
        SELF, TITLE, Dropped("repeat", "Title", ""), Dropped("repeat", "Plan", ""),
    ]  # fmt: skip


def test_suggestions_are_held_against_the_row() -> None:
    *items, _ = heard(Spoken(write([CRITERIA, BANKING, suggest(NOT_IN_ROW), suggest(ROW[0])])))
    assert items == [CRITERIA, BANKING, Dropped("unrelated", "Suggest", ""), suggest(ROW[0])]


@pytest.mark.parametrize("second", [False, True])
def test_a_cut_tail_is_told_and_the_answer_is_not_complete(second: bool) -> None:
    plan = SELF if second else CRITERIA
    cut = write([TITLE])[:-5]
    says = (write([plan]), cut) if second else (write([plan]) + cut,)
    cut_off = Ending(reason="length", prompt_tokens=5, output_tokens=9)
    *items, dropped, usage = heard(Spoken(*says, ending=cut_off), PROFILE)
    assert items == [plan]
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.text) == ("cut", cut)
    assert isinstance(usage, Usage)
    assert not usage.complete
    assert usage.output_tokens == (18 if second else 9)


def test_text_does_not_flow_from_one_request_into_the_next() -> None:
    *items, _ = heard(Spoken(write([SELF]) + '{"tool":"title","title":"', write([TITLE])), PROFILE)
    assert [type(item) for item in items] == [Plan, Dropped, Title]


def test_nothing_said_is_an_empty_answer() -> None:
    (usage,) = heard(Spoken(""))
    assert isinstance(usage, Usage)
    assert usage.complete


# --- going on -------------------------------------------------------------------------------


def test_a_broken_off_answer_goes_on_from_its_text() -> None:
    model = Spoken(write([Location("Leeds"), Location("Leeds")]))
    *items, usage = heard(model, PROFILE, [CRITERIA, TITLE])
    assert items == [Location("Leeds"), Dropped("repeat", "Location", "")]
    ((prompt, _),) = model.asked
    assert prompt == render("a query") + write([CRITERIA, TITLE])
    assert isinstance(usage, Usage)
    assert usage.complete


def test_a_broken_off_self_reference_goes_on_in_its_second_request() -> None:
    first = render("a query")
    after_plan, after_rewrite = Spoken(write([REWRITE, TITLE])), Spoken(write([TITLE]))
    assert heard(after_plan, PROFILE, [SELF])[:-1] == [REWRITE, TITLE]
    assert after_plan.asked == [(continued(first, PROFILE), WITH_PROFILE)]
    assert heard(after_rewrite, PROFILE, [SELF, REWRITE])[:-1] == [TITLE]
    assert after_rewrite.asked[0][0] == continued(first, PROFILE) + write([REWRITE])


@pytest.mark.parametrize(
    "said", [[Plan("non_job")], [CRITERIA, BANKING, suggest(ROW[0])]], ids=["non_job", "suggest"]
)
def test_nothing_is_asked_where_nothing_may_follow(said: list[Call]) -> None:
    model = Spoken()
    (usage,) = heard(model, PROFILE, said)
    assert isinstance(usage, Usage)
    assert usage.complete
    assert not model.asked


# --- ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 2, 3])
def test_closing_early_closes_the_generation(after: int) -> None:
    model = Spoken(write([SELF]), write([TITLE, Workplace("remote")]))

    async def leave() -> None:
        items = answer(model, "a query", PROFILE)
        for _ in range(after):
            await anext(items)
        assert model.closed == len(model.asked) - 1
        await items.aclose()
        assert model.closed == len(model.asked) == (1 if after == 1 else 2)

    asyncio.run(leave())


def test_a_cancelled_wait_closes_the_generation() -> None:
    class Silent(Spoken):
        async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
            self.asked.append((prompt, grammar))
            try:
                await asyncio.sleep(60)
                yield ENDING
            finally:
                self.closed += 1

    async def cancelled() -> int:
        model = Silent()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(answer(model, "a query", None))
        return model.closed

    assert asyncio.run(cancelled()) == 1


@pytest.mark.parametrize("error", [EngineError("x"), EngineDown("gone"), EngineBusy("full")])
@pytest.mark.parametrize("second", [False, True])
def test_engine_errors_pass_through_after_what_was_said(error: EngineError, second: bool) -> None:
    class Failing(Spoken):
        async def generate(self, prompt: str, grammar: str) -> AsyncGenerator[Piece | Ending]:
            if second and not self.asked:
                self._error = None
            elif second:
                self._error = error
            async for said in super().generate(prompt, grammar):
                yield said

    model = Failing(write([SELF if second else CRITERIA]), write([TITLE]), error=error)
    items: list[Item] = []

    async def listen() -> None:
        async for item in answer(model, "a query", PROFILE):
            items.append(item)

    with pytest.raises(type(error)) as raised:
        asyncio.run(listen())
    assert raised.value is error
    assert items == ([SELF, TITLE] if second else [CRITERIA])


def test_usage_keeps_the_first_queue_and_the_last_word() -> None:
    first = Usage().and_then(Ending(reason="length", queued_ms=7, first_token_ms=9))
    assert not first.complete
    both = first.and_then(Ending(reason="stop", prompt_tokens=3, queued_ms=1, first_token_ms=2))
    assert (both.complete, both.prompt_tokens) == (True, 3)
    assert (both.queued_ms, both.first_token_ms) == (7, 9)
