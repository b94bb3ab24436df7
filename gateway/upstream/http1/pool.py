"""The connections to one provider: how they are made, how many there may be, and which of them serves a request."""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from yarl import URL

from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.response import HeadLimits, IncomingResponse

IDLE_SECONDS: Final = 15.0
"""How long an idle connection is kept where the provider does not say."""

KEEP_ALIVE_MARGIN: Final = 1.0
"""Seconds before the end of a provider's ``Keep-Alive: timeout`` from which on a connection is not used."""

SILENCE_BEFORE_SHARING: Final = 5.0
"""Seconds without a byte after which a connection may serve another principal than before."""

Connector = Callable[[Callable[[], Http1Connection]], Awaitable[Http1Connection]]
"""Opens a connection: takes a factory of the protocol, returns it connected. An outbound proxy would be another one."""


@dataclass(slots=True, eq=False)
class Progress:
    """How far one request got. ``caller`` is the principal on whose behalf it is sent, empty for the gateway itself.
    ``response`` is what arrives, from the moment the request is written; ``before`` is the phase before its head."""

    caller: str = ""
    before: Phase = Phase.QUEUED
    response: IncomingResponse | None = None

    @property
    def phase(self) -> Phase:
        """How far it got."""
        return self.before if self.status is None else Phase.ANSWERED

    @property
    def status(self) -> int | None:
        """The status of the response; None before its head has arrived."""
        return (self.response.status or None) if self.response is not None else None

    def is_woken(self) -> bool:
        """Whether something that was waited for has arrived, and the task of the request has not run since. A process
        that was not scheduled for a while finds a response and a passed deadline in the same iteration of the event
        loop: the response counts then."""
        return self.response is not None and self.response.is_woken


class DirectConnector:
    """Connects to the host of a base URL, over TLS for ``https``. ``ca_file`` replaces the system's authorities.

    Raises ``OSError``, ``socket.gaierror`` and ``ssl.SSLError``."""

    def __init__(self, base_url: URL, ca_file: str | None) -> None:
        self._host, self._port, self._scheme = base_url.host or "", base_url.port or 80, base_url.scheme
        self._ca_file = ca_file

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self._ca_file) if self._scheme == "https" else None

    async def __call__(self, make: Callable[[], Http1Connection]) -> Http1Connection:
        loop = asyncio.get_running_loop()
        # Not with happy_eyeballs_delay: a cancellation then can lose a socket that has just been connected.
        _, protocol = await loop.create_connection(make, self._host, self._port, ssl=self._tls)
        return protocol


class ConnectionPool:
    """At most ``limit`` connections, made when they are needed. Waiting requests are served in the order of arrival.

    HTTP/1.1 has no request ids, so bytes that a provider sends on an idle connection (a proxy's 408, a response that
    came twice) would be taken for the response to the next request. Therefore a connection is reused only if nothing
    has arrived on it since its last response, and by another principal only after it was silent for
    ``SILENCE_BEFORE_SHARING`` seconds: what arrives too late to be noticed cannot reach another principal.
    """

    def __init__(self, connect: Connector, limits: HeadLimits, *, limit: int, connect_timeout: float) -> None:
        self._connect = connect
        self._limits = limits
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._idle: deque[Http1Connection] = deque()
        self._busy: set[Http1Connection] = set()
        self._slots = 0  # connections in use or being made
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """The number of connections, idle ones included."""
        return self._slots + len(self._idle)

    @property
    def is_full(self) -> bool:
        """Whether a request has to wait for a connection."""
        return self._slots >= self._limit

    def take(self, progress: Progress) -> Http1Connection | None:
        """As :meth:`acquire`, if that needs no waiting; else None."""
        if self._closed or self._slots >= self._limit or not self._idle or self._idle[0].is_tls:
            return None
        connection = self._pop_idle(progress.caller)
        if connection is not None:
            self._slots += 1
            self._use(connection, progress)
        return connection

    async def acquire(self, progress: Progress) -> Http1Connection:
        """A connection for one request; pass it to :meth:`release` afterwards. ``progress.before`` is kept up to date.

        Raises :class:`TransportFailure` (``closed``, ``dns``, ``tls``, ``refused``, ``timeout``).
        """
        if self._closed:
            raise TransportFailure("closed", Phase.QUEUED)
        if self.is_full:
            await self._wait_for_slot()
        else:
            self._slots += 1
        try:
            connection = self._pop_idle(progress.caller)
            while connection is not None and connection.is_tls and not await _stays_open(connection):
                connection = self._pop_idle(progress.caller)
            if connection is None:
                connection = await self._open(progress)
        except BaseException:
            self._free_slot()
            raise
        self._use(connection, progress)
        if self._closed:
            connection.abort()
        return connection

    def _use(self, connection: Http1Connection, progress: Progress) -> None:
        connection.caller = progress.caller
        self._busy.add(connection)
        # From here on bytes may leave at any time, so the provider may have seen the request.
        progress.before = Phase.SENT

    def release(self, connection: Http1Connection) -> None:
        """Keep the connection for another request, or close it if its request or response has not ended."""
        self._busy.discard(connection)
        if connection.has_ended and not self._closed:
            connection.rest()
            connection.idle_since = now = time.monotonic()
            connection.usable_until = now + _lifetime(connection.keep_alive)
            self._idle.append(connection)
            if self._sweeper is None:
                self._sweep_later()
        else:
            connection.abort()
        self._free_slot()

    async def close(self) -> None:
        """Close all connections, those in use too. Idempotent."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(TransportFailure("closed", Phase.QUEUED))
        await asyncio.sleep(0)  # the event loop calls connection_lost

    async def _wait_for_slot(self) -> None:
        """Wait until a slot is handed over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._free_slot()  # it was handed over in the moment of the cancellation
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _free_slot(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._slots -= 1

    def _pop_idle(self, caller: str) -> Http1Connection | None:
        """The idle connection that was silent longest of those that ``caller`` may use. Unusable ones are closed on the
        way, and the oldest one where the pool is full, to make room for a new one."""
        now, idle = time.monotonic(), self._idle
        for connection in tuple(idle):
            is_its = connection.caller == caller or now - connection.idle_since >= SILENCE_BEFORE_SHARING
            if now >= connection.usable_until or (is_its and not connection.is_silent()):
                idle.remove(connection)
                connection.abort()
            elif is_its:
                idle.remove(connection)
                return connection
        if idle and self._slots + len(idle) > self._limit:
            idle.popleft().abort()
        return None

    async def _open(self, progress: Progress) -> Http1Connection:
        progress.before = Phase.CONNECTING
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._connect(lambda: Http1Connection(self._limits))
        except TimeoutError as exc:
            raise TransportFailure("timeout", Phase.CONNECTING) from exc
        except socket.gaierror as exc:
            raise TransportFailure("dns", Phase.CONNECTING) from exc
        except ssl.SSLError as exc:
            raise TransportFailure("tls", Phase.CONNECTING) from exc
        except OSError as exc:
            raise TransportFailure("refused", Phase.CONNECTING) from exc

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close the connections that have been idle for too long."""
        self._sweeper = None
        now = time.monotonic()
        for connection in tuple(self._idle):
            if now >= connection.usable_until or not connection.is_open:
                self._idle.remove(connection)
                connection.abort()
        if self._idle:
            self._sweep_later()


def _lifetime(keep_alive: float | None) -> float:
    """For how many seconds an idle connection is kept, given those for which the provider says that it keeps it."""
    if keep_alive is None:
        return IDLE_SECONDS
    return min(IDLE_SECONDS, max(keep_alive - KEEP_ALIVE_MARGIN, keep_alive / 2))


async def _stays_open(connection: Http1Connection) -> bool:
    """Whether nothing has arrived on an idle TLS connection that closes it: two turns of the event loop deliver it."""
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        connection.abort()
        raise
    return connection.is_open
