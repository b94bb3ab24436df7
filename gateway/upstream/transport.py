"""The adapters' transport: one request over a pooled connection, one whole response, a known phase per failure."""

from typing import Final, Self
from urllib.parse import quote_plus

from gateway import __version__
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.upstream.deadlines import Deadlines
from gateway.upstream.http1.faults import FAILURES, detail_of, reason_of
from gateway.upstream.http1.heads import head_of
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.pool import Progress
from gateway.upstream.http1.silence import Silence

USER_AGENT: Final = f"runtime-gateway/{__version__}"

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_ALWAYS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": USER_AGENT}


class HttpTransport(Transport):
    """Sends to one provider's base URL. Connections are made when they are needed and closed by :meth:`close`."""

    ends_in_time = True

    def __init__(self, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._deadlines = Deadlines()
        self._origin: Origin | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        began = self._clock.monotonic()
        progress = Progress(caller=call.caller)
        outcome = "cancelled"
        try:
            limit = call.deadline - began
            response = await self._response(request, call, progress, limit)
        except FAILURES as exc:
            outcome = reason_of(exc)
            raise TransportFailure(
                outcome, progress.phase, status=progress.status, operation=request.operation, detail=detail_of(exc)
            ) from exc
        else:
            outcome = str(response.status)
            call.provider_date = response.headers.get("Date")
            return response
        finally:
            seconds = self._clock.monotonic() - began
            call.attempts.append(Attempt(self._settings.name, request.operation, outcome, seconds, progress.phase))

    async def _response(
        self, request: UpstreamRequest, call: Call, progress: Progress, limit: float
    ) -> UpstreamResponse:
        """The response, if all of it arrived before the event loop came to the deadline.

        A process that was not scheduled for a while finds the response and the passed deadline in the same turn of the
        event loop. The response counts then: its status without its body would count as proof that a create made
        something, even where the body shows that it answers another request."""
        try:
            with self._deadlines.within(limit):
                return await self._exchange(request, call, progress, limit)
        except TimeoutError:
            response = progress.response
            if response is None or not response.is_whole:
                raise
            return UpstreamResponse(response.status, response.headers, response.whole())

    async def _exchange(
        self, request: UpstreamRequest, call: Call, progress: Progress, limit: float
    ) -> UpstreamResponse:
        origin = self._open()
        head = self._head(request, call, origin)
        connection = await origin.pool.acquire(progress)
        try:
            progress.response = response = connection.start(request.method)
            connection.write(head if request.body is None else head + request.body)
            silence = self._settings.read_timeout
            try:
                if silence >= limit:  # the deadline comes before any silence is too long
                    body = await response.read_whole(self._settings.max_response_bytes)
                else:
                    with Silence(connection, response, silence):
                        body = await response.read_whole(self._settings.max_response_bytes)
            finally:
                if response.status:
                    progress.phase = Phase.ANSWERED
            return UpstreamResponse(response.status, response.headers, body)
        finally:
            origin.pool.release(connection)

    def _head(self, request: UpstreamRequest, call: Call, origin: Origin) -> bytes:
        target = origin.prefix + request.path
        if request.query:
            target += "?" + "&".join([f"{quote_plus(name)}={quote_plus(value)}" for name, value in request.query])
        headers = {"Host": origin.host, **_ALWAYS, **request.headers}
        if call.request_id:
            headers["X-Request-ID"] = call.request_id
        if call.traceparent is not None:
            headers["traceparent"] = call.traceparent
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(request.body))
        elif request.method in _WITH_BODY:
            headers["Content-Length"] = "0"
        return head_of(request.method, target, headers.items())

    def _open(self) -> Origin:
        if self._origin is None:
            if self._closed:
                raise TransportFailure("closed", Phase.QUEUED)
            self._origin = Origin(self._settings, limit=self._settings.policies.connections)
        return self._origin

    async def close(self) -> None:
        self._closed = True
        origin, self._origin = self._origin, None
        if origin is not None:
            await origin.pool.close()
