"""A token is renewed at a provider that tells no account: nobody knows whether the account is still the same one.

So nothing is sent there that was begun with the old token, and what is not found proves nothing. But what is found is
what it is, where that does not depend on who looks.
"""

from typing import Any

import pytest

from gateway.domain.conclusions import GIVE_UP
from gateway.domain.errors import OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.values import State
from gateway.services.fleet import Fleet
from gateway.services.intents import TargetResolver
from tests.unit.services.intents.scene import LOST, Durable, Keyed, Plain, Scene, W, asked, live

WORKSPACE = "5f2b8c1e-7d64-4a3c-9e0b-1a2b3c4d5e6f"
ALIAS = "home"

Adapter = Durable | Plain | Keyed


async def lost(adapter: Adapter, *, made: bool) -> Scene:
    """A create whose answer was lost; ``made``: it was carried out."""
    if made:
        adapter.lost.append(LOST)
    else:
        adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    await told(scene, Retryable.SAME_REQUEST)
    return scene


async def told(scene: Scene, retryable: Retryable) -> None:
    """The caller hears that nobody knows."""
    with pytest.raises(OutcomeUnknown) as caught:
        await scene.create(key="k")
    assert caught.value.retryable is retryable


def renew(scene: Scene, first: Any) -> Any:
    """Go on with another token, at a provider that is otherwise the same."""
    now = type(first)(token="another-token-1", scope=first.settings.scope)
    now.world = first.world
    if isinstance(first, Keyed):
        now.by_key, now.markers = first.by_key, first.markers
    fleet = Fleet([now], scene.clock)
    scene.adapters, scene.fleet = (now,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.context.payloads._sealer))
    return now


async def until_settled(scene: Scene) -> float:
    """Let the reconciler work until nothing is unknown; how many seconds that took."""
    since = scene.clock.time
    while scene.intent.state is IntentState.UNKNOWN:
        assert scene.intent.due_at is not None
        assert scene.clock.time - since < 2 * GIVE_UP
        scene.clock.time = max(scene.clock.time, scene.intent.due_at)
        await scene.reconciler.settle_due()
    return scene.clock.time - since


FOUND_BY_ALL = [(Plain, WORKSPACE), (Keyed, WORKSPACE), (Keyed, ALIAS)]


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_what_was_made_is_found_by_the_reconciler(adapter_of: type[Plain | Keyed], scope: str) -> None:
    first = adapter_of(scope=scope)
    scene = await lost(first, made=True)
    now = renew(scene, first)
    await until_settled(scene)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(now))
    assert scene.intent.reason == ("adopted" if adapter_of is Plain else None)
    assert asked(now) == 1


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_what_was_made_is_found_for_the_caller_who_asks_again(
    adapter_of: type[Plain | Keyed], scope: str
) -> None:
    first = adapter_of(scope=scope)
    scene = await lost(first, made=True)
    now = renew(scene, first)
    answer = await scene.create(key="k")
    assert [answer.created.runtime.provider_id] == live(now)
    assert (answer.created.runtime.adopted is True) == (adapter_of is Plain)
    assert asked(now) == 1, "also where the provider would know the key"


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_what_is_not_found_is_left_to_a_person_and_never_sent_again(
    adapter_of: type[Plain | Keyed], scope: str
) -> None:
    """Case 10. Another owner may not see what its owner would."""
    first = adapter_of(scope=scope)
    scene = await lost(first, made=False)
    now = renew(scene, first)
    await told(scene, Retryable.SAME_REQUEST)
    assert W < await until_settled(scene) < W + 2.0
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    await told(scene, Retryable.NO)
    assert asked(now) == 1


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_what_turns_up_late_is_found_all_the_same(adapter_of: type[Plain | Keyed], scope: str) -> None:
    first = adapter_of(scope=scope)
    scene = await lost(first, made=False)
    now = renew(scene, first)
    await until_settled(scene)
    row = now.put("box", State.RUNNING, scope, kind="browser")
    if isinstance(now, Keyed):
        now.markers[row.provider_id] = scene.intent.id
    await scene.settle(after=W + 1.0)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, row.provider_id)


@pytest.mark.parametrize(("adapter_of", "scope"), FOUND_BY_ALL)
async def test_what_was_waited_out_with_the_old_token_is_not_sent_with_the_new_one(
    adapter_of: type[Plain | Keyed], scope: str
) -> None:
    first = adapter_of(scope=scope)
    scene = await lost(first, made=False)
    await until_settled(scene)
    assert scene.intent.state is IntentState.ABSENT
    now = renew(scene, first)
    await told(scene, Retryable.NO)
    assert asked(now) == 1


@pytest.mark.parametrize(("adapter_of", "scope"), [(Plain, ALIAS), (Durable, WORKSPACE), (Durable, ALIAS)])
async def test_a_namesake_that_may_be_somebody_elses_is_not_taken(
    adapter_of: type[Durable | Plain], scope: str
) -> None:
    """An alias may mean another place to another account; and where names have owners, so has the namesake."""
    first = adapter_of(scope=scope)
    scene = await lost(first, made=True)
    now = renew(scene, first)
    await told(scene, Retryable.SAME_REQUEST)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert (asked(now), asked(now, "find")) == (1, 0 if adapter_of is Durable else 1)
