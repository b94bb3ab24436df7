"""What ``compose.yaml`` describes, as processes: two gateways, PostgreSQL, Redis in place of Valkey, and Prometheus."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.component.processes import HANGS, client, running
from tests.deployment import DEPLOY, SECRETS, compose, write_secrets
from tests.postgres_cluster import binaries, postgres_cluster
from tests.programs import required
from tests.real.prometheus_server import PrometheusServer, prometheus_server
from tests.redis_server import PROGRAM, redis_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATEWAYS = ("gateway-a", "gateway-b")
SLOW_MACHINE = {"RuntimeGatewayEventLoopLags", "RuntimeGatewayOverheadHigh", "RuntimeGatewayProviderSlow"}
NOT_CACHED = {"Cache-Control": "no-cache"}


@dataclass
class Stack:
    """A session for each gateway, one for the provider's emulator, and Prometheus."""

    gateways: list[aiohttp.ClientSession]
    provider: aiohttp.ClientSession
    prometheus: PrometheusServer

    async def read(self) -> int:
        """Have every gateway read from the provider. Return the last status."""
        for gateway in self.gateways:
            async with gateway.get("/v1/runtimes?provider=durable-main", headers=NOT_CACHED) as response:
                await response.read()
        return response.status

    async def firing(self) -> set[str]:
        """The alerts that fire, without those that mean a machine that is busy."""
        return {labels["alertname"] for labels in await self.prometheus.firing()} - SLOW_MACHINE


def settings(folder: Path, *, provider: str, valkey: str) -> Path:
    """The settings of ``compose.yaml`` with the addresses that its services have here, in a folder of their own."""
    text = (DEPLOY / "settings/gateway.yaml").read_text("utf-8")
    addresses = {
        SECRETS: str(folder.parent / "secrets"),
        "/var/lib/runtime-gateway": str(folder),
        "0.0.0.0:8080": "127.0.0.1:0",
        "0.0.0.0:9090": "127.0.0.1:0",
        "valkey://valkey:6379": valkey,
        "https://app.dreadnode.io": provider,
    }
    for name, address in addresses.items():
        assert name in text, name
        text = text.replace(name, address)
    folder.mkdir()
    (folder / "gateway.yaml").write_text(text)
    return folder / "gateway.yaml"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    tmp_path = tmp_path_factory.mktemp("stack")
    required("PostgreSQL", binaries())
    required("redis-server", PROGRAM)
    assert {*GATEWAYS, "postgres", "valkey", "prometheus"} < compose()["services"].keys()
    async with AsyncExitStack() as entered:
        cluster = entered.enter_context(postgres_cluster())
        redis = entered.enter_context(redis_server())
        emulator = await entered.enter_async_context(
            running("emulate", "durable", "--port", "0", "--token", "a-token", cwd=tmp_path)
        )
        provider = await emulator.url()
        secrets = write_secrets(tmp_path)
        (secrets / "store-url").unlink()
        (secrets / "store-url").write_text(cluster.dsn())
        key = (secrets / "gateway-key").read_text().strip()
        sessions, targets = [], {}
        for name in GATEWAYS:
            file = settings(tmp_path / name, provider=provider, valkey=redis.url.replace("redis", "valkey"))
            process = await entered.enter_async_context(running("serve", "--config", str(file), cwd=file.parent))
            line = json.loads((await process.until_output(r'\{.*"event":"started".*\}'))[0])
            sessions.append(await entered.enter_async_context(client(line["url"], key)))
            targets[f"{name}:9090"] = line["admin_url"].removeprefix("http://")
        prometheus = await entered.enter_async_context(prometheus_server(tmp_path, targets))
        await prometheus.until("count(up == 1) == 2")
        yield Stack(sessions, await entered.enter_async_context(client(provider)), prometheus)


async def test_alert_fires_while_a_provider_fails_and_resolves_when_it_recovers(stack: Stack) -> None:
    assert await stack.read() == 200
    assert await stack.firing() == set()

    rule = {"operation": "list", "fault": "status", "status": 503}
    assert (await stack.provider.post("/__faults", json=rule)).status < 300
    async with asyncio.timeout(HANGS):
        while "RuntimeGatewayProviderFails" not in await stack.firing():
            await stack.read()
    (alert,) = (one for one in await stack.prometheus.firing() if one["alertname"] == "RuntimeGatewayProviderFails")
    assert (alert["severity"], alert["provider"], alert["class"]) == ("critical", "durable-main", "read")

    assert (await stack.provider.delete("/__faults")).status < 300
    async with asyncio.timeout(2 * HANGS):
        while await stack.firing() or await stack.read() != 200:
            pass
    assert await stack.read() == 200


async def test_gateways_share_the_store_and_the_storage_of_limits(stack: Stack) -> None:
    body, key = {"kind": "durable", "name": "shared"}, {"Idempotency-Key": "one-create"}
    made: list[Any] = []
    for gateway in stack.gateways:
        async with gateway.post("/v1/runtimes", json=body, headers=key) as response:
            made.append(await response.json())
            assert response.status == 201, made
    assert made[0]["id"] == made[1]["id"]
    await stack.prometheus.until("count(rtgw_limits_storage_up == 1) == 2")
    await stack.prometheus.until("count(rtgw_store_up == 1) == 2")


async def test_prometheus_evaluates_every_panel_of_the_dashboard(stack: Stack) -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/runtime-gateway.json").read_text("utf-8"))
    await stack.read()
    await stack.prometheus.until('sum(rtgw_requests_total{surface="v1"}) > 0')
    shown = 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "1m"))
            shown += bool(await stack.prometheus.query(expression))
    assert shown > len(dashboard["panels"]) / 2, "most panels have data of a gateway that has served a request"
