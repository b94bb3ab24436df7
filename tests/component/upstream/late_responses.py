"""Deadlines that end in the turn of the event loop in which a response arrives.

This is what a process finds that was not scheduled for a while: the response waits in the socket, and the deadline has
passed. The event loop reads the socket first, then runs the timers, and only then the task that waits for the response.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from gateway.upstream.deadlines import Wait
from gateway.upstream.http1.connection import Http1Connection
from gateway.upstream.http1.response import IncomingResponse


@contextmanager
def deadlines_end_with(is_late: Callable[[IncomingResponse], bool]) -> Iterator[list[IncomingResponse]]:
    """Within the block, the deadline of a request ends right after the end of its response if that ``is_late``. Yields
    the list of these responses."""
    late: list[IncomingResponse] = []
    waits: list[Wait] = []
    tasks: dict[IncomingResponse, asyncio.Task[Any] | None] = {}
    enter, start, finish = Wait.__enter__, Http1Connection.start, IncomingResponse.finish

    def entered(wait: Wait) -> Wait:
        waits.append(wait)
        return enter(wait)

    def started(connection: Http1Connection, method: str) -> IncomingResponse:
        response = start(connection, method)
        tasks[response] = asyncio.current_task()
        return response

    def finished(response: IncomingResponse) -> None:
        finish(response)
        if response in tasks and is_late(response):
            late.append(response)
            for wait in waits:
                if wait._task is tasks[response] and wait in wait._all._waits:
                    wait._all._waits.discard(wait)
                    wait.expire()

    with (
        patch.object(Wait, "__enter__", entered),
        patch.object(Http1Connection, "start", started),
        patch.object(IncomingResponse, "finish", finished),
    ):
        yield late
