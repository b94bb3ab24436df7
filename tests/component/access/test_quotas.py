"""Quotas of principals: how many runtimes they have, and how many of them run, over real sockets."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from gateway.ports.places import GRACE
from gateway.services.access.quotas import COUNT_AFTER, FRESH
from tests.component.access.dialect_owners import WORKSPACE
from tests.component.stores import SEALER
from tests.component.whole_gateway import Gateway, Response, whole_gateway
from tests.memory_store import MemoryStore

SHOP: Final = "key-of-the-shop-12345"
MATE: Final = "key-of-a-mate-1234567"
KINDS: Final = ("durable", "bctrl", "bctrl_browsers")
DURABLE: Final = "/durable/api/v1/org/acme/ws/research/runtimes"
WORKSPACES: Final = f"/bctrl/v1/workspaces/{WORKSPACE}/runtimes"
BROWSERS: Final = "/bctrl/v1/browsers"
ALLOWED: Final = {"projects": ["research"], "build_sources": ["builtin/*"]}


class Database(MemoryStore):
    """A store whose clock the test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__(lambda: time.time() + self.ahead)

    def pass_time(self, seconds: float) -> None:
        self.ahead += seconds


@asynccontextmanager
async def gateway_of(
    limits: dict[str, int], *apis: str, store: Database | None = None, **rights: Any
) -> AsyncIterator[Gateway]:
    own = {"limits": limits, "own_only": True, "allow": ALLOWED, **rights}
    principals = {"shop": {"keys": [SHOP], **own}, "mate": {"keys": [MATE], **own}}
    async with whole_gateway(*apis, principals=principals, store=(store or Database(), SEALER)) as gateway:
        yield gateway


async def call(gateway: Gateway, method: str, path: str, body: Any = None, key: str = SHOP) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {key}")


async def create(gateway: Gateway, api: str, name: str, key: str = SHOP, **fields: Any) -> Response:
    upstream = gateway.upstreams[api]
    body = {"kind": upstream.kind, "provider": upstream.name, "name": name, **fields}
    return await call(gateway, "POST", "/v1/runtimes", body, key)


async def made(gateway: Gateway, api: str, name: str, **fields: Any) -> str:
    response = await create(gateway, api, name, **fields)
    assert response.status == 201, response.text
    return str(response.json["id"])


def require_refused(response: Response, limit: str, value: int, held: list[str]) -> None:
    assert response.status == 429, response.text
    problem = {name: response.json[name] for name in ("code", "source", "retryable", "limit", "held_by")}
    assert problem | {"held_by": sorted(problem["held_by"])} == {
        "code": "quota_exceeded",
        "source": "gateway",
        "retryable": "yes",
        "limit": {"name": limit, "value": value, "used": value},
        "held_by": sorted(held),
    }
    assert response.headers["Retry-After"] == str(int(FRESH))


async def use(gateway: Gateway, key: str = SHOP) -> tuple[int | None, int | None]:
    limits = (await call(gateway, "GET", "/v1/me", key=key)).json["limits"]
    return tuple(None if limits[name] is None else limits[name]["used"] for name in ("running", "runtimes"))  # type: ignore[return-value]


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_create_beyond_the_running_instances_is_refused_until_one_is_stopped(api: str) -> None:
    async with gateway_of({"running": 2}, api) as gateway:
        ids = [await made(gateway, api, name) for name in ("one", "two")]
        posts = gateway.upstreams[api].emulator.requests.per_operation.copy()
        require_refused(await create(gateway, api, "three"), "running", 2, ids)
        sent = gateway.upstreams[api].emulator.requests.per_operation - posts
        assert not any("create" in operation for operation in sent)
        assert await use(gateway) == (2, None)
        assert (await create(gateway, api, "one")).status == 200  # it exists, so it takes no place
        assert (await call(gateway, "POST", f"/v1/runtimes/{ids[0]}/stop", {})).status == 200
        assert await use(gateway) == (1, None)
        assert (await create(gateway, api, "three")).status == 201
        metrics = (await gateway.call("GET", "/metrics")).text
        assert 'rtgw_limit_refusals_total{limit="running"} 1.0' in metrics


async def test_replay_takes_no_place() -> None:
    async with gateway_of({"running": 1}, "bctrl_browsers") as gateway:
        body = {"kind": "browser", "provider": gateway.upstreams["bctrl_browsers"].name}
        headers = {"Authorization": f"Bearer {SHOP}", "Idempotency-Key": "k"}
        first, again = [await gateway.call("POST", "/v1/runtimes", body, **headers) for _ in range(2)]
        assert (first.status, again.status, again.headers["Idempotency-Replayed"]) == (201, 201, "true")
        refused = await gateway.call("POST", "/v1/runtimes", body, **headers | {"Idempotency-Key": "l"})
        require_refused(refused, "running", 1, [first.json["id"]])
        assert (await call(gateway, "POST", f"/v1/runtimes/{first.json['id']}/stop", {})).status == 200
        made = await gateway.call("POST", "/v1/runtimes", body, **headers | {"Idempotency-Key": "l"})
        assert made.status == 201, made.text


async def test_starts_and_resumes_take_a_place_and_release_verbs_give_it_back() -> None:
    async with gateway_of({"running": 1}, "durable") as gateway:
        one, two = [await made(gateway, "durable", name) for name in ("one", "two")]
        assert await use(gateway) == (0, None)
        for end, restart in (("reset", "start"), ("stop", "start"), ("pause", "resume")):
            started = await call(gateway, "POST", f"/v1/runtimes/{one}/start", {})
            assert started.status == 200, started.text
            assert (await call(gateway, "POST", f"/v1/runtimes/{one}/start", {})).status == 200
            require_refused(await call(gateway, "POST", f"/v1/runtimes/{two}/start", {}), "running", 1, [one])
            body = {"discard_state": True} if end == "stop" else {}
            assert (await call(gateway, "POST", f"/v1/runtimes/{one}/{end}", body)).status == 200
            assert (await call(gateway, "POST", f"/v1/runtimes/{two}/start", {})).status == 200
            require_refused(await call(gateway, "POST", f"/v1/runtimes/{one}/{restart}", {}), "running", 1, [two])
            assert (await call(gateway, "POST", f"/v1/runtimes/{two}/reset", {})).status == 200
            assert await use(gateway) == (0, None)


async def test_create_that_starts_is_refused_as_a_whole() -> None:
    async with gateway_of({"running": 1}, "durable") as gateway:
        one = await made(gateway, "durable", "one", start=True)
        require_refused(await create(gateway, "durable", "two", start=True), "running", 1, [one])
        assert await use(gateway) == (1, None)
        assert (await create(gateway, "durable", "two")).status == 201


async def test_runtimes_count_until_they_are_deleted() -> None:
    """Over all providers."""
    async with gateway_of({"runtimes": 3}, "bctrl_browsers", "durable") as gateway:
        ids = [await made(gateway, api, "one") for api in gateway.upstreams]
        ids.append(await made(gateway, "durable", "two"))
        for api in gateway.upstreams:
            require_refused(await create(gateway, api, "more"), "runtimes", 3, ids)
        assert (await call(gateway, "DELETE", f"/v1/runtimes/{ids[0]}")).status == 204
        assert await use(gateway) == (None, 2)
        await made(gateway, "bctrl_browsers", "more")


async def test_stopped_runtimes_of_the_workspaces_are_no_runtimes_any_more() -> None:
    async with gateway_of({"runtimes": 1}, "bctrl") as gateway:
        for name in ("one", "two", "three"):
            runtime = await made(gateway, "bctrl", name)
            require_refused(await create(gateway, "bctrl", "more"), "runtimes", 1, [runtime])
            assert (await call(gateway, "POST", f"/v1/runtimes/{runtime}/stop", {})).status == 200


async def test_refused_create_gives_its_place_back() -> None:
    async with gateway_of({"running": 1}, "bctrl_browsers") as gateway:
        upstream = gateway.upstreams["bctrl_browsers"]
        upstream.fault("create", fault="status", status=403, times=1)
        assert (await create(gateway, "bctrl_browsers", "one")).status == 403
        assert await use(gateway) == (0, None)
        await made(gateway, "bctrl_browsers", "one")


async def test_failed_start_gives_its_place_back() -> None:
    async with gateway_of({"running": 1}, "durable") as gateway:
        upstream, runtime = gateway.upstreams["durable"], await made(gateway, "durable", "one")
        upstream.fault("start", fault="status", status=402, times=2)
        assert (await call(gateway, "POST", f"/v1/runtimes/{runtime}/start", {})).status == 402
        assert await use(gateway) == (0, None)
        created = await create(gateway, "durable", "two", start=True)
        assert (created.status, created.json["warnings"][0]["pointer"]) == (201, "#/start")
        assert await use(gateway) == (0, None)


async def test_place_of_a_runtime_that_ended_by_itself_is_free_within_the_documented_time() -> None:
    store = Database()
    async with gateway_of({"running": 2}, "bctrl_browsers", store=store) as gateway:
        ids = [await made(gateway, "bctrl_browsers", name) for name in ("one", "two")]
        assert (await gateway.call("POST", f"/v1/runtimes/{ids[0]}/stop", {})).status == 200  # without its knowledge
        assert (await gateway.call("DELETE", f"/v1/runtimes/{ids[1]}")).status == 204
        require_refused(await create(gateway, "bctrl_browsers", "three"), "running", 2, ids)
        store.pass_time(GRACE + FRESH)
        await made(gateway, "bctrl_browsers", "three")
        assert await use(gateway) == (1, None)
        store.pass_time(-1_000_000)  # a clock that is set back changes nothing about that
        await made(gateway, "bctrl_browsers", "four")
        assert (await create(gateway, "bctrl_browsers", "five")).status == 429


async def test_refusals_ask_the_provider_once_in_the_documented_time() -> None:
    store = Database()
    async with gateway_of({"running": 1}, "bctrl_browsers", store=store) as gateway:
        await made(gateway, "bctrl_browsers", "one")
        received = gateway.upstreams["bctrl_browsers"].received()
        for _ in range(5):
            assert (await create(gateway, "bctrl_browsers", "two")).status == 429
        assert gateway.upstreams["bctrl_browsers"].received() == received
        store.pass_time(FRESH + 1)
        for _ in range(5):
            assert (await create(gateway, "bctrl_browsers", "two")).status == 429
        assert gateway.upstreams["bctrl_browsers"].received() == received + 1


async def test_runtimes_without_a_place_are_found_before_the_next_one_is_made() -> None:
    """After the loss of the store, and every few minutes."""
    store = Database()
    async with gateway_of({"running": 2, "runtimes": 3}, *KINDS, store=store) as gateway:
        ids = [await made(gateway, api, "one") for api in KINDS]
        await gateway.create(gateway.upstreams["durable"])
        assert (await call(gateway, "GET", "/v1/me", key=MATE)).json["limits"]["runtimes"]["used"] == 0
        store.database.clear()
        assert await use(gateway) == (0, 0)
        require_refused(await create(gateway, "durable", "two"), "runtimes", 3, ids)
        assert await use(gateway) == (2, 3)
        store.database.clear()
        assert (await create(gateway, "durable", "two", key=MATE)).status == 201
        store.pass_time(COUNT_AFTER + 1)
        assert (await create(gateway, "durable", "three", key=MATE)).status == 201
        assert await use(gateway, MATE) == (0, 2)


async def test_count_without_a_provider_uses_what_is_known_of_it() -> None:
    store = Database()
    async with gateway_of({"running": 2}, "bctrl", "bctrl_browsers", store=store) as gateway:
        ids = [await made(gateway, api, "one") for api in gateway.upstreams]
        for runtime in ids:
            assert (await gateway.call("POST", f"/v1/runtimes/{runtime}/stop", {})).status == 200
        store.pass_time(GRACE + FRESH)
        gateway.upstreams["bctrl"].fault(fault="status", status=500, times=100)
        assert (await create(gateway, "bctrl_browsers", "two")).status == 201
        require_refused(
            await create(gateway, "bctrl_browsers", "three"), "running", 2, [ids[0], *(await running(gateway))]
        )


async def running(gateway: Gateway) -> list[str]:
    listed = await call(gateway, "GET", "/v1/runtimes?kind=browser")
    return [row["id"] for row in listed.json["items"] if row["state"] == "running"]


async def test_members_of_a_group_share_its_places() -> None:
    async with gateway_of({"running": 1}, "bctrl_browsers", own_group="team") as gateway:
        one = await made(gateway, "bctrl_browsers", "one")
        require_refused(await create(gateway, "bctrl_browsers", "two", key=MATE), "running", 1, [one])
    async with gateway_of({"running": 1}, "bctrl_browsers") as gateway:
        await made(gateway, "bctrl_browsers", "one")
        assert (await create(gateway, "bctrl_browsers", "one", key=MATE)).status == 201


@pytest.mark.parametrize("owns", [True, False])
async def test_durable_dialect_takes_places_and_gives_them_back(owns: bool) -> None:
    async with gateway_of({"running": 1, "runtimes": 2}, "durable", own_only=owns) as gateway:
        one, two = [
            (await call(gateway, "POST", DURABLE, {"key": key, "project": "research"})).json["id"] for key in "ab"
        ]
        refused = await call(gateway, "POST", DURABLE, {"key": "c", "project": "research"})
        assert (refused.status, refused.headers["Retry-After"]) == (429, "10"), refused.text
        assert (await call(gateway, "POST", f"{DURABLE}/{one}/start", {})).status == 200
        assert (await call(gateway, "POST", f"{DURABLE}/{two}/start", {})).status == 429
        assert (await call(gateway, "POST", f"{DURABLE}/{one}/pause")).status == 200
        assert (await call(gateway, "POST", f"{DURABLE}/{two}/start", {})).status == 200
        assert (await call(gateway, "POST", f"{DURABLE}/{one}/resume")).status == 429
        assert (await call(gateway, "POST", f"{DURABLE}/{two}/reset")).status == 200
        assert await use(gateway) == (0, 2)


@pytest.mark.parametrize("owns", [True, False])
async def test_dialects_of_browsers_take_places_and_give_them_back(owns: bool) -> None:
    async with gateway_of({"running": 1}, "bctrl", "bctrl_browsers", own_only=owns) as gateway:
        made = await call(gateway, "POST", WORKSPACES, {"kind": "browser", "alias": "one"})
        assert made.status in {200, 201}, made.text
        refused = await call(gateway, "POST", BROWSERS, {"name": "two"})
        assert (refused.status, refused.headers["Retry-After"]) == (429, "10"), refused.text
        assert (await call(gateway, "POST", f"{WORKSPACES}/one/stop")).status == 200
        browser = await call(gateway, "POST", BROWSERS, {"name": "two"})
        assert browser.status in {200, 201}, browser.text
        assert (await call(gateway, "POST", WORKSPACES, {"kind": "browser", "alias": "three"})).status == 429
        path = f"{BROWSERS}/{browser.json['id']}"
        assert (await call(gateway, "POST", f"{path}/stop?wait=60", {})).status == 200
        assert await use(gateway) == (0, None)
        assert (await call(gateway, "POST", WORKSPACES, {"kind": "browser", "alias": "three"})).status in {200, 201}
        assert (await call(gateway, "POST", f"{path}/start", {})).status == 429
        assert (await call(gateway, "DELETE", path)).status in {200, 204}


async def test_starts_need_the_store_and_release_verbs_do_not() -> None:
    store = Database()
    async with gateway_of({"running": 1}, "durable", store=store) as gateway:
        one, two = [await made(gateway, "durable", name) for name in ("one", "two")]
        assert (await call(gateway, "POST", f"/v1/runtimes/{one}/start", {})).status == 200
        await store.close()
        assert (await call(gateway, "POST", f"/v1/runtimes/{two}/start", {})).json["code"] == "store_unavailable"
        assert (await call(gateway, "POST", f"/v1/runtimes/{one}/pause", {})).status == 200
        assert await use(gateway) == (None, None)
        await store.open()
        store.pass_time(GRACE + FRESH)  # what was released in the meantime is found as what ended by itself
        assert (await call(gateway, "POST", f"/v1/runtimes/{two}/start", {})).status == 200
