"""A server on loopback that sends the bytes of a script, valid HTTP or not, and records the requests.

For tests of whatever calls a provider, below what an emulator can do::

    async with ScriptedServer([reply({"of": 1}).doubled(), DROP]) as server:
        ...  # call server.url
        server.send(0, reply({"of": 2}).raw)
    assert [received.method for received in server.received] == ["GET", "POST"]

==============  =====================================================================================================
a response is   script
==============  =====================================================================================================
correct         ``reply(…)``, ``chunked(…)``, ``gzipped(…)``
stray           :meth:`ScriptedServer.send` sends bytes on an open connection at any time, without a request
doubled         ``reply(…).doubled()``: twice in a row
interleaved     ``reply(…).interleaved(reply(…))``: another one in the middle of it, in its head or in its body
early           ``reply(…).early()``: after the head of the request, without reading the body
cut             ``reply(…).cut()``: a part of it, then the end of the connection; :data:`DROP`: nothing of it
never complete  :data:`HANG`, or ``then=Then.HANG``: the connection stays open
odd             ``Reply(…)`` with any bytes
==============  =====================================================================================================
"""

import asyncio
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Self

from gateway.testing.waiting import Watch

_HEAD: Final = b"HTTP/1.1 %d Scripted\r\n"


class Then(Enum):
    """What the server does after the bytes of a reply."""

    KEEP = "keep"
    CLOSE = "close"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to send, and what to do with the connection afterwards. ``reads_body``: they are sent after the whole
    request, and not after its head."""

    raw: bytes
    then: Then = Then.KEEP
    reads_body: bool = True

    def doubled(self) -> Self:
        """The same bytes twice."""
        return replace(self, raw=self.raw * 2)

    def cut(self, at: int | None = None) -> Self:
        """The first ``at`` bytes, half of them by default, then the end of the connection."""
        return replace(self, raw=self.raw[: len(self.raw) // 2 if at is None else at], then=Then.CLOSE)

    def interleaved(self, other: "Reply", at: int | None = None) -> Self:
        """The other one's bytes after the first ``at`` bytes of this one; by default, before its last byte."""
        at = len(self.raw) - 1 if at is None else at
        return replace(self, raw=self.raw[:at] + other.raw + self.raw[at:])

    def early(self) -> Self:
        """The same, sent when the head of the request has arrived. The server reads nothing more of the connection."""
        return replace(self, reads_body=False, then=Then.HANG)


@dataclass(frozen=True, slots=True)
class Received:
    """One request. Header names are in lower case; ``connection`` counts from 0 in the order of accepting."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def reply(
    body: Any = None,
    *,
    status: int = 200,
    headers: Iterable[tuple[str, str]] = (),
    length: int | None = None,
    then: Then = Then.KEEP,
) -> Reply:
    """A complete response. ``body`` is sent as JSON; bytes are sent unchanged. ``length`` replaces the true
    ``Content-Length``."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        ("Content-Type", "application/json"),
        *headers,
        ("Content-Length", str(len(raw) if length is None else length)),
    ]
    head = _HEAD % status + b"".join(f"{name}: {value}\r\n".encode() for name, value in lines)
    return Reply(head + b"\r\n" + raw, then)


def chunked(*chunks: bytes, whole: bool = True, then: Then = Then.KEEP) -> Reply:
    """A chunked response; without the last chunk if it is not ``whole``."""
    head = _HEAD % 200 + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return Reply(head + body + (b"0\r\n\r\n" if whole else b""), then)


def gzipped(raw: bytes) -> Reply:
    """A response with a compressed body."""
    return reply(gzip.compress(raw), headers=[("Content-Encoding", "gzip")])


DROP: Final = Reply(b"", Then.CLOSE)
HANG: Final = Reply(b"", Then.HANG)


@dataclass(slots=True)
class ScriptedServer:
    """Answers requests in order with the replies of ``script``, and after the last one with ``{}``.

    An async context manager. ``url`` has no trailing slash. ``received`` has complete requests, and the heads of those
    with an early reply.
    """

    script: list[Reply] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    watch: Watch = field(default_factory=Watch)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, connection: int, raw: bytes) -> None:
        """Send bytes on a connection, without a request."""
        self._writers[connection].write(raw)

    async def until_ended(self, connection: int) -> None:
        """Return once the server has closed its side of a connection."""
        await self._writers[connection].wait_closed()

    async def until_received(self, count: int) -> None:
        """Return once at least ``count`` complete requests were received."""
        await self.watch.until(lambda: len(self.received) >= count)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(self.connections, reader, writer))
        self.connections += 1
        self._writers.append(writer)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(number, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        finally:
            writer.close()

    async def _answer(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        reads_body = not self.script or self.script[0].reads_body
        body = await reader.readexactly(int(headers.get("content-length", 0))) if reads_body else b""
        self.received.append(Received(number, method, target, headers, body))
        self.watch.changed()
        answer = self.script.pop(0) if self.script else reply({})
        writer.write(answer.raw)
        await writer.drain()
        if not answer.reads_body:
            await self.watch.until(lambda: False)  # until the server ends
        if answer.then is Then.HANG:
            await reader.read()  # until the client gives up
        return answer.then is Then.KEEP
