"""The sealing key of a done create was removed: the same idempotency key returns its runtime, read at the provider."""

import pytest

from gateway.domain.errors import AlreadyExists, IdempotencyKeyReused, OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.services.provider_choice import Target
from tests.unit.services.fakes import context, create
from tests.unit.services.intents.creates import ALL, AdapterType, create_raises, lost_create, until_settled
from tests.unit.services.intents.scene import LOST, Durable, Keyed, Plain, Scene, call_count, live
from tests.unit.services.intents.test_settling_targets import replace_sealing_key


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("adapter_of", ALL)
async def test_done_create_returns_its_runtime_to_the_same_key(adapter_of: AdapterType, named: bool) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    name = "box" if named else None
    first = await scene.create(name, key="k")
    replace_sealing_key(scene)
    for _ in range(2):
        again = await scene.create(name, key="k")
        assert (again.created.created, again.replayed) == (True, True)
        assert again.created.runtime.id == first.created.runtime.id
        assert again.created.runtime.created is True
    assert (call_count(adapter), scene.intent.state) == (1, IntentState.DONE)


@pytest.mark.parametrize("adapter_of", ALL)
async def test_create_that_found_an_existing_runtime_returns_it_as_existing(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    adapter.put("box", State.RUNNING)
    scene = Scene(adapter)
    assert not (await scene.create(key="k")).created.created
    replace_sealing_key(scene)
    again = await scene.create(key="k")
    assert (again.created.created, again.created.runtime.created, again.replayed) == (False, False, True)


@pytest.mark.parametrize("adapter_of", ALL)
async def test_create_that_was_settled_later_returns_its_runtime_as_created(adapter_of: AdapterType) -> None:
    adapter = adapter_of()
    scene = await lost_create(adapter, made=True)
    await until_settled(scene)
    first = await scene.create(key="k")
    replace_sealing_key(scene)
    again = await scene.create(key="k")
    assert (again.created.created, again.created.runtime.adopted) == (True, first.created.runtime.adopted)
    assert [again.created.runtime.provider_id] == live(adapter)


async def test_replayed_create_of_a_durable_runtime_returns_it_as_created() -> None:
    """The provider's second response says that it existed; the gateway's said that it was created."""
    adapter = Durable()
    adapter.lost.append(LOST)
    scene = Scene(adapter)
    await create_raises(scene, OutcomeUnknown)
    assert (await scene.create(key="k")).created.created
    replace_sealing_key(scene)
    assert (await scene.create(key="k")).created.created


async def test_stopped_runtime_is_returned_and_not_made_again() -> None:
    adapter = Plain()
    scene = Scene(adapter)
    first = await scene.create(key="k")
    adapter.move(first.created.runtime.provider_id, State.STOPPED)
    replace_sealing_key(scene)
    again = await scene.create(key="k")
    assert (again.created.runtime.id, again.created.runtime.state) == (first.created.runtime.id, State.STOPPED)
    assert call_count(adapter) == 1


async def test_create_that_started_its_runtime_does_not_start_it_again() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    first = await scene.create(key="k", start=True)
    adapter.move(first.created.runtime.provider_id, State.IDLE)
    replace_sealing_key(scene)
    again = await scene.create(key="k", start=True)
    assert (again.created.runtime.id, again.created.created) == (first.created.runtime.id, True)
    assert call_count(adapter, "start") == 1


@pytest.mark.parametrize("change", [{"name": "other"}, {"kind": "browser"}])
async def test_request_with_another_name_or_kind_does_not_receive_the_runtime(change: dict[str, str]) -> None:
    durable, browser = Durable("one"), Keyed("two")
    scene = Scene(durable, browser)
    await scene.create(key="k")
    replace_sealing_key(scene)
    await create_raises(scene, IdempotencyKeyReused, **change)


async def test_request_of_another_operation_does_not_receive_the_runtime() -> None:
    scene = Scene(Durable())
    await scene.create(key="k")
    replace_sealing_key(scene)
    provider = scene.fleet.get("one")
    assert provider is not None
    with pytest.raises(IdempotencyKeyReused):
        await scene.creates.create_at(Target(provider, "home"), create(name="box"), context("alice"), "k")


async def test_request_that_the_runtime_contradicts_receives_the_differing_fields() -> None:
    """Whether the request or the runtime was changed cannot be known."""
    adapter = Durable()
    scene = Scene(adapter)
    await scene.create(key="k")
    replace_sealing_key(scene)
    error = await create_raises(scene, AlreadyExists, config={"resources": {"cpu_cores": 8}})
    assert [fault.pointer for fault in error.errors] == ["#/config/resources"]
    assert (call_count(adapter), scene.intent.state) == (1, IntentState.DONE)


async def test_create_that_is_not_done_still_needs_the_key() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=False)
    replace_sealing_key(scene)
    await create_raises(scene, OutcomeUnknown)
    assert call_count(adapter) == 1
