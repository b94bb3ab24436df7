"""Which provider a name belongs to when a create does not name one."""

import pytest

from gateway.domain import errors
from gateway.domain.errors import OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.domain.runtime import CreateAttempt
from gateway.domain.values import State
from tests.unit.services.intents.creates import create_counts, create_raises, two_providers
from tests.unit.services.intents.scene import LOST, REFUSED, Plain, Scene, call_count, error_response, live


@pytest.mark.parametrize("key", ["k", "other", None])
async def test_same_key_or_name_returns_the_runtime_that_a_failover_made(key: str | None) -> None:
    one, other = two_providers()
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    first = await scene.create(key="k")
    for hidden in (False, True):
        if hidden:
            other.world.fail("find", error_response(503, errors.ProviderUnavailable))
        again = await scene.create(key=key)
        assert again.created.runtime.id == first.created.runtime.id
    assert (call_count(one), live(one)) == (1, [])


async def test_name_without_a_provider_stays_at_its_provider_even_if_that_one_is_unreachable() -> None:
    one, other = two_providers()
    scene = Scene(one, other)
    first = await scene.create()
    assert first.created.runtime.provider == "one"
    one.world.fail("find", error_response(503, errors.ProviderUnavailable))
    one.world.fail("create", REFUSED)
    await create_raises(scene, errors.ProviderUnavailable, key=None)
    assert call_count(other) == 0


async def test_pin_applies_to_one_principal() -> None:
    one, other = two_providers()
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    assert (await scene.create()).created.runtime.provider == "two"
    other.world.runtimes.clear()
    assert (await scene.create(principal="bob")).created.runtime.provider == "one"


async def test_name_whose_provider_is_no_longer_configured_is_not_created_elsewhere() -> None:
    one, other = two_providers()
    scene = Scene(one, other)
    await scene.create()
    scene.fleet.replace([other])
    error = await create_raises(scene, errors.AlreadyExists, key=None)
    assert "name a provider" in error.detail
    assert call_count(other) == 0


async def test_existing_runtime_at_the_second_provider_is_returned() -> None:
    one, other = two_providers()
    there = other.put("box")
    other.world.fail("find", error_response(503, errors.ProviderUnavailable))
    one.world.fail("create", REFUSED)
    scene = Scene(one, other)
    response = await scene.create(key="k")
    assert (response.created.runtime.id, response.created.created) == (there.id, False)
    assert response.created.runtime.attempts == [CreateAttempt(provider="one", code="provider_unavailable")]


async def test_name_held_by_another_create_at_the_second_provider_is_not_sent_there() -> None:
    one, other = two_providers(Plain)
    other.world.fail("create", LOST)
    scene = Scene(one, other)
    await create_raises(scene, OutcomeUnknown, key="theirs", provider="two", principal="bob")
    one.world.fail("create", REFUSED)
    await create_raises(scene, errors.ProviderUnavailable)
    assert create_counts(one, other) == [1, 1]
    assert scene.states == [IntentState.UNKNOWN, IntentState.REFUSED]


async def test_two_providers_of_one_account_are_one_namespace() -> None:
    """What one of them may have made, the other does not make again. See docs/fault-cases.md#fault-12."""
    one, other = Plain("one", order=1), Plain("two", order=2)
    for adapter in (one, other):

        async def account(_call: object) -> str:
            return "acc-1"

        adapter.account = account  # type: ignore[method-assign]
    one.world.fail("create", LOST)
    scene = Scene(one, other)
    await create_raises(scene, OutcomeUnknown, provider="one")
    await create_raises(scene, OutcomeUnknown, key="other", provider="two")
    assert create_counts(one, other) == [1, 0]


async def test_live_runtime_of_the_name_determines_the_provider() -> None:
    one, other = two_providers()
    there = other.put("box", State.RUNNING)
    scene = Scene(one, other)
    response = await scene.create(key="k")
    assert (response.created.runtime.id, call_count(one)) == (there.id, 0)
