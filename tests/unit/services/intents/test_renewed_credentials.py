"""The token of a provider without a readable account is replaced: whether the account is the same is not known.

So creates that began with the old token are not sent again, and an empty look-up proves nothing. But a runtime that is
found counts, unless its identity depends on the account that looks.
"""

from typing import Any

import pytest

from gateway.domain.errors import OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.services.fleet import Fleet
from gateway.services.intents import TargetResolver
from tests.unit.services.intents.creates import lost_create, until_settled
from tests.unit.services.intents.scene import WAIT_OUT, Durable, Keyed, Plain, Scene, call_count, live

WORKSPACE = "5f2b8c1e-7d64-4a3c-9e0b-1a2b3c4d5e6f"
ALIAS = "home"


async def create_is_unknown(scene: Scene, retryable: Retryable) -> None:
    """Check that a create with the key ``k`` raises ``OutcomeUnknown``."""
    with pytest.raises(OutcomeUnknown) as caught:
        await scene.create(key="k")
    assert caught.value.retryable is retryable


def renew(scene: Scene, first: Any) -> Any:
    """Restart the gateway with another token for a provider that is otherwise the same. Return the new adapter."""
    renewed = type(first)(token="another-token-1", scope=first.settings.scope)
    renewed.world = first.world
    if isinstance(first, Keyed):
        renewed.by_key, renewed.markers = first.by_key, first.markers
    fleet = Fleet([renewed], scene.clock)
    scene.adapters, scene.fleet = (renewed,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.sealer, scene.store))
    return renewed


FOUND_BY_ALL = [(Plain, WORKSPACE), (Keyed, WORKSPACE), (Keyed, ALIAS)]


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_made_runtime_is_found_by_the_reconciler(adapter_of: type[Plain | Keyed], scope: str) -> None:
    first = adapter_of(scope=scope)
    scene = await lost_create(first, made=True)
    renewed = renew(scene, first)
    await until_settled(scene)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(renewed))
    assert scene.intent.reason == ("adopted" if adapter_of is Plain else None)
    assert call_count(renewed) == 1


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_made_runtime_is_found_for_the_caller_that_retries(adapter_of: type[Plain | Keyed], scope: str) -> None:
    first = adapter_of(scope=scope)
    scene = await lost_create(first, made=True)
    renewed = renew(scene, first)
    response = await scene.create(key="k")
    assert [response.created.runtime.provider_id] == live(renewed)
    assert (response.created.runtime.adopted is True) == (adapter_of is Plain)
    assert call_count(renewed) == 1, "nothing is sent even where the provider would recognise the key"


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_create_that_is_not_found_is_parked_and_never_sent_again(
    adapter_of: type[Plain | Keyed], scope: str
) -> None:
    """Another owner may not see the owner's runtimes. See docs/fault-cases.md#fault-10."""
    first = adapter_of(scope=scope)
    scene = await lost_create(first, made=False)
    renewed = renew(scene, first)
    await create_is_unknown(scene, Retryable.SAME_REQUEST)
    assert WAIT_OUT < await until_settled(scene) < WAIT_OUT + 2.0
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    await create_is_unknown(scene, Retryable.NO)
    assert call_count(renewed) == 1


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_late_runtime_is_found_after_the_create_was_parked(adapter_of: type[Plain | Keyed], scope: str) -> None:
    first = adapter_of(scope=scope)
    scene = await lost_create(first, made=False)
    renewed = renew(scene, first)
    await until_settled(scene)
    row = renewed.put("box", State.RUNNING, scope, kind="browser")
    if isinstance(renewed, Keyed):
        renewed.markers[row.provider_id] = scene.intent.id
    await scene.settle(after=WAIT_OUT + 1.0)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, row.provider_id)


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_create_waited_out_with_the_old_token_is_not_sent_with_the_new_one(
    adapter_of: type[Plain | Keyed], scope: str
) -> None:
    first = adapter_of(scope=scope)
    scene = await lost_create(first, made=False)
    await until_settled(scene)
    assert scene.intent.state is IntentState.ABSENT
    renewed = renew(scene, first)
    await create_is_unknown(scene, Retryable.NO)
    assert call_count(renewed) == 1


@pytest.mark.parametrize(("adapter_of", "scope"), [(Plain, ALIAS), (Durable, WORKSPACE), (Durable, ALIAS)])
async def test_runtime_of_that_name_that_may_belong_to_another_owner_is_not_adopted(
    adapter_of: type[Durable | Plain], scope: str
) -> None:
    """An alias may mean another scope to another account; and where names are per owner, the runtime may be another
    owner's."""
    first = adapter_of(scope=scope)
    scene = await lost_create(first, made=True)
    renewed = renew(scene, first)
    await create_is_unknown(scene, Retryable.SAME_REQUEST)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert (call_count(renewed), call_count(renewed, "find")) == (1, 0 if adapter_of is Durable else 1)
