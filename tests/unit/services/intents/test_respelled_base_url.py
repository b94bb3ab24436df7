"""The base URL of a provider is spelled differently after a restart: its creates are still its own."""

from typing import Any

import pytest

from gateway.domain.intents import IntentState
from gateway.services.fleet import Fleet
from gateway.services.intents import TargetResolver
from tests.unit.services.intents.creates import ALL, AdapterType, lost_create, until_settled
from tests.unit.services.intents.scene import Keyed, Scene, live

SAME = "HTTP://FAKE.test.:80/"


def restart_with(scene: Scene, first: Any, base_url: str) -> Any:
    """Restart the gateway with another base URL of the provider. Return the new adapter."""
    again = type(first)(scope=first.settings.scope)
    again.world = first.world
    again.settings = first.settings.model_copy(update={"base_url": base_url})
    if isinstance(first, Keyed):
        again.by_key, again.markers = first.by_key, first.markers
    fleet = Fleet([again], scene.clock)
    scene.adapters, scene.fleet = (again,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.sealer))
    return again


@pytest.mark.parametrize("adapter_of", ALL)
async def test_lost_create_is_settled_at_another_spelling_of_the_base_url(adapter_of: AdapterType) -> None:
    first = adapter_of()
    scene = await lost_create(first, made=True)
    again = restart_with(scene, first, SAME)
    await until_settled(scene)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(again))


@pytest.mark.parametrize("adapter_of", ALL)
async def test_lost_create_is_not_settled_at_another_address(adapter_of: AdapterType) -> None:
    first = adapter_of()
    scene = await lost_create(first, made=True)
    restart_with(scene, first, "http://other.test")
    await until_settled(scene)
    assert scene.intent.state is not IntentState.DONE
