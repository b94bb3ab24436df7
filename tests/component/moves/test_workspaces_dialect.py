"""Clients of the workspaces era go on with their aliases: the runtimes are at another provider of that API, or at the
current API."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.app import plugins
from tests.component.moves.moving import MOVER, Moving
from tests.component.whole_gateway import Gateway, Response, whole_gateway

RUNTIMES = f"/bctrl/v1/workspaces/{plugins()['bctrl'].demo.scope}/runtimes"


class World:
    """A gateway with a provider of the workspaces API, and one to which runtimes move."""

    def __init__(self, gateway: Gateway, moving: Moving, to: str) -> None:
        self.gateway = gateway
        self.moving = moving
        self.first, self.second = gateway.upstreams["bctrl"], gateway.upstreams[to]

    async def made(self, name: str = "agent") -> tuple[Any, Any]:
        source = await self.gateway.create(self.first, name=name)
        return source, await self.gateway.create(self.second, name=name, start=True)

    async def moved(self, name: str = "agent") -> tuple[Any, Any]:
        source, target = await self.made(name)
        of_bctrl = self.second.name.startswith(self.first.name)
        await self.moving.relocate(self.gateway, source, target, target_name=name if of_bctrl else None)
        return source, target

    async def call(self, method: str, path: str = "", body: Any = None) -> Response:
        return await self.gateway.call(method, RUNTIMES + path, body)


@pytest.fixture(params=["bctrl-2", "bctrl_browsers"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    moving = Moving(time.time)
    apis, twice = (("bctrl",), ["bctrl"]) if request.param == "bctrl-2" else (("bctrl", "bctrl_browsers"), [])
    async with whole_gateway(*apis, twice=twice, store=moving.of_gateway) as gateway:
        yield World(gateway, moving, request.param)


async def test_a_moved_runtime_answers_by_its_alias(world: World) -> None:
    source, _ = await world.moved()
    before = world.first.received()
    read = await world.call("GET", "/agent")
    assert read.status == 200, read.text
    known = {name: read.json[name] for name in ("id", "alias", "kind", "status", "workspaceId")}
    assert known == {
        "id": source["provider_id"],
        "alias": "agent",
        "kind": "browser",
        "status": "active",
        "workspaceId": source["scope"],
    }
    for _ in range(2):
        stopped = await world.call("POST", "/agent/stop")
        assert stopped.status == 200, stopped.text
        assert (stopped.json["id"], stopped.json["status"]) == (source["provider_id"], "stopped")
    assert world.first.received() == before
    shown = await world.gateway.call("GET", f"/v1/runtimes/{source['id']}")
    assert shown.json["state"] in {"stopped", "idle"}


async def test_a_list_contains_what_has_moved_once(world: World) -> None:
    first, _ = await world.moved("first")
    stays, _ = await world.made("stays")
    third, _ = await world.moved("third")
    rows = (await world.call("GET")).json["runtimes"]
    found = sorted((row["alias"], row["id"], row["workspaceId"]) for row in rows)
    assert found == sorted((one["name"], one["provider_id"], one["scope"]) for one in (first, stays, third))


async def test_a_create_of_a_moved_alias_returns_the_runtime(world: World) -> None:
    source, _ = await world.moved()
    made = await world.call("POST", "", {"alias": "agent", "kind": "browser"})
    assert made.status == 200, made.text
    assert (made.json["id"], made.json["alias"]) == (source["provider_id"], "agent")
    assert world.first.emulator.counts()["runtimes"] == world.second.emulator.counts()["runtimes"] == 1


async def test_a_stop_of_a_runtime_that_is_moved_is_a_conflict(world: World) -> None:
    source, _ = await world.made()
    await world.moving.announce(source["provider"], "another")
    rows = [source["provider_id"], "name:agent"]
    assert await world.moving.store.hold_runtime(source["provider"], rows, MOVER, 600) == 0
    while (refused := await world.call("POST", "/agent/stop")).status != 409:
        continue
    assert (refused.json["reasonClass"], refused.headers["Retry-After"]) == ("conflict", "2")
    assert (await world.call("GET", "/agent")).status == 200
