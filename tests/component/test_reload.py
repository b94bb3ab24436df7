"""Settings that change while requests are under way: in force for what comes after, and nothing is dropped."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.testing.servers import running as serving_here
from tests.component.fleets import KEY, Fleet, Gateway
from tests.component.processes import HANGS, client, finished, running

EVERYWHERE = {"native": {"allow": ["* /**"]}}


class Reloads:
    """Rewrites the settings of a gateway, and waits until it has said what came of it."""

    def __init__(self, fleet: Fleet, gateway: Gateway) -> None:
        self._fleet = fleet
        self._gateway = gateway
        self._told: Counter[str] = Counter()

    async def good(self, **sections: Any) -> None:
        self._fleet.write(**sections)
        await self._hang_up("settings_reloaded")

    async def bad(self, **sections: Any) -> None:
        self._fleet.write(**sections)
        await self._hang_up("settings_rejected")

    async def _hang_up(self, event: str) -> None:
        self._told[event] += 1
        self._gateway.process.tell(signal.SIGHUP)
        await self._gateway.process.says(rf'(?s)("event":"{event}".*?){{{self._told[event]}}}')


class Stream:
    """A provider whose every answer is a stream that the test feeds."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while piece := await self.pieces.get():
            await answer.write(piece)
        return answer

    @asynccontextmanager
    async def provider(self) -> AsyncIterator[dict[str, Any]]:
        """Serve, and give the settings of the provider."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        async with serving_here(app) as url:
            yield {"api": "durable", "base_url": url, "token": "canary-of-the-stream", "scope": "a/b"}


async def metric(session: aiohttp.ClientSession, name: str) -> str:
    text = await (await session.get("/metrics")).text()
    return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name))


async def test_no_request_and_no_stream_notices_good_and_bad_files_and_other_credentials(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"]
    tokens = fleet.folder / "token"
    tokens.write_text(durable.settings["token"])
    stream = Stream()
    async with stream.provider() as streaming:
        providers = {"durable-demo": {**durable.settings, "token": f"file:{tokens}"}, "stream": streaming}
        sections: dict[str, Any] = {"providers": providers, "cache": {"enabled": False}}
        async with fleet.gateway(**sections) as gateway:
            reloads = Reloads(fleet, gateway)
            made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
            durable.fault("start", "hold")
            start = asyncio.create_task(gateway.call("POST", f"/v1/runtimes/{made['id']}/start", 200))
            await durable.emulator.until_waiting()
            answer = await gateway.session.get("/native/stream/events")
            await stream.pieces.put(b"before ")
            assert await answer.content.readexactly(7) == b"before "

            over = asyncio.Event()
            read = [asyncio.create_task(reading(gateway, made["id"], over)) for _ in range(4)]
            for turn in range(4):
                # Another user of the same workspace: the credentials are others, and both are good.
                tokens.write_text(f"{durable.settings['token']}.turn{turn}")
                await reloads.good(**sections)
                await reloads.bad(**{**sections, "providers": {**providers, "stream": {**streaming, "weight": 0}}})
            await reloads.good(**{**sections, "providers": {"durable-demo": providers["durable-demo"]}})
            over.set()
            assert min(await asyncio.gather(*read)) > 0

            assert not start.done()
            durable.emulator.release()
            assert (await start)["state"] in {"starting", "running"}
            await stream.pieces.put(b"after")
            await stream.pieces.put(b"")
            assert await answer.read() == b"after"
            await gateway.call("GET", "/native/stream/events", 421)


async def reading(gateway: Gateway, runtime_id: str, over: asyncio.Event) -> int:
    """Read a runtime again and again; every answer has to be one."""
    reads = 0
    while not over.is_set():
        assert (await gateway.call("GET", f"/v1/runtimes/{runtime_id}", 200))["id"] == runtime_id
        reads += 1
    return reads


async def test_a_changed_file_comes_into_force_by_itself(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"].settings
    token = fleet.folder / "token"
    token.write_text("canary-of-yesterday")
    sections: dict[str, Any] = {
        "providers": {"durable-demo": {**durable, "token": f"file:{token}"}},
        "reload": {"every": 0.05},
        "health": {"probe": True},
    }
    async with fleet.gateway(**sections) as gateway:
        await gateway.process.says('"event":"credentials".*"accepted":false')
        token.write_text(durable["token"])
        await gateway.process.says('"event":"credentials".*"accepted":true')
        health = (await gateway.call("GET", "/v1/providers/durable-demo", 200))["health"]
        assert (health["credentials_ok"], health["observation"], health["status"]) == (True, "active", "ok")
        told = await finished(
            "providers",
            "test",
            "durable-demo",
            cwd=fleet.folder,
            environment={"RTGW_SERVER": gateway.url, "RTGW_API_KEY": KEY},
        )
        assert (told.code, told.stderr) == (0, "")
        assert "canary-of" not in gateway.process.output


async def test_keys_and_providers_come_and_go(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"].settings
    async with fleet.gateway(providers={"one": durable}) as gateway:
        reloads = Reloads(fleet, gateway)
        made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable"})
        other = {**durable, "scope": "acme/other"}
        await reloads.good(providers={"two": other}, auth={"keys": {"tests": {"key": "canary-gateway-key-2"}}})
        assert (await gateway.session.get("/v1/providers")).status == 401
        async with client(gateway.url, "canary-gateway-key-2") as session:
            names = [item["name"] for item in (await (await session.get("/v1/providers")).json())["items"]]
            assert names == ["two"]
            assert (await session.get(f"/v1/runtimes/{made['id']}")).status == 421
            assert (await session.post("/v1/runtimes", json={"kind": "durable"})).status == 201
            await reloads.good(providers={"one": durable}, auth={"keys": {"tests": {"key": KEY}}})
        assert (await gateway.call("GET", f"/v1/runtimes/{made['id']}", 200))["id"] == made["id"]


async def test_a_bad_file_is_told_fault_by_fault_and_changes_nothing(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        reloads = Reloads(fleet, gateway)
        assert await metric(gateway.session, "rtgw_config_last_reload_successful") == "1.0"
        await reloads.bad(log={"level": "loud"}, providers={})
        await gateway.process.says('"setting":"log.level"')
        await gateway.process.says('"setting":"providers"')
        assert await metric(gateway.session, "rtgw_config_last_reload_successful") == "0.0"
        assert len((await gateway.call("GET", "/v1/providers", 200))["items"]) == len(fleet.emulators)
        await reloads.good()
        assert await metric(gateway.session, "rtgw_config_last_reload_successful") == "1.0"


async def test_what_needs_a_restart_is_told_and_the_rest_comes_into_force(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        reloads = Reloads(fleet, gateway)
        http = {"listen": "127.0.0.1:1", "max_body_bytes": 2048}
        await reloads.good(http=http, log={"level": "debug", "format": "console"})
        told = await gateway.process.says(r'"event":"restart_needed","settings":(\[.*?\])')
        assert told[1] == '["http.listen","http.max_body_bytes","log.format"]'
        async with gateway.session.get("/readyz"):  # is logged at level debug only, and still as JSON
            await gateway.process.says('"level":"debug","event":"request".*"operation":"getReadiness"')


async def test_keys_are_not_given_up_where_others_can_connect(tmp_path: Path) -> None:
    """The new file alone would be right: it listens to this machine only. The process does not, until replaced."""
    provider = "{api: durable, base_url: 'http://127.0.0.1:9', token: canary-token, scope: a/b}"
    file = tmp_path / "gateway.yaml"
    rest = f"version: 1\nhealth: {{probe: false}}\nproviders: {{main: {provider}}}\n"
    file.write_text(f"{rest}http: {{listen: '0.0.0.0:0'}}\nauth: {{keys: {{tests: {{key: {KEY}}}}}}}\n")
    async with running("serve", "--config", str(file), cwd=tmp_path) as process:
        url = (await process.url()).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        file.write_text(f"{rest}http: {{listen: '127.0.0.1:0'}}\nauth: none\n")
        process.tell(signal.SIGHUP)
        await process.says('"event":"settings_rejected","setting":"auth"')
        async with client(url) as session, asyncio.timeout(HANGS):
            assert (await session.get("/v1/providers")).status == 401
