"""When the provider is asked again where the connections to a runtime lead."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from gateway.domain.access import SYSTEM
from gateway.domain.errors import StateConflict
from gateway.domain.runtime import Connection
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import DataProtocol, Endpoint
from gateway.services.data_plane.endpoints import Endpoints
from gateway.services.data_plane.grants import Grant
from gateway.services.fleet import Fleet
from tests.unit.services.fakes import BrowserLike, FakeClock


class Cdp(DataProtocol):
    name = "cdp"

    def endpoint(self, connection: Connection) -> Endpoint:
        return Endpoint(connection.url)


CDP = Cdp()


class Driven(BrowserLike):
    """A browser with a data plane."""

    data_protocols: ClassVar[Mapping[str, DataProtocol]] = {"cdp": CDP}
    data_hosts: ClassVar[tuple[str, ...]] = ()


class Scene:
    """A running browser, and a grant for it."""

    def __init__(self) -> None:
        self.adapter, self.clock = Driven("one"), FakeClock()
        fleet = Fleet([self.adapter], self.clock)
        self.endpoints = Endpoints(fleet, self.clock)
        self.runtime = self.adapter.put("bot", State.RUNNING)
        self.adapter.world.connections[self.runtime.provider_id] = [Connection(protocol="cdp", url="http://h")]
        self.ctx = RequestContext("r", SYSTEM)
        self.resolved = fleet.resolve(self.runtime.id, self.ctx)
        values: dict[str, Any] = {"protocol": "cdp", "principal": "p", "key_id": None, "expires_at": 1e12}
        instance = self.adapter.instance_of(self.runtime)
        self.grant = Grant(runtime_id=self.runtime.id, instance=instance, generation=0, epoch="e", **values)

    async def endpoint(self) -> Endpoint:
        return await self.endpoints.endpoint(self.resolved, self.grant, CDP, self.ctx)


async def test_read_in_progress_while_the_runtime_is_stopped_is_used_by_no_later_request() -> None:
    scene, reading, stopped = Scene(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reading.set()
        await stopped.wait()

    scene.adapter.world.before["connections"] = slow
    earlier = asyncio.create_task(scene.endpoint())
    await reading.wait()
    scene.adapter.move(scene.runtime.provider_id, State.STOPPED)
    scene.clock.time += 0.1
    scene.endpoints.written(scene.runtime.id)
    with pytest.raises(StateConflict):
        await scene.endpoint()
    stopped.set()
    assert (await earlier).url == "http://h"
    with pytest.raises(StateConflict):
        await scene.endpoint()


async def test_endpoint_is_used_for_some_seconds_without_asking_again() -> None:
    scene = Scene()
    for seconds, asked in ((0, 1), (14, 1), (2, 2)):
        scene.clock.time += seconds
        assert (await scene.endpoint()).url == "http://h"
        assert scene.adapter.world.asked.count("get") == asked
