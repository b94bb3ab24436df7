"""The transport over aiohttp: one owned session per provider, no redirects, no cookies, a known phase per failure."""

import asyncio
from typing import Final, Self
from urllib.parse import quote_plus

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, istr
from yarl import URL

from gateway.ports.clock import Clock, SystemClock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.upstream.session import PROGRESS, Progress, open_session, reason_of

_REQUEST_ID: Final = istr("X-Request-ID")
_TRACEPARENT: Final = istr("traceparent")


class AiohttpTransport(Transport):
    """Sends to one provider's base URL. The session is opened with the first request and closed by :meth:`close`."""

    def __init__(self, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._until_silent, self._until_deadline = (
            aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout, sock_read=silence)
            for silence in (settings.read_timeout, None)
        )
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        began = self._clock.monotonic()
        progress = Progress()
        PROGRESS.set(progress)
        outcome = "cancelled"
        try:
            limit = call.deadline - began
            # Where the deadline comes before any silence is too long, a timer that every byte restarts is wasted.
            times = self._until_deadline if limit <= self._settings.read_timeout else self._until_silent
            async with asyncio.timeout(limit):
                response = await self._exchange(request, call, progress, times)
        except (TimeoutError, aiohttp.ClientError, OSError, TransportFailure, ValueError) as exc:
            outcome = reason_of(exc)
            raise TransportFailure(
                outcome, progress.phase, status=progress.status, operation=request.operation
            ) from exc
        else:
            outcome = str(response.status)
            return response
        finally:
            seconds = self._clock.monotonic() - began
            call.attempts.append(Attempt(self._settings.name, request.operation, outcome, seconds, progress.phase))

    async def _exchange(
        self, request: UpstreamRequest, call: Call, progress: Progress, times: aiohttp.ClientTimeout
    ) -> UpstreamResponse:
        url = self._settings.base_url + request.path
        if request.query:
            url += "?" + "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in request.query)
        headers = CIMultiDict(request.headers)
        headers.setdefault(hdrs.ACCEPT, "application/json")
        if call.request_id:
            headers[_REQUEST_ID] = call.request_id
        if request.body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        if call.traceparent is not None:
            headers[_TRACEPARENT] = call.traceparent
        async with self._open_session().request(
            request.method,
            URL(url, encoded=True),
            data=request.body,
            headers=headers,
            timeout=times,
            # (A GET gets no content type anyway, and skipping one costs time.)
            skip_auto_headers=None if request.method == hdrs.METH_GET else (hdrs.CONTENT_TYPE,),
            allow_redirects=False,
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
            self._session = open_session(self._settings)
        return self._session

    async def close(self) -> None:
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()
