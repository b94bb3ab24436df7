"""A replica that is suspended during a cut-over, and one that cannot reach the store, write nothing to the source that
another replica has moved away from."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import pytest

from gateway.testing.recording import Received
from tests.contract.store_subjects import connected
from tests.faults.callers import Response, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.moving import AUTH, Operator
from tests.faults.providers import Setup, Upstream, settings_of, upstreams
from tests.faults.replicas import Replica, replicas, write_settings

ENDS = [Setup("durable", "old", {}), Setup("durable", "new", {})]
COUNT = 10
CONFIG: Final = {"config": {"version": "v2", "resources": {"cpu_cores": 7}}}
_READS: Final = "GET"


class Reach:
    """The database role of one gateway, which can be refused by the server."""

    def __init__(self, location: StoreLocation) -> None:
        self.role = f"role_{token_hex(8)}"
        self.settings = {**location.settings, "url": location.settings["url"].replace("//postgres@", f"//{self.role}@")}
        self._admin = location.admin

    async def execute(self, *statements: str) -> None:
        async with connected(self._admin) as connection:
            for statement in statements:
                await connection.execute(statement.format(role=self.role))

    async def cut(self) -> None:
        ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        await self.execute("ALTER ROLE {role} NOLOGIN", ends)

    async def restore(self) -> None:
        await self.execute("ALTER ROLE {role} LOGIN")


@dataclass(frozen=True, slots=True)
class World:
    """Three gateways over one store: one that moves, one to be suspended, and one to be cut off from the store."""

    old: Upstream
    new: Upstream
    mover: Operator
    suspended: Operator
    frozen: Replica
    cut_off: Operator
    reach: Reach

    def writes(self) -> list[Received]:
        """The requests that the source received, without those that only read."""
        return [request for request in self.old.emulator.requests.received() if request.method != _READS]


@pytest.fixture
async def world(postgres_location: StoreLocation, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        old, new = await stack.enter_async_context(upstreams(ENDS))
        reach = await stack.enter_async_context(_reach(postgres_location))
        client = await stack.enter_async_context(session())
        made: list[Replica] = []
        for name, store, count in (("most", postgres_location.settings, 2), ("one", reach.settings, 1)):
            folder = tmp_path / name
            folder.mkdir()
            settings = write_settings(folder, settings_of([old, new]), store, auth=AUTH)
            made += await stack.enter_async_context(replicas(settings, count))
        mover, suspended, cut_off = (Operator(client, lambda one=one: one.url) for one in made)
        yield World(old, new, mover, suspended, made[1], cut_off, reach)


@asynccontextmanager
async def _reach(location: StoreLocation) -> AsyncIterator[Reach]:
    reach = Reach(location)
    await reach.execute("CREATE ROLE {role} SUPERUSER LOGIN")
    try:
        yield reach
    finally:
        await reach.execute("DROP ROLE {role}")


async def once(operator: Operator, method: str, path: str, body: Any = None) -> Response:
    """One attempt of a call, whose response arrives."""
    response = await operator.attempt(method, path, body)
    assert response is not None
    return response


def is_to_be_repeated(response: Response) -> bool:
    """A gateway that was suspended for longer than the limit of a read may find the read timed out (504)."""
    announced = response.status == 504 or (response.status in {409, 503} and "Retry-After" in response.headers)
    return announced and response.json["retryable"] != "no"


async def test_no_write_reaches_the_source_after_the_switch(world: World) -> None:
    """The suspended gateway has a start under way that it has not sent; the one that is cut off has sent a config that
    the source applies after the switch, which it must not acknowledge."""
    w = world
    made = []
    for number in range(COUNT):
        body = {"kind": "durable", "provider": "old", "name": f"agent-{number}"}
        made.append((await w.mover.done("POST", "/v1/runtimes", body))["id"])
    started, configured, *_ = (f"/v1/runtimes/{runtime_id}" for runtime_id in made)

    w.old.fault("hold", operation="get", times=1)
    start = asyncio.create_task(once(w.suspended, "POST", f"{started}/start", {}))
    await w.old.emulator.until_waiting(1)
    await w.frozen.freeze(None)
    w.old.emulator.release("get")
    w.old.fault("hold", operation="replace_config", times=1)
    replacement = asyncio.create_task(once(w.cut_off, "PUT", f"{configured}/config", CONFIG))
    await w.old.emulator.until_waiting(1)
    await w.reach.cut()

    move = await w.mover.apply(await w.mover.planned("old", "new"))
    assert (move["state"], move["counts"]) == ("done", {"moved": COUNT}), await w.mover.items(move)
    before = w.writes()
    w.frozen.thaw()
    assert is_to_be_repeated(await start), (await start).json
    w.old.emulator.release("replace_config")
    assert is_to_be_repeated(await replacement), (await replacement).json

    refused = await once(w.cut_off, "PUT", f"{configured}/config", CONFIG)
    assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
    assert (await once(w.cut_off, "GET", configured)).status == 200
    assert (await w.suspended.done("POST", f"{started}/start", {}))["provider"] == "new"
    await w.reach.restore()

    async def knows() -> bool:
        return bool((await w.cut_off.get(configured))["provider"] == "new")

    await eventually(knows, "the gateway that was cut off knows of the move")
    await w.cut_off.done("PUT", f"{configured}/config", CONFIG)
    assert (await w.mover.seen(made[1]))["config"]["resources"]["cpu_cores"] == 7
    assert w.writes() == before
    assert len(w.new.made()) == w.new.emulator.creates == COUNT
