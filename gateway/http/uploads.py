"""The body of a request to the pass-through, as a stream."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.domain.errors import InvalidRequest, PayloadTooLarge, RequestTimeout
from gateway.http.bodies import ClientAborted, invite_body
from gateway.upstream.exchange import Exchange

SLOWEST: Final = 1024
"""Bytes per second that a streamed body has to arrive with, after the first ``http.body_timeout`` seconds."""


class StreamedUpload:
    """The body of a request as a stream. ``length`` None: not declared. ``error``: why it is incomplete.

    The gateway waits for the body ``seconds`` in total, and one more for each :data:`SLOWEST` bytes that arrived. Only
    waiting for the caller counts, not waiting for the provider. ``now`` is a monotonic clock.
    ``counted`` is called with the size of each chunk.
    """

    def __init__(
        self,
        request: web.Request,
        limit: int,
        seconds: float,
        now: Callable[[], float] = time.monotonic,
        *,
        counted: Callable[[int], object] = lambda _size: None,
    ) -> None:
        self.length = request.content_length if request.body_exists else 0
        self.error: Exception | None = None
        self.waiting = False
        self._request = request
        self._limit = limit
        self._seconds = seconds
        self._now = now
        self._counted = counted
        if self.length is not None and self.length > limit:
            raise self._too_large()

    async def chunks(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """The chunks of the body. A failure stops the exchange."""
        content = self._request.content
        size = 0
        waited = 0.0
        try:
            await invite_body(self._request)
            while True:
                self.waiting, begun = True, self._now()
                chunk = await content.readany()
                self.waiting = False
                waited += self._now() - begun
                if not chunk:
                    return
                size += len(chunk)
                self._counted(len(chunk))
                if size > self._limit:
                    raise self._too_large()
                self._refuse_slow(waited, size)
                exchange.moved()
                yield chunk
        except (RequestPayloadError, ConnectionError, PayloadTooLarge, RequestTimeout) as exc:
            if isinstance(exc, PayloadTooLarge | RequestTimeout):
                self.error = exc
            elif self._request.transport is None:
                self.error = ClientAborted()
            else:
                self.error = InvalidRequest("The body breaks the rules of HTTP.")
            exchange.stop()
            raise

    def _refuse_slow(self, waited: float, size: int) -> None:
        if waited > self._seconds + size / SLOWEST:
            raise RequestTimeout(f"The body arrived with less than {SLOWEST} bytes per second.")

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is larger than {self._limit} bytes.")
