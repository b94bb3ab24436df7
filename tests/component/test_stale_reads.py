"""Stale, incomplete and disabled reads: what the cache returns then, and what it never stores."""

from collections.abc import AsyncIterator

import pytest

from tests.component.cached_gateway import (
    BOB,
    STALE,
    TTL,
    World,
    cache_status,
    cached_gateway,
    call_natively,
    get_and_list_paths,
)
from tests.tcp_faults import Mode


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with cached_gateway() as made:
        yield made


async def test_stale_responses_are_returned_and_marked_while_all_providers_are_down(world: World) -> None:
    get, listed = await get_and_list_paths(world)
    before = {path: (await world.call("GET", path)).text for path in (get, listed)}
    await world.cut_off()
    world.clock.ahead += TTL + 60
    for path in (get, listed):
        response = await world.call("GET", path)
        assert (response.status, response.text) == (200, before[path])
        assert int(response.headers["Age"]) >= TTL + 60
        forward, ttl, detail = cache_status(response)
        assert (forward, detail) == ("fwd=stale", "detail=provider_unavailable")
        assert int(ttl.removeprefix("ttl=")) <= -60
        assert world.requests()[-1]["cache"] == "stale"
        denied = await world.call("GET", path, **{"Cache-Control": "no-cache"})
        assert (denied.status, denied.json["code"]) == (503, "provider_unavailable")
    world.clock.ahead += STALE
    for path in (get, listed):
        assert (await world.call("GET", path)).status == 503


async def test_stale_reads_are_not_used_by_writes_and_config_reads(world: World) -> None:
    get, _ = await get_and_list_paths(world)
    await world.read(get)
    await world.cut_off()
    world.clock.ahead += TTL
    assert (await world.read(get))[0].status == 200
    for method, path, body in (
        ("POST", f"{get}/start", None),
        ("GET", f"{get}/config", None),
        ("PUT", f"{get}/config", {"config": {"version": "v2"}}),
        ("POST", f"{get}/connections", None),
    ):
        assert (await world.call(method, path, body)).status == 503


async def test_verb_reads_the_provider_and_not_the_cache(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    assert (await world.call("GET", path)).json["state"] == "idle"
    started = await call_natively(world, made, "start")
    assert started < 300
    assert (await world.read(path))[1] == "hit"
    again = await world.call("POST", f"{path}/start")
    assert (again.status, again.json["changed"]) == (200, False)


async def test_incomplete_list_is_not_cached(world: World) -> None:
    await get_and_list_paths(world)
    await world.bctrl.proxy.cut()
    await world.bctrl.proxy.set_mode(Mode.REFUSE)
    for _ in range(2):
        response = await world.call("GET", "/v1/runtimes")
        assert response.json["incomplete"]
        assert cache_status(response) == ["fwd=uri-miss", "detail=incomplete"]
        assert "ETag" not in response.headers
    await world.bctrl.proxy.set_mode(Mode.FORWARD)


async def test_runtime_found_missing_is_removed_from_the_cache_of_every_principal(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    await world.read(path)
    await world.read(path, **BOB)
    world.durable.emulator.reset()
    assert (await world.call("GET", path, **{"Cache-Control": "no-cache"})).status == 404
    await world.cut_off()
    for who in ({}, BOB):
        assert (await world.call("GET", path, **who)).status == 503


async def test_responses_with_secrets_are_never_cached(world: World) -> None:
    made = await world.gateway.create(world.durable)
    for path in (f"/v1/runtimes/{made['id']}/config", "/v1/providers"):
        response = await world.call("GET", path)
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
        assert "Cache-Status" not in response.headers


async def test_every_read_reaches_the_provider_when_the_cache_is_disabled() -> None:
    async with cached_gateway(enabled=False) as world:
        for path in await get_and_list_paths(world):
            for _ in range(2):
                before = world.provider_requests()
                response = await world.call("GET", path)
                assert (response.status, "Cache-Status" in response.headers, "Age" in response.headers) == (
                    200,
                    False,
                    False,
                )
                assert response.headers["ETag"]
                assert world.provider_requests() > before
        assert not [line for line in world.requests() if "cache" in line]
