"""A create of a name that has moved leads to the runtime at its present place, and makes no second one."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.storage.sql import Statement, Steps
from tests.component.moves.moving import Moving
from tests.component.whole_gateway import Gateway, whole_gateway

OLD_KEY = "a-key-of-the-old-1234"
OLD = {"keys": [OLD_KEY], "providers": ["durable-demo"], "scopes": ["runtimes:read", "runtimes:create"]}


class World:
    """A gateway with two durable providers, of which creates prefer the first one."""

    def __init__(self, gateway: Gateway, moving: Moving) -> None:
        self.gateway = gateway
        self.moving = moving
        self.first, self.second = gateway.upstreams["durable"], gateway.upstreams["durable-2"]

    async def create(self, status: int, key: str | None = None, **body: Any) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        wanted = {"kind": "durable", "name": "agent", **body}
        response = await self.gateway.call("POST", "/v1/runtimes", wanted, **headers)
        assert response.status == status, response.text
        return response.json

    async def move(self, source: Any) -> Any:
        """The copy of the runtime at the second provider, where it is from now on."""
        target = await self.gateway.create(self.second, name="agent")
        await self.moving.relocate(self.gateway, source, target)
        return target

    def counts(self) -> list[int]:
        """The number of runtimes at both providers."""
        return [one.emulator.counts()["runtimes"] for one in (self.first, self.second)]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    moving = Moving(time.time)
    async with whole_gateway("durable", twice=["durable"], store=moving.of_gateway, principals={"old": OLD}) as gateway:
        yield World(gateway, moving)


@pytest.mark.parametrize("named", ["durable-demo", "durable-demo-2", None])
async def test_a_create_of_a_moved_name_returns_the_runtime_at_its_target(world: World, named: str | None) -> None:
    provider = {} if named is None else {"provider": named}
    source = await world.create(201, **({} if named is None else {"provider": "durable-demo"}))
    assert source["provider"] == "durable-demo"
    target = await world.move(source)
    found = await world.create(200, **provider)
    assert (found["created"], found["id"], found["provider"]) == (False, source["id"], "durable-demo-2")
    assert found["provider_id"] == target["provider_id"]
    assert world.counts() == [1, 1]


async def test_a_create_that_differs_from_the_moved_runtime_is_refused(world: World) -> None:
    await world.move(await world.create(201, provider="durable-demo"))
    refused = await world.create(409, provider="durable-demo", description="another")
    assert refused["code"] == "already_exists"
    exists = await world.create(409, provider="durable-demo", if_exists="fail")
    assert exists["code"] == "already_exists"
    assert world.counts() == [1, 1]


async def test_a_key_whose_response_is_kept_returns_it_again(world: World) -> None:
    source = await world.create(201, key="key-1", provider="durable-demo")
    await world.move(source)
    again = await world.create(201, key="key-1", provider="durable-demo")
    assert (again["id"], again["created"]) == (source["id"], True)
    assert world.counts() == [1, 1]


async def test_a_key_without_a_kept_response_reads_the_runtime_at_its_present_place(world: World) -> None:
    source = await world.create(201, key="key-1", provider="durable-demo")
    await world.move(source)

    def forget() -> Steps[None]:
        yield Statement("UPDATE intents SET outcome = NULL")
        return None

    world.moving.store.database.run(forget, time.time(), writes=True)
    before = world.first.received()
    again = await world.create(201, key="key-1", provider="durable-demo")
    assert (again["id"], again["provider"]) == (source["id"], "durable-demo-2")
    assert world.first.received() == before


async def test_a_name_that_moved_to_where_the_caller_may_not_go_is_in_use(world: World) -> None:
    source = await world.create(201, provider="durable-demo")
    await world.move(source)
    mine = {"Authorization": f"Bearer {OLD_KEY}"}
    body = {"kind": "durable", "name": "agent"}
    refused = await world.gateway.call("POST", "/v1/runtimes", body, **mine)
    assert (refused.status, refused.json["code"]) == (409, "already_exists")
    assert "durable-demo-2" not in refused.text
    assert world.counts() == [1, 1]
