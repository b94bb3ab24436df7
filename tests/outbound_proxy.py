"""A small HTTP proxy on loopback: tunnels (CONNECT) and forwarding (a whole URL as the target)."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit


@dataclass(slots=True)
class OutboundProxy:
    """An async context manager. ``heads`` are those of the requests that it received. ``answer`` is sent to CONNECT
    instead of opening the tunnel. With ``tls`` it is an ``https`` proxy. ``forward_to``: every connection is forwarded
    there as it is, so that it is only a server of TLS in front of another one."""

    answer: bytes | None = None
    forward_to: tuple[str, int] | None = None
    tls: ssl.SSLContext | None = None
    heads: list[str] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    url: str = ""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        scheme = "http" if self.tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def with_login(self, user: str, password: str) -> str:
        """The URL with a user and a password."""
        return self.url.replace("://", f"://{user}:{password}@")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        try:
            if self.forward_to is not None:
                await _exchange(reader, writer, *await asyncio.open_connection(*self.forward_to))
            while self.forward_to is None:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                method, target, _ = head.split(" ", 2)
                if method == "CONNECT":
                    await self._tunnel(target, reader, writer)
                    return
                url = urlsplit(target)
                if upstream is None:
                    answers, upstream = await asyncio.open_connection(url.hostname, url.port)
                    back = asyncio.get_running_loop().create_task(_copy(answers, writer))
                lines = [line for line in head.split("\r\n") if not line.lower().startswith("proxy-authorization:")]
                lines[0] = lines[0].replace(f"{url.scheme}://{url.netloc}", "", 1)
                length = next((line.partition(":")[2] for line in lines if line.lower().startswith("content-len")), "0")
                upstream.write("\r\n".join(lines).encode("latin-1") + await reader.readexactly(int(length)))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # one of the two sides has closed its connection
        finally:
            if back is not None and upstream is not None:
                upstream.close()
                back.cancel()
            writer.close()

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.answer is not None:
            writer.write(self.answer)
            await reader.read()  # until the client gives up
            return
        host, _, port = target.rpartition(":")
        answers, upstream = await asyncio.open_connection(host, int(port))
        self.tunnels.append(target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _exchange(reader, writer, answers, upstream)


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answers: asyncio.StreamReader,
    upstream: asyncio.StreamWriter,
) -> None:
    there = asyncio.get_running_loop().create_task(_copy(reader, upstream))
    try:
        await _copy(answers, writer)
    finally:
        there.cancel()
        upstream.close()


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(1 << 16):
            to.write(data)
            await to.drain()
    to.close()
