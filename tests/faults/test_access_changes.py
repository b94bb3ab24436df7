"""Two gateways over one store: what is revoked at one is refused by both, and what happens without the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.callers import session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.replicas import Replica, encryption_key, replicas, write_settings

ADMIN = "a-key-of-an-admin-123456"
SHOP = "a-key-of-the-shop-123456"
AUTH = {"principals": {"admin": {"keys": [ADMIN], "scopes": ["admin"]}, "shop": {"keys": [SHOP]}}}
ACCEPTED = frozenset({200})
REFUSED = frozenset({401, 429})  # 429 where the same address has sent many wrong keys
# No call reaches it: authentication comes first, and /v1/me calls no provider.
PROVIDER = {"api": "durable", "base_url": "http://127.0.0.1:9/api", "token": "t", "scope": "acme/research"}


@dataclass(frozen=True, slots=True)
class World:
    """Two gateways, and a client."""

    both: list[Replica]
    client: aiohttp.ClientSession

    async def administer(self, method: str, path: str, body: Any = None, at: int = 0) -> Any:
        """A successful call of the administrator at one of the gateways."""
        async with self.client.request(method, f"{self.both[at].url}{path}", json=body) as response:
            text = await response.text()
            assert response.status < 300, text
            return await response.json() if text else None

    async def status(self, key: str, at: int) -> int:
        """The status of a call with this key."""
        async with self.client.get(f"{self.both[at].url}/v1/me", headers={"X-API-Key": key, "Authorization": ""}) as me:
            return me.status

    async def everywhere(self, key: str, statuses: frozenset[int]) -> None:
        """Wait until all gateways answer a call with this key with one of these statuses."""

        async def answered() -> bool:
            return {await self.status(key, at) for at in range(len(self.both))} <= statuses

        await eventually(answered, f"every gateway answers with {statuses}")


@asynccontextmanager
async def running(tmp_path: Path, store: StoreLocation) -> AsyncIterator[World]:
    await store.make().upgrade()  # not by the gateways: one that starts without the store would make an empty one
    stored = {"encryption_keys": [encryption_key()], **store.settings, "migrate": "manual"}
    health = {"probe": False}
    settings = write_settings(tmp_path, {"durable": PROVIDER}, stored, auth=AUTH, health=health)
    async with replicas(settings, 2) as both, session(ADMIN) as client:
        yield World(both, client)


@pytest.fixture
async def world(store_location: StoreLocation, tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path, store_location) as made:
        yield made


async def test_key_that_is_made_and_revoked_at_one_gateway_is_known_to_the_other(
    world: World, store_location: StoreLocation
) -> None:
    """The store does not have its text."""
    key = await world.administer("POST", "/v1/keys", {"principal": "team", "template": "shop"})
    await world.everywhere(key["key"], ACCEPTED)
    await world.administer("DELETE", f"/v1/keys/{key['id']}", at=1)
    assert await world.status(key["key"], at=1) in REFUSED
    await world.everywhere(key["key"], REFUSED)
    if store_location.file is not None:
        content = b"".join(path.read_bytes() for path in store_location.files())
        assert key["id"].encode() in content
        assert key["key"].encode() not in content


async def test_principal_that_is_disabled_at_one_gateway_is_refused_by_the_other(world: World) -> None:
    """One of the settings too, with all its keys."""
    key = (await world.administer("POST", "/v1/keys", {"principal": "shop"}))["key"]
    await world.everywhere(key, ACCEPTED)
    await world.administer("POST", "/v1/principals/shop/disable")
    assert await world.status(SHOP, at=0) == 401
    for text in (SHOP, key):
        await world.everywhere(text, REFUSED)
    await world.administer("POST", "/v1/principals/shop/enable", at=1)
    for text in (SHOP, key):
        await world.everywhere(text, ACCEPTED)


async def test_keys_work_on_while_the_store_is_away_and_changes_are_refused(
    world: World, store_location: StoreLocation
) -> None:
    """A gateway that starts without the store accepts only the keys of the settings, until the store is back."""
    key = (await world.administer("POST", "/v1/keys", {"principal": "shop"}))["key"]
    await world.everywhere(key, ACCEPTED)
    await store_location.cut()
    for at in (0, 1):
        assert await world.status(key, at) == await world.status(SHOP, at) == 200
        assert await world.status("a-wrong-key-123456", at) in REFUSED
    async with world.client.post(f"{world.both[0].url}/v1/keys", json={"principal": "shop"}) as refused:
        assert (refused.status, (await refused.json())["code"]) == (503, "store_unavailable")
    await world.both[1].kill()
    await world.both[1].start()
    assert await world.status(SHOP, at=1) == 200
    assert await world.status(key, at=1) == await world.status("a-wrong-key-123456", at=1) == 503
    await store_location.restore()
    await world.everywhere(key, ACCEPTED)
    await world.everywhere("a-wrong-key-123456", REFUSED)
