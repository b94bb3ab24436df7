"""Idempotency keys: which requests are the same, and what a replay returns."""

from typing import Any

import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown, Retryable
from gateway.domain.values import State
from gateway.services.intents import PayloadSealer
from gateway.storage.sealing import Keyring, new_key
from tests.unit.services.intents.creates import (
    ALL,
    AdapterType,
    create_in_progress,
    create_raises,
    lost_create,
    park_intent,
)
from tests.unit.services.intents.scene import LOST, Durable, Plain, Scene, call_count, error_response, live


@pytest.mark.parametrize("adapter_of", ALL)
async def test_replay_returns_the_stored_response_after_the_runtime_was_stopped(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    first = await scene.create(key="k")
    adapter.move(first.created.runtime.provider_id, State.STOPPED)
    adapter.world.asked.clear()
    for _ in range(2):
        again = await scene.create(key="k")
        assert (again.replayed, again.created) == (True, first.created)
    assert adapter.world.asked == []


async def test_replay_of_a_create_that_found_its_runtime_reports_created_false() -> None:
    adapter = Durable()
    adapter.put("box")
    scene = Scene(adapter)
    responses = [await scene.create(key="k") for _ in range(2)]
    assert [(one.created.created, one.replayed) for one in responses] == [(False, False), (False, True)]


@pytest.mark.parametrize("state", ["open", "unknown", "done", "refused", "absent", "parked"])
async def test_key_with_another_request_is_refused_in_every_state(state: str) -> None:
    adapter = Plain()
    scene = Scene(adapter)
    proceed = creating = None
    if state == "open":
        creating, proceed = await create_in_progress(scene, adapter)
    elif state == "done":
        await scene.create(key="k")
    else:
        failure = {
            "refused": error_response(400, errors.InvalidRequest),
            "absent": error_response(429, errors.RateLimited),
        }.get(state, LOST)
        adapter.world.fail("create", failure)
        await create_raises(scene, GatewayError)
    if state == "parked":
        await scene.settle(after=2.0)
        scene.clock.time += 60.0
        await park_intent(scene)
    assert scene.intent.state == state
    sent = call_count(adapter)
    await create_raises(scene, errors.IdempotencyKeyReused, name="another")
    await create_raises(scene, errors.IdempotencyKeyReused, driver="playwright")
    assert call_count(adapter) == sent
    assert scene.intent.state == state
    if proceed is not None and creating is not None:
        proceed.set()
        await creating


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"labels": {}},
    {"labels": {"a": ""}},
    {"config": {}},
    {"config": {"version": "v2"}},
    {"config": {"resources": {"cpu_cores": 1}}},
    {"config": {"list": []}},
    {"config": {"list": None}},
    {"start": False},
    {"if_exists": "return"},
]


@pytest.mark.parametrize("first", range(len(DIFFERENT)))
async def test_omitted_null_empty_and_explicit_default_are_different_requests(first: int) -> None:
    """See docs/fault-cases.md#fault-13."""
    scene = Scene(Durable())
    await scene.create(key="k", **DIFFERENT[first])
    for other, fields in enumerate(DIFFERENT):
        if other == first:
            assert (await scene.create(key="k", **fields)).replayed
        else:
            await create_raises(scene, errors.IdempotencyKeyReused, **fields)


async def test_member_order_and_number_format_do_not_change_the_request() -> None:
    scene = Scene(Durable())
    await scene.create(key="k", config={"a": 1, "b": {"c": 2, "d": [3]}}, labels={"x": "1", "y": "2"})
    again = await scene.create(key="k", labels={"y": "2", "x": "1"}, config={"b": {"d": [3.0], "c": 2.0}, "a": 1})
    assert again.replayed


async def test_same_key_of_two_principals_makes_two_runtimes() -> None:
    """Neither receives the other's runtime. See docs/fault-cases.md#fault-13."""
    adapter = Durable()
    scene = Scene(adapter)
    responses = [await scene.create(name=None, key="k", principal=who) for who in ("alice", "bob")]
    assert len({response.created.runtime.id for response in responses}) == 2
    assert not any(response.replayed for response in responses)
    assert len({response.created.runtime.name for response in responses}) == 2
    assert len(set(adapter.world.keys)) == 2


async def test_key_without_a_name_has_the_same_derived_name_in_every_attempt() -> None:
    """See docs/fault-cases.md#fault-9."""
    adapter = Plain()
    scene = await lost_create(adapter, made=True, name=None)
    name = scene.intent.name
    await scene.settle(after=3.0)
    response = await scene.create(name=None, key="k")
    assert (response.created.runtime.name, len(live(adapter))) == (name, 1)


async def test_request_that_cannot_be_compared_without_its_sealing_key_is_not_retryable() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=True)
    scene.restart(payloads=PayloadSealer(Keyring([new_key()])))
    error = await create_raises(scene, OutcomeUnknown)
    assert error.retryable is Retryable.NO
    assert call_count(adapter) == 1
