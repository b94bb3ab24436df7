"""What keys do in a whole gateway after the store has been away for a minute; time is the test's."""

import time
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import create_app, serving
from gateway.demo import demo_settings
from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import SystemClock
from gateway.telemetry.logs import make_logger
from tests.component.stores import in_memory
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
