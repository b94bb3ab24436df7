"""Settling of creates whose sealing key, credentials or provider were changed. See docs/fault-cases.md#fault-10."""

from typing import Any

import msgspec
import pytest

from gateway.domain.intents import IntentState
from gateway.services.fleet import Fleet
from gateway.services.intents import PayloadSealer, TargetResolver
from gateway.storage.sealing import Keyring, new_key
from tests.unit.services.intents.creates import AdapterType, lost_create, until_settled
from tests.unit.services.intents.scene import Durable, Keyed, Plain, Scene, call_count, live


def replace_sealing_key(scene: Scene) -> None:
    """Restart the gateway with another sealing key, without the previous one."""
    sealer = Keyring([new_key()])
    scene.restart(payloads=PayloadSealer(sealer), targets=TargetResolver(scene.fleet, sealer, scene.store))


@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
@pytest.mark.parametrize("made", [True, False])
async def test_create_without_its_sealing_key_is_found_by_look_up_or_parked(
    adapter_of: AdapterType, made: bool
) -> None:
    """The namespace has the account, so the target is still known. See docs/fault-cases.md#fault-10."""
    adapter = with_account(adapter_of())
    scene = await lost_create(adapter, made=made)
    replace_sealing_key(scene)
    if adapter_of is Durable:
        report_times(adapter, "Thu, 01 Jan 1970 00:16:42 GMT")
    await until_settled(scene)
    assert call_count(adapter) == 1
    if made:
        assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
    else:
        assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "unreadable")


async def test_create_without_its_sealing_key_and_an_account_is_parked() -> None:
    adapter = Durable()
    scene = await lost_create(adapter, made=False)
    replace_sealing_key(scene)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert call_count(adapter) == 1


def report_times(adapter: Any, date: str) -> None:
    """Make a provider report its time, and the times at which its runtimes were made."""
    for provider_id, runtime in adapter.world.runtimes.items():
        adapter.world.runtimes[provider_id] = msgspec.structs.replace(runtime, created_at="1970-01-01T00:16:41Z")

    async def tell() -> None:
        adapter.world.calls[-1].provider_date = date

    adapter.world.before["find"] = tell


def with_account(adapter: Any, account: str = "acc-1") -> Any:
    """Make a provider return its account."""

    async def tell(_call: object) -> str:
        return account

    adapter.account = tell
    return adapter


@pytest.mark.parametrize("change", ["token", "account", "address", "scope", "gone"])
@pytest.mark.parametrize("adapter_of", [Durable, Plain, Keyed])
async def test_changed_target_sends_nothing_and_parks_the_create(adapter_of: AdapterType, change: str) -> None:
    """See docs/fault-cases.md#fault-10."""
    first = adapter_of() if change == "token" else with_account(adapter_of())
    scene = await lost_create(first, made=False)
    settings = {
        "token": {"token": "another-token-1"},
        "address": {"base_url": "http://elsewhere.test"},
        "scope": {"scope": "work"},
        "gone": {"name": "other", "base_url": "http://elsewhere.test"},
    }
    now = adapter_of(**settings.get(change, {}))
    if change != "token":
        now = with_account(now, "acc-2" if change == "account" else "acc-1")
    reconfigure(scene, now)
    await until_settled(scene)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.PARKED, "target_changed")
    assert call_count(now) == 0
    assert call_count(first) == 1


def reconfigure(scene: Scene, adapter: Any) -> None:
    """Restart the gateway with another provider."""
    fleet = Fleet([adapter], scene.clock)
    scene.adapters, scene.fleet = (adapter,), fleet
    scene.restart(fleet=fleet, targets=TargetResolver(fleet, scene.sealer, scene.store))


async def test_new_name_and_token_of_the_same_account_are_the_same_target() -> None:
    scene = await lost_create(with_account(Durable()), made=False)
    now = with_account(Durable("renamed", token="another-token-1"))
    reconfigure(scene, now)
    await scene.settle(after=2.0)
    assert (scene.intent.state, call_count(now)) == (IntentState.DONE, 1)
