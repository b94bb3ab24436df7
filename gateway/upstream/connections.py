"""Connections to one provider: no cookies, no proxies from the environment, a known phase, no stray responses."""

import asyncio
import select
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError

from gateway import __version__
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase, TransportFailure

_KEEPALIVE_SECONDS: Final = 15.0
SILENCE_BEFORE_SHARING: Final = 5.0
"""Seconds without a received byte after which a connection may serve another principal than before."""

USER_AGENT: Final = f"runtime-gateway/{__version__}"


@dataclass(slots=True)
class Progress:
    """How far one request got. ``caller`` is the principal it is sent for, empty for the gateway's own requests."""

    phase: Phase = Phase.QUEUED
    status: int | None = None
    caller: str = ""


PROGRESS: Final[ContextVar[Progress]] = ContextVar("progress")
"""Set by the sender of a request, in the task that sends it; read and written by the connector."""


class ProviderConnector(aiohttp.TCPConnector):
    """The pool of connections to one provider. It records the phase of each request (a TraceConfig could do that too,
    but costs more).

    aiohttp's own pool reuses any connection that is still connected. HTTP/1.1 has no request ids, so bytes that a
    provider sends on an idle connection (a proxy's 408, a response sent twice) would be taken for the response to the
    next request. This pool reuses a connection only if nothing was received on it since its last response, and for
    another principal only after it was silent for ``SILENCE_BEFORE_SHARING`` seconds, so that bytes that arrive too
    late to be noticed cannot reach another caller.
    """

    async def connect(self, *args: Any, **options: Any) -> Connection:
        connection = await super().connect(*args, **options)
        # From here on bytes may leave at any time, so the provider may have seen the request.
        PROGRESS.get().phase = Phase.SENT
        return connection

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        progress = PROGRESS.get()
        progress.phase = Phase.CONNECTING
        protocol: Any = await super()._create_connection(*args, **options)
        protocol.caller = progress.caller
        return protocol

    async def _get(self, key: Any, traces: Any) -> Connection | None:  # noqa: ARG002
        caller = PROGRESS.get().caller
        while (protocol := self._pop_idle(key, caller)) is not None:
            self._acquired.add(protocol)
            try:
                if key.is_ssl:
                    # Session tickets make a TLS socket readable, so it cannot be polled. Two iterations of the event
                    # loop deliver what has arrived to the protocol.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                usable = protocol.is_connected() and not protocol.should_close
            except asyncio.CancelledError:
                self._discard(key, protocol)
                raise
            if usable:
                protocol.caller = caller
                return Connection(self, key, protocol, self._loop)
            self._discard(key, protocol)
        return None

    def _pop_idle(self, key: Any, caller: str) -> Any:
        """The idle connection that was silent longest, of those that ``caller`` may use; None if there is none.
        Unusable ones are closed. If none may be used and the pool is full, the oldest is closed to make room."""
        idle = self._conns.get(key)
        if idle is None:
            return None
        now = time.monotonic()
        protocol: Any
        chosen, kept = None, []
        while idle and chosen is None:
            protocol, since = entry = idle.popleft()
            if now - since > _KEEPALIVE_SECONDS or not _is_silent(protocol, is_tls=key.is_ssl):
                protocol.close()
            elif protocol.caller != caller and now - since < SILENCE_BEFORE_SHARING:
                kept.append(entry)
            else:
                chosen = protocol
        idle.extendleft(reversed(kept))
        if chosen is None and idle and len(idle) + len(self._acquired) >= self._limit > 0:
            idle.popleft()[0].close()
        if not idle:
            del self._conns[key]
        return chosen

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        # Without a parser, received bytes are kept as unread, which makes the connection unusable. The last response's
        # parser would silently swallow the beginning of another response.
        protocol._parser = None
        super()._release(key, protocol, should_close=should_close)

    def _discard(self, key: Any, protocol: Any) -> None:
        self._release_acquired(key, protocol)
        protocol.close()


def _is_silent(protocol: Any, *, is_tls: bool) -> bool:
    """Whether an idle connection is open and nothing was received on it, including bytes that the event loop has not
    read yet."""
    if not protocol.is_connected() or protocol.should_close:
        return False
    if is_tls:
        return True
    poll = select.poll()
    poll.register(protocol.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not poll.poll(0)


def open_connector(settings: ProviderSettings, limit: int) -> ProviderConnector:
    """A pool of at most ``limit`` connections to one provider."""
    tls = True if settings.ca_file is None else ssl.create_default_context(cafile=settings.ca_file)
    return ProviderConnector(limit=limit, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=tls)


_REASONS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorError, "refused"),
    (aiohttp.ServerDisconnectedError, "disconnected"),
    (aiohttp.ClientPayloadError, "cut_short"),
    (aiohttp.ClientResponseError, "unreadable"),
    (HttpProcessingError, "unreadable"),
    (OSError, "disconnected"),
)


def reason_of(exc: BaseException) -> str:
    """One of the reasons of ``TransportFailure`` for an exception: why there is no complete response."""
    if isinstance(exc, TransportFailure):
        return exc.reason
    for cls, reason in _REASONS:
        if isinstance(exc, cls):
            return reason
    return "failed"
