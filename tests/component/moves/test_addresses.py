"""Tokens of the data plane that were made before a move lead to the runtime at its present place, and only there."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from adapters.bctrl_browsers.emulator.world import Run
from adapters.durable.emulator.world import Instance
from gateway.services.access import replication
from gateway.services.data_plane.endpoints import Endpoints
from gateway.settings import DataSettings
from gateway.testing.processes import running
from tests.component.dataplane.far_ends import BROWSER, BrowserServer
from tests.component.moves.moving import Moving, relocation
from tests.component.whole_gateway import Gateway, whole_gateway

DATA = DataSettings(enabled=True, listen="127.0.0.1:0")


@dataclass
class Ends:
    """A gateway, a runtime and its copy at another provider, each with the server that its instance has."""

    gateway: Gateway
    moving: Moving
    source: Any
    target: Any
    instances: tuple[str, str]
    servers: tuple[BrowserServer, BrowserServer]

    async def move(self) -> None:
        first, second = self.instances
        await self.moving.relocate(
            self.gateway, self.source, self.target, source_instance=first, target_instance=second
        )

    async def connect(self, runtime_id: str | None = None) -> dict[str, dict[str, str]]:
        path = f"/v1/runtimes/{runtime_id or self.source['id']}/connections"
        response = await self.gateway.call("POST", path, {})
        assert response.status == 200, response.text
        return {item["protocol"]: item for item in response.json["items"]}


def browser_run(runtime: Any) -> str:
    run: str = runtime["provider_data"]["currentRun"]["id"]
    return run


def sandbox(runtime: Any) -> str:
    instance: str = runtime["durable"]["instance"]["id"]
    return instance


@asynccontextmanager
async def ends(api: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ends]:
    moving, servers = Moving(time.time), (BrowserServer(), BrowserServer())
    places: dict[str, str] = {}
    shown = Instance.as_json

    def connections(run: Run, now: float) -> dict[str, str]:
        url = places.get(run.id, "http://127.0.0.1:9")
        return {
            "cdpUrl": f"{url.replace('http', 'ws', 1)}{BROWSER}",
            "webdriverUrl": url,
            "liveViewUrl": "https://view.invalid/view",
            "liveViewReadOnlyUrl": "https://view.invalid/read",
            "expiresAt": "2030-01-01T00:00:00Z",
        }

    def as_json(instance: Instance, now: float) -> dict[str, Any]:
        return {**shown(instance, now), "sandbox_url": places.get(instance.sandbox_id, "http://127.0.0.1:9")}

    monkeypatch.setattr(Run, "connections", connections)
    monkeypatch.setattr(Instance, "as_json", as_json)
    async with (
        running(servers[0].application()) as first,
        running(servers[1].application()) as second,
        whole_gateway(api, twice=[api], store=moving.of_gateway, data=DATA) as gateway,
    ):
        made = [await gateway.create(gateway.upstreams[name], name="agent", start=True) for name in (api, f"{api}-2")]
        read = [(await gateway.call("GET", f"/v1/runtimes/{runtime['id']}")).json for runtime in made]
        instance_of = browser_run if api == "bctrl_browsers" else sandbox
        instances = (instance_of(read[0]), instance_of(read[1]))
        places |= {instances[0]: first, instances[1]: second}
        yield Ends(gateway, moving, made[0], made[1], instances, servers)


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway reads relocations after notifications only."""
    monkeypatch.setattr(replication, "EVERY", 3600.0)


@pytest.fixture
async def browsers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ends]:
    async with ends("bctrl_browsers", monkeypatch) as found:
        yield found


@pytest.fixture
async def durables(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ends]:
    async with ends("durable", monkeypatch) as found:
        yield found


async def test_a_client_reconnects_with_its_token_to_the_target_only(browsers: Ends) -> None:
    url = (await browsers.connect())["cdp"]["url"]
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(url) as socket:
            await socket.send_str("before")
            assert await socket.receive_str() == "before"
            await browsers.move()
            end = await socket.receive(timeout=20)
            assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1012)
        seen = len(browsers.servers[0].seen)
        async with client.ws_connect(url) as socket:
            await socket.send_str("after")
            assert await socket.receive_str() == "after"
            listed = await browsers.gateway.call("GET", f"/v1/runtimes/{browsers.source['id']}/connections")
            assert [item["protocol"] for item in listed.json["items"]] == ["cdp"]
            new = (await browsers.connect(browsers.target["id"]))["cdp"]["url"]
            async with client.ws_connect(new) as another:
                await another.send_str("new")
                assert await another.receive_str() == "new"
                revoked = await browsers.gateway.call("DELETE", f"/v1/runtimes/{browsers.source['id']}/connections")
                assert revoked.status == 204
                assert (await another.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSE
                assert another.close_code == 4403
        assert len(browsers.servers[0].seen) == seen
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(url)
        assert refused.value.status == 403


async def test_a_stop_of_the_moved_runtime_ends_its_connections(browsers: Ends) -> None:
    url = (await browsers.connect())["cdp"]["url"]
    await browsers.move()
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as socket:
        await socket.send_str("after")
        assert await socket.receive_str() == "after"
        stopped = await browsers.gateway.call("POST", f"/v1/runtimes/{browsers.source['id']}/stop", {})
        assert stopped.status == 200
        assert (await socket.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4410


async def test_connection_of_a_moved_runtime_is_not_ended_as_stopped_where_the_move_is_not_known_yet(
    seldom: None, durables: Ends
) -> None:
    """Another replica moves the runtime and stops its source, and this one learns of the stop first."""
    connection = (await durables.connect())["runtime_server"]
    headers, gateway = {"Authorization": f"Bearer {connection['token']}"}, durables.gateway
    source, target, store = durables.source, durables.target, durables.moving.store
    await durables.moving.announce(source["provider"], target["provider"])
    path = f"/v1/runtimes/{source['id']}"
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{connection['url']}{BROWSER}", headers=headers) as socket,
    ):
        await socket.send_str("before")
        assert await socket.receive_str() == "before"
        first, second = durables.instances
        await store.silently(
            durables.moving.switch(relocation(source, target, source_instance=first, target_instance=second))
        )
        assert (await gateway.call("GET", path)).json["provider"] == source["provider"]
        emulator = gateway.upstreams["durable"].emulator
        for runtime in emulator.world.runtimes():
            runtime.instance.pause(time.time(), "user")
        await store.add_releases([source["id"]], "another-replica")
        end = await socket.receive(timeout=20)
        assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1012)
        assert (await gateway.call("GET", path)).json["provider"] == target["provider"]


async def test_a_token_whose_instance_has_no_successor_leads_nowhere(browsers: Ends) -> None:
    url = (await browsers.connect())["cdp"]["http_url"]
    await browsers.moving.relocate(browsers.gateway, browsers.source, browsers.target)
    async with aiohttp.ClientSession() as client, client.get(f"{url}/json/version") as response:
        assert response.status == 410
    assert browsers.servers[1].seen == []


async def test_after_the_runtime_has_moved_back_the_token_leads_to_the_source(browsers: Ends) -> None:
    url = (await browsers.connect())["cdp"]["http_url"]
    await browsers.move()
    first, second = browsers.instances
    back = relocation(
        browsers.target,
        browsers.source,
        runtime_id=browsers.source["id"],
        source_instance=second,
        target_instance=first,
    )
    await browsers.moving.switch(back)
    path = f"/v1/runtimes/{browsers.source['id']}"
    while (await browsers.gateway.call("GET", path)).json["provider"] != browsers.source["provider"]:
        continue
    async with aiohttp.ClientSession() as client, client.get(f"{url}/json/version") as response:
        assert response.status == 200
    assert len(browsers.servers[0].seen) == 1
    assert browsers.servers[1].seen == []


async def test_a_durable_token_leads_to_the_server_of_the_target_with_its_own_token(durables: Ends) -> None:
    connection = (await durables.connect())["runtime_server"]
    await durables.move()
    headers = {"Authorization": f"Bearer {connection['token']}"}
    url = f"{connection['url']}/api/health"
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as response:
        assert response.status == 404
        assert await response.text() == "nothing at /api/health"
    assert durables.servers[0].seen == []
    _, path, received = durables.servers[1].seen[-1]
    assert path == "/api/health"
    copies = durables.gateway.upstreams["durable-2"].emulator.world.runtimes()
    assert [f"Bearer {copy.instance.token}" for copy in copies] == [received["Authorization"]]


async def test_only_a_durable_token_from_before_the_move_needs_a_start(
    endpoints: list[Endpoints], durables: Ends
) -> None:
    emulator = durables.gateway.upstreams["durable-2"].emulator
    before = (await durables.connect())["runtime_server"]
    await durables.move()
    after = (await durables.connect())["runtime_server"]
    starts = [emulator.requests.per_operation["start"]]
    for connection in (after, before):
        endpoints[0]._known.clear()
        headers = {"Authorization": f"Bearer {connection['token']}"}
        async with aiohttp.ClientSession() as client, client.get(connection["url"], headers=headers) as response:
            assert response.status == 404
        starts.append(emulator.requests.per_operation["start"])
    assert starts == [starts[0], starts[0], starts[0] + 1]
