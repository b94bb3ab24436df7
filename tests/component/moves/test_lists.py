"""A list has a runtime once that is moved while the list is read, and not what a move has created and not switched
to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from gateway.app import plugins
from gateway.domain.moves import ItemState
from tests.component.moves.moving import Moving, relocation
from tests.component.whole_gateway import Gateway, whole_gateway

NAMES: Final = ("agent-1", "agent-2", "agent-3")


@dataclass(frozen=True, slots=True)
class Surface:
    """A list of the gateway: of which API, where, and the names of its members."""

    api: str
    path: str
    rows: str = "items"
    cursor: str = "next_cursor"
    id: str = "provider_id"
    to: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        return self.to or f"{self.api}-2"


UNIFIED: Final = Surface("durable", "/v1/runtimes", id="id")
COPIES: Final = {"durable-2": {"scope": "acme/copies"}}
DURABLE: Final = Surface("durable", "/durable/api/v1/org/acme/ws/research/runtimes", options=COPIES)
BROWSERS: Final = Surface("bctrl_browsers", "/bctrl/v1/browsers", "data", "nextCursor")
FLAT: Final = Surface("bctrl_browsers", "/bctrl/v1/runtimes", "data", "nextCursor")
WORKSPACE: Final = f"/bctrl/v1/workspaces/{plugins()['bctrl'].demo.scope}/runtimes"
WORKSPACES: Final = Surface("bctrl", WORKSPACE, "runtimes", "")
TO_BROWSERS: Final = Surface("bctrl", WORKSPACE, "runtimes", "", to="bctrl_browsers")
PAGED: Final = (UNIFIED, DURABLE, BROWSERS, FLAT)
Step = Callable[[], Any]


class World:
    """A gateway that knows of an announced move, three runtimes at its source, and the copies of two at its target."""

    def __init__(self, gateway: Gateway, moving: Moving, surface: Surface) -> None:
        self.gateway = gateway
        self.moving = moving
        self.surface = surface
        self.first, self.second = gateway.upstreams[surface.api], gateway.upstreams[surface.target]
        self.sources: list[Any] = []
        self.move_id = ""

    async def prepare(self) -> None:
        self.sources = [await self.gateway.create(self.first, name=name) for name in NAMES]
        self.move_id = await self.announce(self.first.name, self.second.name)

    async def announce(self, source: str, target: str) -> str:
        """Announce a move, and wait until the gateway knows: a write to a runtime that a mover holds is refused."""
        move_id = await self.moving.announce(source, target)
        known = self.sources[0]
        nowhere = {name: known[name][:-1] + ("0" if known[name][-1] != "0" else "1") for name in ("id", "provider_id")}
        rows, mover = [nowhere["provider_id"]], "another-mover"
        assert await self.moving.store.hold_runtime(self.first.name, rows, mover, 600) == 0
        async with asyncio.timeout(20):
            while True:
                path = f"/v1/runtimes/{nowhere['id']}/stop"
                refused = await self.gateway.call("POST", path, {"discard_state": True})
                if refused.status == 409:
                    break
        await self.moving.store.release_runtime(self.first.name, rows, mover)
        return move_id

    @property
    def ids(self) -> list[str]:
        return sorted(one[self.surface.id] for one in self.sources)

    async def get(self, path: str) -> Any:
        response = await self.gateway.call("GET", path)
        assert response.status == 200, response.text
        return response.json

    async def copy(self, source: Any, **fields: Any) -> Any:
        """Create the copy of a runtime at the target, past the gateway's knowledge of moves."""
        launches = {"start": True} if self.surface.api == "bctrl" else {}
        return await self.gateway.create(self.second, name=source["name"], **launches, **fields)

    async def arrive(self, source: Any, target: Any, **fields: Any) -> None:
        """The mover has sent the create of a runtime."""
        details = f'{{"name": "{target["name"]}"}}'
        row = relocation(source, target)
        fields = {"details": details, "target_scope": target["scope"], **fields}
        await self.moving.item(row, self.move_id, ItemState.MOVING, **fields)

    async def switch(self, source: Any, target: Any, **fields: Any) -> None:
        await self.moving.switch(relocation(source, target, **fields), self.move_id)

    async def listed(self, query: str = "", between: Mapping[int, Step] | None = None) -> list[str]:
        """The ids on all pages. ``between`` is what is done before the page of this number."""
        found: list[str] = []
        cursor, number = "", 0
        while True:
            if between is not None and number in between:
                await between[number]()
            page = await self.get(f"{self.surface.path}?{query}{cursor}".removesuffix("?"))
            found += [row["id"] for row in page[self.surface.rows]]
            following = page.get(self.surface.cursor)
            if following is None:
                return sorted(found)
            cursor, number = f"&cursor={following}", number + 1


@asynccontextmanager
async def world_of(surface: Surface) -> AsyncIterator[World]:
    moving = Moving(time.time)
    other = surface.to
    apis, twice = ((surface.api, other), []) if other else ((surface.api,), [surface.api])
    async with whole_gateway(*apis, twice=twice, store=moving.of_gateway, **surface.options) as gateway:
        world = World(gateway, moving, surface)
        await world.prepare()
        yield world


@pytest.mark.parametrize("is_known", [False, True])
async def test_what_a_move_has_created_is_listed_only_after_the_switch(is_known: bool) -> None:
    async with world_of(UNIFIED) as world:
        source = world.sources[0]
        target = await world.copy(source)
        assert len(await world.listed()) == len(NAMES) + 1
        known = {"target_id": target["provider_id"]} if is_known else {}
        await world.arrive(source, target, **known)
        assert await world.listed() == world.ids
        await world.switch(source, target)
        assert await world.listed() == world.ids
        rows = (await world.get("/v1/runtimes"))["items"]
        assert {row["id"]: row["provider"] for row in rows}[source["id"]] == world.second.name


async def test_a_runtime_of_the_same_name_in_another_scope_is_listed() -> None:
    async with world_of(UNIFIED) as world:
        source = world.sources[0]
        target = await world.copy(source)
        await world.arrive(source, target, target_scope="acme/another")
        assert await world.listed() == sorted([*world.ids, target["id"]])


async def test_what_a_failed_move_has_left_at_the_target_is_listed_under_its_own_id() -> None:
    async with world_of(UNIFIED) as world:
        source = world.sources[0]
        target = await world.copy(source)
        await world.arrive(source, target, target_id=target["provider_id"])
        await world.moving.item(relocation(source, target), world.move_id, ItemState.FAILED)
        assert await world.listed() == sorted([*world.ids, target["id"]])


async def test_the_list_of_the_target_in_a_dialect_has_no_runtime_that_is_not_switched() -> None:
    async with world_of(DURABLE) as world:
        source = world.sources[0]
        target = await world.copy(source)
        copies = DURABLE.path.replace("research", "copies")
        assert len((await world.get(copies))["items"]) == 1
        await world.arrive(source, target)
        assert (await world.get(copies))["items"] == []
        await world.switch(source, target)
        assert (await world.get(copies))["items"] == []  # this list began before the gateway knew
        assert [row["id"] for row in (await world.get(copies))["items"]] == [source["provider_id"]]


async def test_the_list_of_a_target_workspace_has_no_runtime_that_is_not_switched() -> None:
    async with world_of(WORKSPACES) as world:
        target = await world.copy(world.sources[0])
        row = relocation(target, world.sources[0])
        back = await world.announce(world.second.name, world.first.name)
        details = f'{{"name": "{target["name"]}"}}'
        fields = {"details": details, "target_scope": world.sources[0]["scope"]}
        await world.moving.item(row, back, ItemState.MOVING, **fields)
        assert await world.listed() == sorted(one["provider_id"] for one in world.sources[1:])


@pytest.mark.parametrize("surface", [*PAGED, WORKSPACES, TO_BROWSERS], ids=lambda each: f"{each.path}-{each.to}")
async def test_a_list_has_a_runtime_once_that_is_switched_while_its_page_is_read(surface: Surface) -> None:
    async with world_of(surface) as world:
        source = world.sources[1]
        target = await world.copy(source)
        await world.arrive(source, target, target_id=target["provider_id"])
        assert await world.listed() == world.ids
        await world.switch(source, target)  # which the gateway learns after it has asked the providers
        assert await world.listed() == world.ids
        assert await world.listed() == world.ids


@pytest.mark.parametrize("surface", PAGED, ids=lambda each: each.path)
@pytest.mark.parametrize("moved", range(len(NAMES)))
async def test_pages_have_a_runtime_once_that_is_switched_between_them(surface: Surface, moved: int) -> None:
    async with world_of(surface) as world:
        elsewhere = world.sources[(moved + 1) % len(NAMES)]
        at = await world.copy(elsewhere)
        await world.switch(elsewhere, at)  # so that the list has several parts
        source = world.sources[moved]

        async def move() -> None:
            target = await world.copy(source)
            await world.arrive(source, target, target_id=target["provider_id"])
            await world.switch(source, target)

        assert await world.listed("limit=1", {1: move}) == world.ids
        assert await world.listed("limit=1") == world.ids


@pytest.mark.parametrize("surface", [UNIFIED, DURABLE], ids=lambda each: each.path)
@pytest.mark.parametrize("before", range(1, len(NAMES)))
async def test_pages_have_a_runtime_once_that_is_brought_back_between_them(surface: Surface, before: int) -> None:
    async with world_of(surface) as world:
        source = world.sources[0]
        target = await world.copy(source)
        await world.switch(source, target)
        assert await world.listed() == world.ids
        back = await world.announce(world.second.name, world.first.name)

        async def roll_back() -> None:
            row = relocation(target, source, runtime_id=source["id"])
            await world.moving.switch(row, back)

        assert await world.listed("limit=1", {before: roll_back}) == world.ids
        assert await world.listed("limit=1") == world.ids
