"""Moves are applied and rolled back over the API of a whole gateway, between emulators of two accounts."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.component.moves.applied import at_once, becomes, call, capability, fleet_of, items, moved, reaches, seen
from tests.component.whole_gateway import Gateway, whole_gateway

OWN_KEY: Final = "a-key-of-a-tenant-7788"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


@pytest.fixture
async def durables() -> AsyncIterator[Gateway]:
    tenant = {"tenant": {"keys": [OWN_KEY], "own_only": True, "allow": {}}}
    options: dict[str, Any] = {"durable-2": {"scope": "zeta/two"}}
    async with whole_gateway("durable", twice=["durable"], principals=tenant, **options) as gateway:
        yield gateway


async def test_a_durable_fleet_moves_and_comes_back(durables: Gateway) -> None:
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    made = await fleet_of(durables, source, 20)
    before = {runtime["id"]: await seen(durables, runtime["id"]) for runtime in made}
    move = await moved(durables, source, target, when="now", concurrency=8)
    assert (move["state"], move["counts"]) == ("done", {"moved": 20}), await items(durables, move)
    assert {runtime["id"]: await seen(durables, runtime["id"]) for runtime in made} == before
    listed = (await call(durables, "GET", "/v1/runtimes?limit=100"))["items"]
    assert {runtime["id"] for runtime in listed} == set(before)
    assert {runtime["provider"] for runtime in listed} == {target.name}
    for item in await items(durables, move):
        assert (await seen(durables, item["target"]["id"]))["id"] == item["runtime_id"]
    back = f"/v1/moves/{move['id']}/rollback"
    assert (await call(durables, "POST", back, {"dry_run": True})) == {"items": [], "next_cursor": None}
    await call(durables, "POST", back, {}, status=202)
    move = await reaches(durables, move["id"], "rolled_back")
    assert move["counts"] == {"rolled_back": 20}, await items(durables, move)
    assert {runtime["id"]: await seen(durables, runtime["id"]) for runtime in made} == before
    listed = (await call(durables, "GET", "/v1/runtimes?limit=100"))["items"]
    assert {runtime["provider"] for runtime in listed if runtime["id"] in before} == {source.name}
    assert len([runtime for runtime in listed if runtime["id"] in before]) == 20


async def test_what_clients_changed_at_the_target_is_kept_or_copied_back(durables: Gateway) -> None:
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    runtime = await durables.create(source, config={"version": "v2", "resources": {"cpu_cores": 2}})
    move = await moved(durables, source, target)
    path = f"/v1/runtimes/{runtime['id']}"
    changed = {"config": {"version": "v2", "resources": {"cpu_cores": 4}}}
    await call(durables, "PUT", f"{path}/config", changed)
    await capability(durables, runtime["id"], "@acme/later", 2)
    back = f"/v1/moves/{move['id']}/rollback"
    (item,) = (await call(durables, "POST", back, {"dry_run": True}))["items"]
    assert {change["pointer"] for change in item["changes"]} == {
        "#/config/resources/cpu_cores",
        "#/capabilities/@acme~1later",
    }
    refused = await call(durables, "POST", back, {"sync_back": ["config"]}, status=409)
    assert (refused["code"], runtime["id"] in refused["detail"]) == ("state_conflict", True)
    await call(durables, "POST", back, {"sync_back": ["config", "capabilities"]}, status=202)
    await reaches(durables, move["id"], "rolled_back")
    after = await seen(durables, runtime["id"])
    assert (await call(durables, "GET", path))["provider"] == source.name
    assert after["config"]["resources"]["cpu_cores"] == 4
    assert after["bindings"] == {"@acme/later": ("1.0.2", True, {})}


async def test_the_owner_of_a_runtime_keeps_it(durables: Gateway) -> None:
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    headers = {"Authorization": f"Bearer {OWN_KEY}"}
    body = {"kind": "durable", "provider": source.name, "name": "mine"}
    made = await call(durables, "POST", "/v1/runtimes", body, status=201, **headers)
    await moved(durables, source, target)
    runtime = await call(durables, "GET", f"/v1/runtimes/{made['id']}", **headers)
    assert (runtime["id"], runtime["name"], runtime["owner"]) == (made["id"], "mine", "tenant")
    assert runtime["provider"] == target.name
    again = await call(durables, "POST", "/v1/runtimes", {"kind": "durable", "name": "mine"}, **headers)
    assert (again["id"], again["created"]) == (made["id"], False)
    await call(durables, "POST", f"/v1/runtimes/{made['id']}/start", {}, **headers)


async def test_a_lost_response_of_the_create_makes_no_second_runtime(durables: Gateway) -> None:
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    made = [await durables.create(source) for _ in range(3)]
    target.fault("create", fault="drop_after", times=2)
    move = await moved(durables, source, target)
    assert move["counts"] == {"moved": 3}, await items(durables, move)
    listed = (await call(durables, "GET", f"/v1/runtimes?provider={target.name}"))["items"]
    assert {runtime["id"] for runtime in listed} == {runtime["id"] for runtime in made}
    assert len({item["target"]["provider_id"] for item in await items(durables, move)}) == 3


async def test_a_move_is_paused_continued_and_cancelled(durables: Gateway) -> None:
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    await durables.create(source, start=True)
    idle = await durables.create(source)
    body = {"source": {"provider": source.name}, "target": {"provider": target.name}}
    move = await call(durables, "POST", "/v1/moves", body, status=202)
    move = await reaches(durables, move["id"], "planned")
    path = f"/v1/moves/{move['id']}"
    refused = await call(durables, "POST", f"{path}/apply", {"digest": "sha256:other"}, status=412)
    assert refused["errors"][0]["pointer"] == "#/digest"
    await call(durables, "POST", f"{path}/pause", status=409)
    await call(durables, "POST", f"{path}/apply", {"digest": move["digest"]}, status=202)
    await becomes(durables, move["id"], lambda move: move["counts"] == {"planned": 1, "moved": 1})
    await call(durables, "POST", f"{path}/pause", status=202)
    await reaches(durables, move["id"], "paused")
    await call(durables, "POST", f"{path}/resume", status=202)
    await call(durables, "POST", f"{path}/cancel", status=202)
    move = await reaches(durables, move["id"], "cancelled")
    assert move["counts"] == {"moved": 1, "skipped": 1}
    assert (await call(durables, "GET", f"/v1/runtimes/{idle['id']}"))["provider"] == target.name


@pytest.mark.parametrize("old", ["bctrl", "bctrl_browsers"])
async def test_browsers_move_and_come_back_if_their_source_can_be_started(old: str) -> None:
    new = "bctrl_browsers-2" if old == "bctrl_browsers" else "bctrl_browsers"
    scope = {"bctrl_browsers-2": {"scope": "sp_two"}}
    async with whole_gateway(
        old, *(["bctrl_browsers"] if old == "bctrl" else []), twice=["bctrl_browsers"], **scope
    ) as gateway:
        source, target = gateway.upstreams[old], gateway.upstreams[new]
        made = [await gateway.create(source, driver="playwright") for _ in range(2)]
        move = await moved(gateway, source, target, when="now")
        assert move["counts"] == {"moved": 2}, await items(gateway, move)
        for runtime in made:
            now = await call(gateway, "GET", f"/v1/runtimes/{runtime['id']}")
            assert (now["id"], now["provider"], now["state"]) == (runtime["id"], target.name, "running")
        await call(gateway, "POST", f"/v1/moves/{move['id']}/rollback", {}, status=202)
        move = await reaches(gateway, move["id"], "rolled_back")
        if old == "bctrl":  # a stopped runtime of this API cannot be started again
            assert move["counts"] == {"moved": 2}
            assert {item["problem"]["code"] for item in await items(gateway, move)} == {"state_conflict"}
            return
        assert move["counts"] == {"rolled_back": 2}, await items(gateway, move)
        for runtime in made:
            now = await call(gateway, "GET", f"/v1/runtimes/{runtime['id']}")
            assert (now["id"], now["provider"], now["state"]) == (runtime["id"], source.name, "running")
