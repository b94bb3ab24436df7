"""Deadlines on one timer behave like ``asyncio.timeout``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gateway.upstream.deadlines import Deadlines

Within = Callable[[float], AbstractAsyncContextManager[Any]]


@pytest.fixture(params=["deadlines", "asyncio.timeout"])
def within(request: pytest.FixtureRequest) -> Within:
    """The same tests run with :func:`asyncio.timeout`, which it replaces."""
    if request.param == "asyncio.timeout":
        return asyncio.timeout
    deadlines = Deadlines()

    @asynccontextmanager
    async def block(seconds: float) -> AsyncIterator[None]:
        with deadlines.within(seconds):
            yield

    return block


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_block_that_ends_in_time_is_not_affected(within: Within) -> None:
    async with within(60):
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_block_that_does_not_end_in_time_is_cancelled_and_times_out(within: Within) -> None:
    with pytest.raises(TimeoutError):
        async with within(0.001):
            await forever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_earlier_deadline_is_not_delayed_by_a_later_one(within: Within) -> None:
    async def wait(seconds: float) -> None:
        async with within(seconds):
            await forever()

    late = asyncio.create_task(wait(60))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await wait(0.001)
    assert not late.done()
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late


async def test_a_deadline_still_applies_after_an_earlier_wait_ended(within: Within) -> None:
    async with within(0.001):
        pass
    with pytest.raises(TimeoutError):
        async with within(0.002):
            await forever()


async def test_each_of_many_ends_at_its_own_deadline(within: Within) -> None:
    ended: list[float] = []
    loop = asyncio.get_running_loop()

    async def wait(seconds: float) -> None:
        deadline = loop.time() + seconds
        try:
            async with within(seconds):
                await forever()
        except TimeoutError:
            ended.append(deadline)
            assert loop.time() >= deadline

    await asyncio.gather(*(wait(seconds) for seconds in (0.03, 0.01, 0.02, -1)))
    assert len(ended) == 4
    assert ended == sorted(ended)


async def test_deadlines_that_have_passed_together_end_in_their_order() -> None:
    deadlines, ended = Deadlines(), list[float]()
    loop = asyncio.get_running_loop()

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds) as block:
            await forever()
        ended.append(block.deadline)

    waits = [asyncio.create_task(wait(number / 10_000)) for number in range(40, 0, -1)]
    await asyncio.sleep(0)
    late = loop.time() + 0.01
    while loop.time() < late:
        pass  # the event loop is blocked until all deadlines have passed
    await asyncio.gather(*waits)
    assert len(ended) == 40
    assert ended == sorted(ended)


async def test_an_error_of_the_block_is_raised_unchanged(within: Within) -> None:
    with pytest.raises(KeyError):
        async with within(60):
            raise KeyError


async def test_a_cancelled_task_stays_cancelled(within: Within) -> None:
    async def wait() -> None:
        async with within(60):
            await forever()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_has_priority_over_a_deadline(within: Within) -> None:
    async def wait() -> None:
        async with within(0.001):
            try:
                await forever()
            finally:
                task.cancel()

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_waits_use_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    set_for: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
        set_for.append(when)
        return call_at(when, *args, **options)

    monkeypatch.setattr(loop, "call_at", counted)
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.within(60):
            await asyncio.sleep(0)
    assert len(set_for) == 1


async def test_a_deadline_that_was_moved_later_or_sooner_applies() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    for first, then in ((0.001, 0.02), (60.0, 0.001)):

        async def moving(first: float = first, then: float = then) -> None:
            with deadlines.within(first) as wait:
                wait.move(then)
                await forever()

        end = loop.time() + then
        with pytest.raises(TimeoutError):
            await moving()
        assert loop.time() >= end


async def test_moving_the_deadline_of_a_block_that_has_ended_does_not_cancel_its_task() -> None:
    deadlines = Deadlines()
    with deadlines.within(60) as ended:
        pass
    ended.move(0.0)
    ended.expire()
    with pytest.raises(TimeoutError), deadlines.within(0.001):
        await forever()
    assert not ended.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_may_continue_is_asked_again_and_cancelled_later() -> None:
    deadlines = Deadlines()
    answers = [True, True, False]

    async def waiting() -> None:
        with deadlines.within(0.001) as wait:
            wait.may_continue = lambda: answers.pop(0)
            await forever()

    with pytest.raises(TimeoutError):
        await waiting()
    assert answers == []


async def test_a_block_without_time_left_does_not_start() -> None:
    with pytest.raises(TimeoutError), Deadlines().within(0):
        pytest.fail("the block was entered")


async def test_a_deadline_outside_of_a_task_is_refused() -> None:
    def outside() -> None:
        try:
            with Deadlines().within(1):
                pass
        except RuntimeError as exc:
            refused.set_result(str(exc))

    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(outside)
    assert "a running task" in await refused
