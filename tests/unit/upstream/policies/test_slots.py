"""Places are neither lost nor doubled, whoever is cancelled when."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.policies.slots import SlotPool, Wait
from tests.unit.upstream.policies.simulation import simulated


@simulated
async def test_waiters_are_served_in_order() -> None:
    places, served = SlotPool(1, 10), list[int]()

    async def come(number: int) -> None:
        assert await places.wait(60) is Wait.ACQUIRED
        served.append(number)
        places.release()

    assert places.try_acquire()
    tasks = [asyncio.create_task(come(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (places.waiting, places.try_acquire()) == (5, False)
    places.release()
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]
    assert (places.in_flight, places.waiting) == (0, 0)


@simulated
async def test_a_wait_times_out_and_leaves_the_queue() -> None:
    places = SlotPool(1, 10)
    assert places.try_acquire()
    began = asyncio.get_running_loop().time()
    assert await places.wait(2.5) is Wait.TIMED_OUT
    assert asyncio.get_running_loop().time() - began == 2.5
    assert places.waiting == 0
    places.release()
    assert places.in_flight == 0


@simulated
async def test_a_slot_assigned_to_a_cancelled_waiter_goes_to_the_next() -> None:
    places = SlotPool(1, 10)
    assert places.try_acquire()
    cancelled, patient = (asyncio.create_task(places.wait(60)) for _ in range(2))
    await asyncio.sleep(0)
    places.release()  # the place is the first one's now, which does not know it yet
    cancelled.cancel()
    assert await patient is Wait.ACQUIRED
    assert cancelled.cancelled()
    assert (places.in_flight, places.waiting) == (1, 0)


@simulated
async def test_a_released_slot_skips_a_cancelled_waiter() -> None:
    places = SlotPool(1, 10)
    assert places.try_acquire()
    cancelled, patient = (asyncio.create_task(places.wait(60)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    places.release()  # it stands in the row still
    assert await patient is Wait.ACQUIRED
    assert (places.in_flight, places.waiting) == (1, 0)


@simulated
async def test_all_waiters_can_be_rejected_at_once() -> None:
    places = SlotPool(1, 10)
    assert places.try_acquire()
    tasks = [asyncio.create_task(places.wait(60)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    places.reject_waiting()
    assert await asyncio.gather(*tasks[1:]) == [Wait.REJECTED] * 2
    assert (places.in_flight, places.waiting) == (1, 0)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.floats(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("pass"), st.floats(0, 2)),
        st.tuples(st.just("turn away"), st.none()),
    ),
    max_size=60,
)


@given(limit=st.integers(1, 3), steps=_STEPS)
@settings(max_examples=150, deadline=None)
def test_no_slot_is_lost_or_assigned_twice(limit: int, steps: list[tuple[str, float]]) -> None:
    @simulated
    async def run() -> None:
        places, holding, tasks = SlotPool(limit, 5), 0, list[asyncio.Task[None]]()
        leaving = [asyncio.Event() for _ in range(len(steps))]

        async def visit(number: int, patience: float) -> None:
            nonlocal holding
            if not places.try_acquire() and (
                places.waiting >= places.max_waiting or await places.wait(patience) is not Wait.ACQUIRED
            ):
                return
            holding += 1
            assert holding <= places.in_flight <= limit
            try:
                await leaving[number].wait()
            finally:
                holding -= 1
                places.release()

        for step, value in steps:
            if step == "come":
                tasks.append(asyncio.create_task(visit(len(tasks), value)))
            elif step == "pass":
                await asyncio.sleep(value)
            elif step == "turn away":
                places.reject_waiting()
            elif value < len(tasks):
                tasks[int(value)].cancel() if step == "cancel" else leaving[int(value)].set()
            assert places.in_flight <= limit
            assert places.waiting <= places.max_waiting
        for event in leaving:
            event.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [result for result in results if isinstance(result, AssertionError)]
        assert (places.in_flight, places.waiting, holding) == (0, 0, 0)

    run()
