"""What the dialects answer to callers that see only their own runtimes or may not connect, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.access.dialect_owners import (
    ALL,
    APIS,
    BANK,
    CONFIG,
    DURABLE,
    PRINCIPALS,
    READER,
    SHOP,
    Api,
    call,
    listed,
    made,
    told,
)
from tests.component.whole_gateway import Gateway, whole_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable", "bctrl", "bctrl_browsers", principals=PRINCIPALS) as started:
        yield started


async def test_owner_uses_its_runtime_by_name_in_every_way(gateway: Gateway) -> None:
    for name in ("durable", "browsers", "workspaces"):
        await made(gateway, SHOP, APIS[name], "agent")
    calls: list[tuple[str, str, str, Any]] = [
        ("durable", "POST", "/start", {}),
        ("durable", "POST", "/keepalive", {"extend_seconds": 60}),
        ("durable", "POST", "/pause", None),
        ("durable", "POST", "/resume", None),
        ("durable", "GET", "/config", None),
        ("durable", "PUT", "/config", {"config": CONFIG}),
        ("durable", "GET", "/capabilities", None),
        ("durable", "GET", "/capabilities/resolved", None),
        ("durable", "POST", "/reset", None),
        ("browsers", "GET", "?wait=1", None),
        ("browsers", "POST", "/connections/revoke", None),
        ("browsers", "POST", "/stop?wait=1", {}),
        ("browsers", "POST", "/start", {}),
        ("browsers", "DELETE", "", None),
        ("workspaces", "GET", "", None),
        ("workspaces", "POST", "/stop", None),
    ]
    for name, method, below, body in calls:
        done = await call(gateway, SHOP, method, f"{APIS[name].runtimes}/agent{below}", body)
        assert done.status == 200, (name, method, below, done.text)


async def test_account_of_the_gateway_is_hidden_except_for_what_clients_need(gateway: Gateway) -> None:
    for path in ("/user", "/user/organizations", "/org/acme", "/org/acme/ws", "/org/acme/ws/research"):
        assert (await call(gateway, SHOP, "GET", DURABLE + path)).status == 200, path
    project = {"name": "Shop", "key": "shop"}
    assert (await call(gateway, None, "POST", f"{DURABLE}/org/acme/ws/research/projects", project)).status == 201
    for path in ("/org/acme/ws/research/projects", "/org/acme/ws/research/projects/shop"):
        assert (await call(gateway, SHOP, "GET", DURABLE + path)).status == 200, path
    for method, path in (("GET", "/user/secrets"), ("POST", "/org/acme/ws/research/projects")):
        refused = await call(gateway, SHOP, method, DURABLE + path, project if method == "POST" else None)
        assert (refused.status, refused.json["type"]) == (403, "forbidden_error")
    assert (await call(gateway, None, "GET", DURABLE + "/user/secrets")).status == 200


@pytest.mark.parametrize("scope", ["acme/research", None])
async def test_logs_are_those_of_own_sandboxes_only(scope: str | None) -> None:
    async with whole_gateway("durable", principals=PRINCIPALS, durable={"scope": scope}) as gateway:
        sandboxes = {}
        for key in (SHOP, BANK):
            await made(gateway, key, APIS["durable"], "agent")
            started = await call(gateway, key, "POST", f"{APIS['durable'].runtimes}/agent/start", {})
            sandboxes[key] = started.json["instance"]["provider_sandbox_id"]
        logs = f"{DURABLE}/org/acme/sandboxes/{{}}/logs"
        assert (await call(gateway, SHOP, "GET", logs.format(sandboxes[SHOP]))).status == 200
        foreign = told(await call(gateway, SHOP, "GET", logs.format(sandboxes[BANK])))
        assert foreign == told(await call(gateway, SHOP, "GET", logs.format("i00000000000000000000")))
        assert foreign[0] == 404


async def test_answers_have_no_connections_without_the_scope_to_connect(gateway: Gateway) -> None:
    for key, connects in ((BANK, True), (READER, False)):
        durable, name = APIS["durable"].runtimes, f"agent-{connects}".lower()
        await made(gateway, key, APIS["durable"], name)
        started = (await call(gateway, key, "POST", f"{durable}/{name}/start", {})).json
        assert (started["sandbox_token"] is not None) is connects
        assert (started["instance"]["sandbox_url"] is not None) is connects
        for row in await listed(gateway, key, APIS["durable"]):
            assert row["instance"] is None or (row["instance"]["sandbox_url"] is not None) is connects
        browsers, flat = APIS["browsers"].runtimes, APIS["flat"].runtimes
        created = await call(gateway, key, "POST", f"{browsers}?wait=5", {"name": name})
        assert created.status == 201
        path = created.json["id"]
        answers = [
            created,
            await call(gateway, key, "GET", f"{browsers}/{path}"),
            await call(gateway, key, "GET", browsers),
            await call(gateway, key, "GET", f"{flat}/{path}?include=connection"),
            await call(gateway, key, "POST", f"{flat}/{path}/start", {}),
            await call(gateway, key, "POST", flat, {"type": "browser", "name": f"{name}-2", "start": True}),
        ]
        for answer in answers:
            assert answer.status in {200, 201}
            assert ("://" in answer.text) is connects, answer.text


async def test_browser_of_another_owner_cannot_be_copied(gateway: Gateway) -> None:
    theirs = await made(gateway, BANK, APIS["browsers"], "secret")
    copy = {"fromBrowser": theirs["id"], "persona": "same"}
    native = await call(gateway, SHOP, "POST", APIS["browsers"].runtimes, {"name": "copy", **copy})
    assert (native.status, native.json["error"]["details"]["errors"][0]["member"]) == (403, "fromBrowser")
    body = {"kind": "browser", "provider": "browsers-demo", "name": "copy", "provider_options": copy}
    unified = await call(gateway, SHOP, "POST", "/v1/runtimes", body)
    assert (unified.status, unified.json["errors"][0]["pointer"]) == (403, "#/provider_options/fromBrowser")
    assert await listed(gateway, SHOP, APIS["browsers"]) == []


async def test_own_runtime_has_its_name_before_an_assigned_one(gateway: Gateway) -> None:
    api = APIS["workspaces"]
    await made(gateway, BANK, api, "agent")
    (row,) = (await call(gateway, None, "GET", "/v1/runtimes")).json["items"]
    assert (await call(gateway, None, "PUT", f"/v1/runtimes/{row['id']}/owner", {"owner": "shop"})).status == 200
    own = await made(gateway, SHOP, api, "agent")
    read, stopped = [
        await call(gateway, SHOP, *one)
        for one in (("GET", f"{api.runtimes}/agent"), ("POST", f"{api.runtimes}/agent/stop"))
    ]
    assert (read.json["id"], stopped.json["id"]) == (own["id"], own["id"])
    assert (await call(gateway, BANK, "GET", f"{api.runtimes}/agent")).status == 404


@ALL
async def test_assigned_runtime_is_the_new_owners_under_the_name_that_it_has(gateway: Gateway, api: Api) -> None:
    legacy, bought = await made(gateway, None, api, "legacy"), await made(gateway, BANK, api, "bought")
    ids = {row["provider_id"]: row["id"] for row in (await call(gateway, None, "GET", "/v1/runtimes")).json["items"]}
    for runtime in (legacy, bought):
        path = f"/v1/runtimes/{ids[runtime['id']]}/owner"
        assert (await call(gateway, None, "PUT", path, {"owner": "shop"})).status == 200
    assert {row["id"]: row[api.name] for row in await listed(gateway, SHOP, api)} == {
        legacy["id"]: "legacy",
        bought["id"]: "bought",
    }
    assert await listed(gateway, BANK, api) == []
    for by in api.by:
        assert (await call(gateway, SHOP, "GET", f"{api.runtimes}/{api.address(legacy, by)}")).status == 200
        known = by == "id" or api.upstream == "bctrl"  # whose ids contain the name at the provider
        read = await call(gateway, SHOP, "GET", f"{api.runtimes}/{api.address(bought, by)}")
        assert (read.status, read.json.get("id")) == ((200, bought["id"]) if known else (404, None))
        for runtime in (legacy, bought):
            assert (await call(gateway, BANK, "GET", f"{api.runtimes}/{api.address(runtime, by)}")).status == 404
    if api.runtimes.endswith("browsers"):
        assert [row["id"] for row in await listed(gateway, SHOP, api, "?name=legacy")] == [legacy["id"]]


async def test_runtime_of_a_kind_that_the_caller_may_not_use_does_not_exist() -> None:
    """The workspaces API has kinds that no create makes, so a caller of browsers only does not see all of it."""
    limited = {"durables": {"keys": [SHOP], "kinds": ["durable"]}, "browsers": {"keys": [BANK], "kinds": ["browser"]}}
    async with whole_gateway("durable", "bctrl", "bctrl_browsers", principals=limited) as gateway:
        for api in APIS.values():
            sees, does_not = (SHOP, BANK) if api.upstream == "durable" else (BANK, SHOP)
            runtime = await made(gateway, sees, api, "agent" if api.runtimes != APIS["flat"].runtimes else "other")
            path = f"{api.runtimes}/{api.address(runtime, api.by[0])}"
            assert (await call(gateway, sees, "GET", path)).status == 200
            assert (await call(gateway, does_not, "GET", path)).status == 404
            assert await listed(gateway, does_not, api) == []


@ALL
async def test_create_of_a_name_that_an_assigned_runtime_has_is_a_conflict_without_details(
    gateway: Gateway, api: Api
) -> None:
    given_away = await made(gateway, SHOP, api, "agent")
    (listed_row,) = (await call(gateway, None, "GET", "/v1/runtimes")).json["items"]
    assigned = await call(gateway, None, "PUT", f"/v1/runtimes/{listed_row['id']}/owner", {"owner": "bank"})
    assert assigned.status == 200
    again = await call(gateway, SHOP, "POST", api.runtimes, {api.name: "agent", **api.create})
    assert again.status == 409, again.text
    assert given_away["id"] not in again.text
    unified = {"kind": listed_row["kind"], "provider": listed_row["provider"], "name": "agent"}
    refused = await call(gateway, SHOP, "POST", "/v1/runtimes", unified)
    assert (refused.status, refused.json["code"]) == (409, "already_exists")
    assert given_away["id"] not in refused.text
