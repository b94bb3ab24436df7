"""A provider that the test scripts byte by byte, and the gateway in front of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import HttpSettings

TOKEN = "canary-of-the-provider"
HTTP = HttpSettings(max_body_bytes=1 << 20, max_header_bytes=16 << 10, max_line_bytes=8190)


@dataclass
class Inbound:
    """One connection that the gateway opened to the provider."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> tuple[str, dict[str, str]]:
        """The request line and the headers, their names in lower case."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    def answer(self, body: bytes = b"{}", *, status: str = "200 OK", headers: str = "") -> None:
        length = len(body)
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n".encode("latin-1") + body)

    async def rest(self) -> bytes:
        """All further bytes, until the gateway closes or aborts the connection."""
        received = bytearray()
        try:
            while data := await self.reader.read(1 << 16):
                received += data
        except ConnectionError:
            pass
        return bytes(received)

    async def gone(self) -> bool:
        """Wait until the gateway closes or aborts the connection; whether it sent nothing more."""
        return await self.rest() == b""


class RawProvider:
    """Accepts connections; the test does all reading and writing on them."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Inbound] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def accept(self) -> Inbound:
        return await self.connections.get()

    async def serve(self) -> AsyncIterator["RawProvider"]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            await self.connections.put(Inbound(reader, writer))

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            for writer in self._writers:
                writer.transport.abort()

    def settings(self, **options: Any) -> ProviderSettings:
        native = {"allow": ["* /**"], **options.pop("native", {})}
        values = {"name": "raw", "api": "durable", "base_url": f"http://127.0.0.1:{self.port}/base/v1", "token": TOKEN}
        return ProviderSettings.model_validate({**values, "native": native, **options})


@pytest.fixture
async def provider() -> AsyncIterator[RawProvider]:
    """A provider on its own port."""
    async for provider in RawProvider().serve():
        yield provider


@pytest.fixture
def serve(serve: Any) -> Any:
    """The same, with larger limits for bodies and a short shutdown."""
    return partial(serve, http=HTTP, shutdown_timeout=0.05)


@pytest.fixture
async def gateway(serve: Any, provider: RawProvider) -> Any:
    """The gateway, with all requests to the provider ``raw`` allowed."""
    return await serve(native=[provider.settings()])
