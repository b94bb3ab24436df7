"""A WebSocket through the data plane whose two ends the test reads and writes byte by byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from gateway.settings import DataSettings
from tests.component.api.conftest import Connection
from tests.component.api.native.conftest import Inbound, RawProvider
from tests.component.dataplane.conftest import DATA, leading_to
from tests.component.whole_gateway import Gateway

UPGRADE: Final = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class RawPlane:
    """A gateway whose data plane leads to ``far``."""

    gateway: Gateway
    far: RawProvider
    runtime_id: str
    connections: list[Connection] = field(default_factory=list)

    def abort(self) -> None:
        """Abort the connections of the clients."""
        for connection in self.connections:
            connection.writer.transport.abort()

    async def connect(self) -> str:
        """The URL of a CDP address."""
        issued = await self.gateway.call("POST", f"/v1/runtimes/{self.runtime_id}/connections", {"protocol": "cdp"})
        assert issued.status == 200, issued.text
        url: str = issued.json["items"][0]["http_url"]
        return url

    async def asked(self, url: str, headers: str = UPGRADE, *, method: str = "GET", path: str = "") -> Connection:
        """A connection on which the head of a request was sent."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"{method} {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode())
        self.connections.append(Connection(reader, writer))
        return self.connections[-1]

    async def directly(self) -> tuple[Connection, Inbound]:
        """The two ends of a WebSocket that does not pass the gateway."""
        return await self.opened(f"http://127.0.0.1:{self.far.port}/direct")

    async def opened(self, url: str | None = None) -> tuple[Connection, Inbound]:
        """The two ends of a WebSocket."""
        client = await self.asked(url or await self.connect())
        inbound = await self.far.accept()
        await inbound.head()
        inbound.send(SWITCH)
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return client, inbound


@asynccontextmanager
async def raw_plane(monkeypatch: pytest.MonkeyPatch, **data: Any) -> AsyncIterator[RawPlane]:
    """``data`` are settings of the data plane, which are not validated: times may be shorter than allowed."""
    settings: DataSettings = DATA.model_copy(update=data)
    async for far in RawProvider().serve():
        url = f"http://127.0.0.1:{far.port}"
        async with leading_to(monkeypatch, url, data=settings) as (gateway, runtime_id):
            plane = RawPlane(gateway, far, runtime_id)
            yield plane
            plane.abort()


def frame(first: int, payload: bytes = b"", *, key: bytes | None = None) -> bytes:
    """A frame with this first byte, masked if there is a key."""
    size, mask = len(payload), 0 if key is None else 0x80
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 1 << 16:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    if key is None:
        return head + payload
    repeated = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + key + masked.to_bytes(size, "big")


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """The next frame: its first byte, its payload without mask, and all of its bytes."""
    head = await reader.readexactly(2)
    size = head[1] & 0x7F
    extended = await reader.readexactly({126: 2, 127: 8}.get(size, 0))
    size = int.from_bytes(extended, "big") if extended else size
    key = await reader.readexactly(4) if head[1] & 0x80 else b""
    payload = await reader.readexactly(size)
    plain = frame(0, payload, key=key)[-size:] if key and size else payload
    return head[0], plain, head + extended + key + payload


def closing(code: int, reason: str = "", *, key: bytes | None = None) -> bytes:
    """A close frame."""
    return frame(0x88, code.to_bytes(2, "big") + reason.encode(), key=key)
