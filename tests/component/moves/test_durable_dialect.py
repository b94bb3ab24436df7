"""Clients of the durable API go on with the ids and keys of runtimes that have moved."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.moves.moving import MOVER, Moving
from tests.component.whole_gateway import Gateway, Response, whole_gateway

RUNTIMES = "/durable/api/v1/org/acme/ws/research/runtimes"
OTHER = {"durable-2": {"scope": "acme/copies"}}


class World:
    """A gateway with two providers, each pinned to a workspace, and a runtime whose copy exists in the second one."""

    def __init__(self, gateway: Gateway, moving: Moving) -> None:
        self.gateway = gateway
        self.moving = moving
        self.first, self.second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]

    async def made(self, name: str = "agent") -> tuple[Any, Any]:
        source = await self.gateway.create(self.first, name=name, start=True)
        return source, await self.gateway.create(self.second, name=name, start=True)

    async def moved(self, name: str = "agent") -> tuple[Any, Any]:
        source, target = await self.made(name)
        await self.moving.relocate(self.gateway, source, target)
        return source, target

    async def call(self, method: str, path: str = "", body: Any = None, runtimes: str = RUNTIMES) -> Response:
        return await self.gateway.call(method, runtimes + path, body)

    async def pages(self, query: str, runtimes: str = RUNTIMES) -> list[str]:
        """The ids in all pages of a list, none of which is empty except the last one."""
        found: list[str] = []
        cursor = ""
        while True:
            page = (await self.call("GET", f"?{query}{cursor}", runtimes=runtimes)).json
            found += [row["id"] for row in page["items"]]
            if page["next_cursor"] is None:
                return found
            assert page["items"]
            cursor = f"&cursor={page['next_cursor']}"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    moving = Moving(time.time)
    async with whole_gateway("durable", twice=["durable"], store=moving.of_gateway, **OTHER) as gateway:
        yield World(gateway, moving)


@pytest.mark.parametrize("by", ["provider_id", "name"])
async def test_a_moved_runtime_answers_by_its_old_id_and_key(world: World, by: str) -> None:
    source, _ = await world.moved()
    before, path = world.first.received(), f"/{source[by]}"
    read = await world.call("GET", path)
    assert (read.status, read.json["id"]) == (200, source["provider_id"])
    paused = await world.call("POST", f"{path}/pause")
    assert (paused.status, paused.json["id"], paused.json["status"]) == (200, source["provider_id"], "paused")
    resumed = await world.call("POST", f"{path}/resume")
    assert resumed.status == 200
    config = await world.call("GET", f"{path}/config")
    replaced = await world.call("PUT", f"{path}/config", {"config": config.json["config"]})
    assert replaced.status == 200, replaced.text
    assert (await world.call("GET", f"{path}/capabilities")).status == 200
    assert world.first.received() == before
    assert f'"runtime_id":"{source["id"]}"' in world.gateway.log.getvalue().splitlines()[-1].replace('": "', '":"')


async def test_the_ids_of_the_target_answer_too_and_show_the_first_id(world: World) -> None:
    source, target = await world.moved()
    copies = RUNTIMES.replace("research", "copies")
    read = await world.call("GET", f"/{target['provider_id']}", runtimes=copies)
    assert (read.status, read.json["id"]) == (200, source["provider_id"])
    assert await world.pages("limit=10", copies) == [source["provider_id"]]


async def test_a_runtime_that_is_back_has_its_own_id_again(world: World) -> None:
    source, target = await world.moved()
    await world.moving.relocate(world.gateway, target, source, runtime_id=source["id"])
    for path in (f"/{source['provider_id']}", f"/{source['name']}"):
        assert (await world.call("GET", path)).json["id"] == source["provider_id"]
    assert await world.pages("limit=10") == [source["provider_id"]]


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_list_of_the_workspace_contains_what_has_moved_once(world: World, limit: int) -> None:
    first, _ = await world.moved("first")
    stays, _ = await world.made("stays")
    third, _ = await world.moved("third")
    found = await world.pages(f"limit={limit}")
    assert sorted(found) == sorted(one["provider_id"] for one in (first, stays, third))


async def test_a_workspace_whose_runtimes_have_all_moved_lists_them(world: World) -> None:
    source, _ = await world.moved()
    assert await world.pages("limit=10") == [source["provider_id"]]


async def test_a_create_by_key_returns_the_moved_runtime(world: World) -> None:
    source, _ = await world.moved()
    made = await world.call("POST", "", {"key": "agent", "project": "default"})
    assert made.status == 200, made.text
    assert world.first.emulator.counts()["runtimes"] == 1
    assert world.second.emulator.counts()["runtimes"] == 1
    assert (made.json["id"], made.json["created"]) == (source["provider_id"], False)


async def test_a_runtime_that_is_moved_is_a_conflict_by_id_and_by_key(world: World) -> None:
    source, _ = await world.made()
    await world.moving.announce(source["provider"], "another")
    rows = [source["provider_id"], f"name:{source['name']}"]
    assert await world.moving.store.hold_runtime(source["provider"], rows, MOVER, 600) == 0
    while (await world.call("POST", f"/{source['name']}/pause")).status != 409:
        await world.call("POST", f"/{source['name']}/resume")
    for named in (source["provider_id"], source["name"]):
        refused = await world.call("POST", f"/{named}/reset")
        assert (refused.status, refused.json["type"]) == (409, "conflict_error"), refused.text
        assert refused.headers["Retry-After"] == "2"
        assert (await world.call("GET", f"/{named}")).status == 200


async def test_a_caller_that_may_not_use_the_target_does_not_find_the_runtime() -> None:
    moving, key = Moving(time.time), "a-key-of-the-old-1234"
    old = {"keys": [key], "providers": ["durable-demo"], "scopes": ["runtimes:read"]}
    async with whole_gateway(
        "durable", twice=["durable"], store=moving.of_gateway, principals={"old": old}, **OTHER
    ) as gateway:
        world = World(gateway, moving)
        source, _ = await world.moved()
        for named in (source["provider_id"], source["name"]):
            gone = await gateway.call("GET", f"{RUNTIMES}/{named}", Authorization=f"Bearer {key}")
            assert gone.status == 404
        listed = await gateway.call("GET", RUNTIMES, Authorization=f"Bearer {key}")
        assert listed.json["items"] == []


@pytest.mark.parametrize("gone", [False, True], ids=["source_kept", "source_deleted"])
@pytest.mark.parametrize("by", ["provider_id", "name"])
async def test_a_runtime_that_moves_while_it_is_looked_up_is_found(world: World, by: str, gone: bool) -> None:
    rows = source, _ = await world.made()
    read = await world.moving.while_read(world.gateway, world.first, rows, f"{RUNTIMES}/{source[by]}", gone=gone)
    assert (read.status, read.json["id"]) == (200, source["provider_id"])


async def test_a_runtime_that_does_not_exist_is_not_found_while_others_move(world: World) -> None:
    source, target = await world.made()
    move_id = await world.moving.announce(source["provider"], target["provider"])
    await world.moving.relocate(world.gateway, source, target)
    read = await world.call("GET", "/no-such-key")
    assert read.status == 404
    await world.moving.end(move_id)
