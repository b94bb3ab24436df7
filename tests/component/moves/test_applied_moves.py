"""Moves are applied and rolled back over the API of a whole gateway, between emulators of two accounts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from gateway.services.access import replication
from gateway.services.moves import mover
from tests.component.moves.applied import (
    at_once,
    becomes,
    call,
    capability,
    fleet_of,
    items,
    moved,
    reaches,
    seen,
    waits_for,
)
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


async def ids_of(gateway: Gateway, path: str, rows: str, member: str) -> list[str]:
    """The ids in all pages of a list, each as often as it is there."""
    found: list[str] = []
    cursor = ""
    while True:
        page = await call(gateway, "GET", f"{path}?limit=3{cursor}")
        found += [row[member] for row in page[rows]]
        if page["next_cursor"] is None:
            return sorted(found)
        cursor = f"&cursor={page['next_cursor']}"


async def test_every_list_has_every_runtime_once_at_every_moment_of_a_move(
    durables: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "EVERY", 0.05)  # the gateway knows of the move before it begins
    monkeypatch.setattr(mover, "ANNOUNCED_FOR", 3.0)
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    made = await fleet_of(durables, source, 12)
    lists = [
        ("/v1/runtimes", "items", "id", sorted(one["id"] for one in made)),
        ("/durable/api/v1/org/acme/ws/research/runtimes", "items", "id", sorted(one["provider_id"] for one in made)),
    ]
    counts: list[int] = []

    async def watch(path: str, rows: str, member: str, expected: list[str]) -> None:
        count = 0
        while not over.is_set():
            assert await ids_of(durables, path, rows, member) == expected
            count += 1
        counts.append(count)

    over = asyncio.Event()
    async with asyncio.TaskGroup() as watching:
        for each in lists:
            watching.create_task(watch(*each))
        move = await moved(durables, source, target, when="now", concurrency=3)
        assert move["counts"] == {"moved": 12}, await items(durables, move)
        await call(durables, "POST", f"/v1/moves/{move['id']}/rollback", {}, status=202)
        await reaches(durables, move["id"], "rolled_back")
        over.set()
    assert min(counts) > 2


async def test_nothing_begins_on_a_runtime_that_is_drained(durables: Gateway) -> None:
    source, target = durables.upstreams["durable"], durables.upstreams["durable-2"]
    runtime = await durables.create(source, start=True)
    path = f"/v1/runtimes/{runtime['id']}"
    body = {"source": {"provider": source.name}, "target": {"provider": target.name}, "when": "drain"}
    move = await call(durables, "POST", "/v1/moves", body, status=202)
    move = await reaches(durables, move["id"], "planned")
    (item,) = await items(durables, move)
    assert "nothing new begins on it" in item["double_run"]
    await call(durables, "POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]}, status=202)
    assert await waits_for(durables, move) == "idle: the runtime is running"
    async with asyncio.timeout(20):
        while (await durables.call("POST", f"{path}/connections", {})).status == 200:
            continue  # the gateway does not know of the move yet
    for verb in ("connections", "start"):
        refused = await durables.call("POST", f"{path}/{verb}", {})
        assert (refused.status, refused.json["code"], refused.json["retryable"]) == (409, "state_conflict", "yes")
    await call(durables, "POST", f"{path}/keepalive", {"extend_seconds": 60})
    await call(durables, "POST", f"{path}/reset")
    move = await reaches(durables, move["id"], "done")
    assert move["counts"] == {"moved": 1}
    started = await call(durables, "POST", f"{path}/start", {})
    assert started["provider"] == target.name


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
