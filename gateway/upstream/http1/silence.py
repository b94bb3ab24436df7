"""Ends a response on whose connection nothing arrives for too long."""

import asyncio
import time
from types import TracebackType

from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.response import Fault, IncomingResponse


class Silence:
    """While the block runs, the response fails with ``timeout`` after ``seconds`` in which nothing arrived. One timer
    looks at the connection when it rings, so that arriving bytes cost nothing."""

    def __init__(self, connection: Http1Connection, response: IncomingResponse, seconds: float) -> None:
        self._connection = connection
        self._response = response
        self._seconds = seconds
        self._since = time.monotonic()

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def _check(self) -> None:
        left = max(self._since, self._connection.received_at) + self._seconds - time.monotonic()
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._check)
        else:
            self._response.fail(Fault("timeout", f"Nothing arrived for {self._seconds} seconds."))

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
