"""A TCP proxy with faults below HTTP: really refused, reset and stalled connections."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Final, Self
from urllib.parse import urlsplit

from gateway.testing.waiting import Watch

_CHUNK: Final = 1 << 16
_BACKLOG: Final = 100
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Mode(Enum):
    """What happens to connections. ``RESET`` resets them at the first byte that the client sends. ``STALL`` accepts
    them and forwards nothing, in either direction."""

    FORWARD = "forward"
    REFUSE = "refuse"
    RESET = "reset"
    STALL = "stall"


class TcpFaultProxy:
    """Listens on a loopback port and forwards to ``target`` (a URL). The first mode is ``FORWARD``.

    The port stays the same, and reserved, in all modes. ``accepted``, ``forwarded`` and ``was_reset`` count
    connections; refused connections cannot be counted. An async context manager. Raises ``ValueError`` for a target
    without host or port.
    """

    def __init__(self, target: str) -> None:
        self.lead_to(target)
        self._mode = Mode.FORWARD
        self._reserved: socket.socket | None = None
        self._listening: socket.socket | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._watch = Watch()
        self.port = 0
        self.accepted = 0
        self.forwarded = 0
        self.was_reset = 0

    @property
    def url(self) -> str:
        """The URL that clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """The number of open client connections."""
        return len(self._open)

    async def __aenter__(self) -> Self:
        self._reserved = self._bound(0)
        self.port = self._reserved.getsockname()[1]
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close_listener()
        await self.cut()
        if self._reserved is not None:
            self._reserved.close()

    def lead_to(self, target: str) -> None:
        """Forward new connections to another target. Raises ``ValueError`` as the constructor does."""
        parts = urlsplit(target)
        if parts.hostname is None or parts.port is None:
            raise ValueError("the target must be a URL with a host and a port")
        self._target = (parts.hostname, parts.port)

    async def set_mode(self, mode: Mode) -> None:
        """Change the mode. Open connections continue, except that ``STALL`` applies to them as well."""
        self._mode = mode
        if mode is Mode.STALL:
            self._flowing.clear()
        else:
            self._flowing.set()
        if mode is Mode.REFUSE:
            self._close_listener()
        elif self._listening is None:
            self._listen()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on the connections is true."""
        await self._watch.until(condition)

    async def cut(self) -> None:
        """Reset all open connections."""
        await asyncio.sleep(0)  # so that the tasks of just accepted connections have started
        tasks = list(self._tasks)
        for task in tasks:
            if task in self._open:
                _reset(self._open[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _bound(port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", port))
        return sock

    def _listen(self) -> None:
        # Not asyncio's server: when it is closed, it drops connections that it is accepting without closing them.
        self._listening = self._bound(self.port)
        self._listening.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._listening, self._take, self._listening)

    def _close_listener(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def _take(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has disconnected already
        connection.setblocking(False)
        self.accepted += 1
        served = self._reset(connection) if self._mode is Mode.RESET else self._accept(connection)
        task = asyncio.get_running_loop().create_task(served)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reset(self, connection: socket.socket) -> None:
        """Reset the connection after the first byte: an earlier reset would look like a refused connection."""
        try:
            await asyncio.get_running_loop().sock_recv(connection, 1)
        except OSError:
            pass  # the client has reset the connection first
        finally:
            self.was_reset += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            connection.close()
            self._watch.changed()

    async def _accept(self, connection: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        reader, writer = await asyncio.open_connection(sock=connection)
        self._open[task] = writer
        self._watch.changed()
        try:
            await self._forward(reader, writer)
        except OSError:
            _reset(writer)  # passes the failure of one side on to the other
        finally:
            del self._open[task]
            writer.close()
            self._watch.changed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        target_reader, target_writer = await asyncio.open_connection(*self._target)
        self.forwarded += 1
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, target_writer))
                group.create_task(self._pump(target_reader, writer))
        except* OSError:
            _reset(writer)
        finally:
            target_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._flowing.wait()
            writer.write(chunk)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # already closed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
