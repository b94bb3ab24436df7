"""The load: connections that each send the next request when the response has come, or requests at a fixed
rate, whose latency counts from the time at which each was due."""

import asyncio
import itertools
import os
import re
import secrets
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from benchmarks.processes import Server
from benchmarks.versions import KEY

T = TypeVar("T")

Ask = Callable[[], bytes]
"""Returns the next request."""

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_SETTLES: Final = 0.2
_LATE: Final = 10.0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop where it is installed: the load shares a processor with the upstream."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 (not on every system)
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def reading(path: str) -> Ask:
    """The same read every time."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\nAccept: */*\r\n\r\n".encode()
    return lambda: request


def creating(path: str, document: str, *, keyed: bool = False) -> Ask:
    """Creates with unused names; ``document`` is the body, with ``NAME`` in place of the name."""
    this_run, numbers = secrets.token_hex(4), itertools.count()

    def ask() -> bytes:
        name = f"agent-{this_run}-{next(numbers):08}"
        body, key = document.replace("NAME", name), f"Idempotency-Key: {name}\r\n" if keyed else ""
        return (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    return ask


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of a load: the seconds of each response, the server's processor seconds, and the duration."""

    took: list[float]
    computed: float
    seconds: float

    @property
    def each(self) -> float:
        """The server's processor seconds per request."""
        return self.computed / len(self.took)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.took) / self.seconds


def percentile(took: Sequence[float], percent: float) -> float:
    """The percentile of the response times, in seconds."""
    ordered = sorted(took)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


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
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class
        self.ask()

    def ask(self) -> None:
        """Send the next request."""
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
            self.ask()
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
    before, began = server.processor_seconds(), time.perf_counter()
    took = run(_load(server.url, ask, in_flight, seconds))
    return Sample(took, server.processor_seconds() - before, time.perf_counter() - began)


class _Due:
    """Requests that are due at fixed times. A request that no connection is free for waits, and its wait counts."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self._free: deque[_OnDemand] = deque()
        self._waiting: deque[float] = deque()

    def due(self, at: float) -> None:
        if self._free:
            self._free.popleft().ask_for(at)
        else:
            self._waiting.append(at)

    def free(self, client: "_OnDemand") -> None:
        if self._waiting:
            client.ask_for(self._waiting.popleft())
        else:
            self._free.append(client)


class _OnDemand(Client):
    def __init__(self, ask: Ask, requests: _Due) -> None:
        super().__init__(ask, 0, [])
        self._requests = requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class
        self._requests.free(self)

    def ask_for(self, due: float) -> None:
        self._due = due
        self.ask()

    def _again(self, now: float) -> None:
        self._requests.took.append(now - self._due)
        self._requests.free(self)

    def close(self) -> None:
        self.done.cancel()
        self._transport.close()


async def _paced(url: str, ask: Ask, rate: float, seconds: float, connections: int) -> list[float]:
    """Each due time is announced by a thread that sleeps until then: timers of event loops are late by up to 1 ms."""
    parts, loop, requests = urlsplit(url), asyncio.get_running_loop(), _Due()
    clients = [
        (await loop.create_connection(lambda: _OnDemand(ask, requests), parts.hostname or "", parts.port or 80))[1]
        for _ in range(connections)
    ]
    count = int(rate * seconds)
    announced, announcing = os.pipe()
    began = time.perf_counter() + _SETTLES
    schedule = (began + number / rate for number in range(count))

    def arrived() -> None:
        for _ in os.read(announced, 4096):
            requests.due(next(schedule))

    def announce() -> None:
        for number in range(count):
            time.sleep(max(began + number / rate - time.perf_counter(), 0))
            os.write(announcing, b".")

    loop.add_reader(announced, arrived)
    clock = threading.Thread(target=announce)
    clock.start()
    try:
        async with asyncio.timeout(_SETTLES + seconds + _LATE):
            while len(requests.took) < count:
                await asyncio.sleep(0.01)
                for client in clients:
                    if client.done.done():
                        client.done.result()
    finally:
        clock.join()
        loop.remove_reader(announced)
        for client in clients:
            client.close()
        os.close(announced)
        os.close(announcing)
    return requests.took


def paced(server: Server, ask: Ask, rate: float, seconds: float, connections: int = 128) -> list[float]:
    """Send ``rate`` requests per second for ``seconds``, whatever the server does, and return the seconds of each from
    the time at which it was due until its response was complete."""
    return run(_paced(server.url, ask, rate, seconds, connections))
