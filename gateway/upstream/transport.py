"""The adapters' transport: one request over a pooled connection, one whole response, a known phase per failure."""

import time
from typing import Final, Self
from urllib.parse import quote_plus

from multidict import istr

from gateway import __version__
from gateway.domain.json_numbers import MAX_SLOW_NUMBERS, has_slow_numbers
from gateway.domain.values import TRAITS
from gateway.ports.clock import Clock, SystemClock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Call, Phase, Transport, TransportFailure, UpstreamRequest, UpstreamResponse
from gateway.upstream.deadlines import Wait
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.faults import FAILURES, detail_of, reason_of
from gateway.upstream.http1.origin import Origin
from gateway.upstream.http1.pool import Progress
from gateway.upstream.observed import AttemptLog

USER_AGENT: Final = f"runtime-gateway/{__version__}"

_DATE: Final = istr("Date")
_TOO_SLOW: Final = f"More than {MAX_SLOW_NUMBERS} of its numbers have exponents of three or more digits."
_ALWAYS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": USER_AGENT}


class HttpTransport(Transport):
    """Sends to one provider's base URL, and records each attempt in ``log``. Connections are made when they are needed
    and closed by :meth:`close`."""

    ends_in_time = True

    def __init__(self, settings: ProviderSettings, clock: Clock | None = None, log: AttemptLog | None = None) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock or SystemClock()
        self._origin = Origin(settings, limit=settings.policies.connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        began = self._clock.monotonic()
        progress = Progress(call.caller)
        outcome, headers = "cancelled", None
        try:
            with self._origin.deadlines.within(call.deadline - began) as wait:
                # (A status without its body would count as proof that a create made something, even where the body
                # shows that it answers another request.)
                wait.may_continue = progress.is_woken
                response = await self._exchange(request, call, progress, wait)
            if has_slow_numbers(response.body):
                raise TransportFailure("unreadable", progress.phase, detail=_TOO_SLOW)
        except FAILURES as exc:
            outcome = reason_of(exc)
            raise TransportFailure(
                outcome, progress.phase, status=progress.status, operation=request.operation, detail=detail_of(exc)
            ) from exc
        else:
            outcome, headers = str(response.status), response.headers
            call.provider_date = headers.get(_DATE)
            return response
        finally:
            seconds = self._clock.monotonic() - began
            attempt = Attempt(self._settings.name, request.operation, outcome, seconds, progress.phase)
            call.attempts.append(attempt)
            if self._log is not None:
                self._log.record(attempt, request.method, headers, call.secrets)

    async def _exchange(self, request: UpstreamRequest, call: Call, progress: Progress, wait: Wait) -> UpstreamResponse:
        origin, settings = self._origin, self._settings
        head = _head(request, call, origin)
        connection = await origin.pool.acquire(progress)
        try:
            if call.before_write is not None and TRAITS[request.operation].mutates:
                progress.before = Phase.CONNECTING
                call.before_write()
                progress.before = Phase.SENT
            progress.response = response = connection.start(request.method, settings.max_response_bytes)
            connection.write(head if request.body is None else head + request.body)
            if settings.read_timeout < call.deadline - self._clock.monotonic():
                _limit_silence(connection, progress, wait, settings.read_timeout)
            body = await response.whole()
            return UpstreamResponse(response.status, response.headers, body)
        finally:
            origin.pool.release(connection)

    async def close(self) -> None:
        await self._origin.pool.close()


def _head(request: UpstreamRequest, call: Call, origin: Origin) -> bytes:
    target = request.path
    if request.query:
        target += "?" + "&".join([f"{quote_plus(name)}={quote_plus(value)}" for name, value in request.query])
    headers = {**_ALWAYS, **request.headers}
    if call.request_id:
        headers["X-Request-ID"] = call.request_id
    if call.traceparent is not None:
        headers["traceparent"] = call.traceparent
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return origin.head(request.method, target, headers.items(), len(request.body or b""))


def _limit_silence(connection: Http1Connection, progress: Progress, wait: Wait, seconds: float) -> None:
    """Let the wait also end after ``seconds`` in which nothing arrived on the connection."""
    end, began = wait.deadline, time.monotonic()

    def may_continue() -> bool:
        left = min(end, max(began, connection.received_at) + seconds) - time.monotonic()
        wait.move(left)
        return left > 0 or progress.is_woken()

    wait.may_continue = may_continue
    wait.move(seconds)
