"""Browsers move while clients hold connections, and clients of an older API go on with their aliases."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from adapters.bctrl_browsers.emulator.world import Run
from gateway.testing.processes import running
from tests.component.dataplane.far_ends import BROWSER, BrowserServer
from tests.component.moves.applied import at_once
from tests.component.processes import HANGS
from tests.faults.conftest import StoreLocation
from tests.faults.moving import AUTH, Operator
from tests.faults.providers import Setup
from tests.faults.world import world

COUNT: Final = int(os.environ.get("MOVES_N") or 20)
DATA: Final = {"enabled": True, "listen": "127.0.0.1:0"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One gateway knows of an announcement at once."""
    at_once(monkeypatch)


async def test_clients_of_browsers_reconnect_with_their_tokens_to_the_target_only(
    sqlite_location: StoreLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client has a connection when its browser is switched."""
    servers = BrowserServer(), BrowserServer()
    places: dict[str, str] = {}
    ends = [Setup("bctrl_browsers", "old", {}), Setup("bctrl_browsers", "new", {})]
    async with (
        running(servers[0].application()) as first,
        running(servers[1].application()) as second,
        world(tmp_path, sqlite_location, setups=ends) as w,
        w.gateway(auth=AUTH, data=DATA) as gateway,
    ):
        old, new = w.providers.values()

        def connections(run: Run, now: float) -> dict[str, str]:
            at_old = run.id in places or run.id in {one.run and one.run.id for one in old.emulator.world.all(now)}
            url = places.setdefault(run.id, first) if at_old else second
            shown = {"cdpUrl": f"{url.replace('http', 'ws', 1)}{BROWSER}?run={run.id}", "webdriverUrl": url}
            return {**shown, "liveViewUrl": url, "liveViewReadOnlyUrl": url, "expiresAt": "2030-01-01T00:00:00Z"}

        monkeypatch.setattr(Run, "connections", connections)
        operator = Operator(w.client, lambda: gateway.url)
        made = [(await w.made(old, f"browser-{number}", f"k{number}", start=True)).json for number in range(COUNT)]
        addresses = {}
        for runtime in made:
            path = f"/v1/runtimes/{runtime['id']}/connections"
            given = await operator.done("POST", path, {"protocol": "cdp"})
            addresses[runtime["id"]] = given["items"][0]["url"]
        sockets = {}
        for runtime_id, url in addresses.items():
            sockets[runtime_id] = socket = await w.client.ws_connect(url)
            await socket.send_str(runtime_id)
            assert await socket.receive_str() == runtime_id
        move = await operator.apply(await operator.planned("old", "new", when="now"))
        assert (move["state"], move["counts"]) == ("done", {"moved": COUNT}), await operator.items(move)

        async def continues(runtime_id: str) -> None:
            end = await sockets[runtime_id].receive(timeout=HANGS)
            assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1012)
            async with w.client.ws_connect(addresses[runtime_id]) as socket:
                await socket.send_str(runtime_id)
                assert await socket.receive_str() == runtime_id

        before = len(servers[0].seen)
        await asyncio.gather(*(continues(runtime_id) for runtime_id in addresses))
        assert len(servers[0].seen) == before
        runs = Counter(path.partition("run=")[2] for _, path, _ in servers[1].seen)
        own = {one.run.id for one in new.emulator.world.all(new.emulator.now()) if one.run is not None}
        assert runs == Counter(own)
        assert len(own) == new.emulator.creates == COUNT
        assert not [one for one in old.emulator.world.all(old.emulator.now()) if one.run is not None]


DRIVERS: Final = ("playwright", "puppeteer", "selenium", "stagehand")
MAPPED, UNMAPPED = "5f1d7f4e-1f8e-4c39-8f69-0d8ad3ce2b11", "5f1d7f4e-1f8e-4c39-8f69-0d8ad3ce2b12"
LAUNCHES: Final[dict[str, dict[str, Any]]] = {
    "plain": {"mode": "ephemeral"},
    "proxy": {"mode": "ephemeral", "proxy": {"type": "socks5", "host": "proxy.example", "port": 1080}},
    "humanize": {"mode": "ephemeral", "humanize": True},
    "mapped": {"mode": "profile", "profile_id": MAPPED},
    "unmapped": {"mode": "profile", "profile_id": UNMAPPED},
}
UNREADABLE: Final = {"#/launch/extension_ids", "#/launch/humanize", "#/launch/solve_captchas", "#/launch/proxy"}
BROWSERS: Final = 50


async def test_browsers_leave_an_older_api_and_its_clients_go_on_with_their_aliases(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """Browsers of every driver and launch, and some that were made past the gateway. What has no equivalent is lost,
    what cannot be read is unknown, and what a mapping is missing for stays."""
    ends = [Setup("bctrl", "old", {}), Setup("bctrl_browsers", "new", {})]
    async with world(tmp_path, sqlite_location, setups=ends) as w, w.gateway(auth=AUTH) as gateway:
        old, new = w.providers.values()
        operator, path = Operator(w.client, lambda: gateway.url), f"/v1/workspaces/{old.settings['scope']}/runtimes"
        saved = (await w.made(new, "saved", "saved", start=True)).json
        await operator.done("POST", f"/v1/runtimes/{saved['id']}/stop", {})
        ways = [*LAUNCHES, "native"]
        made: dict[str, str] = {}
        for number in range(BROWSERS):
            way, driver = ways[number % len(ways)], DRIVERS[number % len(DRIVERS)]
            alias = f"{way}-{number}"
            if way == "native":
                body = {"alias": alias, "kind": "browser", "driver": driver, "launch": {"mode": "ephemeral"}}
                made[alias] = (await old.natively(w.client, "POST", path, body))["id"]
            else:
                response = await w.made(old, alias, alias, driver=driver, launch=LAUNCHES[way])
                made[alias] = response.json["provider_id"]
        stays = {alias for alias in made if alias.startswith("unmapped")}
        mappings = {"profile_ids": {MAPPED: saved["provider_id"]}}
        move = await operator.planned("old", "new", when="now", mappings=mappings)
        assert move["counts"] == {"planned": BROWSERS - len(stays), "blocked": len(stays)}
        for item in await operator.items(move):
            way = item["name"].partition("-")[0]
            lost = {each["what"] for each in item["lost"] if each["what"].startswith("#")}
            assert lost == ({"#/launch/humanize"} if way == "humanize" else set()), item
            assert (set(item["unknown"]) >= UNREADABLE) is (way == "native"), item
            assert (item["unknown"] == []) is (way != "native"), item
            blocked = [(each["code"], each["pointer"]) for each in item["blocked_by"]]
            expected = [("mapping_required", f"#/mappings/profile_ids/{UNMAPPED}")] if way == "unmapped" else []
            assert blocked == expected, item

        move = await operator.apply(move)
        counts = {"moved": BROWSERS - len(stays), "blocked": len(stays)}
        assert (move["state"], move["counts"]) == ("done", counts), [
            (item["name"], item["problem"]) for item in await operator.items(move) if item["state"] == "failed"
        ]
        drivers = {one.name: one.config.get("driver") for one in new.emulator.world.all(new.emulator.now())}
        assert drivers.keys() == {"saved", *made} - stays
        assert new.emulator.creates == 1 + BROWSERS - len(stays)
        rows = (await operator.get(f"/bctrl{path}"))["runtimes"]
        assert {row["alias"]: row["id"] for row in rows if row["alias"] in made} == made
        assert len([row for row in rows if row["alias"] in made]) == BROWSERS
        sent = old.posts("stop")
        for alias in sorted(made.keys() - stays):
            row = await operator.get(f"/bctrl{path}/{alias}")
            assert (row["id"], row["alias"], row["status"]) == (made[alias], alias, "active")
            stopped = await operator.done("POST", f"/bctrl{path}/{alias}/stop")
            assert (stopped["id"], stopped["status"]) == (made[alias], "stopped")
        assert old.posts("stop") == sent
        assert not [one for one in new.emulator.world.all(new.emulator.now()) if one.run and one.name != "saved"]
