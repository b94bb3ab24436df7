"""Passes requests on to one provider as they are: with its credentials, never to another host, streaming both ways.

A session of its own, so that streams that live for hours take no connection from the use cases' calls. There is no
limit of total time: what counts is for how long nothing moves.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.domain.errors import Overloaded
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.native import Rules
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Attempt, Phase, TransportFailure
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.session import PROGRESS, Progress, open_session, reason_of

NATIVE: Final = "native"
"""The operation of these requests in metrics and logs."""

_LONG: Final = 8


@dataclass(slots=True)
class NativeRequest:
    """What goes out. ``target`` is path and query, encoded already, appended to the provider's base URL. ``headers``
    are those of the caller that may pass. ``body`` as an iterator is sent as it comes."""

    method: str
    target: str
    headers: CIMultiDict[str] = field(repr=False)
    body: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)


class Exchange:
    """One request on its way through, alive for as long as bytes move. ``stopped``: :meth:`stop` ended it."""

    def __init__(self, passthrough: "PassThrough", ctx: RequestContext, timer: asyncio.Timeout) -> None:
        self.progress = Progress()
        self.response: aiohttp.ClientResponse | None = None
        self.method = ""
        self.stopped = False
        self._closed = False
        self._passthrough = passthrough
        self._ctx = ctx
        self._timer = timer
        self._limit = passthrough.limits.answer_timeout
        self._time = asyncio.get_running_loop().time

    async def send(self, request: NativeRequest) -> aiohttp.ClientResponse:
        """Send, and return when the head of the answer is there."""
        self.method = request.method
        PROGRESS.set(self.progress)
        self.response = response = await self._passthrough.send(request, self._ctx)
        self.progress.phase, self.progress.status = Phase.ANSWERED, response.status
        self._limit = self._passthrough.read_timeout
        self.moved()
        return response

    def moved(self) -> None:
        """Something passed, in either direction: the time without anything begins anew."""
        if self._running:
            self._timer.reschedule(self._time() + self._limit)

    def stop(self) -> None:
        """Give the provider up at once, whatever the exchange waits for."""
        if self._running:
            self.stopped = True
            self._timer.reschedule(self._time())

    @property
    def _running(self) -> bool:
        return not (self.stopped or self._closed or self._timer.expired())

    async def close(self, *, whole: bool) -> None:
        """Give the connection back, or close it: at once, unless the answer is ``whole``."""
        self._closed = True
        response, connection = self.response, self.progress.connection
        if response is None:
            return
        # The connection of an answer that is whole is in the pool, and may be another's by now.
        if not whole and not response.content.is_eof() and connection is not None and connection.transport is not None:
            connection.transport.abort()
        response.release()
        await response.wait_for_close()


class PassThrough:
    """The way to one provider. ``rules`` say what may take it."""

    def __init__(self, settings: ProviderSettings, *, metrics: Metrics, logger: Logger, clock: Clock) -> None:
        self.name = settings.name
        self.limits = settings.native
        self.rules = Rules(settings.native.allow)
        self._settings = settings
        self._credentials: Mapping[str, str] = settings.credential_headers()
        self._token = settings.token.get_secret_value()
        self._dropped = metrics.dropped.labels("native")
        self._requests = metrics.upstream_requests
        self._seconds = metrics.upstream_seconds.labels(self.name, NATIVE)
        self._logger = logger
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._in_flight = 0
        metrics.native_in_flight.labels(self.name).set_function(lambda: self._in_flight)

    def without_credentials(self, value: str) -> str:
        """A header's value without the provider's token, which a provider may echo. (One that is too short to be told
        from other text stays.)"""
        return value.replace(self._token, "[redacted]") if self._token in value and len(self._token) >= _LONG else value

    @property
    def read_timeout(self) -> float:
        """For how many seconds nothing may move once the answer has begun."""
        return self._settings.read_timeout

    @asynccontextmanager
    async def exchange(self, ctx: RequestContext) -> AsyncIterator[Exchange]:
        """Around one exchange, the reading of its answer included.

        Raises :class:`Overloaded` when there are too many, and :class:`TransportFailure` for all that fails between the
        gateway and the provider; its reason is ``cancelled`` after :meth:`Exchange.stop`.
        """
        if self._in_flight >= self.limits.max_in_flight:
            self._dropped.inc()
            raise Overloaded(
                f"As many requests as providers.{self.name}.native.max_in_flight allows "
                f"({self.limits.max_in_flight}) are on their way to the provider {self.name}.",
                provider=self.name,
            )
        began = self._clock.monotonic()
        outcome, whole = "cancelled", False
        self._in_flight += 1
        try:
            async with asyncio.timeout(self.limits.answer_timeout) as timer:
                exchange = Exchange(self, ctx, timer)
                try:
                    yield exchange
                    whole, outcome = True, str(exchange.progress.status)
                finally:
                    await exchange.close(whole=whole)
        except (TimeoutError, aiohttp.ClientError, OSError, TransportFailure) as exc:
            if not exchange.stopped:
                outcome = reason_of(exc)
            raise TransportFailure(outcome, exchange.progress.phase, status=exchange.progress.status) from exc
        finally:
            self._in_flight -= 1
            self._observe(exchange, ctx, outcome, self._clock.monotonic() - began)

    async def send(self, request: NativeRequest, ctx: RequestContext) -> aiohttp.ClientResponse:
        """Send with the provider's credentials put in (see :meth:`Exchange.send`)."""
        headers = request.headers
        headers.update(self._credentials)
        headers["X-Request-ID"] = ctx.request_id
        if ctx.traceparent is not None:
            headers["traceparent"] = ctx.traceparent
        try:
            return await self._open_session().request(
                request.method,
                URL(self._settings.base_url + request.target, encoded=True),
                data=request.body,
                headers=headers,
                allow_redirects=False,
            )
        except ValueError as exc:
            raise TransportFailure("failed", PROGRESS.get().phase) from exc

    def _observe(self, exchange: Exchange, ctx: RequestContext, outcome: str, seconds: float) -> None:
        progress, response = exchange.progress, exchange.response
        ctx.attempts.append(Attempt(self.name, NATIVE, outcome, seconds, progress.phase))
        self._requests.labels(self.name, NATIVE, outcome).inc()
        self._seconds.observe(seconds)
        self._logger.info(
            Event.UPSTREAM,
            request_id=ctx.request_id,
            provider=self.name,
            operation=NATIVE,
            method=exchange.method,
            outcome=outcome,
            phase=progress.phase.label,
            duration_ms=round(seconds * 1000, 3),
            provider_request_id=response.headers.get("X-Request-ID") if response is not None else None,
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._closed:
                raise TransportFailure("closed", Phase.QUEUED)
            # The exchange's own timer counts; aiohttp's would not see that an upload still moves.
            self._session = open_session(
                self._settings,
                max_connections=self.limits.max_in_flight,
                read_timeout=None,
                passes_bodies_on=True,
            )
        return self._session

    async def close(self) -> None:
        """Give all connections back. Idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()
