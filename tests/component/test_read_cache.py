"""Reads from memory, over the emulators: what callers and providers see of it."""

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
from tests.component.whole_gateway import Answer, Gateway, Upstream, whole_gateway

TTL, STALE = 30.0, 600.0  # far longer than a test
BOB = {"Authorization": "Bearer bobs-key-0123456789"}


class ShiftedClock(SystemClock):
    """The system's clock, that a test can put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class World:
    """The gateway with its memory on, and a runtime at each provider."""

    def __init__(self, gateway: Gateway, clock: ShiftedClock) -> None:
        self.gateway = gateway
        self.clock = clock
        self.durable, self.bctrl = gateway.upstreams["durable"], gateway.upstreams["bctrl"]
        self.call = gateway.call

    def asked(self) -> int:
        """How many requests have come to the providers."""
        return sum(upstream.received() for upstream in self.gateway.upstreams.values())

    async def read(self, path: str, **headers: str) -> tuple[Answer, str]:
        """A read, and what the cache did about it."""
        answer = await self.call("GET", path, **headers)
        return answer, _status(answer)[0]

    async def sicken(self) -> None:
        """Let no provider be reached."""
        for upstream in self.gateway.upstreams.values():
            await upstream.proxy.cut()
            await upstream.proxy.set_mode(Mode.REFUSE)

    def requests(self) -> list[dict[str, Any]]:
        """The log lines of requests."""
        lines = map(json.loads, self.gateway.log.getvalue().splitlines())
        return [line for line in lines if line["event"] == "request"]


def _status(answer: Answer) -> list[str]:
    name, *members = answer.headers["Cache-Status"].split("; ")
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
async def test_a_second_read_asks_nobody_and_says_so(world: World, which: int) -> None:
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
async def test_what_the_caller_has_already_is_not_sent_again(world: World, which: int) -> None:
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


async def test_later_pages_are_not_kept(world: World) -> None:
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
async def test_a_caller_gets_a_new_answer_for_the_asking(world: World, directive: str) -> None:
    path, _ = await _paths(world)
    await world.read(path)
    asked = world.asked()
    new, did = await world.read(path, **{"Cache-Control": directive})
    assert (did, new.status) == ("fwd=request", 200)
    assert world.asked() == asked + 1
    assert world.requests()[-1]["cache"] == "bypass"


async def test_what_one_caller_read_is_not_answered_to_another(world: World) -> None:
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
async def test_after_a_write_of_the_gateway_everybody_reads_what_is_there_now(world: World, write: str) -> None:
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


async def test_after_a_create_it_is_in_the_list(world: World) -> None:
    assert (await world.call("GET", "/v1/runtimes")).json["items"] == []
    for upstream in (world.durable, world.bctrl):
        made = await world.gateway.create(upstream)
        listed, did = await world.read("/v1/runtimes")
        assert made["id"] in [row["id"] for row in listed.json["items"]]
        assert did != "hit"


async def test_after_a_stop_the_browser_is_stopped_in_both_apis(world: World) -> None:
    made = await world.gateway.create(world.bctrl)
    path = f"/v1/runtimes/{made['id']}"
    assert (await world.call("GET", path)).json["state"] == "running"
    assert (await world.call("POST", f"{path}/stop")).status == 200
    assert (await world.call("GET", path)).json["state"] == "stopped"


async def test_a_verb_that_had_nothing_to_do_and_a_write_that_could_not_be_sent_change_nothing(world: World) -> None:
    get, listed = await _paths(world)
    await world.read(get)
    await world.read(listed)
    stopped = await world.call("POST", f"{get}/stop")
    assert (stopped.status, stopped.json["changed"]) == (200, False)
    await world.sicken()
    assert (await world.call("PUT", f"{get}/config", {"config": {"version": "v2"}})).status == 503
    for path in (get, listed):
        assert (await world.read(path))[1] == "hit"


async def test_a_write_whose_answer_is_lost_counts_as_one(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    await world.read(path)
    world.durable.fault("start", fault="drop_after")
    await world.call("POST", f"{path}/start")
    assert (await world.call("GET", path)).json["state"] == "running"


async def test_a_read_that_was_on_its_way_when_a_write_ended_is_not_kept(world: World) -> None:
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


async def test_while_all_providers_are_down_older_answers_are_given_and_told_as_such(world: World) -> None:
    get, listed = await _paths(world)
    before = {path: (await world.call("GET", path)).text for path in (get, listed)}
    await world.sicken()
    world.clock.ahead += TTL + 60
    for path in (get, listed):
        answer = await world.call("GET", path)
        assert (answer.status, answer.text) == (200, before[path])
        assert int(answer.headers["Age"]) >= TTL + 60
        forward, ttl, detail = _status(answer)
        assert (forward, detail) == ("fwd=stale", "detail=provider_unavailable")
        assert int(ttl.removeprefix("ttl=")) <= -60
        assert world.requests()[-1]["cache"] == "stale"
        denied = await world.call("GET", path, **{"Cache-Control": "no-cache"})
        assert (denied.status, denied.json["code"]) == (503, "provider_unavailable")
    world.clock.ahead += STALE
    for path in (get, listed):
        assert (await world.call("GET", path)).status == 503


async def test_nothing_old_decides_anything(world: World) -> None:
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


async def test_a_verb_looks_at_the_provider_and_not_at_what_was_read(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    assert (await world.call("GET", path)).json["state"] == "idle"
    started = await _behind_the_back(world, made, "start")
    assert started < 300
    assert (await world.read(path))[1] == "hit"
    again = await world.call("POST", f"{path}/start")
    assert (again.status, again.json["changed"]) == (200, False)


async def test_a_list_without_a_sick_provider_is_not_kept(world: World) -> None:
    await _paths(world)
    await world.bctrl.proxy.cut()
    await world.bctrl.proxy.set_mode(Mode.REFUSE)
    for _ in range(2):
        answer = await world.call("GET", "/v1/runtimes")
        assert answer.json["incomplete"]
        assert _status(answer) == ["fwd=uri-miss", "detail=incomplete"]
        assert "ETag" not in answer.headers
    await world.bctrl.proxy.set_mode(Mode.FORWARD)


async def test_a_runtime_that_is_gone_is_not_shown_again(world: World) -> None:
    made = await world.gateway.create(world.durable)
    path = f"/v1/runtimes/{made['id']}"
    await world.read(path)
    await world.read(path, **BOB)
    world.durable.emulator.reset()
    assert (await world.call("GET", path, **{"Cache-Control": "no-cache"})).status == 404
    await world.sicken()
    for who in ({}, BOB):
        assert (await world.call("GET", path, **who)).status == 503


async def test_what_has_secrets_is_never_kept(world: World) -> None:
    made = await world.gateway.create(world.durable)
    for path in (f"/v1/runtimes/{made['id']}/config", "/v1/providers"):
        answer = await world.call("GET", path)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        assert "Cache-Status" not in answer.headers


async def test_switched_off_every_read_asks_the_provider() -> None:
    async with _world(enabled=False) as world:
        for path in await _paths(world):
            for _ in range(2):
                asked = world.asked()
                answer = await world.call("GET", path)
                assert (answer.status, "Cache-Status" in answer.headers, "Age" in answer.headers) == (200, False, False)
                assert answer.headers["ETag"]
                assert world.asked() > asked
        assert not [line for line in world.requests() if "cache" in line]


async def _behind_the_back(world: World, made: Any, verb: str) -> int:
    """Do something at the provider itself."""
    upstream: Upstream = world.durable
    scope = plugins()["durable"].demo.scope.replace("/", "/ws/")
    url = f"{upstream.proxy.url}/api/v1/org/{scope}/runtimes/{made['provider_id']}/{verb}"
    async with world.gateway.client.post(url, json={}, headers={"X-API-Key": upstream.token}) as answer:
        return answer.status
