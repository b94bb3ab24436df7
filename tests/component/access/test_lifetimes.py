"""Instances of principals with a maximum lifetime are ended by the gateway, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from gateway.api.responses import tagged
from gateway.domain.access import ANONYMOUS
from gateway.domain.runtime import Runtime
from gateway.services.access import lifetime_ends
from tests.component.whole_gateway import KEY, Gateway, Response, whole_gateway

SHOP: Final = "key-of-the-shop-12345"
OWN: Final = "key-of-an-owner-12345"
BRIEF: Final = "key-of-a-brief-one-12"
HANGS: Final = 60
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": [SHOP], "allow": {"max_lifetime": "2h", "projects": ["research"]}},
    "own": {"keys": [OWN], "own_only": True, "allow": {"max_lifetime": "2h"}},
    "brief": {"keys": [BRIEF], "allow": {"max_lifetime": "1s"}},
}
DURABLE: Final = "/durable/api/v1/org/acme/ws/research/runtimes"
KINDS: Final = ("durable", "bctrl", "bctrl_browsers")


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(lifetime_ends, "EVERY", 0.2)
    async with whole_gateway(*KINDS, principals=PRINCIPALS) as started:
        yield started


async def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {key}")


async def made(gateway: Gateway, key: str, api: str, **fields: Any) -> Any:
    upstream = gateway.upstreams[api]
    body = {"kind": upstream.kind, "provider": upstream.name, "name": "one", **fields}
    response = await call(gateway, key, "POST", "/v1/runtimes", body)
    assert response.status == 201, response.text
    return response.json


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(HANGS):
        while not await holds():  # noqa: ASYNC110 (the gateway's own loop sends no event)
            await asyncio.sleep(0.05)


def seconds_left(runtime: Any) -> float:
    return (datetime.fromisoformat(runtime["expires_at"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("api", "state", "verb"),
    [("durable", "paused", "pause"), ("bctrl", "stopped", "stop"), ("bctrl_browsers", "idle", "stop")],
)
async def test_instance_is_ended_by_the_verb_that_keeps_most(gateway: Gateway, api: str, state: str, verb: str) -> None:
    path = f"/v1/runtimes/{(await made(gateway, BRIEF, api, start=True))['id']}"

    async def is_ended() -> bool:
        return str((await gateway.call("GET", path)).json["state"]) == state

    await until(is_ended)

    async def is_logged() -> bool:
        return '"lifetime_ended"' in gateway.log.getvalue()

    await until(is_logged)
    lines = [json.loads(line) for line in gateway.log.getvalue().splitlines() if '"lifetime_ended"' in line]
    assert [(line["principal"], line["verb"]) for line in lines] == [("brief", verb)]
    metrics = (await gateway.call("GET", "/metrics")).text
    name = gateway.upstreams[api].name
    assert f'rtgw_lifetime_ends_total{{outcome="ended",provider="{name}"}} 1.0' in metrics


@pytest.mark.parametrize("api", KINDS)
async def test_end_is_shown_in_reads_and_lists(gateway: Gateway, api: str) -> None:
    created = await made(gateway, SHOP, api, start=True)
    path = f"/v1/runtimes/{created['id']}"
    for key in (SHOP, None):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        read = (await gateway.call("GET", path, **headers)).json
        assert 7100 < seconds_left(read) <= 7200
        (row,) = (await gateway.call("GET", f"/v1/runtimes?provider={created['provider']}", **headers)).json["items"]
        assert row["expires_at"] == read["expires_at"]
    unlimited = await gateway.create(gateway.upstreams[api], name="unlimited")
    assert api == "durable" or (await gateway.call("GET", f"/v1/runtimes/{unlimited['id']}")).json["expires_at"] is None


@pytest.mark.parametrize("api", KINDS)
async def test_end_is_shown_by_creates_replays_and_starts(gateway: Gateway, api: str) -> None:
    upstream = gateway.upstreams[api]
    body = {"kind": upstream.kind, "provider": upstream.name, "name": "one", "start": True}
    headers = {"Authorization": f"Bearer {SHOP}", "Idempotency-Key": "k"}
    created = await gateway.call("POST", "/v1/runtimes", body, **headers)
    assert created.status == 201, created.text
    assert 7100 < seconds_left(created.json) <= 7200
    path = f"/v1/runtimes/{created.json['id']}"
    answers = [await gateway.call("POST", "/v1/runtimes", body, **headers)]
    assert answers[0].headers["Idempotency-Replayed"] == "true"
    answers += [await call(gateway, SHOP, "POST", "/v1/runtimes", body), await call(gateway, SHOP, "GET", path)]
    answers += [] if api == "bctrl" else [await call(gateway, SHOP, "POST", f"{path}/start", {})]
    assert {answer.json["expires_at"] for answer in answers} == {created.json["expires_at"]}
    if api == "durable":
        extended = await gateway.call("POST", f"{path}/keepalive", {"extend_seconds": 3600})
        assert (extended.status, extended.json["expires_at"]) == (200, created.json["expires_at"])
        assert (await call(gateway, SHOP, "POST", f"{path}/pause", {})).status == 200
        resumed = await call(gateway, SHOP, "POST", f"{path}/resume", {})
        assert resumed.json["expires_at"] > created.json["expires_at"]


async def test_durable_dialect_shows_the_end_wherever_it_shows_an_instance(gateway: Gateway) -> None:
    body = {"key": "one", "project": "research"}
    made_id = (await call(gateway, SHOP, "POST", DURABLE, body)).json["id"]
    assert (await call(gateway, SHOP, "POST", DURABLE, {"key": "idle", "project": "research"})).status == 201
    path = f"{DURABLE}/{made_id}"
    await call(gateway, SHOP, "POST", f"{path}/start", {})
    world = gateway.upstreams["durable"].emulator.world  # type: ignore[attr-defined]
    for _, runtime in world.with_workspaces():
        if runtime.instance is not None:
            runtime.instance.expires_at += 100_000  # as if somebody else had extended it
    unified = (await call(gateway, SHOP, "GET", f"/v1/runtimes/durable-demo.{made_id}")).json
    assert 7100 < seconds_left(unified) <= 7200
    for key in (SHOP, None):
        for method, below in (("GET", ""), ("POST", "/start")):
            shown = (await call(gateway, key or KEY, method, f"{path}{below}", {} if method == "POST" else None)).json
            assert shown["instance"]["expires_at"] == unified["expires_at"], (key, method)
            assert shown["instance"]["sandbox_id"]
        rows = (await call(gateway, key or KEY, "GET", DURABLE)).json["items"]
        ends = {row["key"]: row["instance"] and row["instance"]["expires_at"] for row in rows}
        assert ends == {"one": unified["expires_at"], "idle": None}
    existing = (await call(gateway, SHOP, "POST", DURABLE, body)).json
    assert (existing["created"], existing["instance"]["expires_at"]) == (False, unified["expires_at"])
    paused = (await call(gateway, SHOP, "POST", f"{path}/pause")).json
    assert paused["instance"]["state"] == "paused"
    resumed = (await call(gateway, SHOP, "POST", f"{path}/resume")).json
    unified = (await call(gateway, SHOP, "GET", f"/v1/runtimes/durable-demo.{made_id}")).json
    assert resumed["instance"]["expires_at"] == unified["expires_at"]
    assert 7100 < seconds_left(unified) <= 7200


async def test_tag_of_a_runtime_without_its_end_is_accepted_by_a_stop(gateway: Gateway) -> None:
    """Another replica may have served it before it knew the end."""
    path = f"/v1/runtimes/{(await made(gateway, SHOP, 'bctrl'))['id']}"
    read = await call(gateway, SHOP, "GET", path)
    runtime = msgspec.structs.replace(msgspec.json.decode(read.text, type=Runtime), etag=None)
    assert tagged(runtime, ANONYMOUS)[1] == read.headers["ETag"]
    tag = tagged(msgspec.structs.replace(runtime, expires_at=None), ANONYMOUS)[1]
    headers = {"Authorization": f"Bearer {SHOP}", "If-Match": tag}
    assert (await gateway.call("POST", f"{path}/stop", {}, **headers)).status == 200


async def test_start_and_resume_of_the_durable_dialect_have_an_end(gateway: Gateway) -> None:
    created = await call(gateway, SHOP, "POST", DURABLE, {"key": "one", "project": "research"})
    path, unified = f"{DURABLE}/{created.json['id']}", f"/v1/runtimes/durable-demo.{created.json['id']}"
    assert (await call(gateway, SHOP, "GET", unified)).json["expires_at"] is None
    assert (await call(gateway, SHOP, "POST", f"{path}/start", {})).status == 200
    first = (await call(gateway, SHOP, "GET", unified)).json
    assert 7100 < seconds_left(first) <= 7200
    await call(gateway, SHOP, "POST", f"{path}/start", {})
    assert (await call(gateway, SHOP, "GET", unified)).json["expires_at"] == first["expires_at"]
    refused = await call(gateway, SHOP, "POST", f"{path}/keepalive", {"extend_seconds": 3600})
    assert (refused.status, refused.json["type"]) == (403, "forbidden_error"), refused.text
    refused = await call(gateway, SHOP, "POST", f"{unified}/keepalive", {"extend_seconds": 3600})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (403, "#/extend_seconds")
    assert (await call(gateway, SHOP, "POST", f"{path}/pause")).status == 200
    assert (await call(gateway, SHOP, "POST", f"{path}/resume")).status == 200
    resumed = (await call(gateway, SHOP, "GET", unified)).json
    assert resumed["expires_at"] > first["expires_at"]


@pytest.mark.parametrize("start", ["/bctrl/v1/browsers/{id}/start", "/bctrl/v1/runtimes/{id}/start"])
async def test_start_of_the_browser_dialects_has_an_end(gateway: Gateway, start: str) -> None:
    created = await made(gateway, SHOP, "bctrl_browsers")
    unified = f"/v1/runtimes/{created['id']}"
    first = (await call(gateway, SHOP, "GET", unified)).json["expires_at"]
    path = start.format(id=created["provider_id"])
    assert (await call(gateway, SHOP, "POST", path, {})).status == 200
    assert (await call(gateway, SHOP, "GET", unified)).json["expires_at"] == first
    assert (await call(gateway, SHOP, "POST", f"{unified}/stop", {})).status == 200

    async def is_idle() -> bool:
        return str((await gateway.call("GET", unified)).json["state"]) == "idle"

    await until(is_idle)
    assert (await call(gateway, SHOP, "GET", unified)).json["expires_at"] is None
    assert (await call(gateway, SHOP, "POST", path, {})).status == 200
    assert (await call(gateway, SHOP, "GET", unified)).json["expires_at"] > first


async def test_runtime_that_existed_before_gets_no_end(gateway: Gateway) -> None:
    existing = await gateway.create(gateway.upstreams["bctrl"], name="one")
    body = {"kind": "browser", "provider": existing["provider"], "name": "one"}
    found = await call(gateway, SHOP, "POST", "/v1/runtimes", body)
    assert (found.status, found.json["created"]) == (200, False)
    assert (await call(gateway, SHOP, "GET", f"/v1/runtimes/{existing['id']}")).json["expires_at"] is None


async def test_start_of_a_foreign_runtime_is_as_of_an_absent_one_and_plans_nothing(gateway: Gateway) -> None:
    durable, browser = [await made(gateway, SHOP, api) for api in ("durable", "bctrl_browsers")]
    assert (await gateway.call("POST", f"/v1/runtimes/{browser['id']}/stop", {})).status == 200
    paths = [f"/v1/runtimes/{each['id']}/start" for each in (durable, browser)]
    paths += [f"{DURABLE}/{durable['provider_id']}/start", f"/bctrl/v1/browsers/{browser['provider_id']}/start"]
    for path in (*paths, f"/bctrl/v1/runtimes/{browser['provider_id']}/start"):
        assert (await call(gateway, OWN, "POST", path, {})).status == 404, path
    for each in (durable, browser):
        assert (await gateway.call("GET", f"/v1/runtimes/{each['id']}")).json["expires_at"] is None
