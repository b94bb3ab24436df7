"""Servers in separate processes, and a load generator."""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.servers import KEY

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

Ask = Callable[[], bytes]
"""Returns the next request."""


def reading(path: str) -> Ask:
    """The same read every time."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\nAccept: */*\r\n\r\n".encode()
    return lambda: request


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, pinned to one processor."""

    url: str
    pid: int

    def processor_seconds(self) -> float | None:
        """CPU time of its threads so far, in seconds; None if the system does not report it."""
        threads = [int(path.read_text().split()[0]) for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")]
        return sum(threads) / 1e9 if threads else None


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of a load: the seconds of each response, and the server's CPU seconds."""

    took: list[float]
    computed: float | None

    @property
    def each(self) -> float:
        """The server's CPU seconds per request; NaN if unknown."""
        return float("nan") if self.computed is None else self.computed / len(self.took)


@contextmanager
def server(name: str, *arguments: str, processor: int) -> Iterator[Server]:
    """Run a server of ``benchmarks.servers``."""
    command = [sys.executable, "-m", "benchmarks.servers", name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own module)
        try:
            if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
                os.sched_setaffinity(process.pid, {processor})
            assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
            yield Server(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


class Client(asyncio.Protocol):
    """One connection that sends the next request as soon as the response is complete. (Minimal code: it competes with
    the upstream for its processor.)"""

    accepted = b"HTTP/1.1 20"
    """How a response has to start."""

    def __init__(self, ask: Ask, until: float, took: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next = ask
        self._until = until
        self._took = took
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (a stream)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._head = b""
        self._began = time.perf_counter()
        self._transport.write(self._next())

    def data_received(self, data: bytes) -> None:
        if self._head.endswith(b"\r\n\r\n"):
            self._missing -= len(data)
        else:
            head, end, body = (self._head + data).partition(b"\r\n\r\n")
            self._head = head + end
            length = _LENGTH.search(head)
            if not end:
                return
            if not head.startswith(self.accepted) or length is None:
                self._fail(head.decode(errors="replace").splitlines()[0])
                return
            self._missing = int(length[1]) - len(body)
        if self._missing > 0:
            return
        now = time.perf_counter()
        self._took.append(now - self._began)
        self._again(now)

    def _again(self, now: float) -> None:
        if now < self._until:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was lost: {exc}")

    def _fail(self, what: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(what))


async def _load(url: str, ask: Ask, in_flight: int, seconds: float) -> list[float]:
    parts = urlsplit(url)
    took: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(ask, until, took), parts.hostname or "", parts.port or 80))[1]
        for _ in range(in_flight)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return took


def load(server: Server, ask: Ask, in_flight: int, seconds: float) -> Sample:
    """Send the requests of ``ask`` over ``in_flight`` connections for ``seconds``."""
    before = server.processor_seconds()
    took = asyncio.run(_load(server.url, ask, in_flight, seconds))
    after = server.processor_seconds()
    return Sample(took, None if before is None or after is None else after - before)


def percentile(took: list[float], percent: int) -> float:
    """The percentile of the response times, in seconds."""
    return statistics.quantiles(took, n=100)[percent - 1] if len(took) > 1 else took[0]
