"""The line about connections that cannot be accepted."""

import asyncio
import errno
import json
from io import StringIO
from typing import Any

from gateway.app.descriptors import AcceptFailures
from gateway.telemetry.logs import make_logger


class FakeLoop(asyncio.BaseEventLoop):
    """A test sets its time. It records what it would have written."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.written: list[Any] = []

    def time(self) -> float:
        return self.now

    def default_exception_handler(self, context: Any) -> None:
        self.written.append(context)


def test_failures_within_a_second_are_one_line() -> None:
    loop, log = FakeLoop(), StringIO()
    handler = AcceptFailures(make_logger(stream=log))
    exhausted = {"message": "out", "socket": object(), "exception": OSError(errno.EMFILE, "no")}
    for now in (100.0, *[100.5] * 1000, 101.0):
        loop.now = now
        handler(loop, exhausted)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["failures"]) for line in lines] == [("accept_failed", 1), ("accept_failed", 1001)]
    assert loop.written == []
    loop.close()


def test_another_fault_of_the_loop_is_written_as_before() -> None:
    loop, log = FakeLoop(), StringIO()
    other = {"message": "lost", "exception": ValueError("x")}
    AcceptFailures(make_logger(stream=log))(loop, other)
    assert loop.written == [other]
    assert log.getvalue() == ""
    loop.close()
