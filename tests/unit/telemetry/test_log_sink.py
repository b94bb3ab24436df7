"""Each log line is written completely and at once, and a failing stream never fails the request that logs."""

import os
from collections.abc import Callable, Iterator
from io import BufferedWriter, BytesIO, RawIOBase, StringIO, TextIOWrapper
from typing import Any, TextIO, cast

import msgspec
import pytest

from gateway.telemetry.logs import Event, Logger, make_logger


class Pipe(RawIOBase):
    """Accepts up to ``room`` bytes, at most ten at once; ``write`` returns None when full, like a non-blocking pipe."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.taken = b""
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> Any:
        count = min(len(data), 10, self.room)
        self.taken += bytes(data[:count])
        self.room -= count
        return count or None

    def events(self) -> list[str]:
        return [msgspec.json.decode(line)["event"] for line in self.taken.splitlines()]


def buffered(pipe: RawIOBase) -> TextIO:
    return TextIOWrapper(BufferedWriter(pipe), encoding="utf-8")


def unbuffered(pipe: RawIOBase) -> TextIO:
    """A stream as Python opens it with PYTHONUNBUFFERED: its buffer is the file itself."""
    return TextIOWrapper(cast("Any", pipe), encoding="utf-8", write_through=True)


def logger_to(pipe: RawIOBase, stream: Callable[[RawIOBase], TextIO] = buffered) -> tuple[Logger, list[int]]:
    lost: list[int] = []
    logger = make_logger(stream=stream(pipe))
    logger.on_lost(lambda: lost.append(1))
    return logger, lost


def test_line_is_written_as_soon_as_it_is_logged() -> None:
    raw = BytesIO()
    logger = make_logger(stream=TextIOWrapper(raw, encoding="utf-8"))
    logger.info(Event.STARTED, name="ä")
    assert msgspec.json.decode(raw.getvalue())["name"] == "ä"


@pytest.mark.parametrize("stream", [buffered, unbuffered])
def test_line_is_complete_if_a_pipe_accepts_it_in_parts(stream: Callable[[RawIOBase], TextIO]) -> None:
    pipe = Pipe()
    logger, lost = logger_to(pipe, stream)
    logger.info(Event.STARTED)
    logger.info(Event.STOPPED)
    assert (pipe.events(), lost) == (["started", "stopped"], [])


@pytest.mark.parametrize("accepted", [10, 25])
def test_rest_of_a_line_is_written_before_the_next_line(accepted: int) -> None:
    pipe = Pipe(accepted)
    logger, lost = logger_to(pipe)
    logger.info(Event.STARTED)  # its beginning
    logger.info(Event.STOPPING)  # nothing of it
    pipe.room = 5
    logger.info(Event.STOPPING)  # nothing of it, and more of the first one
    pipe.room = 1 << 20
    logger.info(Event.STOPPED)
    assert (pipe.events(), len(lost)) == (["started", "stopped"], 2)


def test_pipe_that_accepts_nothing_loses_complete_lines() -> None:
    pipe = Pipe(0)
    logger, lost = logger_to(pipe)
    logger.info(Event.STARTED)
    pipe.room = 1 << 20
    logger.info(Event.STOPPED)
    assert (pipe.events(), len(lost)) == (["stopped"], 1)


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """The two ends of an operating system pipe."""
    both = list(os.pipe())
    yield both
    for end in both:
        os.close(end)


def test_full_system_pipe_neither_raises_nor_splits_a_line(ends: list[int]) -> None:
    reader, writer = ends
    os.set_blocking(writer, False)
    with open(writer, "w", closefd=False) as stream:
        lost: list[int] = []
        logger = make_logger(stream=stream)
        logger.on_lost(lambda: lost.append(1))
        logged = 0
        while not lost:
            logger.info(Event.STARTED, number=logged, filler="x" * 5000)
            logged += 1
        read = os.read(reader, 1 << 20)
        logger.info(Event.STOPPED)
        read += os.read(reader, 1 << 20)
    events = [msgspec.json.decode(line) for line in read.splitlines()]
    assert [line.get("number") for line in events] == [*range(logged - 1), None]


def test_pipe_without_a_reader_does_not_raise(ends: list[int]) -> None:
    reader, writer = ends
    with open(writer, "w", closefd=False) as stream:
        lost: list[int] = []
        logger = make_logger(stream=stream)
        logger.on_lost(lambda: lost.append(1))
        logger.info(Event.STARTED)
        ends[0] = os.dup(writer)  # for the fixture to close
        os.close(reader)
        logger.info(Event.STOPPING)
        logger.info(Event.STOPPED)
    assert len(lost) == 2


def test_closed_stream_does_not_raise() -> None:
    stream, lost = StringIO(), []
    logger = make_logger(stream=stream)
    logger.on_lost(lambda: lost.append(1))
    stream.close()
    logger.info(Event.STOPPED)
    assert len(lost) == 1
