"""Slots are neither lost nor assigned twice, whichever waiter is cancelled at whatever time."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.policies.bulkhead import SlotPool, Wait
from tests.unit.upstream.policies.simulation import simulated


@simulated
async def test_waiters_are_served_in_order() -> None:
    slots, served = SlotPool(1, 10), list[int]()

    async def come(number: int) -> None:
        assert await slots.wait(60) is Wait.ACQUIRED
        served.append(number)
        slots.release()

    assert slots.try_acquire()
    tasks = [asyncio.create_task(come(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (slots.waiting, slots.try_acquire()) == (5, False)
    slots.release()
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]
    assert (slots.in_flight, slots.waiting) == (0, 0)


@simulated
async def test_a_wait_times_out_and_leaves_the_queue() -> None:
    slots = SlotPool(1, 10)
    assert slots.try_acquire()
    began = asyncio.get_running_loop().time()
    assert await slots.wait(2.5) is Wait.TIMED_OUT
    assert asyncio.get_running_loop().time() - began == 2.5
    assert slots.waiting == 0
    slots.release()
    assert slots.in_flight == 0


@simulated
async def test_a_slot_assigned_to_a_cancelled_waiter_goes_to_the_next() -> None:
    slots = SlotPool(1, 10)
    assert slots.try_acquire()
    cancelled, patient = (asyncio.create_task(slots.wait(60)) for _ in range(2))
    await asyncio.sleep(0)
    slots.release()  # assigned to the first waiter, whose task has not resumed yet
    cancelled.cancel()
    assert await patient is Wait.ACQUIRED
    assert cancelled.cancelled()
    assert (slots.in_flight, slots.waiting) == (1, 0)


@simulated
async def test_a_released_slot_skips_a_cancelled_waiter() -> None:
    slots = SlotPool(1, 10)
    assert slots.try_acquire()
    cancelled, patient = (asyncio.create_task(slots.wait(60)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    slots.release()  # the cancelled waiter is still in the queue
    assert await patient is Wait.ACQUIRED
    assert (slots.in_flight, slots.waiting) == (1, 0)


@simulated
async def test_all_waiters_can_be_rejected_at_once() -> None:
    slots = SlotPool(1, 10)
    assert slots.try_acquire()
    tasks = [asyncio.create_task(slots.wait(60)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    slots.reject_waiting()
    assert await asyncio.gather(*tasks[1:]) == [Wait.REJECTED] * 2
    assert (slots.in_flight, slots.waiting) == (1, 0)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.floats(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("pass"), st.floats(0, 2)),
        st.tuples(st.just("reject"), st.none()),
    ),
    max_size=60,
)


@given(limit=st.integers(1, 3), steps=_STEPS)
@settings(max_examples=150, deadline=None)
def test_no_slot_is_lost_or_assigned_twice(limit: int, steps: list[tuple[str, float]]) -> None:
    @simulated
    async def run() -> None:
        slots, holding, tasks = SlotPool(limit, 5), 0, list[asyncio.Task[None]]()
        leaving = [asyncio.Event() for _ in range(len(steps))]

        async def hold_slot(number: int, patience: float) -> None:
            nonlocal holding
            if not slots.try_acquire() and (
                slots.waiting >= slots.max_waiting or await slots.wait(patience) is not Wait.ACQUIRED
            ):
                return
            holding += 1
            assert holding <= slots.in_flight <= limit
            try:
                await leaving[number].wait()
            finally:
                holding -= 1
                slots.release()

        for step, value in steps:
            if step == "come":
                tasks.append(asyncio.create_task(hold_slot(len(tasks), value)))
            elif step == "pass":
                await asyncio.sleep(value)
            elif step == "reject":
                slots.reject_waiting()
            elif value < len(tasks):
                tasks[int(value)].cancel() if step == "cancel" else leaving[int(value)].set()
            assert slots.in_flight <= limit
            assert slots.waiting <= slots.max_waiting
        for event in leaving:
            event.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [result for result in results if isinstance(result, AssertionError)]
        assert (slots.in_flight, slots.waiting, holding) == (0, 0, 0)

    run()
