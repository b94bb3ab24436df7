"""Structured logs: structlog writes every line, as JSON or as text for people.

structlog is used in its fast configuration: bound loggers are created once, their methods below the level do nothing,
and one renderer returns bytes.
"""

import json
import logging
import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from io import RawIOBase
from typing import Any, BinaryIO, Final, Literal, Protocol, Self, TextIO, cast

import msgspec

from gateway.ports.context import REQUEST_ID
from gateway.telemetry.console_text import ConsoleText


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
    raw = buffer if isinstance(buffer, RawIOBase) else getattr(buffer, "raw", None)  # raw: PYTHONUNBUFFERED is set
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


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make ``module`` look as if it were not installed, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = cast("Any", None)  # what the import system documents for this
    try:
        yield
    finally:
        del sys.modules[module]


with _hidden("rich"):
    # structlog imports rich if it is installed: 3 MB and four fifths of structlog's import time, for tracebacks that
    # contain the values of variables, including secrets, which must not be logged.
    import structlog


class Event(StrEnum):
    """Every event that is logged."""

    REQUEST = "request"
    UPSTREAM = "upstream"
    BREAKER = "breaker"
    INTENT_UNKNOWN = "intent_unknown"
    INTENT_DONE_LATE = "intent_done_late"
    INTENT_PARKED = "intent_parked"
    INTENT_NOT_WRITTEN = "intent_not_written"
    MISANSWERED_CREATE = "misanswered_create"
    SURPLUS_RUNTIME = "surplus_runtime"
    LIFETIME_ENDED = "lifetime_ended"
    LIFETIME_NOT_ENDED = "lifetime_not_ended"
    OPERATOR_DECISION = "operator_decision"
    STORE_DOWN = "store_down"
    STORE_UP = "store_up"
    LIMITS_STORAGE_DOWN = "limits_storage_down"
    LIMITS_STORAGE_UP = "limits_storage_up"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"
    WORKERS_STARTED = "workers_started"
    WORKER_ENDED = "worker_ended"
    SETTINGS_RELOADED = "settings_reloaded"
    SETTINGS_REJECTED = "settings_rejected"
    SETTINGS_WARNING = "settings_warning"
    RESTART_NEEDED = "restart_needed"
    ACCESS_CHANGED = "access_changed"
    KEY_SET = "key_set"
    AUDIT = "audit"
    AUDIT_JOURNAL_FAILED = "audit_journal_failed"
    AUDIT_EVENT_LOST = "audit_event_lost"
    MOVE_CHANGED = "move_changed"
    RUNTIME_MOVED = "runtime_moved"
    MOVES_NOT_SAVED = "moves_not_saved"
    CREDENTIALS = "credentials"
    INTERRUPTED = "interrupted"
    SLOW_READER = "slow_reader"
    CONNECTIONS_LOWERED = "connections_lowered"
    ACCEPT_FAILED = "accept_failed"
    UNEXPECTED_ERROR = "unexpected_error"
    UNREADABLE_REQUEST = "unreadable_request"
    UNREADABLE_ROWS = "unreadable_rows"


class Logger(Protocol):
    """The methods of a logger that the gateway uses. Keep no references to them: :meth:`set_level` replaces them."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any:
        """Log an error, with the traceback of the exception that is being handled."""

    def line(self, level: int, event: str, fields: dict[str, Any]) -> None:
        """Log fields at a level of :mod:`logging`, without the copies that keyword arguments take."""

    def bind(self, **fields: Any) -> Self:
        """Return a logger whose lines also have these fields."""

    def set_level(self, level: str) -> None:
        """Write lines of this level and above from now on, including those of loggers that are already bound."""

    def on_lost(self, lost: Callable[[], object]) -> None:
        """Call ``lost`` from now on for each line that could not be written."""


def log_bug(logger: Logger, error: Exception, /, **fields: Any) -> None:
    """Log an exception of the gateway's own code that did not fail a request, with its traceback."""
    logger.error(Event.UNEXPECTED_ERROR, **fields, exception="".join(traceback.format_exception(error)))


def make_logger(level: str = "info", form: Literal["json", "console"] = "json", stream: TextIO | None = None) -> Logger:
    """Return a logger that writes to ``stream`` (default: stdout)."""
    target = stream or sys.stdout
    sink = line_sink(target)
    # Each logger has its own class, whose base class determines the level.
    wrapper = type("GatewayLogger", (_Line, structlog.make_filtering_bound_logger(level)), {})
    processors: list[Any] = [_render_json]
    if form == "console":
        text = ConsoleText(colour=target.isatty() and not os.environ.get("NO_COLOR"))
        processors = [partial(_details_at_debug, wrapper), text, _encode_text]
    logger = structlog.wrap_logger(sink, processors, wrapper_class=wrapper).bind()
    return cast("Logger", logger)


class _Line(structlog.BoundLoggerBase):
    """What the gateway's bound loggers add to structlog's. Logging never raises."""

    # structlog's own method copies the fields twice more. Positional-only parameters allow a field to have any name.
    def _proxy_to_logger(  # type: ignore[override]
        self, method_name: str, event: str | None = None, /, **event_kw: Any
    ) -> None:
        self._write(method_name, event, event_kw)

    def line(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self.is_enabled_for(level):  # type: ignore[attr-defined]  # (of the base class that filters)
            self._write(_LEVELS[level], event, fields)

    def _write(self, method_name: str, event: str | None, fields: dict[str, Any]) -> None:
        line: Any = {"timestamp": datetime.now(UTC), "level": method_name, "event": event}
        request_id = REQUEST_ID.get()
        if request_id is not None:
            line["request_id"] = request_id
        line |= self._context
        line |= fields
        try:
            for process in self._processors:
                line = process(self._logger, method_name, line)
            self._logger.write(line)
        except structlog.DropEvent:
            return
        except Exception:  # noqa: BLE001 (a line that cannot be written must not fail the request; it is counted)
            self._logger.on_lost()

    def exception(self, event: str, **fields: Any) -> None:
        fields["exception"] = traceback.format_exc()
        cast("Logger", self).error(event, **fields)

    def set_level(self, level: str) -> None:
        type(self).__bases__ = (_Line, structlog.make_filtering_bound_logger(level))

    def on_lost(self, lost: Callable[[], object]) -> None:
        self._logger.on_lost = lost


_LEVELS: Final = {logging.DEBUG: "debug", logging.INFO: "info"}
_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


def _render_json(_sink: Any, _level: str, line: dict[str, Any]) -> bytes:
    try:
        # A list, because msgspec 0.20 to 0.22 leaks an iterator for each tuple.
        return _ENCODER.encode_lines([line])
    except Exception:  # noqa: BLE001 (a value's own code may raise anything)
        return _render_plain(line)


def _render_plain(line: dict[str, Any]) -> bytes:
    """Render a line with a value that msgspec cannot encode: text that is not UTF-8, as in a provider's headers, or an
    object whose ``str`` fails."""
    return _ENCODER.encode_lines([{name: _plain(value) for name, value in line.items()}])


def _plain(value: Any) -> msgspec.Raw:
    for encode in (_ENCODER.encode, _escape):
        try:
            return msgspec.Raw(encode(value))
        except Exception:  # noqa: BLE001, S112 (the same; a placeholder replaces the value)
            continue
    return msgspec.Raw(_ENCODER.encode(f"<{type(value).__name__} that cannot be logged>"))


def _escape(value: Any) -> bytes:
    return json.dumps(msgspec.to_builtins(value, enc_hook=str, str_keys=True)).encode()


def _details_at_debug(wrapper: Any, _sink: Any, _level: str, line: dict[str, Any]) -> dict[str, Any]:
    """People read one line per request; the attempts at providers and the audit event are details of it."""
    if line["event"] in (Event.UPSTREAM, Event.AUDIT):
        if not wrapper.is_enabled_for(None, logging.DEBUG):
            raise structlog.DropEvent
        line["level"] = "debug"
    return line


def _encode_text(sink: Any, _level: str, line: str) -> bytes:
    return f"{line}\n".encode(sink.encoding, "backslashreplace")
