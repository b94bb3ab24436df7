"""The servers behind the sandboxes of the durable emulator."""

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from adapters.durable.emulator import create_emulator
from gateway.testing.processes import running
from tests.component.processes import HANGS, children, end_of
from tests.component.processes import running as running_command

HEADERS: Final = {"Authorization": "Bearer t0ken"}
RUNTIMES: Final = "/api/v1/org/acme/ws/research/runtimes"
PROGRAM: Final = """
import json, os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
seen = {"pid": os.getpid(), "arguments": sys.argv[1:], "token": os.environ["DREADNODE_RUNTIME_TOKEN"]}
with open(os.environ["SEEN"], "a") as file:
    file.write(json.dumps(seen) + "\\n")
while True:
    signal.pause()
"""


@dataclass
class World:
    """An emulator's client."""

    session: aiohttp.ClientSession

    async def call(self, method: str, below: str = "", body: Any = None) -> Any:
        async with self.session.request(method, RUNTIMES + below, json=body, headers=HEADERS) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def start(self, key: str = "agent") -> tuple[str, str]:
        """A new instance: its address and its token."""
        await self.call("POST", body={"key": key})
        started = await self.call("POST", f"/{key}/start", {})
        return started["instance"]["sandbox_url"], started["sandbox_token"]


@asynccontextmanager
async def world(command: str) -> AsyncIterator[World]:
    app = create_emulator(token="t0ken", runtime_server=command)
    async with running(app) as url, aiohttp.ClientSession(url) as session:
        yield World(session)


def program(folder: Path) -> str:
    path = folder / "server"
    path.write_text(f"#!{sys.executable}\n{PROGRAM}")
    path.chmod(0o755)
    return f"{path} serve"


def folders(parent: Path) -> list[Path]:
    """The folders of emulators."""
    return list(parent.glob("sandboxes-*"))


def written(file: Path) -> list[dict[str, Any]]:
    """What the started programs have written."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def seen_by(file: Path, count: int, emulator: World) -> list[dict[str, Any]]:
    """The same, once there are as many."""
    async with asyncio.timeout(HANGS):
        while len(seen := written(file)) < count:
            await emulator.call("GET")
    return seen


async def test_small_server_answers_http_requests_with_the_token() -> None:
    async with world("small") as emulator, aiohttp.ClientSession() as client:
        url, token = await emulator.start()
        bearer = {"Authorization": f"Bearer {token}"}
        async with client.get(f"{url}/api/ready") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok", "stage": "ready"})
        async with client.post(f"{url}/api/echo", data=b"x") as response:
            assert response.status == 401
        async with client.post(f"{url}/api/echo", data=b"x" * 100_000, headers=bearer) as response:
            assert await response.read() == b"x" * 100_000
        async with client.put(f"{url}/api/files/upload", data=b"y" * 900_000, headers=bearer) as response:
            expected = {"size": 900_000, "sha256": hashlib.sha256(b"y" * 900_000).hexdigest()}
            assert await response.json() == expected
        async with client.get(f"{url}/api/events?count=2", headers=bearer) as response:
            assert response.content_type == "text/event-stream"
            assert await response.text() == 'id: 0\ndata: {"number": 0}\n\nid: 1\ndata: {"number": 1}\n\n'
        async with client.get(f"{url}/api/events?count=1001", headers=bearer) as response:
            assert response.status == 422


async def test_small_server_accepts_a_ticket_once() -> None:
    async with world("small") as emulator, aiohttp.ClientSession() as client:
        url, token = await emulator.start()
        async with client.post(f"{url}/api/ws/ticket", headers={"Authorization": f"Bearer {token}"}) as response:
            ticket = (await response.json())["ticket"]
        async with client.ws_connect(f"{url}/api/ws?ticket={ticket}") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
        for query in (f"?ticket={ticket}", ""):
            async with client.ws_connect(f"{url}/api/ws{query}") as socket:
                await socket.receive()
                assert socket.close_code == 4401


async def test_reset_ends_the_small_server_and_its_sockets_and_a_pause_does_not() -> None:
    async with world("small") as emulator, aiohttp.ClientSession() as client:
        url, token = await emulator.start()
        async with client.ws_connect(f"{url}/api/ws", headers={"Authorization": f"Bearer {token}"}) as socket:
            await emulator.call("POST", "/agent/pause")
            await socket.send_bytes(b"hello")
            assert await socket.receive_bytes() == b"hello"
            await emulator.call("POST", "/agent/reset")
            await socket.receive()
            assert socket.close_code == 1001
        again, other = await emulator.start()
        assert (again != url, other != token) == (True, True)
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(f"{url}/api/health")


async def test_program_gets_address_and_token_and_ends_with_its_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "seen"
    monkeypatch.setenv("SEEN", str(file))
    async with world(program(tmp_path)) as emulator:
        url, token = await emulator.start()
        (seen,) = await seen_by(file, 1, emulator)
        assert seen["arguments"] == ["serve", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
        assert seen["token"] == token
        async with end_of(seen["pid"]):
            await emulator.call("POST", "/agent/reset")
        await emulator.start()
        _, second = await seen_by(file, 2, emulator)
        async with end_of(second["pid"]):
            await emulator.session.post("/__reset")


async def test_program_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no program '/no/where'"):
        create_emulator(token="t0ken", runtime_server="/no/where serve")


async def test_start_does_not_wait_for_a_program_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with world("sh -c 'echo broken >&2; exit 3'") as emulator:
        await emulator.start()
        async with asyncio.timeout(HANGS):
            while "the runtime server ended with the code 3: broken" not in caplog.text:
                assert (await emulator.call("GET", "/agent"))["status"] == "running"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_program_and_its_folder_do_not_outlive_an_emulator_that_is_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "seen"
    arguments = ("--port", "0", "--token", "t0ken", "--runtime-server", program(tmp_path))
    environment = {"SEEN": str(file), "TMPDIR": str(tmp_path)}
    async with (
        running_command("emulate", "durable", *arguments, cwd=tmp_path, environment=environment) as emulator,
        aiohttp.ClientSession(await emulator.url()) as session,
    ):
        await World(session).start()
        (seen,) = await seen_by(file, 1, World(session))
        async with end_of(seen["pid"], *children(emulator.process.pid)):
            assert folders(tmp_path)
            emulator.send_signal(number)
        assert not folders(tmp_path)
