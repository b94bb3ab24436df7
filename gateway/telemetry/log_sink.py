"""Writes log lines to a stream: each line completely, and as soon as it is logged."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, BinaryIO, TextIO


class LineSink(ABC):
    """Writes encoded lines to ``stream``. ``on_lost`` is called for each line that could not be written. Lines of the
    console format are in ``encoding``; JSON is always UTF-8."""

    on_lost: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, stream: TextIO) -> None:
        self.encoding = stream.encoding or "utf-8"
        self._stream = stream  # keeps the stream open: it is closed when nothing refers to it

    @abstractmethod
    def write(self, line: bytes) -> None:
        """Write a line, which includes its line end. Raises what the stream raises; the line is then lost."""


def line_sink(stream: TextIO) -> LineSink:
    """Return the sink for a stream. A stream on a file or a pipe is written without its buffer, which saves a copy."""
    buffer: Any = getattr(stream, "buffer", None)
    if buffer is None:
        return _TextSink(stream)
    raw = getattr(buffer, "raw", None)
    return _BufferSink(stream, buffer) if raw is None else _FileSink(stream, raw)


class _FileSink(LineSink):
    """A file or a pipe. A pipe may accept only part of a line: the rest is written before any other line, so that lines
    never overlap. A line that arrives while the pipe accepts nothing is lost completely."""

    def __init__(self, stream: TextIO, raw: Any) -> None:
        super().__init__(stream)
        self._raw = raw
        self._rest = b""

    def write(self, line: bytes) -> None:
        if self._rest and not self._write_rest():
            raise BlockingIOError("the stream accepts nothing")
        written = self._raw.write(line)
        if written == len(line):
            return
        if not written:
            raise BlockingIOError("the stream accepts nothing")
        self._rest = line[written:]
        self._write_rest()

    def _write_rest(self) -> bool:
        """Write the rest of the previous line, and return whether all of it is written."""
        while self._rest:
            written = self._raw.write(self._rest)
            if not written:
                return False
            self._rest = self._rest[written:]
        return True


class _BufferSink(LineSink):
    """A stream of bytes that is not a file."""

    def __init__(self, stream: TextIO, buffer: BinaryIO) -> None:
        super().__init__(stream)
        self._buffer = buffer

    def write(self, line: bytes) -> None:
        self._buffer.write(line)
        self._buffer.flush()


class _TextSink(LineSink):
    """A stream that accepts only text."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.encoding = "utf-8"

    def write(self, line: bytes) -> None:
        self._stream.write(line.decode())
        self._stream.flush()
