"""Cached reads, over the emulators: what callers receive and which requests reach the providers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.app import plugins
from tests.component.cached_gateway import BOB, TTL, World, cache_status, cached_gateway, get_and_list_paths


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with cached_gateway() as made:
        yield made


@pytest.mark.parametrize("which", [0, 1], ids=["get", "list"])
async def test_second_read_is_a_hit_without_a_request_to_the_provider(world: World, which: int) -> None:
    path = (await get_and_list_paths(world))[which]
    first = await world.call("GET", path)
    assert cache_status(first)[:2] == ["fwd=uri-miss", "stored"]
    assert "Age" not in first.headers
    before = world.provider_requests()
    world.clock.ahead += 7
    second = await world.call("GET", path)
    assert world.provider_requests() == before
    assert second.text == first.text
    assert second.headers["ETag"] == first.headers["ETag"]
    assert int(second.headers["Age"]) >= 7
    hit, ttl = cache_status(second)
    assert hit == "hit"
    assert 0 <= int(ttl.removeprefix("ttl=")) <= TTL - 7
    assert first.headers["Cache-Control"] == second.headers["Cache-Control"] == "private, no-cache"
    assert [line.get("cache") for line in world.requests()[-2:]] == ["miss", "hit"]
    assert "attempts" not in world.requests()[-1]
    operation = ("getRuntime", "listRuntimes")[which]
    metrics = (await world.call("GET", "/metrics")).text
    for result in ("miss", "hit"):
        assert f'rtgw_cache_requests_total{{operation="{operation}",result="{result}"}} 1.0' in metrics
    assert "rtgw_cache_entries 1.0" in metrics


@pytest.mark.parametrize("which", [0, 1], ids=["get", "list"])
async def test_unchanged_response_is_304_for_a_caller_with_its_etag(world: World, which: int) -> None:
    path = (await get_and_list_paths(world))[which]
    tag = (await world.call("GET", path)).headers["ETag"]
    for _ in range(2):
        again = await world.call("GET", path, **{"If-None-Match": tag})
        assert (again.status, again.text, again.headers["ETag"]) == (304, "", tag)
        assert cache_status(again)[0] == "hit"
    world.clock.ahead += TTL
    before = world.provider_requests()
    fresh = await world.call("GET", path, **{"If-None-Match": tag})
    assert (fresh.status, cache_status(fresh)[0]) == (304, "fwd=stale")
    assert world.provider_requests() > before


async def test_later_pages_are_not_cached(world: World) -> None:
    for _ in range(3):
        await world.gateway.create(world.durable)
    first = await world.call("GET", "/v1/runtimes?limit=2")
    path = f"/v1/runtimes?limit=2&cursor={first.json['next_cursor']}"
    for _ in range(2):
        before = world.provider_requests()
        later = await world.call("GET", path)
        assert (later.status, "Cache-Status" in later.headers) == (200, False)
        assert world.provider_requests() > before


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0", "no-store"])
async def test_cache_control_of_the_caller_bypasses_the_cache(world: World, directive: str) -> None:
    path, _ = await get_and_list_paths(world)
    await world.read(path)
    before = world.provider_requests()
    new, did = await world.read(path, **{"Cache-Control": directive})
    assert (did, new.status) == ("fwd=request", 200)
    assert world.provider_requests() == before + 1
    assert world.requests()[-1]["cache"] == "bypass"


async def test_cached_read_of_one_principal_is_not_returned_to_another(world: World) -> None:
    for path in await get_and_list_paths(world):
        assert [(await world.read(path, **who))[1] for who in ({}, BOB, {}, BOB)] == [
            "fwd=uri-miss",
            "fwd=uri-miss",
            "hit",
            "hit",
        ]


def _durable(verb: str) -> str:
    return f"/durable/api/v1/org/{plugins()['durable'].demo.scope.replace('/', '/ws/')}/runtimes/{{key}}{verb}"


WRITES: dict[str, tuple[str, str, Any]] = {
    "start": ("POST", "/v1/runtimes/{id}/start", {}),
    "config": ("PUT", "/v1/runtimes/{id}/config", {"config": {"version": "v2"}}),
    "capability": ("POST", "/v1/runtimes/{id}/capabilities", {"name": "browser"}),
    "the dialect's start": ("POST", _durable("/start"), {}),
    "the dialect's config": ("PUT", _durable("/config"), {"config": {"version": "v2"}}),
}


@pytest.mark.parametrize("write", WRITES)
async def test_every_principal_reads_the_new_state_after_a_write_through_the_gateway(world: World, write: str) -> None:
    method, path, body = WRITES[write]
    made = await world.gateway.create(world.durable)
    other = await world.gateway.create(world.durable)
    get, listed = f"/v1/runtimes/{made['id']}", "/v1/runtimes"
    for target in (get, listed, f"/v1/runtimes/{other['id']}"):
        for who in ({}, BOB):
            await world.read(target, **who)
    written = await world.call(method, path.format(id=made["id"], key=made["name"]), body)
    assert written.status < 300, written.text
    for target in (get, listed):
        for who in ({}, BOB):
            new, did = await world.read(target, **who)
            assert did != "hit"
            rows = new.json.get("items", [new.json])
            state = next(row["state"] for row in rows if row["id"] == made["id"])
            assert state == ("running" if "start" in write else "idle")
    assert (await world.read(f"/v1/runtimes/{other['id']}"))[1] == "hit"


async def test_created_runtime_is_in_the_next_list(world: World) -> None:
    assert (await world.call("GET", "/v1/runtimes")).json["items"] == []
    for upstream in (world.durable, world.bctrl):
        made = await world.gateway.create(upstream)
        listed, did = await world.read("/v1/runtimes")
        assert made["id"] in [row["id"] for row in listed.json["items"]]
        assert did != "hit"


async def test_stopped_browser_is_read_as_stopped(world: World) -> None:
    made = await world.gateway.create(world.bctrl)
    path = f"/v1/runtimes/{made['id']}"
    assert (await world.call("GET", path)).json["state"] == "running"
    assert (await world.call("POST", f"{path}/stop")).status == 200
    assert (await world.call("GET", path)).json["state"] == "stopped"


async def test_verb_without_effect_and_write_that_was_not_sent_keep_the_cache(world: World) -> None:
    get, listed = await get_and_list_paths(world)
    await world.read(get)
    await world.read(listed)
    stopped = await world.call("POST", f"{get}/stop")
    assert (stopped.status, stopped.json["changed"]) == (200, False)
    await world.cut_off()
    assert (await world.call("PUT", f"{get}/config", {"config": {"version": "v2"}})).status == 503
    for path in (get, listed):
        assert (await world.read(path))[1] == "hit"


async def test_write_whose_response_is_lost_invalidates_the_cache(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    await world.read(path)
    world.durable.fault("start", fault="drop_after")
    await world.call("POST", f"{path}/start")
    assert (await world.call("GET", path)).json["state"] == "running"


async def test_read_in_flight_when_a_write_ends_is_not_cached(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    world.durable.fault("get", fault="hold", times=1)
    early = asyncio.create_task(world.call("GET", path))
    await asyncio.wait_for(world.durable.emulator.until_waiting(1), 10)
    assert (await world.call("POST", f"{path}/start")).status == 200
    world.durable.emulator.release()
    assert "stored" not in cache_status(await asyncio.wait_for(early, 10))
    new, did = await world.read(path)
    assert (did, new.json["state"]) == ("fwd=uri-miss", "running")
