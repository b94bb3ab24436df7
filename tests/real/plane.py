"""A gateway with a data plane in front of emulators with real browsers or runtime servers, and what it sends to its
callers."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.app import create_app, serving
from gateway.demo import demo_settings, start_emulators
from gateway.settings import DataSettings
from gateway.telemetry.logs import make_logger
from tests.component.processes import HANGS, finished
from tests.programs import required
from tests.real.recording import RecordingProxy

ROOT: Final = Path(__file__).parents[2]
KEY: Final = "a-key-for-real-browsers"
NODE: Final = ROOT / ".venv-clients/node/node_modules"


@dataclass
class Plane:
    """The gateway, reached through proxies that record what it sends. ``log`` is its log."""

    client: aiohttp.ClientSession
    providers: Mapping[str, Mapping[str, Any]]
    recorders: tuple[RecordingProxy, RecordingProxy]
    log: StringIO

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.client.request(method, f"/v1/{path}", json=body) as response:
            assert response.status < 300, await response.text()
            return None if response.status == 204 else await response.json()

    async def create(self, **fields: Any) -> str:
        """The id of a running browser, or a runtime of another kind."""
        made = await self.call("POST", "runtimes", {"kind": "browser", "name": "bot", "start": True, **fields})
        await self.until(made["id"], "running")
        return str(made["id"])

    async def urls(self, runtime_id: str) -> dict[str, str]:
        """The gateway's addresses by protocol."""
        found = await self.call("POST", f"runtimes/{runtime_id}/connections", {})
        return {item["protocol"]: item["url"] for item in found["items"]}

    async def at_provider(self, name: str, path: str) -> Any:
        """What the provider itself answers."""
        provider = self.providers[name]
        headers = {"Authorization": f"Bearer {provider['token']}"}
        async with aiohttp.ClientSession(provider["base_url"], headers=headers) as client, client.get(path) as response:
            return await response.json()

    async def places(self, runtime_id: str) -> list[str]:
        """The hosts and ports of the provider's own addresses."""
        found = await self.at_provider("browsers-demo", f"/v1/browsers/{runtime_id.partition('.')[2]}")
        connections = found["currentRun"]["connections"]
        return [re.sub(r"^\w+://([^/]+)/.*$", r"\1", connections[name]) for name in ("cdpUrl", "webdriverUrl")]

    async def until(self, runtime_id: str, state: str) -> None:
        """Return when the runtime has the state."""
        async with asyncio.timeout(HANGS):
            while (await self.call("GET", f"runtimes/{runtime_id}"))["state"] != state:
                pass


@asynccontextmanager
async def started(
    folder: Path,
    far_ends: Mapping[str, Any] | None = None,
    origins: Sequence[str] = (),
    other_account: str | None = None,
) -> AsyncIterator[Plane]:
    """Start all of it. ``far_ends`` are options of the emulators; without them, they run real browsers, and the test is
    skipped where Chromium is not installed. ``origins`` are those of pages that may connect.
    ``other_account`` is the name of a second provider of browsers."""
    if far_ends is None:
        required("Chromium", shutil.which("chromium"))
    async with AsyncExitStack() as stack:
        api, data = [await stack.enter_async_context(RecordingProxy().serving()) for _ in range(2)]
        options = far_ends or {"browser": "auto"}
        providers = await start_emulators(stack, far_ends=options)
        if other_account is not None:
            others = await start_emulators(stack, far_ends=options)
            providers[other_account] = {**others["browsers-demo"], "order": 3}
        section = DataSettings(enabled=True, listen="127.0.0.1:0", public_url=data.url, origins=list(origins))
        settings = demo_settings(providers, port=0, api_key=KEY, folder=folder, data=section)
        log = StringIO()
        app = create_app(settings, logger=make_logger("debug", "json", log))
        addresses = await stack.enter_async_context(serving(settings, app))
        assert addresses.data is not None
        api.port, data.port = (int(url.rpartition(":")[2]) for url in (addresses.api, addresses.data))
        timeout = aiohttp.ClientTimeout(total=HANGS)
        headers = {"Authorization": f"Bearer {KEY}"}
        client = aiohttp.ClientSession(api.url, headers=headers, timeout=timeout)
        yield Plane(await stack.enter_async_context(client), providers, (api, data), log)


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code in a page of the documentation."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


async def run_script(script: str, suffix: str, folder: Path, **environment: str) -> str:
    """Run a script of the documentation in a process of its own, and return what it prints."""
    file = folder / f"script{suffix}"
    file.write_text(script)
    if suffix == ".py":
        command: tuple[str, ...] = (sys.executable, str(file))
    else:
        required("Node with its clients (make real)", NODE.exists())
        (folder / "node_modules").symlink_to(NODE)
        command = (str(NODE / "node/bin/node"), str(file))
    ended = await finished(command=command, cwd=folder, environment=environment)
    assert ended.code == 0, ended.stderr
    return ended.stdout
