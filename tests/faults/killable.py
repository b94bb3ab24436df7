"""An emulated provider in a process of its own, which can be killed and continues from the file with its state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.app import plugins
from tests.component.processes import COMMAND
from tests.faults.replicas import Server
from tests.tcp_faults import Mode, TcpFaultProxy

_NOWHERE = "http://127.0.0.1:9"


class Emulated(Server):
    """Behind a proxy, so that all its processes have the same address for gateways. ``proxy`` refuses connections while
    none runs. ``url`` leads past it."""

    def __init__(self, api: str, name: str, folder: Path, proxy: TcpFaultProxy) -> None:
        self.name = name
        self.token = f"token-of-{name}-4711"
        arguments = ("emulate", api, "--port", "0", "--token", self.token, "--state", f"{name}.json")
        super().__init__(folder, COMMAND, arguments)
        self._proxy = proxy

    async def start(self) -> None:
        await super().start()
        assert self.url is not None
        self._proxy.lead_to(self.url)
        await self._proxy.set_mode(Mode.FORWARD)

    async def kill(self) -> None:
        await super().kill()
        await self._proxy.set_mode(Mode.REFUSE)


@asynccontextmanager
async def emulated(api: str, name: str, folder: Path, **options: Any) -> AsyncIterator[tuple[Emulated, dict[str, Any]]]:
    """Run an emulator. The second value are the settings of the provider; ``options`` are further ones."""
    demo = plugins()[api].demo
    async with TcpFaultProxy(_NOWHERE) as proxy:
        server = Emulated(api, name, folder, proxy)
        try:
            await server.start()
            base_url = proxy.url + demo.base_path
            settings = {"api": api, "base_url": base_url, "token": server.token, "scope": demo.scope}
            yield server, {**settings, **(demo.options or {}), **options}
        finally:
            await server.close()
