"""The supervisor over engines that die, stall, refuse to start and recover; in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from engine.generation import Ending, EngineBusy, EngineDown, EngineError, Piece
from engine.supervisor import Engine, Limits, Supervised

LIMITS = Limits(generations=4, stall=20.0, first_backoff=1.0, most_backoff=8.0, abandoned=2)


class Time:
    """A clock that sleeping moves, and nothing else does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.backoffs: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds != LIMITS.stall / 4:
            self.backoffs.append(seconds)
        else:
            self.now += seconds
        await asyncio.sleep(0.001)


class FakeEngine:
    """Says `script` to every prompt: text, an error to raise, or None to fall silent."""

    name = "fake@1"
    corrects = True

    def __init__(self, *script: str | Exception | None) -> None:
        self.script = script
        self.running = 0
        self.closed = False

    async def generate(self, _prompt: str, _grammar: str) -> AsyncGenerator[Piece | Ending]:
        self.running += 1
        try:
            for said in self.script:
                await asyncio.sleep(0)
                if said is None:
                    await asyncio.Event().wait()
                elif isinstance(said, Exception):
                    raise said
                else:
                    yield Piece(said)
            yield Ending(reason="stop")
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed = True


class Maker:
    """Hands out the given engines in turn; an exception instead of one is raised."""

    def __init__(self, *engines: FakeEngine | Exception) -> None:
        self.left = list(engines)

    async def __call__(self) -> Engine:
        engine = self.left.pop(0)
        if isinstance(engine, Exception):
            raise engine
        return engine


def supervised(time: Time, make: Callable[[], Awaitable[Engine]]) -> Supervised:
    return Supervised(make, LIMITS, clock=time.clock, sleep=time.sleep, chance=lambda: 1.0)


async def said_by(model: Supervised) -> list[str]:
    async with aclosing(model.generate("x", "")) as generation:
        return [said.text if isinstance(said, Piece) else said.reason async for said in generation]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 # a condition of any kind
            await asyncio.sleep(0.001)


def other_tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def test_hands_generations_through() -> None:
    async def scene() -> None:
        engine = FakeEngine("a", "b")
        model = supervised(Time(), Maker(engine))
        await model.start()
        assert model.healthy
        assert model.name == "fake@1"
        assert model.corrects
        assert await said_by(model) == ["a", "b", "stop"]
        await model.close()
        assert engine.closed
        assert not model.healthy
        assert not other_tasks()

    asyncio.run(scene())


def test_down_before_start_and_after_close() -> None:
    async def scene() -> None:
        model = supervised(Time(), Maker(FakeEngine("a")))
        with pytest.raises(EngineDown):
            await said_by(model)
        await model.start()
        await model.close()
        with pytest.raises(EngineDown):
            await said_by(model)

    asyncio.run(scene())


def test_first_start_fails_aloud() -> None:
    async def scene() -> None:
        model = supervised(Time(), Maker(EngineDown("no weights")))
        with pytest.raises(EngineDown, match="no weights"):
            await model.start()
        assert not other_tasks()

    asyncio.run(scene())


def test_a_dead_engine_is_replaced() -> None:
    async def scene() -> None:
        dead = FakeEngine("a", EngineDown("it died"))
        model = supervised(Time(), Maker(dead, FakeEngine("b")))
        await model.start()
        with pytest.raises(EngineDown, match="it died"):
            await said_by(model)
        assert not model.healthy
        with pytest.raises(EngineDown, match="it died"):  # at once, while there is none
            await said_by(model)
        await until(lambda: model.healthy)
        assert dead.closed
        assert dead.running == 0
        assert model.restarts == 1
        assert await said_by(model) == ["b", "stop"]
        await model.close()

    asyncio.run(scene())


def test_one_death_is_one_restart_however_many_generations_see_it() -> None:
    async def scene() -> None:
        dead = FakeEngine("a", EngineDown("it died"))
        model = supervised(Time(), Maker(dead, FakeEngine("b")))
        await model.start()
        ends = await asyncio.gather(*(said_by(model) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(end, EngineDown) for end in ends)
        await until(lambda: model.healthy)
        assert model.restarts == 1
        await model.close()

    asyncio.run(scene())


def test_a_stalled_engine_is_abandoned_and_replaced() -> None:
    async def scene() -> None:
        stalled = FakeEngine("a", None)
        model = supervised(Time(), Maker(stalled, FakeEngine("b")))
        await model.start()
        with pytest.raises(EngineDown, match="stalled"):
            await said_by(model)
        assert stalled.running == 0
        await until(lambda: model.healthy)
        assert not model.hopeless
        assert await said_by(model) == ["b", "stop"]
        await model.close()
        assert not other_tasks()

    asyncio.run(scene())


def test_silence_without_a_generation_waiting_is_no_stall() -> None:
    async def scene() -> None:
        time = Time()
        model = supervised(time, Maker(FakeEngine("a", "b")))
        await model.start()
        async with aclosing(model.generate("x", "")) as generation:
            await anext(generation)
            was = time.now  # the subscriber is slow now, not the engine
            await until(lambda: time.now > was + 5 * LIMITS.stall)
            assert [type(said) async for said in generation] == [Piece, Ending]
        assert model.healthy
        assert model.restarts == 0
        await model.close()

    asyncio.run(scene())


def test_hopeless_after_enough_stalls() -> None:
    async def scene() -> None:
        model = supervised(Time(), Maker(FakeEngine(None), FakeEngine(None), FakeEngine("never")))
        await model.start()
        for _ in range(2):
            await until(lambda: model.healthy)
            with pytest.raises(EngineDown):
                await said_by(model)
        await asyncio.wait_for(model.until_hopeless(), 5)
        assert model.hopeless
        assert not model.healthy
        await model.close()
        assert not other_tasks()

    asyncio.run(scene())


def test_back_off_doubles_to_its_bound_and_ends_with_an_answer() -> None:
    async def scene() -> None:
        time = Time()
        died = FakeEngine(EngineDown("died"))
        make = Maker(died, *(RuntimeError("no") for _ in range(5)), FakeEngine("b"))
        model = supervised(time, make)
        await model.start()
        with pytest.raises(EngineDown):
            await said_by(model)
        await until(lambda: model.healthy)
        assert time.backoffs == [1, 2, 4, 8, 8, 8]
        assert model.restarts == 1
        assert await said_by(model) == ["b", "stop"]
        await model.close()

    asyncio.run(scene())


def test_refuses_beyond_its_limit() -> None:
    async def scene() -> None:
        model = supervised(Time(), Maker(FakeEngine("a", "b")))
        await model.start()
        running = [model.generate("x", "") for _ in range(LIMITS.generations)]
        for generation in running:
            await anext(generation)
        with pytest.raises(EngineBusy):
            await said_by(model)
        await running.pop().aclose()
        assert await said_by(model) == ["a", "b", "stop"]
        for generation in running:
            await generation.aclose()
        await model.close()

    asyncio.run(scene())


def test_an_error_of_one_request_leaves_the_engine_up() -> None:
    async def scene() -> None:
        model = supervised(Time(), Maker(FakeEngine(EngineError("too long"))))
        await model.start()
        with pytest.raises(EngineError, match="too long"):
            await said_by(model)
        assert model.healthy
        assert model.restarts == 0
        await model.close()

    asyncio.run(scene())


@pytest.mark.parametrize("script", [("a", None), (None,)])
def test_cancelling_a_generation_closes_it_in_the_engine(script: tuple[str | None, ...]) -> None:
    async def scene() -> None:
        engine = FakeEngine(*script)
        model = supervised(Time(), Maker(engine))
        await model.start()
        task = asyncio.create_task(said_by(model))
        await until(lambda: engine.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 0
        assert model.healthy
        await model.close()

    asyncio.run(scene())


def test_closing_ends_what_runs_and_what_restarts() -> None:
    async def scene() -> None:
        engine = FakeEngine("a", None)
        model = supervised(Time(), Maker(engine))
        await model.start()
        waiting = asyncio.create_task(said_by(model))
        idle = model.generate("x", "")
        await anext(idle)
        await until(lambda: engine.running == 2)
        await model.close()
        with pytest.raises(EngineDown):
            await waiting
        with pytest.raises(EngineDown):
            await anext(idle)
        assert engine.closed
        assert engine.running == 0
        assert not other_tasks()

        first = Maker(FakeEngine(EngineDown("x")))

        async def make() -> Engine:
            if not first.left:
                await asyncio.Event().wait()
            return await first()

        model = supervised(Time(), make)
        await model.start()
        with pytest.raises(EngineDown):
            await said_by(model)
        await asyncio.sleep(0.01)
        await model.close()
        assert not other_tasks()

    asyncio.run(scene())
