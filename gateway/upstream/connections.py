"""How connections to one provider are made: no cookies, no proxies of the environment, a known phase."""

import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.http import HttpProcessingError

from gateway import __version__
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase, TransportFailure

_KEEPALIVE_SECONDS: Final = 15.0
USER_AGENT: Final = f"runtime-gateway/{__version__}"


@dataclass(slots=True)
class Progress:
    """How far one request got."""

    phase: Phase = Phase.QUEUED
    status: int | None = None


PROGRESS: Final[ContextVar[Progress]] = ContextVar("progress")
"""Set by whoever sends a request, in the task that sends it; written by the connector."""


class PhasedConnector(aiohttp.TCPConnector):
    """Tells the phase of a request, which a TraceConfig could as well, at a higher price."""

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **options)
        # From here on bytes may leave at any time, so the provider may have seen the request.
        PROGRESS.get().phase = Phase.SENT
        return connection

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        PROGRESS.get().phase = Phase.CONNECTING
        return await super()._create_connection(*args, **options)


def open_connector(
    settings: ProviderSettings, limit: int, kind: type[aiohttp.TCPConnector] = aiohttp.TCPConnector
) -> aiohttp.TCPConnector:
    """A pool of at most ``limit`` connections to one provider."""
    tls = True if settings.ca_file is None else ssl.create_default_context(cafile=settings.ca_file)
    return kind(limit=limit, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=tls)


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
    """The bounded word for why no whole answer came (see ``TransportFailure``)."""
    if isinstance(exc, TransportFailure):
        return exc.reason
    for cls, reason in _REASONS:
        if isinstance(exc, cls):
            return reason
    return "failed"
