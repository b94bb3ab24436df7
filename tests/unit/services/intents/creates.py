"""Creates in the states from which the tests of intents start."""

import asyncio
from typing import Any, TypeAlias

import pytest

from gateway.domain.conclusions import GIVE_UP
from gateway.domain.errors import GatewayError, OutcomeUnknown
from gateway.domain.intents import Actor, Intent, IntentState
from gateway.ports.store import Version
from tests.unit.services.fakes import FakeAdapter
from tests.unit.services.intents.scene import LOST, WAIT_OUT, Durable, Failure, Keyed, Plain, Scene, call_count

Adapter: TypeAlias = Durable | Plain | Keyed
AdapterType: TypeAlias = type[Durable | Plain | Keyed]
ALL: list[AdapterType] = [Durable, Plain, Keyed]


async def create_raises(scene: Scene, error: type[GatewayError], **options: Any) -> GatewayError:
    """The error that a create with the key ``k`` raises. It has to be of this very type, except for ``GatewayError``,
    which means any error."""
    with pytest.raises(error) as caught:
        await scene.create(**{"key": "k", **options})
    assert error in {GatewayError, type(caught.value)}
    return caught.value


async def lost_create(adapter: Adapter, *, made: bool, failure: Failure = LOST, **options: Any) -> Scene:
    """A create with the key ``k`` whose response was lost; ``made``: the provider executed it."""
    if made:
        adapter.lost.append(failure)
    else:
        adapter.world.fail("create", failure)
    scene = Scene(adapter)
    await create_raises(scene, OutcomeUnknown, **options)
    assert scene.intent.state is IntentState.UNKNOWN
    return scene


async def create_in_progress(scene: Scene, adapter: Adapter, **options: Any) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """Start a create that is held at the provider until the returned event is set."""
    sending, proceed = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        del adapter.world.before["create"]
        sending.set()
        await proceed.wait()

    adapter.world.before["create"] = hang
    creating = asyncio.create_task(scene.create(**{"key": "k", **options}))
    await sending.wait()
    return creating, proceed


async def park_intent(scene: Scene) -> Intent:
    """Park the only intent."""
    claimed = await scene.store.claim_due("settler", 10.0, 1)
    assert [intent.state for intent in claimed] == [IntentState.UNKNOWN]
    await scene.store.move(Version.of(scene.intent), IntentState.PARKED, Actor.RECONCILER, "settler")
    return scene.intent


async def wait_out(scene: Scene) -> None:
    """Run the reconciler until the intent is absent."""
    while scene.intent.state is IntentState.UNKNOWN:
        await scene.settle(after=WAIT_OUT)
    assert scene.intent.state is IntentState.ABSENT


async def until_settled(scene: Scene) -> float:
    """Run the reconciler until the intent is not unknown. Return the seconds that this took."""
    since = scene.clock.time
    while scene.intent.state is IntentState.UNKNOWN:
        assert scene.intent.due_at is not None
        assert scene.clock.time - since < 2 * GIVE_UP
        scene.clock.time = max(scene.clock.time, scene.intent.due_at)
        await scene.reconciler.settle_due()
    return scene.clock.time - since


def two_providers(adapter_of: AdapterType = Durable, **settings: Any) -> tuple[Any, Any]:
    """Two providers; creates prefer the first one. ``settings`` are those of the second one."""
    return (
        adapter_of("one", base_url="http://one.test", order=1),
        adapter_of("two", base_url="http://two.test", order=2, **settings),
    )


def create_counts(*adapters: FakeAdapter) -> list[int]:
    """The number of creates that each provider received."""
    return [call_count(adapter) for adapter in adapters]
