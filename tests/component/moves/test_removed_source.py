"""Runtimes that have moved answer as before when their first provider is no longer in the settings."""

import asyncio
import time
from typing import Any

from gateway.domain.ids import b64url
from tests.component.moves.moving import Moving, relocation
from tests.component.whole_gateway import Gateway, whole_gateway

WORKSPACE = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
OLD = "0b8f3a52-7d1c-4b51-9b1e-0f4f4f5f6a7b"


async def moved_from_nowhere(gateway: Gateway, moving: Moving, target: Any, scope: str, reference: str) -> str:
    """The runtime ``target`` was at a provider that the gateway does not have. Returns its first id."""
    source = {**target, "provider": "gone", "scope": scope, "provider_id": OLD, "id": f"gone.{reference}"}
    await moving.switch(relocation(source, target))
    async with asyncio.timeout(20):
        while (await gateway.call("GET", f"/v1/runtimes/gone.{reference}")).status != 200:
            continue
    return f"gone.{reference}"


async def test_durable_ids_answer_in_the_api_and_in_the_dialect() -> None:
    moving = Moving(time.time)
    async with whole_gateway("durable", store=moving.of_gateway) as gateway:
        target = await gateway.create(gateway.upstreams["durable"], name="agent")
        first = await moved_from_nowhere(gateway, moving, target, target["scope"], OLD)
        assert (await gateway.call("GET", f"/v1/runtimes/{target['id']}")).json["id"] == first
        assert [row["id"] for row in (await gateway.call("GET", "/v1/runtimes")).json["items"]] == [first]
        org, _, workspace = target["scope"].partition("/")
        path = f"/durable/api/v1/org/{org}/ws/{workspace}/runtimes"
        for named in (OLD, "agent", target["provider_id"]):
            read = await gateway.call("GET", f"{path}/{named}")
            assert (read.status, read.json["id"]) == (200, OLD), read.text
        assert [row["id"] for row in (await gateway.call("GET", path)).json["items"]] == [OLD]


async def test_aliases_of_a_workspace_that_no_provider_serves_any_longer_answer() -> None:
    moving = Moving(time.time)
    async with whole_gateway("bctrl_browsers", store=moving.of_gateway) as gateway:
        target = await gateway.create(gateway.upstreams["bctrl_browsers"], name="agent", start=True)
        path = f"/bctrl/v1/workspaces/{WORKSPACE}/runtimes"
        assert (await gateway.call("GET", path)).status == 404
        await moved_from_nowhere(gateway, moving, target, WORKSPACE, f"{b64url('agent')}~{OLD}")
        read = await gateway.call("GET", f"{path}/agent")
        assert (read.status, read.json["id"], read.json["workspaceId"]) == (200, OLD, WORKSPACE), read.text
        listed = await gateway.call("GET", path)
        assert [row["alias"] for row in listed.json["runtimes"]] == ["agent"]
        again = await gateway.call("POST", path, {"alias": "agent", "kind": "browser"})
        assert (again.status, again.json["id"]) == (200, OLD)
        stopped = await gateway.call("POST", f"{path}/agent/stop")
        assert (stopped.status, stopped.json["status"]) == (200, "stopped")
        assert (await gateway.call("GET", f"{path}/another")).status == 404
        new = await gateway.call("GET", f"/bctrl/v1/browsers/{target['provider_id']}")
        assert (new.status, new.json["id"]) == (200, target["provider_id"])
