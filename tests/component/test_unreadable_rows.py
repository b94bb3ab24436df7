"""Rows of a provider's list that cannot be read, through the complete gateway: lists, dialects, creates, the log.

See docs/promises.md#p10 and docs/fault-cases.md#fault-0.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.durable.adapter import DurableAdapter
from gateway.settings import CacheSettings
from tests.component.whole_gateway import NO_CACHE, Gateway, whole_gateway
from tests.unit.adapters.bctrl import fakes as bctrl
from tests.unit.adapters.bctrl_browsers import fakes as browsers
from tests.unit.adapters.durable import fakes as durable

APIS = ("durable", "bctrl", "bctrl_browsers")
CANARY = "hunter2"
DEEP = '"HOLE"'
GOOD: Mapping[str, dict[str, Any]] = {
    "durable": durable.row(key="good"),
    "bctrl": bctrl.row(alias="good"),
    "bctrl_browsers": browsers.row(name="good", spaceId=None),
}
ODD: Mapping[str, tuple[dict[str, Any], str]] = {
    "durable": (
        durable.row(id=durable.OTHER, key="odd", instance=durable.instance(billed_credits=CANARY)),
        "#/items/1/instance/billed_credits",
    ),
    "bctrl": (bctrl.row(id=bctrl.OTHER, alias="odd", driver=[CANARY]), "#/runtimes/1/driver"),
    "bctrl_browsers": (browsers.row(id="br_odd", name="odd", status={"is": CANARY}), "#/data/1/status"),
}
"""A row with a member of another type, and the pointer to it."""

MEMBER = {"durable": "items", "bctrl": "runtimes", "bctrl_browsers": "data"}
DIALECT = {
    "durable": "/durable/api/v1/org/acme/ws/research/runtimes",
    "bctrl": "/bctrl/v1/workspaces/{scope}/runtimes",
    "bctrl_browsers": "/bctrl/v1/browsers?spaceId={scope}",
}


def _lists(gateway: Gateway, api: str, *rows: Any) -> None:
    """Make the provider list these rows from now on."""
    body = json.dumps({MEMBER[api]: list(rows)}).replace(DEEP, "[" * 5000 + "]" * 5000)
    gateway.upstreams[api].fault("list", fault="status", status=200, body=body, content_type="application/json")


def _logged(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, gateway.log.getvalue().splitlines()) if line["event"] == event]


@pytest.mark.parametrize("api", APIS)
async def test_list_has_the_readable_rows_and_reports_the_others_in_the_response_and_the_log(api: str) -> None:
    odd, pointer = ODD[api]
    async with whole_gateway(api) as gateway:
        _lists(gateway, api, GOOD[api], odd, 7, {**GOOD[api], "x": json.loads(DEEP)})
        response = await gateway.call("GET", "/v1/runtimes?partial=deny")
        assert response.status == 200, response.text
        assert ([runtime["name"] for runtime in response.json["items"]], response.json["incomplete"]) == (["good"], [])
        first, second, third = response.json["warnings"]
        name = gateway.upstreams[api].name
        assert (first["pointer"], first["provider"], first["provider_id"]) == (pointer, name, odd["id"])
        assert pointer.removeprefix("#") in first["detail"]
        assert ([w["pointer"] for w in (second, third)], "provider_id" in second) == (
            [f"#/{MEMBER[api]}/2", f"#/{MEMBER[api]}/3/x"],
            False,
        )
        (line,) = _logged(gateway, "unreadable_rows")
        assert (line["request_id"], line["count"]) == (response.headers["X-Request-ID"], 3)
        assert [row["pointer"] for row in line["rows"]] == [w["pointer"] for w in response.json["warnings"]]
        assert CANARY not in response.text + gateway.log.getvalue()
        metrics = await gateway.call("GET", "/metrics")
        assert f'rtgw_unreadable_rows_total{{provider="{name}"}} 3.0' in metrics.text


async def test_cached_response_has_the_warnings_too() -> None:
    async with whole_gateway("durable", cache=CacheSettings()) as gateway:
        _lists(gateway, "durable", GOOD["durable"], ODD["durable"][0])
        first, again = [await gateway.call("GET", "/v1/runtimes") for _ in range(2)]
        assert "hit" in again.headers["Cache-Status"]
        assert (again.json, again.headers["ETag"]) == (first.json, first.headers["ETag"])
        assert len(again.json["warnings"]) == 1


async def test_provider_without_any_readable_row_is_incomplete_and_the_list_succeeds() -> None:
    async with whole_gateway("durable") as gateway:
        _lists(gateway, "durable", ODD["durable"][0])
        response = await gateway.call("GET", "/v1/runtimes")
        ((missing),) = response.json["incomplete"]
        assert (response.status, response.json["items"], len(response.json["warnings"])) == (200, [], 1)
        assert (missing["provider"], missing["problem"]["code"]) == ("durable-demo", "provider_bad_response")


@pytest.mark.parametrize("api", APIS)
async def test_list_of_a_dialect_has_the_readable_rows_and_the_others_are_logged(api: str) -> None:
    odd = 7 if api == "durable" else ODD[api][0]
    async with whole_gateway(api) as gateway:
        scope = (await gateway.call("GET", "/v1/providers")).json["items"][0]["scope"]
        _lists(gateway, api, GOOD[api], odd, {**GOOD[api], "x": json.loads(DEEP)})
        response = await gateway.call("GET", DIALECT[api].format(scope=scope))
        assert response.status == 200, response.text
        assert response.json[MEMBER[api]] == [GOOD[api]]
        assert [line["count"] for line in _logged(gateway, "unreadable_rows")] == [2]


async def test_list_of_the_flat_era_has_the_readable_rows() -> None:
    async with whole_gateway("bctrl_browsers") as gateway:
        _lists(gateway, "bctrl_browsers", ODD["bctrl_browsers"][0], GOOD["bctrl_browsers"])
        response = await gateway.call("GET", "/bctrl/v1/runtimes")
        assert ([row["name"] for row in response.json["data"]], response.json["nextCursor"]) == (["good"], None)


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_create_fails_while_an_unreadable_row_may_have_the_name(api: str) -> None:
    name = {"bctrl": "alias", "bctrl_browsers": "name"}[api]
    async with whole_gateway(api) as gateway:
        body = {"kind": "browser", "name": "odd"}
        for row in (ODD[api][0], {**ODD[api][0], name: 7}, 7):
            _lists(gateway, api, GOOD[api], row)
            response = await gateway.call("POST", "/v1/runtimes", body)
            assert (response.status, response.json["code"]) == (502, "provider_bad_response")
            gateway.upstreams[api].emulator.faults.end_all()
        assert gateway.upstreams[api].emulator.requests.per_operation["create"] == 0
        _lists(gateway, api, ODD[api][0])
        assert (await gateway.call("POST", "/v1/runtimes", {**body, "name": "another"})).status == 201


async def test_bug_in_an_adapter_is_the_providers_entry_in_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing_list(*_args: Any) -> None:
        raise AttributeError(CANARY)

    async with whole_gateway("durable", "bctrl", cache=NO_CACHE) as gateway:
        made = await gateway.create(gateway.upstreams["bctrl"])
        monkeypatch.setattr(DurableAdapter, "list", failing_list)
        response = await gateway.call("GET", "/v1/runtimes")
        assert (response.status, [runtime["id"] for runtime in response.json["items"]]) == (200, [made["id"]])
        (missing,) = response.json["incomplete"]
        problem = missing["problem"]
        assert (missing["provider"], problem["code"], problem["source"]) == (
            "durable-demo",
            "internal_error",
            "gateway",
        )
        assert CANARY not in response.text
        (line,) = _logged(gateway, "unexpected_error")
        assert (line["provider"], line["request_id"]) == ("durable-demo", response.headers["X-Request-ID"])
        assert "in failing_list" in line["exception"]
        alone = await gateway.call("GET", "/v1/runtimes?provider=durable-demo")
        assert (alone.status, alone.json["code"]) == (503, "provider_unavailable")
