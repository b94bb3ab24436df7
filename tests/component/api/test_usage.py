"""``GET /v1/usage`` over real sockets: what a caller may see, cost where it is known, and what is missing."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.component.whole_gateway import Gateway, whole_gateway

SHOP, WEB = "key-of-the-shop-12345", "key-of-the-web-123456"
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": [SHOP], "own_only": True},
    "web": {"keys": [WEB], "view": "public"},
}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable", "bctrl_browsers", principals=PRINCIPALS) as started:
        durable, browsers = started.upstreams.values()
        for number in range(3):
            await started.create(durable, name=f"agent-{number}", start=number == 0, labels={"team": "shop"})
        await started.create(browsers, name="web", labels={"team": "shop", "tier": "1"})
        body = {"kind": "browser", "provider": browsers.name, "name": "mine"}
        made = await started.call("POST", "/v1/runtimes", body, Authorization=f"Bearer {SHOP}")
        assert made.status == 201
        yield started


async def test_runtimes_are_counted_and_cost_is_shown_where_the_provider_reports_it(gateway: Gateway) -> None:
    usage = (await gateway.call("GET", "/v1/usage")).json
    durable, browsers = usage["items"]
    assert (usage["total"]["runtimes"], usage["incomplete"], usage["left_out"]) == (5, [], 0)
    assert (durable["value"], durable["states"]) == ("durable-demo", {"idle": 2, "running": 1})
    assert durable["cost"]["runtimes"] == usage["total"]["cost"]["runtimes"] == 1
    assert (browsers["value"], browsers["kinds"], browsers["cost"]) == ("browsers-demo", {"browser": 2}, None)


async def test_labels_that_the_provider_does_not_list_are_those_that_were_sent(gateway: Gateway) -> None:
    usage = (await gateway.call("GET", "/v1/usage?by=label:tier&label=team=shop")).json
    assert [(one["value"], one["known"], one["runtimes"]) for one in usage["items"]] == [
        (None, True, 3),
        ("1", True, 1),
    ]


async def test_a_caller_counts_its_own_runtimes_only(gateway: Gateway) -> None:
    own = (await gateway.call("GET", "/v1/usage?by=owner", Authorization=f"Bearer {SHOP}")).json
    assert [(one["value"], one["runtimes"]) for one in own["items"]] == [("shop", 1)]
    assert own["total"]["runtimes"] == 1


async def test_the_public_view_shows_neither_providers_nor_costs(gateway: Gateway) -> None:
    public = await gateway.call("GET", "/v1/usage", Authorization=f"Bearer {WEB}")
    assert (public.json["by"], public.json["total"]["runtimes"]) == ("state", 5)
    assert all("cost" not in figures for figures in (public.json["total"], *public.json["items"]))
    assert "demo" not in public.text
    refused = await gateway.call("GET", "/v1/usage?by=provider", Authorization=f"Bearer {WEB}")
    assert (refused.status, refused.json["errors"][0]["parameter"]) == (403, "by")


async def test_a_failing_provider_is_named_and_its_runtimes_are_not_counted(gateway: Gateway) -> None:
    gateway.upstreams["durable"].fault("list", fault="status", status=503)
    usage = (await gateway.call("GET", "/v1/usage")).json
    assert [each["provider"] for each in usage["incomplete"]] == ["durable-demo"]
    assert (usage["total"]["runtimes"], usage["total"]["cost"]) == (2, None)


@pytest.mark.parametrize("query", ["by=name", "by=label:", "limit=5", "by=kind&by=state", "cursor=x"])
async def test_other_parameters_are_refused(gateway: Gateway, query: str) -> None:
    assert (await gateway.call("GET", f"/v1/usage?{query}")).status == 400
