"""An emulator that keeps its state in a file is killed with SIGKILL, and another process continues from the file."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.app import create_emulator
from gateway.testing.state_file import StateFile
from tests.component.processes import HANGS, Running, finished, running

RUNTIMES = "/api/v1/org/acme/ws/main/runtimes"
ALIASES = "/v1/workspaces/main/runtimes"


@dataclass(frozen=True, slots=True)
class Api:
    """How a runtime of an API is created and listed."""

    name: str
    path: str
    create: dict[str, Any]
    named: str
    items: str
    options: tuple[str, ...] = ()


APIS = [
    Api("durable", RUNTIMES, {}, "key", "items"),
    Api("bctrl", ALIASES, {"kind": "browser"}, "alias", "runtimes"),
    Api("bctrl_browsers", "/v1/browsers", {}, "name", "data", ("--browser", "none")),
]
each_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)


class Client:
    def __init__(self, session: aiohttp.ClientSession, process: Running) -> None:
        self.session = session
        self.process = process

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of a successful response; None without a body."""
        async with self.session.request(method, path, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()
            return await response.json() if response.status != 204 else None

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert await self.process.wait() == -signal.SIGKILL


@asynccontextmanager
async def emulator(api: str, folder: Path, *arguments: str) -> AsyncIterator[Client]:
    command = ("emulate", api, "--port", "0", "--token", "t0ken", "--state", "state.json", *arguments)
    async with running(*command, cwd=folder) as process:
        timeout = aiohttp.ClientTimeout(total=HANGS)
        headers = {"Authorization": "Bearer t0ken"}
        async with aiohttp.ClientSession(await process.url(), headers=headers, timeout=timeout) as session:
            yield Client(session, process)


@each_api
async def test_every_create_that_was_acknowledged_before_a_kill_exists_after_it(tmp_path: Path, api: Api) -> None:
    """The kill comes while several clients create."""
    acknowledged: dict[str, str] = {}
    enough = asyncio.Event()

    async def create(at: Client, client: int) -> None:
        for number in range(10_000):
            name = f"one-{client}-{number}"
            made = await at.call("POST", api.path, {**api.create, api.named: name})
            acknowledged[name] = made["id"]
            if len(acknowledged) >= 40:
                enough.set()

    async with emulator(api.name, tmp_path, *api.options) as first:
        creating = [asyncio.create_task(create(first, client)) for client in range(4)]
        async with asyncio.timeout(HANGS):
            await enough.wait()
        await first.kill()
        ended = await asyncio.gather(*creating, return_exceptions=True)
        assert all(isinstance(one, aiohttp.ClientError) for one in ended), ended
    async with emulator(api.name, tmp_path, *api.options) as second:
        found = (await second.call("GET", "/__runtimes"))["items"]
    assert {one["name"]: one["id"] for one in found}.items() >= acknowledged.items()
    assert len({one["name"] for one in found}) == len(found)


@each_api
async def test_reads_after_a_kill_are_equal_to_those_before(tmp_path: Path, api: Api) -> None:
    async with emulator(api.name, tmp_path, *api.options) as first:
        for number in range(3):
            await first.call("POST", api.path, {**api.create, api.named: f"one-{number}"})
        before = (await first.call("GET", api.path))[api.items]
        await first.kill()
    async with emulator(api.name, tmp_path, *api.options) as second:
        after = (await second.call("GET", api.path))[api.items]
        assert len(after) == 3
        if api.name == "bctrl_browsers":  # what a run shows depends on the time
            for one in (*before, *after):
                one["currentRun"] = one["currentRun"]["id"]
        assert after == before
        await second.call("POST", "/__reset")
        await second.kill()
    async with emulator(api.name, tmp_path, *api.options) as third:
        assert (await third.call("GET", api.path))[api.items] == []


async def test_durable_runtime_has_config_bindings_instance_and_address_after_a_kill(tmp_path: Path) -> None:
    config = {"version": "v2", "runtime_server": {"env": {"VALUE": "one"}}}
    async with emulator("durable", tmp_path) as first:
        made = await first.call("POST", RUNTIMES, {"key": "one", "project": "tools", "config": config})
        one = f"{RUNTIMES}/{made['id']}"
        await first.call("POST", f"{one}/capabilities", {"name": "@acme/tool", "version": "2.0.0"})
        started = await first.call("POST", f"{one}/start")
        paths = (f"{one}/config", f"{one}/capabilities", f"{RUNTIMES[:-9]}/projects")
        before = [await first.call("GET", path) for path in paths]
        await first.kill()
    host, port = urlsplit(started["instance"]["sandbox_url"]).netloc.split(":")
    taken = socket.create_server((host, int(port)))
    async with emulator("durable", tmp_path) as second:
        assert [await second.call("GET", path) for path in paths] == before
        again = await second.call("POST", f"{one}/start")
        assert again["sandbox_token"] == started["sandbox_token"]
        assert again["instance"]["sandbox_id"] == started["instance"]["sandbox_id"]
        assert again["instance"]["sandbox_url"] == started["instance"]["sandbox_url"]
        taken.close()
        bearer = {"Authorization": f"Bearer {again['sandbox_token']}"}
        assert await echoed(second, f"{again['instance']['sandbox_url']}/api/echo", bearer) == "hello"


async def echoed(client: Client, url: str, headers: dict[str, str]) -> str:
    """What the server of a sandbox answers, as soon as it listens."""
    async with asyncio.timeout(HANGS):
        while True:
            try:
                async with client.session.post(url, data=b"hello", headers=headers) as response:
                    return await response.text()
            except aiohttp.ClientConnectorError:
                await client.call("GET", RUNTIMES)


async def test_idempotency_key_and_run_of_a_browser_are_known_after_a_kill(tmp_path: Path) -> None:
    async with emulator("bctrl_browsers", tmp_path, "--browser", "none") as first:
        made = await first.call("POST", "/v1/browsers?wait=9", {"name": "one"}, **{"Idempotency-Key": "k1"})
        await first.kill()
    async with emulator("bctrl_browsers", tmp_path, "--browser", "none") as second:
        again = await second.call("POST", "/v1/browsers?wait=9", {"name": "one"}, **{"Idempotency-Key": "k1"})
        assert again["id"] == made["id"]
        run = (await second.call("GET", f"/v1/browsers/{made['id']}"))["currentRun"]
        assert (run["id"], run["status"]) == (made["currentRun"]["id"], "active")
        async with second.session.get(f"{run['connections']['webdriverUrl']}/json/version") as response:
            assert response.status == 200
        stopped = await second.call("POST", f"/v1/browsers/{made['id']}/stop?wait=9")
        assert (stopped["currentRun"], stopped["savedState"]["status"]) == (None, "saved")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"main": 1}', b'{"organizations": {}, "workspaces": [1]}'])
@each_api
async def test_file_with_something_else_is_refused_and_not_changed(tmp_path: Path, api: Api, content: bytes) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(OSError, match="it is not a state of this emulator") as refused:
        create_emulator(api.name, token="t0ken", state=file)
    assert refused.value.filename == str(file)
    assert file.read_bytes() == content


def test_object_that_cannot_be_written_is_not_left_out(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", dict[str, Any], transient=Client)
    with pytest.raises(NotImplementedError, match="object cannot be written"):
        file.write({"one": object()})
    file.write({"one": object.__new__(Client)})
    assert file.read() == {"one": None}
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("path", ["state.json", "no/state.json"])
async def test_command_names_a_file_that_cannot_be_used_on_one_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "state.json").write_text("something else")
    ended = await finished("emulate", "durable", "--port", "0", "--state", path, cwd=tmp_path)
    (line,) = ended.stderr.splitlines()
    assert (ended.code, ended.stdout) == (1, "")
    assert line.startswith(f"error: cannot_use_file: {path}")
