"""The requests of one client connection, one after the other: wait, handle, respond.

It replaces the loop of aiohttp, which starts a task for each request and responds in several steps that are made for
bodies of any kind: together a tenth of the time of a get. A task of its own would separate the context variables of
requests; those of the gateway are reset at the end of each one (:class:`~gateway.ports.context.RequestContext`).
"""

from typing import Any, Final, cast

from aiohttp import hdrs, web
from aiohttp.helpers import ceil_timeout, rfc822_formatted_time
from aiohttp.http import HttpVersion10, StreamWriter
from aiohttp.http_writer import _serialize_headers
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo

_WITHOUT_BODY: Final = frozenset({204, 304})


class RequestLoop(RequestHandler):
    """A connection whose requests are handled in its own task."""

    __slots__ = ()

    async def start(self) -> None:
        """Handle requests until the connection is to be closed, and close it."""
        loop = self._loop
        while not self._force_close:
            if not self._messages:
                self._waiter = loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            try:
                if not await self._handle_next() or self._close or self._force_close:
                    break
            except BaseException as exc:
                self.force_close()
                if not isinstance(exc, Exception):
                    raise
                self.log_exception("a response could not be sent")
                break
            self._next_keepalive_close_time = close_time = loop.time() + self._keepalive_timeout
            if self._keepalive_handle is None:
                self._keepalive_handle = loop.call_at(close_time, self._process_keepalive)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _handle_next(self) -> bool:
        """Handle the next request, and return whether the connection stays open."""
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        handle: Any = self._request_handler
        if isinstance(message, _ErrInfo):
            handle, message = self._make_error_handler(message), ERROR
        make: Any = self._request_factory
        request: web.BaseRequest = make(message, payload, self, StreamWriter(self, self._loop), self._task_handler)
        self._current_request = request
        self._request_in_progress = True
        try:
            try:
                response = await handle(request)
            except Exception as exc:  # noqa: BLE001 (it is logged)
                response = self.handle_error(request, 500, exc)
            finally:
                self._current_request = None
            self.finish(response)
            if isinstance(response, web.Response) and not self._upgraded:
                self._send(request, response)
                if self._paused:
                    await self._drain_helper()
            elif (await self.finish_response(request, response, None))[1]:
                return False
        except ConnectionError:  # the client has left
            return False
        finally:
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        self._keepalive = bool(response.keep_alive)
        if not payload.is_eof():
            await self._drop_rest(payload)
        return self._keepalive

    def _send(self, request: web.BaseRequest, response: web.Response) -> None:
        """Send the head and the body in one write. Raises ``ConnectionError`` if the connection is closing."""
        version, status, headers, body = request.version, response.status, response.headers, response.body
        is_head = request.method == hdrs.METH_HEAD
        if status in _WITHOUT_BODY:
            headers.popall(hdrs.CONTENT_LENGTH, None)
        elif body or not is_head:
            headers.setdefault(hdrs.CONTENT_LENGTH, str(len(cast("bytes", body or b""))))
        headers.setdefault(hdrs.DATE, rfc822_formatted_time())
        keep_alive = response.keep_alive
        if keep_alive is None:
            keep_alive = response._keep_alive = request.keep_alive
        if not keep_alive:
            headers.setdefault(hdrs.CONNECTION, "close")
        elif version == HttpVersion10:
            headers.setdefault(hdrs.CONNECTION, "keep-alive")
        head = _serialize_headers(f"HTTP/{version[0]}.{version[1]} {status} {response.reason}", headers)
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(head if not body or is_head or status in _WITHOUT_BODY else head + cast("bytes", body))

    def finish(self, response: web.StreamResponse) -> None:
        """Called before a response is sent."""

    async def _drop_rest(self, payload: Any) -> None:
        """Read the rest of a body that no handler wanted for a while, so that the client receives the response; close
        the connection if it does not end."""
        try:
            async with ceil_timeout(self._lingering_time):
                while not payload.is_eof() and not self._force_close:
                    await payload.readany()
        except TimeoutError:
            self.close()
