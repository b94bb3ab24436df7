"""Deadlines that end in the iteration of the event loop in which a response arrives.

This is what a process finds that was not scheduled for a while: the response waits in the socket, and the deadline has
passed. The event loop reads the socket first, then runs the timers, and only then the task that waits for the response.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from gateway.upstream.deadlines import Deadlines, Wait
from gateway.upstream.http1.response import IncomingResponse


@contextmanager
def deadlines_end_with(is_late: Callable[[IncomingResponse], bool]) -> Iterator[list[IncomingResponse]]:
    """Within the block, all deadlines have passed right after the end of a response if that ``is_late``. Yields the
    list of these responses."""
    late: list[IncomingResponse] = []
    known: list[Deadlines] = []
    add, finish = Deadlines._add, IncomingResponse.finish

    def added(deadlines: Deadlines, wait: Wait) -> None:
        known.append(deadlines)
        add(deadlines, wait)

    def finished(response: IncomingResponse) -> None:
        finish(response)
        if is_late(response):
            late.append(response)
            for deadlines in known:
                pass_deadlines(deadlines)

    with patch.object(Deadlines, "_add", added), patch.object(IncomingResponse, "finish", finished):
        yield late


def pass_deadlines(deadlines: Deadlines) -> None:
    """Let all deadlines have passed, and run the timer."""
    for wait in deadlines._waits:
        wait.deadline = 0.0
    if deadlines._timer is not None:
        deadlines._timer.cancel()
    deadlines._fire()
