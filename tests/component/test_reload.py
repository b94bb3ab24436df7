"""Settings that change while requests are in progress: they apply to later requests, and no request is dropped."""

import asyncio
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.testing.processes import running as serving
from tests.certificates import write_certificate
from tests.component.fleets import KEY, Fleet, Gateway
from tests.component.processes import HANGS, client, finished, running

EVERYWHERE = {"native": {"allow": ["* /**"]}}


class Reloads:
    """Rewrites the settings of a gateway, and waits until it has logged the result."""

    def __init__(self, fleet: Fleet, gateway: Gateway) -> None:
        self._fleet = fleet
        self._gateway = gateway
        self._events: Counter[str] = Counter()

    async def good(self, **sections: Any) -> None:
        self._fleet.write(**sections)
        await self._reload("settings_reloaded")

    async def bad(self, **sections: Any) -> None:
        self._fleet.write(**sections)
        await self._reload("settings_rejected")

    async def _reload(self, event: str) -> None:
        self._events[event] += 1
        self._gateway.process.send_signal(signal.SIGHUP)
        await self._gateway.process.until_output(rf'(?s)("event":"{event}".*?){{{self._events[event]}}}')


class Stream:
    """A provider whose responses are streams that the test writes to."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while piece := await self.pieces.get():
            await response.write(piece)
        return response

    @asynccontextmanager
    async def provider(self) -> AsyncIterator[dict[str, Any]]:
        """Serve, and return the settings of the provider."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._respond)
        async with serving(app) as url:
            yield {"api": "durable", "base_url": url, "token": "canary-of-the-stream", "scope": "a/b"}


async def metric(session: aiohttp.ClientSession, name: str) -> str:
    text = await (await session.get("/metrics")).text()
    return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name))


async def test_reloads_with_good_bad_and_new_credentials_interrupt_no_request_and_no_stream(fleet: Fleet) -> None:
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
            response = await gateway.session.get("/native/stream/events")
            await stream.pieces.put(b"before ")
            assert await response.content.readexactly(7) == b"before "

            over = asyncio.Event()
            read = [asyncio.create_task(reading(gateway, made["id"], over)) for _ in range(4)]
            for user in range(4):
                # The token of another user of the same workspace, which is valid as well.
                tokens.write_text(f"{durable.settings['token']}.user{user}")
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
            assert await response.read() == b"after"
            await gateway.call("GET", "/native/stream/events", 421)


async def reading(gateway: Gateway, runtime_id: str, over: asyncio.Event) -> int:
    """Read a runtime repeatedly; each response has to be the runtime. Return the number of reads."""
    reads = 0
    while not over.is_set():
        assert (await gateway.call("GET", f"/v1/runtimes/{runtime_id}", 200))["id"] == runtime_id
        reads += 1
    return reads


async def test_changed_file_is_applied_without_a_signal(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"].settings
    token = fleet.folder / "token"
    token.write_text("canary-of-yesterday")
    sections: dict[str, Any] = {
        "providers": {"durable-demo": {**durable, "token": f"file:{token}"}},
        "reload": {"every": 0.05},
        "health": {"probe": True},
    }
    async with fleet.gateway(**sections) as gateway:
        await gateway.process.until_output('"event":"credentials".*"accepted":false')
        token.write_text(durable["token"])
        await gateway.process.until_output('"event":"credentials".*"accepted":true')
        health = (await gateway.call("GET", "/v1/providers/durable-demo", 200))["health"]
        assert (health["credentials_ok"], health["observation"], health["status"]) == (True, "active", "ok")
        test = await finished(
            "providers",
            "test",
            "durable-demo",
            cwd=fleet.folder,
            environment={"RTGW_SERVER": gateway.url, "RTGW_API_KEY": KEY},
        )
        assert (test.code, test.stderr) == (0, "")
        assert "canary-of" not in gateway.process.output


async def test_keys_and_providers_can_be_added_and_removed(fleet: Fleet) -> None:
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


async def test_retry_with_the_next_key_of_a_principal_returns_the_runtime_of_the_first_try(fleet: Fleet) -> None:
    body, retry = {"kind": "durable"}, {"Idempotency-Key": "order-1"}
    following = "canary-gateway-key-2"
    async with fleet.gateway() as gateway:
        reloads = Reloads(fleet, gateway)
        first = await gateway.session.post("/v1/runtimes", json=body, headers=retry)
        await reloads.good(auth={"principals": {"tests": {"keys": [KEY, following]}}})
        await gateway.process.until_output('"principals":\\["tests"\\]')
        for key in (KEY, following):
            async with client(gateway.url, key) as session:
                again = await session.post("/v1/runtimes", json=body, headers=retry)
                assert (await again.json())["id"] == (await first.json())["id"]
        await reloads.good(auth={"principals": {"tests": {"keys": [following]}}})
        assert (await gateway.session.get("/v1/providers")).status == 401
        assert following not in gateway.process.output


async def test_bad_file_is_logged_fault_by_fault_and_changes_nothing(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        reloads = Reloads(fleet, gateway)
        assert await metric(gateway.session, "rtgw_config_last_reload_successful") == "1.0"
        await reloads.bad(log={"level": "loud"}, providers={})
        await gateway.process.until_output('"setting":"log.level"')
        await gateway.process.until_output('"setting":"providers"')
        assert await metric(gateway.session, "rtgw_config_last_reload_successful") == "0.0"
        assert len((await gateway.call("GET", "/v1/providers", 200))["items"]) == len(fleet.emulators)
        await reloads.good()
        assert await metric(gateway.session, "rtgw_config_last_reload_successful") == "1.0"


async def test_settings_that_need_a_restart_are_logged_and_the_others_applied(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        reloads = Reloads(fleet, gateway)
        http = {"listen": "127.0.0.1:1", "max_body_bytes": 2048}
        await reloads.good(http=http, log={"level": "debug", "format": "console"})
        match = await gateway.process.until_output(r'"event":"restart_needed","settings":(\[.*?\])')
        assert match[1] == '["http.listen","http.max_body_bytes","log.format"]'
        async with gateway.session.get("/readyz"):  # logged only at level debug, and still as JSON
            await gateway.process.until_output('"level":"debug","event":"request".*"operation":"getReadiness"')


async def test_auth_none_is_rejected_while_the_process_listens_beyond_this_machine(tmp_path: Path) -> None:
    """The new file alone is valid, as it listens on loopback. But ``http.listen`` applies only after a restart."""
    provider = "{api: durable, base_url: 'http://127.0.0.1:9', token: canary-token, scope: a/b}"
    file = tmp_path / "gateway.yaml"
    rest = f"version: 1\nhealth: {{probe: false}}\nproviders: {{main: {provider}}}\n"
    file.write_text(f"{rest}http: {{listen: '0.0.0.0:0'}}\nauth: {{keys: {{tests: {{key: {KEY}}}}}}}\n")
    async with running("serve", "--config", str(file), cwd=tmp_path) as process:
        url = (await process.url()).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        file.write_text(f"{rest}http: {{listen: '127.0.0.1:0'}}\nauth: none\n")
        process.send_signal(signal.SIGHUP)
        await process.until_output('"event":"settings_rejected","setting":"auth"')
        async with client(url) as session, asyncio.timeout(HANGS):
            assert (await session.get("/v1/providers")).status == 401


async def test_new_certificate_is_used_by_new_connections_and_a_bad_one_is_rejected(fleet: Fleet) -> None:
    cert, key = write_certificate(fleet.folder)
    http = {"listen": "127.0.0.1:0", "tls": {"cert": "one.crt", "key": "one.key"}}

    async def status(session: aiohttp.ClientSession, url: str) -> int:
        async with asyncio.timeout(HANGS), session.get(f"{url}/livez") as response:
            return response.status

    def trusting(file: Path) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=file))
        return aiohttp.ClientSession(connector=connector)

    file = fleet.write(http=http)
    async with running("serve", "--config", str(file), cwd=fleet.folder) as process, trusting(cert) as kept:
        url = (await process.until_output(r'"event":"started","url":"(https://[0-9.:]+)"'))[1]
        assert await status(kept, url) == 200
        key.write_text("half of a file")
        process.send_signal(signal.SIGHUP)
        await process.until_output('"event":"settings_rejected","setting":"http.tls.key"')
        async with trusting(cert) as new:
            assert await status(new, url) == 200
        write_certificate(fleet.folder)
        process.send_signal(signal.SIGHUP)
        await process.until_output('"event":"settings_reloaded"')
        assert await status(kept, url) == 200
        environment = {"RTGW_SERVER": url, "RTGW_API_KEY": KEY, "SSL_CERT_FILE": str(cert)}
        listed = await finished("providers", "list", cwd=fleet.folder, environment=environment)
        assert (listed.code, "durable-demo" in listed.stdout) == (0, True), listed.stderr
        assert "restart_needed" not in process.output
    ended = await finished("config", "check", "--config", str(file), cwd=fleet.folder)
    assert ended.code == 0
    cert.unlink()
    ended = await finished("config", "check", "--config", str(file), cwd=fleet.folder)
    assert (ended.code, "http.tls.cert: the file" in ended.stderr) == (78, True)
