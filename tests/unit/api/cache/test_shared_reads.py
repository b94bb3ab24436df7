"""Concurrent reads share one request to the provider, within limits."""

import asyncio

import pytest

from gateway.api.cache.cache import Result
from gateway.domain import errors
from tests.unit.api.cache.cached_provider import GET, NEW, ONE, Cache, Gate, refused, started


async def test_concurrent_reads_of_the_same_share_one_request() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    tasks = await started(cache, *(cache.read() for _ in range(3)))
    gate.open.set()
    served = [await task for task in tasks]
    assert [each.result for each in served] == [Result.MISS, Result.COLLAPSED, Result.COLLAPSED]
    assert {each.response.body for each in served} == {b"answer 1"}
    assert cache.asked == 1


async def test_a_read_after_a_write_does_not_share_a_read_from_before_it() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    (early,) = await started(cache, cache.read())
    cache.reads.written("one", ONE)
    (late,) = await started(cache, cache.read())
    gate.open.set()
    assert ((await early).response.body, (await late).response.body) == (b"answer 1", b"answer 2")
    assert (await cache.read()).response.body == b"answer 2"


async def test_a_new_response_is_not_shared_nor_replaced_by_an_older_read() -> None:
    cache = Cache()
    slow = cache.meanwhile = Gate()
    (early,) = await started(cache, cache.read())
    cache.meanwhile = None
    assert (await cache.read(terms=NEW)).response.body == b"answer 2"
    slow.open.set()
    assert (await early).response.body == b"answer 1"
    assert (await cache.read()).response.body == b"answer 2"


async def test_principals_do_not_share_reads_in_flight() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    tasks = await started(cache, cache.read(), cache.read(GET._replace(reader=("bob", None, None))))
    gate.open.set()
    assert [(await task).result for task in tasks] == [Result.MISS, Result.MISS]


async def test_a_cancelled_waiter_does_not_affect_the_others() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    first, leaving, staying = await started(cache, *(cache.read() for _ in range(3)))
    leaving.cancel()
    await asyncio.wait([leaving])
    gate.open.set()
    assert ((await first).response, (await staying).result) == ((await staying).response, Result.COLLAPSED)


async def test_a_shared_read_continues_when_the_caller_that_started_it_leaves() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    first, second, third = await started(cache, *(cache.read() for _ in range(3)))
    first.cancel()
    await asyncio.wait([first])
    gate.open.set()
    assert [(await task).result for task in (second, third)] == [Result.COLLAPSED, Result.COLLAPSED]
    assert (cache.asked, (await cache.read()).result) == (1, Result.HIT)


async def test_a_shared_read_ends_when_its_last_waiter_leaves() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    tasks = await started(cache, *(cache.read() for _ in range(3)))
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    assert gate.waiting == 1
    tasks[2].cancel()
    await asyncio.wait(tasks[2:])
    cache.meanwhile = None
    assert (await cache.read()).response.body == b"answer 2"
    assert gate.waiting == 0


async def test_a_failure_is_shared_and_not_stored() -> None:
    cache = Cache()
    gate, cache.failure = Gate(), refused(errors.NotFound, 404)
    cache.meanwhile = gate
    tasks = await started(cache, cache.read(), cache.read())
    gate.open.set()
    for task in tasks:
        with pytest.raises(errors.NotFound):
            await task
    assert cache.asked == 1
    cache.failure = None
    assert (await cache.read()).response.body == b"answer 2"


async def test_an_unexpected_exception_is_not_shared() -> None:
    cache = Cache()
    gate = cache.meanwhile = Gate()
    first, second = await started(cache, cache.read(), cache.read())
    cache.failure = RuntimeError("a bug")
    gate.open.set()
    for task in (first, second):
        with pytest.raises(RuntimeError):
            await task
    assert cache.asked == 2
