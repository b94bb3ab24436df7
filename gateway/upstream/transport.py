"""The transport over aiohttp: one owned session per provider, no redirects, no cookies, a known phase per failure."""

import asyncio
import ssl
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Self
from urllib.parse import quote_plus

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse

_KEEPALIVE_SECONDS: Final = 15.0
_USER_AGENT: Final = f"runtime-gateway/{__version__}"


@dataclass(slots=True)
class _Progress:
    """How far one request got; written by connection events."""

    phase: Phase = Phase.QUEUED
    status: int | None = None


class AiohttpTransport(Transport):
    """Sends to one provider's base URL. The session is opened with the first request and closed by :meth:`close`."""

    def __init__(self, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        began = self._clock.monotonic()
        progress = _Progress()
        outcome = "cancelled"
        try:
            async with asyncio.timeout(call.deadline - began):
                response = await self._exchange(request, call, progress)
        except (TimeoutError, aiohttp.ClientError, OSError, TransportFailure, ValueError) as exc:
            outcome = _reason(exc)
            raise TransportFailure(
                outcome, progress.phase, status=progress.status, operation=request.operation
            ) from exc
        else:
            outcome = str(response.status)
            return response
        finally:
            seconds = self._clock.monotonic() - began
            call.attempts.append(Attempt(self._settings.name, request.operation, outcome, seconds, progress.phase))

    async def _exchange(self, request: UpstreamRequest, call: Call, progress: _Progress) -> UpstreamResponse:
        url = self._settings.base_url + request.path
        if request.query:
            url += "?" + "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in request.query)
        headers = {"Accept": "application/json", **request.headers}
        if call.request_id:
            headers["X-Request-ID"] = call.request_id
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if call.traceparent is not None:
            headers["traceparent"] = call.traceparent
        async with self._open_session().request(
            request.method,
            URL(url, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            progress.phase = Phase.ANSWERED
            progress.status = response.status
            return UpstreamResponse(response.status, response.headers, await self._read(response))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.max_response_bytes
        length = response.content_length
        if length is not None and length > limit:
            raise TransportFailure("too_large", Phase.ANSWERED)
        if length is not None and "Content-Encoding" not in response.headers:
            return await response.read()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise TransportFailure("too_large", Phase.ANSWERED)
        return bytes(body)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._closed:
                raise TransportFailure("closed", Phase.QUEUED)
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_start.append(_connecting)
            tracing.on_connection_create_end.append(_connected)
            tracing.on_connection_reuseconn.append(_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._settings.max_connections,
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                    ssl=_tls(self._settings),
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self._settings.connect_timeout,
                    sock_read=self._settings.read_timeout,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": _USER_AGENT},
                skip_auto_headers=("Content-Type",),
                trace_configs=[tracing],
                trust_env=False,
            )
            # aiohttp sends GET, PUT and DELETE again by itself when a kept connection ends unanswered: the provider
            # would act twice, and a refused second try would tell that nothing was sent.
            self._session._retry_connection = False
        return self._session

    async def close(self) -> None:
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _tls(settings: ProviderSettings) -> ssl.SSLContext | bool:
    return True if settings.ca_file is None else ssl.create_default_context(cafile=settings.ca_file)


async def _connecting(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.phase = Phase.CONNECTING


async def _connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    # From here on bytes may leave at any time, so the provider may have seen the request.
    context.trace_request_ctx.phase = Phase.SENT


_REASONS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorError, "refused"),
    (aiohttp.ServerDisconnectedError, "disconnected"),
    (aiohttp.ClientPayloadError, "cut_short"),
    (aiohttp.ClientResponseError, "unreadable"),
    (OSError, "disconnected"),
)


def _reason(exc: BaseException) -> str:
    if isinstance(exc, TransportFailure):
        return exc.reason
    for cls, reason in _REASONS:
        if isinstance(exc, cls):
            return reason
    return "failed"
