"""The sweep of ``usage.sweep_every``, in the processes of ``serve --workers``: its figures are those of all workers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.component.fleets import Fleet
from tests.component.processes import HANGS
from tests.component.test_workers import BODY, LONG, connection_to_each, metric, workers
from tests.contract.store_subjects import database
from tests.faults.replicas import encryption_key
from tests.postgres_cluster import PostgresCluster

SERIES = 'rtgw_runtimes{kind="durable",provider="durable-demo",state="idle"}'
MADE = 3


@pytest.fixture
async def store(postgres: PostgresCluster) -> AsyncIterator[dict[str, Any]]:
    """The settings of an empty PostgreSQL store."""
    async with database(postgres) as dsn:
        yield {"url": dsn, "encryption_keys": [encryption_key()]}


async def test_sweep_of_one_worker_fills_the_metrics_of_all_without_a_list_of_a_caller(
    fleet: Fleet, store: dict[str, Any]
) -> None:
    """``GET /v1/usage`` has the same figures. It counts by itself, and its count replaces that of the sweep."""
    requests = fleet.emulators["durable-demo"].emulator.requests.per_operation
    async with fleet.gateway("before", store=store) as gateway:
        for _ in range(MADE):
            await gateway.call("POST", "/v1/runtimes", 201, BODY)
    before = requests["list"]
    async with workers(fleet, store, usage={"sweep_every": LONG}) as (process, url):
        async with asyncio.timeout(HANGS):
            while await metric(url, SERIES) != MADE:
                pass
        assert requests["list"] == before + 1
        async with connection_to_each(process, url) as sessions:
            for more, session in enumerate(sessions.values()):
                async with session.get("/v1/usage?by=provider") as response:
                    usage = await response.json()
                (counted,) = [item for item in usage["items"] if item["value"] == "durable-demo"]
                assert counted["runtimes"] == MADE + more
                for _ in range(4):  # whichever worker answers
                    assert await metric(url, SERIES) == MADE + more
                async with session.post("/v1/runtimes", json=BODY) as response:
                    assert response.status == 201
