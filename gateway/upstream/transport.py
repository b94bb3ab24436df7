"""The transport over aiohttp: one pool of connections per provider, and a known phase per failure.

Requests go directly over the pool's connections (see :mod:`gateway.upstream.exchange`): there are no redirects, no
cookies and no proxies from the environment, and no request is ever sent twice.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote_plus

import aiohttp
from aiohttp import hdrs
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict, istr

from gateway.ports.clock import Clock, SystemClock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.upstream.connections import PROGRESS, USER_AGENT, Progress, open_connector, reason_of
from gateway.upstream.deadlines import Deadlines
from gateway.upstream.exchange import Origin

_READ_BYTES: Final = 1 << 16
_REQUEST_ID: Final = istr("X-Request-ID")
_TRACEPARENT: Final = istr("traceparent")
_WITH_BODY: Final = frozenset({hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH})
_ALWAYS: Final = {
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "gzip, deflate",
    hdrs.USER_AGENT: USER_AGENT,
}


class AiohttpTransport(Transport):
    """Sends to one provider's base URL. Connections are opened by the first request and closed by :meth:`close`."""

    ends_in_time = True

    def __init__(self, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._deadlines = Deadlines()
        self._connector: aiohttp.TCPConnector | None = None
        self._origin: Origin | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        began = self._clock.monotonic()
        progress = Progress(caller=call.caller)
        PROGRESS.set(progress)
        outcome = "cancelled"
        try:
            limit = call.deadline - began
            with self._deadlines.within(limit):
                response = await self._exchange(request, call, progress, limit)
        except (TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError, TransportFailure, ValueError) as exc:
            outcome = reason_of(exc)
            raise TransportFailure(
                outcome, progress.phase, status=progress.status, operation=request.operation
            ) from exc
        else:
            outcome = str(response.status)
            call.provider_date = response.headers.get(hdrs.DATE)
            return response
        finally:
            seconds = self._clock.monotonic() - began
            call.attempts.append(Attempt(self._settings.name, request.operation, outcome, seconds, progress.phase))

    async def _exchange(
        self, request: UpstreamRequest, call: Call, progress: Progress, limit: float
    ) -> UpstreamResponse:
        origin = self._open()
        connection = await origin.connect()
        protocol: Any = connection.protocol
        complete = False
        try:
            silence = self._settings.read_timeout
            protocol.set_response_params(
                skip_payload=request.method == hdrs.METH_HEAD,
                read_until_eof=True,
                # If the deadline comes first, a timer that every byte restarts would be wasted.
                read_timeout=silence if silence < limit else None,
                read_bufsize=_READ_BYTES,
            )
            await self._write(request, call, origin, protocol)
            protocol.start_timeout()
            while True:
                head, content = await protocol.read()
                if head.code >= 200 or head.code == 101:
                    break
            progress.phase, progress.status = Phase.ANSWERED, head.code
            response = UpstreamResponse(head.code, head.headers, await self._read(head.headers, content))
            # (After a response that came before the end of the request, the connection cannot be reused.)
            complete = request.body is None or not protocol.transport or not protocol.transport.get_write_buffer_size()
            return response
        finally:
            if complete:
                connection.release()
            else:
                if protocol.transport is not None:
                    protocol.transport.abort()
                connection.close()

    async def _write(self, request: UpstreamRequest, call: Call, origin: Origin, protocol: Any) -> None:
        target = origin.prefix + request.path
        if request.query:
            target += "?" + "&".join([f"{quote_plus(name)}={quote_plus(value)}" for name, value in request.query])
        headers = self._headers.copy()
        headers.update(request.headers)
        if call.request_id:
            headers[_REQUEST_ID] = call.request_id
        if call.traceparent is not None:
            headers[_TRACEPARENT] = call.traceparent
        body = request.body
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
            headers[hdrs.CONTENT_LENGTH] = str(len(body))
        elif request.method in _WITH_BODY:
            headers[hdrs.CONTENT_LENGTH] = "0"
        writer = StreamWriter(protocol, asyncio.get_running_loop())
        await writer.write_headers(f"{request.method} {target} HTTP/1.1", headers)
        if body is not None:
            # Do not wait until the provider has read all of it: its response may come before.
            await writer.write(body, drain=False)
        writer.set_eof()

    async def _read(self, headers: Mapping[str, str], content: aiohttp.StreamReader) -> bytes:
        limit = self._settings.max_response_bytes
        length = headers.get(hdrs.CONTENT_LENGTH)
        if length is not None and int(length) > limit:
            raise TransportFailure("too_large", Phase.ANSWERED)
        if length is not None and hdrs.CONTENT_ENCODING not in headers:
            return content.read_nowait() if content.is_eof() else await content.read()
        body = bytearray()
        async for chunk in content.iter_any():
            body += chunk
            if len(body) > limit:
                raise TransportFailure("too_large", Phase.ANSWERED)
        return bytes(body)

    def _open(self) -> Origin:
        if self._origin is None:
            if self._closed:
                raise TransportFailure("closed", Phase.QUEUED)
            self._connector = open_connector(self._settings, self._settings.policies.connections)
            self._origin = Origin(self._settings.base_url, self._connector, self._settings.connect_timeout)
            self._headers = CIMultiDict({hdrs.HOST: self._origin.host, **_ALWAYS})
        return self._origin

    async def close(self) -> None:
        self._closed = True
        connector, self._connector, self._origin = self._connector, None, None
        if connector is not None:
            await connector.close()
