"""While a runtime is moved, reads answer, and writes are refused with an answer that they may be repeated."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.moves.moving import MOVER, Moving
from tests.component.whole_gateway import Gateway, Response, whole_gateway


class Held:
    """A gateway, and a runtime whose rows a mover holds."""

    def __init__(self, gateway: Gateway, moving: Moving, runtime: Any) -> None:
        self.gateway = gateway
        self.moving = moving
        self.runtime = runtime
        self.rows = [runtime["provider_id"], f"name:{runtime['name']}"]

    async def hold(self) -> None:
        """Announce a move, hold the rows, and wait until the gateway knows of the move."""
        await self.moving.announce(self.runtime["provider"], "another")
        assert await self.moving.store.hold_runtime(self.runtime["provider"], self.rows, MOVER, 600) == 0
        async with asyncio.timeout(20):
            while (await self.call("POST", "/pause")).status != 409:
                continue

    async def release(self) -> None:
        await self.moving.store.release_runtime(self.runtime["provider"], self.rows, MOVER)

    async def call(self, method: str, path: str = "", body: Any = None) -> Response:
        return await self.gateway.call(method, f"/v1/runtimes/{self.runtime['id']}{path}", body)

    async def create(self) -> Response:
        body = {"kind": self.runtime["kind"], "provider": self.runtime["provider"], "name": self.runtime["name"]}
        return await self.gateway.call("POST", "/v1/runtimes", body)


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    moving = Moving(time.time)
    async with whole_gateway("durable", store=moving.of_gateway) as gateway:
        runtime = await gateway.create(gateway.upstreams["durable"], start=True)
        held = Held(gateway, moving, runtime)
        await held.hold()
        yield held


def is_moving(response: Response) -> bool:
    assert response.status == 409, response.text
    assert response.json["code"] == "state_conflict"
    return response.json["retryable"] == "yes" and response.headers["Retry-After"] == "2"


async def test_writes_are_refused_until_the_mover_releases_the_runtime(held: Held) -> None:
    upstream = held.gateway.upstreams["durable"]
    before = upstream.received()
    config = {"config": {"schema_version": 2}}
    assert is_moving(await held.call("POST", "/start"))
    assert is_moving(await held.call("POST", "/stop", {"discard_state": True}))
    assert is_moving(await held.call("PUT", "/config", config))
    assert is_moving(await held.call("POST", "/capabilities", {"name": "git"}))
    assert is_moving(await held.call("POST", "/connections", {}))
    assert is_moving(await held.call("POST", "/keepalive", {"extend_seconds": 60}))
    assert is_moving(await held.create())
    assert upstream.received() == before
    await held.release()
    assert (await held.call("POST", "/pause")).status == 200
    assert (await held.create()).status == 200


async def test_reads_and_other_runtimes_are_not_affected(held: Held) -> None:
    assert (await held.call("GET")).status == 200
    assert (await held.call("GET", "/config")).status == 200
    assert (await held.call("GET", "/capabilities")).status == 200
    other = await held.gateway.create(held.gateway.upstreams["durable"], start=True)
    assert (await held.gateway.call("POST", f"/v1/runtimes/{other['id']}/pause")).status == 200


async def test_no_row_of_a_write_is_left_behind(held: Held) -> None:
    await held.release()
    assert (await held.call("POST", "/pause")).status == 200
    assert (await held.call("POST", "/capabilities", {"name": ""})).status == 422
    assert await held.moving.store.hold_runtime(held.runtime["provider"], held.rows, MOVER, 600) == 0
