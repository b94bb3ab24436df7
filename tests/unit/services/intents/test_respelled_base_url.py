"""The base URL of a provider is spelled in several ways: its creates are those of one account."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.errors import OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.services.create import CreateService
from gateway.services.fleet import Fleet
from gateway.services.intents import IntentService, TargetResolver
from gateway.services.provider_choice import Router
from tests.unit.services.fakes import context, create
from tests.unit.services.intents.creates import ALL, AdapterType, lost_create, until_settled, wait_out
from tests.unit.services.intents.scene import Durable, Keyed, Plain, Scene, live

FIRST = "http://fake.test"
SPELLINGS = ["HTTP://FAKE.test.:80/", "http://fake.test/own/path", "http://fake.test:80"]


def spelled(first: Any, base_url: str, *, name: str | None = None) -> Any:
    """Another adapter for the account of ``first``, with another spelling of the base URL."""
    again = type(first)(name or first.settings.name, scope=first.settings.scope)
    again.world = first.world
    settings = type("Settings", (type(first.settings),), {"own_paths": ("/own/path",)})
    again.settings = settings(**dict(first.settings) | {"base_url": base_url, "name": name or first.settings.name})
    if isinstance(first, Keyed):
        again.by_key, again.markers = first.by_key, first.markers
    return again


def restart_with(scene: Scene, first: Any, base_url: str) -> Any:
    """Restart the gateway with another base URL of the provider. Return the new adapter."""
    again = spelled(first, base_url)
    fleet = Fleet([again], scene.clock)
    scene.adapters, scene.fleet = (again,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.sealer, scene.store))
    return again


def as_written_by_an_earlier_version(scene: Scene) -> None:
    """Remove what only this version writes."""
    scene.rows._connection.execute("DELETE FROM base_urls")


@pytest.mark.parametrize("base_url", SPELLINGS)
@pytest.mark.parametrize("adapter_of", ALL)
async def test_lost_create_is_settled_at_another_spelling_of_the_base_url(
    adapter_of: AdapterType, base_url: str
) -> None:
    first = adapter_of()
    scene = await lost_create(first, made=True)
    again = restart_with(scene, first, base_url)
    await until_settled(scene)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(again))


@pytest.mark.parametrize("adapter_of", ALL)
async def test_lost_create_is_not_settled_at_another_address(adapter_of: AdapterType) -> None:
    first = adapter_of()
    scene = await lost_create(first, made=True)
    restart_with(scene, first, "http://other.test")
    await until_settled(scene)
    assert scene.intent.state is not IntentState.DONE


@pytest.mark.parametrize("upgraded", [False, True])
@pytest.mark.parametrize("base_url", SPELLINGS)
@pytest.mark.parametrize("adapter_of", ALL)
async def test_unknown_create_holds_its_name_at_another_spelling(
    adapter_of: AdapterType, base_url: str, upgraded: bool
) -> None:
    """Nothing shows the runtime, so only the intent prevents a second one."""
    first = adapter_of()
    scene = await lost_create(first, made=True)
    if upgraded:
        as_written_by_an_earlier_version(scene)
    again = restart_with(scene, first, base_url)
    again.finds_nothing = True
    if adapter_of is Plain:
        with pytest.raises(OutcomeUnknown):
            await scene.create(principal="bob")
        again.finds_nothing = False
    answer = await scene.create(principal="bob")
    assert ([answer.created.runtime.provider_id], answer.created.created) == (live(again), False)
    assert scene.intent.principal == "alice"


@pytest.mark.parametrize("adapter_of", ALL)
async def test_absent_create_is_sent_again_at_another_spelling_under_the_same_key(adapter_of: AdapterType) -> None:
    first = adapter_of()
    scene = await lost_create(first, made=False)
    as_written_by_an_earlier_version(scene)
    again = restart_with(scene, first, SPELLINGS[1])
    if adapter_of is Plain:
        await wait_out(scene)
    answer = await scene.create(key="k")
    assert (answer.created.created, len(live(again)), len(set(again.world.keys))) == (True, 1, 1)


@pytest.mark.parametrize("adapter_of", ALL)
async def test_key_is_the_same_at_another_spelling_after_the_store_was_lost(adapter_of: AdapterType) -> None:
    first = adapter_of()
    scene = Scene(first)
    await scene.create(key="k")
    scene.rows.clear()
    again = restart_with(scene, first, SPELLINGS[0])
    await scene.create(key="k")
    assert len(set(again.world.keys)) == 1
    assert len(live(again)) == 1


@pytest.mark.parametrize("adapter_of", ALL)
async def test_replicas_with_different_spellings_make_one_runtime_of_a_name(adapter_of: AdapterType) -> None:
    """Each finds nothing under the name at the provider, whose list lags."""
    first = adapter_of()
    first.finds_nothing = True
    scene = Scene(first)
    made = (await scene.create()).created.runtime.provider_id
    for base_url in SPELLINGS:
        again = spelled(first, base_url)
        fleet = Fleet([again], scene.clock)
        replica = replace(scene.context, fleet=fleet, targets=TargetResolver(fleet, scene.sealer, scene.store))
        service = CreateService(fleet, Router(fleet), IntentService(replica))
        again.finds_nothing = True
        answer = await service.create(create(min(first.kinds).value, name="box"), context("bob"), None)
        assert (answer.created.created, answer.created.runtime.provider_id) == (False, made)
    assert live(first) == [made]


@pytest.mark.parametrize("adapter_of", ALL)
async def test_two_providers_that_spell_one_account_differently_make_one_runtime_of_a_name(
    adapter_of: AdapterType,
) -> None:
    first = adapter_of("one")
    second = spelled(first, SPELLINGS[1], name="two")
    scene = Scene(first, second)
    first.finds_nothing = second.finds_nothing = True
    await scene.create(provider="one")
    answer = await scene.create(provider="two")
    assert (answer.created.created, len(live(first))) == (False, 1)
    assert len({intent.namespace for intent in scene.rows.intents.values()}) == 1


@pytest.mark.parametrize("upgraded", [False, True])
@pytest.mark.parametrize("base_url", SPELLINGS)
async def test_create_without_provider_keeps_its_pin_at_another_spelling(base_url: str, upgraded: bool) -> None:
    first = Durable()
    scene = Scene(first)
    made = await scene.create()
    if upgraded:
        as_written_by_an_earlier_version(scene)
    restart_with(scene, first, base_url)
    again = await scene.create()
    assert again.created.runtime.provider_id == made.created.runtime.provider_id


async def test_creates_of_two_spellings_of_an_earlier_version_are_found_and_sent_again() -> None:
    """The older one is moved to the spelling of the newer one, which is in the settings; its target is the same."""
    first = Plain()
    scene = await lost_create(first, made=False)
    move_intents(scene, FIRST, "http://elsewhere.test")
    again = restart_with(scene, first, SPELLINGS[1])
    await scene.create("other")
    as_written_by_an_earlier_version(scene)
    move_intents(scene, "http://elsewhere.test", FIRST)
    again = restart_with(scene, first, SPELLINGS[1])
    with pytest.raises(OutcomeUnknown):
        await scene.create(principal="bob")
    lost = next(iter(scene.rows.intents))
    while scene.rows.intents[lost].state is IntentState.UNKNOWN:
        await scene.settle(after=1000)
    assert scene.rows.intents[lost].state is IntentState.ABSENT
    assert (await scene.create(key="k")).created.created
    assert len(live(again)) == 2


def move_intents(scene: Scene, base_url: str, other: str) -> None:
    """Change the base URL in the namespaces of intents, as another version may have written it."""
    scene.rows._connection.execute(
        "UPDATE intents SET namespace = replace(namespace, ?, ?)", (f'"{base_url}"', f'"{other}"')
    )
