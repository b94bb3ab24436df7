"""Cached reads, over the emulators: what callers receive and which requests reach the providers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app import plugins
from gateway.ports.clock import SystemClock
from gateway.settings import CacheSettings
from gateway.testing.tcp_faults import Mode
from tests.component.whole_gateway import Gateway, Response, Upstream, whole_gateway

TTL, STALE = 30.0, 600.0  # seconds; far longer than a test takes
BOB = {"Authorization": "Bearer bobs-key-0123456789"}


class ShiftedClock(SystemClock):
    """The system's clock, which a test can advance."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class World:
    """A gateway with its read cache enabled, and its clock."""

    def __init__(self, gateway: Gateway, clock: ShiftedClock) -> None:
        self.gateway = gateway
        self.clock = clock
        self.durable, self.bctrl = gateway.upstreams["durable"], gateway.upstreams["bctrl"]
        self.call = gateway.call

    def asked(self) -> int:
        """The number of requests that the providers received."""
        return sum(upstream.received() for upstream in self.gateway.upstreams.values())

    async def read(self, path: str, **headers: str) -> tuple[Response, str]:
        """Read a path. Return the response, and the first member of its ``Cache-Status``."""
        response = await self.call("GET", path, **headers)
        return response, _status(response)[0]

    async def sicken(self) -> None:
        """Make all providers unreachable."""
        for upstream in self.gateway.upstreams.values():
            await upstream.proxy.cut()
            await upstream.proxy.set_mode(Mode.REFUSE)

    def requests(self) -> list[dict[str, Any]]:
        """The access log lines."""
        lines = map(json.loads, self.gateway.log.getvalue().splitlines())
        return [line for line in lines if line["event"] == "request"]


def _status(response: Response) -> list[str]:
    name, *members = response.headers["Cache-Status"].split("; ")
    assert name == "runtime-gateway"
    return members


@asynccontextmanager
async def _world(**settings: Any) -> AsyncIterator[World]:
    clock = ShiftedClock()
    cache = CacheSettings(**{"ttl": TTL, "stale_if_error": STALE, **settings})
    keys = {"bob": BOB["Authorization"].removeprefix("Bearer ")}
    async with whole_gateway(cache=cache, keys=keys, clock=clock) as gateway:
        yield World(gateway, clock)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with _world() as made:
        yield made


async def _paths(world: World) -> tuple[str, str]:
    made = await world.gateway.create(world.durable)
    return f"/v1/runtimes/{made['id']}", "/v1/runtimes?limit=20"


@pytest.mark.parametrize("which", [0, 1], ids=["get", "list"])
async def test_second_read_is_a_hit_without_a_request_to_the_provider(world: World, which: int) -> None:
    path = (await _paths(world))[which]
    first = await world.call("GET", path)
    assert _status(first)[:2] == ["fwd=uri-miss", "stored"]
    assert "Age" not in first.headers
    asked = world.asked()
    world.clock.ahead += 7
    second = await world.call("GET", path)
    assert world.asked() == asked
    assert second.text == first.text
    assert second.headers["ETag"] == first.headers["ETag"]
    assert int(second.headers["Age"]) >= 7
    hit, ttl = _status(second)
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
    path = (await _paths(world))[which]
    tag = (await world.call("GET", path)).headers["ETag"]
    for _ in range(2):
        again = await world.call("GET", path, **{"If-None-Match": tag})
        assert (again.status, again.text, again.headers["ETag"]) == (304, "", tag)
        assert _status(again)[0] == "hit"
    world.clock.ahead += TTL
    asked = world.asked()
    fresh = await world.call("GET", path, **{"If-None-Match": tag})
    assert (fresh.status, _status(fresh)[0]) == (304, "fwd=stale")
    assert world.asked() > asked


async def test_later_pages_are_not_cached(world: World) -> None:
    for _ in range(3):
        await world.gateway.create(world.durable)
    first = await world.call("GET", "/v1/runtimes?limit=2")
    path = f"/v1/runtimes?limit=2&cursor={first.json['next_cursor']}"
    for _ in range(2):
        asked = world.asked()
        later = await world.call("GET", path)
        assert (later.status, "Cache-Status" in later.headers) == (200, False)
        assert world.asked() > asked


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0", "no-store"])
async def test_cache_control_of_the_caller_bypasses_the_cache(world: World, directive: str) -> None:
    path, _ = await _paths(world)
    await world.read(path)
    asked = world.asked()
    new, did = await world.read(path, **{"Cache-Control": directive})
    assert (did, new.status) == ("fwd=request", 200)
    assert world.asked() == asked + 1
    assert world.requests()[-1]["cache"] == "bypass"


async def test_cached_read_of_one_principal_is_not_returned_to_another(world: World) -> None:
    for path in await _paths(world):
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
    get, listed = await _paths(world)
    await world.read(get)
    await world.read(listed)
    stopped = await world.call("POST", f"{get}/stop")
    assert (stopped.status, stopped.json["changed"]) == (200, False)
    await world.sicken()
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
    assert "stored" not in _status(await asyncio.wait_for(early, 10))
    new, did = await world.read(path)
    assert (did, new.json["state"]) == ("fwd=uri-miss", "running")


async def test_stale_responses_are_returned_and_marked_while_all_providers_are_down(world: World) -> None:
    get, listed = await _paths(world)
    before = {path: (await world.call("GET", path)).text for path in (get, listed)}
    await world.sicken()
    world.clock.ahead += TTL + 60
    for path in (get, listed):
        response = await world.call("GET", path)
        assert (response.status, response.text) == (200, before[path])
        assert int(response.headers["Age"]) >= TTL + 60
        forward, ttl, detail = _status(response)
        assert (forward, detail) == ("fwd=stale", "detail=provider_unavailable")
        assert int(ttl.removeprefix("ttl=")) <= -60
        assert world.requests()[-1]["cache"] == "stale"
        denied = await world.call("GET", path, **{"Cache-Control": "no-cache"})
        assert (denied.status, denied.json["code"]) == (503, "provider_unavailable")
    world.clock.ahead += STALE
    for path in (get, listed):
        assert (await world.call("GET", path)).status == 503


async def test_stale_reads_are_not_used_by_writes_and_config_reads(world: World) -> None:
    get, _ = await _paths(world)
    await world.read(get)
    await world.sicken()
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
    started = await _natively(world, made, "start")
    assert started < 300
    assert (await world.read(path))[1] == "hit"
    again = await world.call("POST", f"{path}/start")
    assert (again.status, again.json["changed"]) == (200, False)


async def test_incomplete_list_is_not_cached(world: World) -> None:
    await _paths(world)
    await world.bctrl.proxy.cut()
    await world.bctrl.proxy.set_mode(Mode.REFUSE)
    for _ in range(2):
        response = await world.call("GET", "/v1/runtimes")
        assert response.json["incomplete"]
        assert _status(response) == ["fwd=uri-miss", "detail=incomplete"]
        assert "ETag" not in response.headers
    await world.bctrl.proxy.set_mode(Mode.FORWARD)


async def test_runtime_found_missing_is_removed_from_the_cache_of_every_principal(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    await world.read(path)
    await world.read(path, **BOB)
    world.durable.emulator.reset()
    assert (await world.call("GET", path, **{"Cache-Control": "no-cache"})).status == 404
    await world.sicken()
    for who in ({}, BOB):
        assert (await world.call("GET", path, **who)).status == 503


async def test_responses_with_secrets_are_never_cached(world: World) -> None:
    made = await world.gateway.create(world.durable)
    for path in (f"/v1/runtimes/{made['id']}/config", "/v1/providers"):
        response = await world.call("GET", path)
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
        assert "Cache-Status" not in response.headers


async def test_every_read_reaches_the_provider_when_the_cache_is_disabled() -> None:
    async with _world(enabled=False) as world:
        for path in await _paths(world):
            for _ in range(2):
                asked = world.asked()
                response = await world.call("GET", path)
                assert (response.status, "Cache-Status" in response.headers, "Age" in response.headers) == (
                    200,
                    False,
                    False,
                )
                assert response.headers["ETag"]
                assert world.asked() > asked
        assert not [line for line in world.requests() if "cache" in line]


async def _natively(world: World, made: Any, verb: str) -> int:
    """Call the provider itself, past the gateway. Return the status."""
    upstream: Upstream = world.durable
    scope = plugins()["durable"].demo.scope.replace("/", "/ws/")
    url = f"{upstream.proxy.url}/api/v1/org/{scope}/runtimes/{made['provider_id']}/{verb}"
    async with world.gateway.client.post(url, json={}, headers={"X-API-Key": upstream.token}) as response:
        return response.status
