"""Clients of the browser API, in both of its eras, go on with the ids and names of browsers that have moved."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.moves.moving import MOVER, Moving
from tests.component.whole_gateway import Gateway, Response, whole_gateway

BROWSERS = "/bctrl/v1/browsers"
RUNTIMES = "/bctrl/v1/runtimes"


class World:
    """A gateway with two providers, and browsers whose copies exist at the second one."""

    def __init__(self, gateway: Gateway, moving: Moving) -> None:
        self.gateway = gateway
        self.moving = moving
        self.first, self.second = gateway.upstreams["bctrl_browsers"], gateway.upstreams["bctrl_browsers-2"]

    async def made(self, name: str = "agent") -> tuple[Any, Any]:
        source = await self.gateway.create(self.first, name=name)
        return source, await self.gateway.create(self.second, name=name)

    async def moved(self, name: str = "agent") -> tuple[Any, Any]:
        source, target = await self.made(name)
        await self.moving.relocate(self.gateway, source, target)
        return source, target

    async def call(self, method: str, path: str, body: Any = None) -> Response:
        return await self.gateway.call(method, path, body)

    async def pages(self, path: str) -> list[str]:
        """The ids in all pages of a list, none of which is empty except the last one."""
        found: list[str] = []
        cursor = ""
        while True:
            page = (await self.call("GET", f"{path}{cursor}")).json
            found += [row["id"] for row in page["data"]]
            following = page.get("nextCursor")
            assert page.get("hasMore", following is not None) is (following is not None)
            if following is None:
                return found
            assert page["data"]
            cursor = f"&cursor={following}"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    moving = Moving(time.time)
    async with whole_gateway("bctrl_browsers", twice=["bctrl_browsers"], store=moving.of_gateway) as gateway:
        yield World(gateway, moving)


@pytest.mark.parametrize("by", ["provider_id", "name"])
async def test_a_moved_browser_answers_in_the_current_era(world: World, by: str) -> None:
    source, target = await world.moved()
    before, path = world.first.received(), f"{BROWSERS}/{source[by]}"
    for method, verb, body in (
        ("GET", "", None),
        ("PATCH", "", {"metadata": {"team": "a"}}),
        ("POST", "/stop", {}),
        ("POST", "/start", {}),
    ):
        answer = await world.call(method, path + verb, body)
        assert (answer.status, answer.json["id"]) == (200, source["provider_id"]), answer.text
        assert target["provider_id"] not in answer.text
    deleted = await world.call("DELETE", path)
    assert deleted.status == 200
    assert world.first.received() == before


async def test_a_moved_browser_answers_in_the_flat_era(world: World) -> None:
    source, _ = await world.moved()
    path = f"{RUNTIMES}/{source['provider_id']}"
    read = await world.call("GET", path)
    assert (read.status, read.json.get("id")) == (200, source["provider_id"]), read.text
    stopped = await world.call("POST", f"{path}/stop")
    assert (stopped.status, stopped.json["runtimeId"]) == (200, source["provider_id"])
    started = await world.call("POST", f"{path}/start")
    assert (started.status, started.json["runtimeId"]) == (200, source["provider_id"])
    assert world.first.emulator.counts()["runtimes"] == 1


@pytest.mark.parametrize("path", [BROWSERS, RUNTIMES])
@pytest.mark.parametrize("limit", [1, 100])
async def test_a_list_contains_what_has_moved_once(world: World, path: str, limit: int) -> None:
    first, _ = await world.moved("first")
    stays, _ = await world.made("stays")
    third, _ = await world.moved("third")
    found = await world.pages(f"{path}?limit={limit}")
    assert sorted(found) == sorted(one["provider_id"] for one in (first, stays, third))


async def test_a_list_of_what_has_moved_only(world: World) -> None:
    source, _ = await world.moved()
    assert await world.pages(f"{BROWSERS}?limit=10") == [source["provider_id"]]
    assert await world.pages(f"{BROWSERS}?name=agent") == [source["provider_id"]]


@pytest.mark.parametrize("path", [BROWSERS, RUNTIMES])
async def test_a_create_by_name_makes_no_second_browser(world: World, path: str) -> None:
    await world.moved()
    body = {"name": "agent"} if path == BROWSERS else {"name": "agent", "type": "browser"}
    made = await world.call("POST", path, body)
    assert made.status == 409, made.text
    assert world.first.emulator.counts()["runtimes"] == 1
    assert world.second.emulator.counts()["runtimes"] == 1


async def test_a_browser_that_is_moved_is_a_conflict(world: World) -> None:
    source, _ = await world.made()
    await world.moving.announce(source["provider"], "another")
    rows = [source["provider_id"], f"name:{source['name']}"]
    assert await world.moving.store.hold_runtime(source["provider"], rows, MOVER, 600) == 0
    path = f"{BROWSERS}/{source['name']}"
    while (await world.call("POST", f"{path}/stop", {})).status != 409:
        await world.call("POST", f"{path}/start", {})
    for answer in (
        await world.call("POST", f"{BROWSERS}/{source['provider_id']}/stop", {}),
        await world.call("PATCH", path, {"metadata": {}}),
        await world.call("POST", f"{RUNTIMES}/{source['provider_id']}/stop"),
    ):
        assert answer.status == 409, answer.text
        assert answer.headers["Retry-After"] == "2"
        fault = answer.json if isinstance(answer.json["error"], str) else answer.json["error"]
        assert fault["reasonClass"] == "conflict"
    assert (await world.call("GET", path)).status == 200


@pytest.mark.parametrize("gone", [False, True], ids=["source_kept", "source_deleted"])
@pytest.mark.parametrize("path", [f"{BROWSERS}/{{name}}", f"{BROWSERS}/{{provider_id}}", f"{RUNTIMES}/{{provider_id}}"])
async def test_a_browser_that_moves_while_it_is_looked_up_is_found(world: World, path: str, gone: bool) -> None:
    rows = source, _ = await world.made()
    read = await world.moving.while_read(world.gateway, world.first, rows, path.format_map(source), gone=gone)
    assert (read.status, read.json["id"]) == (200, source["provider_id"])
