"""Moves are applied and rolled back over the API of a whole gateway, between emulators of two accounts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from gateway.services.moves import holding, mover, worker
from tests.component.whole_gateway import Gateway, Upstream, whole_gateway

WITHIN: Final = 120
OWN_KEY: Final = "a-key-of-a-tenant-7788"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica knows of an announcement at once."""
    monkeypatch.setattr(mover, "ANNOUNCED_FOR", 0.0)
    monkeypatch.setattr(mover, "EVERY", 0.1)
    monkeypatch.setattr(worker, "EVERY", 0.1)
    monkeypatch.setattr(holding, "_POLL", 0.05)


@pytest.fixture
async def durables() -> AsyncIterator[Gateway]:
    tenant = {"tenant": {"keys": [OWN_KEY], "own_only": True, "allow": {}}}
    options: dict[str, Any] = {"durable-2": {"scope": "zeta/two"}}
    async with whole_gateway("durable", twice=["durable"], principals=tenant, **options) as gateway:
        yield gateway


async def call(gateway: Gateway, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
    response = await gateway.call(method, path, body, **headers)
    assert response.status == status, f"{method} {path}: {response.text}"
    return response.json


async def reaches(gateway: Gateway, move_id: str, *states: str) -> Any:
    """The move, when it has one of these states."""
    return await becomes(gateway, move_id, lambda move: move["state"] in states)


async def becomes(gateway: Gateway, move_id: str, accepted: Callable[[Any], bool]) -> Any:
    """The move, when it is as it is to be."""
    async with asyncio.timeout(WITHIN):
        while True:
            move = await call(gateway, "GET", f"/v1/moves/{move_id}")
            if accepted(move):
                return move
            await asyncio.sleep(0.05)


async def moved(gateway: Gateway, source: Upstream, target: Upstream, **fields: Any) -> Any:
    """Plan a move of everything, apply it, and wait until it is done."""
    body = {"source": {"provider": source.name}, "target": {"provider": target.name}, **fields}
    move = await call(gateway, "POST", "/v1/moves", body, status=202)
    move = await reaches(gateway, move["id"], "planned", "failed")
    assert set(move["counts"]) == {"planned"}, await items(gateway, move)
    await call(gateway, "POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]}, status=202)
    return await reaches(gateway, move["id"], "done", "paused", "failed")


async def items(gateway: Gateway, move: Any) -> list[Any]:
    page = await call(gateway, "GET", f"/v1/moves/{move['id']}/items?limit=100")
    found: list[Any] = page["items"]
    return found


async def fleet_of(gateway: Gateway, upstream: Upstream, count: int) -> list[Any]:
    """Durable runtimes with different configs, capabilities and states."""
    made = []
    for number in range(count):
        config = {
            "version": "v2",
            "metadata": {"labels": {"number": str(number)}},
            "runtime_server": {"env": {"SECRET": f"value-{number}"}},
            "resources": {"cpu_cores": 1 + number % 8},
        }
        runtime = await gateway.create(upstream, config=config, start=number % 4 == 0)
        for extra in range(number % 3):
            await _capability(gateway, runtime["id"], f"@acme/tool-{extra}", number)
        made.append(runtime)
    return made


async def _capability(gateway: Gateway, runtime_id: str, name: str, number: int) -> None:
    path = f"/v1/runtimes/{runtime_id}/capabilities"
    binding = await call(gateway, "POST", path, {"name": name, "version": f"1.0.{number}"}, status=201)
    if number % 2:
        await call(gateway, "PATCH", f"{path}/{binding['id']}", {"flags": {"fast": True}})


async def seen(gateway: Gateway, runtime_id: str) -> dict[str, Any]:
    """What clients see of a runtime, without what belongs to a place."""
    runtime = await call(gateway, "GET", f"/v1/runtimes/{runtime_id}")
    config = await call(gateway, "GET", f"/v1/runtimes/{runtime_id}/config")
    bindings = await call(gateway, "GET", f"/v1/runtimes/{runtime_id}/capabilities")
    return {
        **{name: runtime[name] for name in ("id", "name", "state", "labels", "owner")},
        "config": config["config"],
        "bindings": {one["name"]: (one["version"], one["enabled"], one["flags"]) for one in bindings["items"]},
    }


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
    await _capability(durables, runtime["id"], "@acme/later", 2)
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
async def test_browsers_move_and_answer_under_their_ids(old: str) -> None:
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
            await call(gateway, "POST", f"/v1/runtimes/{runtime['id']}/stop", {})
