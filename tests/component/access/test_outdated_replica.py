"""A replica whose store was upgraded beyond what it knows."""

import time
from pathlib import Path

import aiohttp

from gateway.app import create_app, serving
from gateway.demo import demo_settings
from gateway.telemetry.logs import make_logger
from tests.component.stores import in_memory
from tests.memory_store import MemoryStore


async def test_replica_is_not_ready_once_its_store_is_too_new(tmp_path: Path) -> None:
    provider = {"api": "durable", "base_url": "http://127.0.0.1:9/api", "token": "t", "scope": "acme/research"}
    settings = demo_settings({"durable": provider}, port=0, api_key="a-key-of-a-shop-1234", folder=tmp_path)
    _, sealer = in_memory()
    store = MemoryStore(time.time)
    store.database._connection.execute("INSERT INTO store_schema VALUES (999, 999, 0)")
    app = create_app(settings, store=(store, sealer), logger=make_logger("critical"))
    async with serving(settings, app) as addresses, aiohttp.ClientSession(addresses.api) as client:
        async with client.get("/readyz") as ready:
            assert (ready.status, (await ready.json())["code"]) == (503, "store_unavailable")
            assert "too new" in (await ready.json())["detail"]
        async with client.get("/livez") as live:
            assert live.status == 200
