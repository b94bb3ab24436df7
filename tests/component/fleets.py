"""Gateways as real processes, in front of an emulator of every provider API in this one."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import create_emulator, plugins
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.servers import running as serving_here
from tests.component.processes import Running, client, running

KEY = "canary-gateway-key-1"


@dataclass
class Emulated:
    """One emulator, in this process. ``settings`` is the provider that a gateway has to be given."""

    emulator: Emulator
    settings: dict[str, Any]

    def fault(self, operation: str, fault: str, **more: Any) -> None:
        """Put a fault in force, once."""
        rule = {"operation": operation, "fault": fault, "times": 1, **more}
        self.emulator.faults.add(parse_rules(rule, set(self.emulator.operations.values())))

    def requests(self) -> int:
        """How many requests it received."""
        return self.emulator.requests.per_operation.total()


@dataclass
class Gateway:
    """One gateway, and a session that has the key."""

    process: Running
    url: str
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, status: int, body: Any = None, **options: Any) -> Any:
        """The decoded answer, which has to have the status."""
        async with self.session.request(method, path, json=body, **options) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text) if text else None


@dataclass
class Fleet:
    """All emulators by the name of their provider, and a folder for settings files."""

    folder: Path
    emulators: dict[str, Emulated]

    def write(self, name: str = "gateway", **sections: Any) -> Path:
        """A settings file: every provider, the key, a free port, and whatever is given instead (None: left out)."""
        document = {
            "version": 1,
            "http": {"listen": "127.0.0.1:0"},
            "auth": {"keys": {"tests": {"key": KEY}}},
            "health": {"probe": False},  # so that tests count what they asked for
            "providers": {name: emulated.settings for name, emulated in self.emulators.items()},
            **sections,
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
        return file

    @asynccontextmanager
    async def gateway(self, name: str = "gateway", **sections: Any) -> AsyncIterator[Gateway]:
        """Serve with such settings."""
        file = self.write(name, **sections)
        async with running("serve", "--config", str(file), cwd=self.folder) as process:
            await process.says('"event":"started"')
            url = await process.url()
            async with client(url, KEY) as session:
                yield Gateway(process, url, session)


@asynccontextmanager
async def emulated(folder: Path) -> AsyncIterator[Fleet]:
    """Start the emulator of every provider API, as providers with the names and scopes of the demo."""
    async with AsyncExitStack() as stack:
        emulators = {}
        for api, plugin in plugins().items():
            token = f"canary-token-of-{api}"
            app = create_emulator(api, token=token)
            url = await stack.enter_async_context(serving_here(app))
            settings = {"api": api, "base_url": url + plugin.demo.base_path, "token": token, "scope": plugin.demo.scope}
            emulators[plugin.demo.provider] = Emulated(app[EMULATOR], {**settings, **(plugin.demo.options or {})})
        yield Fleet(folder, emulators)
