"""The audit trail has the WebSockets and the refusals of the data plane, and no token."""

import json
from typing import Any

import aiohttp

from gateway.ports.audit import GatewayAction
from tests.component.dataplane.conftest import Plane


async def trail(plane: Plane, action: str) -> list[dict[str, Any]]:
    """The events of an action, newest first."""
    page = await plane.gateway.call("GET", f"/v1/audit?action={action}")
    assert page.status == 200, page.text
    found: list[dict[str, Any]] = page.json["items"]
    return found


async def test_issue_opening_and_closing_of_a_connection_are_recorded(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    (issued,) = await trail(plane, GatewayAction.CONNECTION_ISSUED)
    assert (issued["runtime_id"], issued["outcome"]) == (plane.runtime_id, "ok")
    async with aiohttp.ClientSession() as client, client.ws_connect(cdp["url"]) as socket:
        (opened,) = await trail(plane, GatewayAction.CONNECTION_OPENED)
        assert (opened["runtime_id"], opened["principal"], opened["status"]) == (plane.runtime_id, "demo", 101)
        assert opened["changes"] == {"protocol": "cdp"}
        assert await trail(plane, GatewayAction.CONNECTION_CLOSED) == []
        await plane.gateway.call("DELETE", f"/v1/runtimes/{plane.runtime_id}/connections")
        await socket.receive(timeout=10)
    closed: list[dict[str, Any]] = []
    while not closed:
        closed = await trail(plane, GatewayAction.CONNECTION_CLOSED)
    assert [event["request_id"] for event in closed] == [opened["request_id"]]
    (revoked,) = await trail(plane, "revokeConnections")
    assert revoked["changes"] == {"principal": "demo"}


async def test_refused_addresses_are_recorded_and_other_requests_are_not(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    wrong = cdp["http_url"][:-8] + "AAAAAAAA"
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{cdp['http_url']}/json/version") as response:
            assert response.status == 200
        for _ in range(2):
            async with client.get(f"{wrong}/json/version") as response:
                assert response.status == 401
    (refused,) = await trail(plane, "data.connect")
    assert (refused["outcome"], refused["status"], refused["principal"]) == ("refused", 401, None)
    token = cdp["http_url"].rpartition("/")[2]
    everything = await plane.gateway.call("GET", "/v1/audit?limit=100")
    assert token[:40] not in json.dumps(everything.json)
