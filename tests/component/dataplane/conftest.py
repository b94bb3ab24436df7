"""A gateway with a data plane, and a running browser whose address leads to a server of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.bctrl_browsers.emulator.world import Run
from adapters.durable.emulator.world import Instance
from gateway.settings import DataSettings
from gateway.testing.processes import running
from tests.component.dataplane.far_ends import BROWSER, BrowserServer
from tests.component.whole_gateway import Gateway, whole_gateway


@dataclass(frozen=True, slots=True)
class Plane:
    """The gateway, the far end, and the id of a running browser there."""

    gateway: Gateway
    browser: BrowserServer
    address: str
    runtime_id: str

    async def connect(self, **options: Any) -> dict[str, dict[str, Any]]:
        """The connections by protocol."""
        response = await self.gateway.call("POST", f"/v1/runtimes/{self.runtime_id}/connections", options)
        assert response.status == 200, response.text
        return {item["protocol"]: item for item in response.json["items"]}


DATA = DataSettings(enabled=True, listen="127.0.0.1:0", origins=["https://app.example"])


@asynccontextmanager
async def leading_to(
    monkeypatch: pytest.MonkeyPatch, url: str, *, data: DataSettings = DATA, **options: Any
) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway with a running browser whose addresses lead to the server at ``url``, and the id of the browser."""
    async with whole_gateway("bctrl_browsers", data=data, **options) as gateway:

        def connections(run: Run, now: float) -> dict[str, str]:
            return {
                "cdpUrl": f"{url.replace('http', 'ws', 1)}{BROWSER}",
                "webdriverUrl": url,
                "liveViewUrl": "https://view.invalid/view",
                "liveViewReadOnlyUrl": "https://view.invalid/read",
                "expiresAt": "2030-01-01T00:00:00Z",
            }

        monkeypatch.setattr(Run, "connections", connections)
        created = await gateway.create(gateway.upstreams["bctrl_browsers"], start=True)
        yield gateway, created["id"]


@asynccontextmanager
async def started(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Plane]:
    """A gateway whose data plane leads to a fake browser. ``options`` are those of the gateway."""
    browser = BrowserServer()
    async with running(browser.application()) as url, leading_to(monkeypatch, url, **options) as (gateway, runtime_id):
        yield Plane(gateway, browser, url.partition("://")[2], runtime_id)


@asynccontextmanager
async def durable_server(
    monkeypatch: pytest.MonkeyPatch, **data: Any
) -> AsyncIterator[tuple[Gateway, BrowserServer, str]]:
    """A gateway whose durable provider reports one server as that of every sandbox, the server, and its host and port.
    ``data`` are settings of the data plane."""
    server, shown = BrowserServer(), Instance.as_json
    settings = DataSettings(enabled=True, listen="127.0.0.1:0", **data)
    async with running(server.application()) as url, whole_gateway("durable", data=settings) as gateway:

        def as_json(instance: Instance, now: float) -> dict[str, Any]:
            return {**shown(instance, now), "sandbox_url": url}

        monkeypatch.setattr(Instance, "as_json", as_json)
        yield gateway, server, url.partition("://")[2]


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    async with started(monkeypatch) as plane:
        yield plane
