"""The adapters' transport: one request over a pooled connection, one whole response, a known phase per failure."""

import time
from collections.abc import Mapping
from functools import lru_cache
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
_quoted: Final = lru_cache(maxsize=256)(quote_plus)  # (of names and limits that come with every list)
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
        self._headers: Mapping[str, str] = {}
        self._lines = ""  # of these headers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        clock, origin, settings = self._clock, self._origin, self._settings
        began = clock.monotonic()
        seconds = call.deadline - began
        progress = Progress(call.caller)
        outcome, headers, connection = "cancelled", None, None
        try:
            with origin.deadlines.within(seconds) as wait:
                # (A status without its body would count as proof that a create made something, even where the body
                # shows that it answers another request.)
                wait.may_continue = progress.is_woken
                head = self._head(request, call)
                connection = origin.pool.take(progress) or await origin.pool.acquire(progress)
                if call.before_write is not None and TRAITS[request.operation].mutates:
                    progress.before = Phase.CONNECTING
                    call.before_write()
                    progress.before = Phase.SENT
                progress.response = incoming = connection.start(request.method, settings.max_response_bytes)
                connection.write(head if request.body is None else head + request.body)
                if settings.read_timeout < seconds:
                    _limit_silence(connection, progress, wait, settings.read_timeout)
                if not incoming.has_ended:
                    await incoming.end()
                body = incoming.body()
                response = UpstreamResponse(incoming.status, incoming.headers, body)
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
            if connection is not None:
                origin.pool.release(connection)
            attempt = Attempt(settings.name, request.operation, outcome, clock.monotonic() - began, progress.phase)
            call.attempts.append(attempt)
            if self._log is not None:
                self._log.record(attempt, request.method, headers, call.secrets)

    def _head(self, request: UpstreamRequest, call: Call) -> bytes:
        target, origin = request.path, self._origin
        if request.query:
            target += "?" + "&".join([f"{_quoted(name)}={_quoted(value)}" for name, value in request.query])
        if request.headers is not self._headers:  # (an adapter sends the same ones with nearly every request)
            self._headers, self._lines = request.headers, origin.lines({**_ALWAYS, **request.headers}.items())
        more = []
        if call.request_id:
            more.append(("X-Request-ID", call.request_id))
        if call.traceparent is not None:
            more.append(("traceparent", call.traceparent))
        if request.body is not None:
            more.append(("Content-Type", "application/json"))
        return origin.head(request.method, target, self._lines + origin.lines(more), len(request.body or b""))

    async def close(self) -> None:
        await self._origin.pool.close()


def _limit_silence(connection: Http1Connection, progress: Progress, wait: Wait, seconds: float) -> None:
    """Let the wait also end after ``seconds`` in which nothing arrived on the connection."""
    end, began = wait.deadline, time.monotonic()

    def may_continue() -> bool:
        left = min(end, max(began, connection.received_at) + seconds) - time.monotonic()
        wait.move(left)
        return left > 0 or progress.is_woken()

    wait.may_continue = may_continue
    wait.move(seconds)
