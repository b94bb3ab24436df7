"""Lists over real emulators: filled pages, labels, and rows without some of their members."""

from collections.abc import AsyncIterator

import pytest

from tests.component.whole_gateway import Gateway, whole_gateway

OWNER = {"Authorization": "Bearer a-key-of-an-app-1234"}
APP = {
    "keys": ["a-key-of-an-app-1234"],
    "scopes": ["runtimes:read", "runtimes:create"],
    "view": "public",
    "own_only": True,
}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable", "bctrl", "bctrl_browsers", principals={"app": APP}) as running:
        yield running


async def _names(gateway: Gateway, query: str, **headers: str) -> list[str]:
    response = await gateway.call("GET", f"/v1/runtimes?{query}", **headers)
    assert response.status == 200, response.text
    assert (response.json["next_cursor"], response.json["incomplete"]) == (None, [])
    assert "warnings" not in response.json
    return sorted(row["name"] for row in response.json["items"])


async def test_a_page_smaller_than_the_number_of_providers_is_filled(gateway: Gateway) -> None:
    browsers = gateway.upstreams["bctrl_browsers"]
    for number in range(5):
        await gateway.create(browsers, name=f"bot-{number}")
    response = await gateway.call("GET", "/v1/runtimes?limit=2&state=running")
    assert [row["name"] for row in response.json["items"]] == ["bot-0", "bot-1"]
    assert response.json["next_cursor"] is not None


async def test_labels_of_all_providers_are_found(gateway: Gateway) -> None:
    durable, browsers = gateway.upstreams["durable"], gateway.upstreams["bctrl_browsers"]
    await gateway.create(durable, name="agent", labels={"team": "shop", "tier": "1"})
    await gateway.create(durable, name="plain")
    await gateway.create(browsers, name="bot", labels={"team": "shop"})
    await gateway.create(gateway.upstreams["bctrl"], name="other")
    assert await _names(gateway, "label=team=shop") == ["agent", "bot"]
    assert await _names(gateway, "label=team=shop&label=tier=1") == ["agent"]
    assert await _names(gateway, "label=team=labs") == []


async def test_a_durable_runtime_that_was_made_without_the_gateway_is_counted_in_warnings(gateway: Gateway) -> None:
    durable = gateway.upstreams["durable"]
    path = "/native/durable-demo/api/v1/org/acme/ws/research/runtimes"
    url = durable.proxy.url + path.removeprefix("/native/durable-demo")
    headers = {"Authorization": f"Bearer {durable.token}"}
    async with gateway.client.post(url, json={"key": "elsewhere"}, headers=headers) as response:
        assert response.status < 300, await response.text()
    response = await gateway.call("GET", "/v1/runtimes?label=team=shop")
    assert response.json["items"] == []
    assert response.json["warnings"] == [
        {"detail": "Runtimes whose labels are not known are left out: 1.", "provider": "durable-demo"}
    ]


async def test_rows_leave_out_the_members_that_are_named(gateway: Gateway) -> None:
    await gateway.create(gateway.upstreams["durable"])
    whole = (await gateway.call("GET", "/v1/runtimes")).json["items"]
    response = await gateway.call("GET", "/v1/runtimes?fields=-actions,-provider_data&fields=-durable")
    left_out = {"actions", "provider_data", "durable"}
    assert response.json["items"] == [{k: v for k, v in row.items() if k not in left_out} for row in whole]


async def test_the_public_view_has_labels_and_leaves_out_members_too(gateway: Gateway) -> None:
    made = await gateway.call("POST", "/v1/runtimes", {"kind": "durable", "name": "a", "labels": {"k": "v"}}, **OWNER)
    assert made.status == 201, made.text
    response = await gateway.call("GET", "/v1/runtimes?label=k=v&fields=-cost,-actions", **OWNER)
    (row,) = response.json["items"]
    assert (row["name"], row["labels"]) == ("a", {"k": "v"})
    assert not {"cost", "actions"} & row.keys()
