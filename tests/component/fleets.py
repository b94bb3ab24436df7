"""Gateways as separate processes, in front of an emulator of every provider API in the test process."""

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
from gateway.testing.processes import running as serving
from tests.component.processes import Running, client, running

KEY = "canary-gateway-key-1"


@dataclass
class Emulated:
    """One emulator in the test process. ``settings`` configure it as a provider of a gateway."""

    emulator: Emulator
    settings: dict[str, Any]

    def fault(self, operation: str, fault: str, **more: Any) -> None:
        """Activate a fault for one call."""
        rule = {"operation": operation, "fault": fault, "times": 1, **more}
        self.emulator.faults.add(parse_rules(rule, set(self.emulator.operations.values())))

    def requests(self) -> int:
        """The number of requests that it received."""
        return self.emulator.requests.per_operation.total()


@dataclass
class Gateway:
    """One gateway, and a session that sends its key."""

    process: Running
    url: str
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, status: int, body: Any = None, **options: Any) -> Any:
        """Send a request. Return the decoded body. Raises ``AssertionError`` for another status."""
        async with self.session.request(method, path, json=body, **options) as response:
            text = await response.text()
            assert response.status == status, text
            return json.loads(text) if text else None


@dataclass
class Fleet:
    """All emulators by provider name, and a folder for settings files."""

    folder: Path
    emulators: dict[str, Emulated]

    def write(self, name: str = "gateway", **sections: Any) -> Path:
        """Write a settings file with every provider, the key and a free port. ``sections`` replace sections; None omits
        one."""
        document = {
            "version": 1,
            "http": {"listen": "127.0.0.1:0"},
            "auth": {"keys": {"tests": {"key": KEY}}},
            "health": {"probe": False},  # probes would change the number of requests that tests count
            "providers": {name: emulated.settings for name, emulated in self.emulators.items()},
            **sections,
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
        return file

    @asynccontextmanager
    async def gateway(self, name: str = "gateway", **sections: Any) -> AsyncIterator[Gateway]:
        """Run a gateway with such settings."""
        file = self.write(name, **sections)
        async with running("serve", "--config", str(file), cwd=self.folder) as process:
            await process.until_output('"event":"started"')
            url = await process.url()
            async with client(url, KEY) as session:
                yield Gateway(process, url, session)


@asynccontextmanager
async def emulated(folder: Path) -> AsyncIterator[Fleet]:
    """Start an emulator of every provider API. The providers have the names and scopes of the demo."""
    async with AsyncExitStack() as stack:
        emulators = {}
        for api, plugin in plugins().items():
            token = f"canary-token-of-{api}"
            app = create_emulator(api, token=token)
            url = await stack.enter_async_context(serving(app))
            settings = {"api": api, "base_url": url + plugin.demo.base_path, "token": token, "scope": plugin.demo.scope}
            emulators[plugin.demo.provider] = Emulated(app[EMULATOR], {**settings, **(plugin.demo.options or {})})
        yield Fleet(folder, emulators)
