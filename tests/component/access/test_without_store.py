"""What keys do in a whole gateway after the store has been away for a minute; time is the test's."""

import time
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.app import create_app, serving
from gateway.demo import demo_settings
from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import SystemClock
from gateway.telemetry.logs import make_logger
from tests.component.access.dialect_owners import APIS, BANK, PRINCIPALS, SHOP, call, listed, made
from tests.component.stores import in_memory
from tests.component.whole_gateway import whole_gateway
from tests.memory_store import MemoryStore

KEY = "a-key-of-an-admin-123456"
PROVIDER = {"api": "durable", "base_url": "http://127.0.0.1:9/api", "token": "t", "scope": "acme/research"}


class ShiftedClock(SystemClock):
    """A clock that a test can put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def test_key_of_the_store_is_503_after_60_seconds_without_it_and_key_of_the_settings_works(
    tmp_path: Path,
) -> None:
    away: list[StoreUnavailable] = []

    def fail(_name: str, done: bool) -> None:
        if away and not done:
            raise away[0]

    _, sealer = in_memory()
    store, clock = MemoryStore(time.time, on_call=fail), ShiftedClock()
    settings = demo_settings({"durable": PROVIDER}, port=0, api_key=KEY, folder=tmp_path)
    app = create_app(settings, store=(store, sealer), logger=make_logger("critical"), clock=clock)
    async with serving(settings, app) as addresses, aiohttp.ClientSession(addresses.api) as client:

        async def call(key: str, method: str = "GET", path: str = "/v1/me", body: Any = None) -> tuple[int, Any]:
            async with client.request(method, path, json=body, headers={"X-API-Key": key}) as response:
                return response.status, await response.json()

        status, made = await call(KEY, "POST", "/v1/keys", {"principal": "demo"})
        assert status == 201
        away.append(StoreUnavailable("The store cannot be used now."))
        assert (await call(made["key"]))[0] == 200
        assert (await call("a-wrong-key-123456"))[0] == 401
        clock.ahead = 61
        for key in (made["key"], "a-wrong-key-123456"):
            status, problem = await call(key)
            assert (status, problem["code"], problem["source"]) == (503, "store_unavailable", "gateway")
        assert (await call(KEY))[0] == 200
        assert (await call(KEY, "GET", "/v1/keys"))[0] == 503
        async with client.get("/metrics", headers={"X-API-Key": KEY}) as metrics:
            (age,) = [
                float(line.split()[1])
                for line in (await metrics.text()).splitlines()
                if line.startswith("rtgw_access_data_age_seconds ")
            ]
            assert age > 60


CALLS: Final = {
    "durable": (("GET", ""), ("GET", "/config"), ("POST", "/start"), ("POST", "/reset")),
    "workspaces": (("GET", ""), ("POST", "/stop")),
    "browsers": (("GET", ""), ("POST", "/stop"), ("DELETE", "")),
    "flat": (("GET", ""), ("POST", "/start"), ("DELETE", "")),
}
UNIFIED: Final = (("GET", ""), ("GET", "/config"), ("POST", "/start"), ("POST", "/reset"), ("DELETE", ""))


async def test_owners_are_503_after_60_seconds_without_the_store_and_lists_continue() -> None:
    """The runtime may have been assigned to somebody else, or to the caller, meanwhile. It is the same for all
    runtimes, so that it says nothing about them."""
    away: list[StoreUnavailable] = []

    def fail(_name: str, done: bool) -> None:
        if away and not done:
            raise away[0]

    _, sealer = in_memory()
    store, clock = (MemoryStore(time.time, on_call=fail), sealer), ShiftedClock()
    apis = ("durable", "bctrl", "bctrl_browsers")
    async with whole_gateway(*apis, principals=PRINCIPALS, store=store, clock=clock) as gateway:
        calls: list[tuple[str, str]] = []
        for number, (name, api) in enumerate(APIS.items()):
            own, foreign = [await made(gateway, key, api, f"of{key[:10]}{number}") for key in (SHOP, BANK)]
            address = api.address(own, api.by[0])
            for one in (address, api.address(foreign, api.by[0]), address[:-4] + "0000"):
                calls += [(method, f"{api.runtimes}/{one}{below}") for method, below in CALLS[name]]
        rows, foreign_rows = [(await call(gateway, key, "GET", "/v1/runtimes")).json["items"] for key in (SHOP, BANK)]
        mine = next(row["id"] for row in rows if row["kind"] == "durable")
        theirs = next(row["id"] for row in foreign_rows if row["kind"] == "durable")
        for one in (mine, theirs, mine[:-4] + "0000"):
            calls += [(method, f"/v1/runtimes/{one}{below}") for method, below in UNIFIED]
        away.append(StoreUnavailable("The store cannot be used now."))
        read = [(await call(gateway, SHOP, "GET", f"/v1/runtimes/{one}")).status for one in (mine, theirs)]
        assert read == [200, 404]
        clock.ahead = 61
        before = {name: one.received() for name, one in gateway.upstreams.items()}
        for method, path in calls:
            answer = await call(gateway, SHOP, method, path)
            if path.startswith("/v1/") and method == "DELETE":  # the provider has none
                assert (answer.status, answer.json["code"]) == (422, "unsupported_feature")
            else:
                assert answer.status == (502 if path.startswith("/durable/") else 503), (method, path, answer.text)
                assert "cannot be checked" in answer.text
        assert {name: one.received() for name, one in gateway.upstreams.items()} == before
        for one in (mine, theirs):  # the provider's response to a read can serve several callers
            waiting = await call(gateway, SHOP, "GET", f"/v1/runtimes/{one}?wait=30", **{"If-None-Match": '"other"'})
            assert (waiting.status, waiting.json["code"]) == (503, "store_unavailable")
        for api in APIS.values():
            assert len(await listed(gateway, SHOP, api)) == (2 if api.upstream == "bctrl_browsers" else 1)
        assert (await call(gateway, SHOP, "GET", "/v1/runtimes")).json["items"] == rows
        for row in (*rows, *foreign_rows):
            assert (await call(gateway, None, "GET", f"/v1/runtimes/{row['id']}")).status == 200
