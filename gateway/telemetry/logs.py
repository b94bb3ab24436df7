"""Structured logs: one JSON line per event on stdout, or coloured text for people.

The fast form of structlog: bytes all the way, encoded by msgspec, filtered by level before anything is built.
"""

import logging
import sys
from enum import StrEnum
from typing import Any, Final, Literal, Protocol, TextIO

import msgspec
import structlog

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Event(StrEnum):
    """Every event that is logged."""

    REQUEST = "request"
    UPSTREAM = "upstream"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"
    UNEXPECTED_ERROR = "unexpected_error"
    UNREADABLE_REQUEST = "unreadable_request"


class Logger(Protocol):
    """What the gateway uses of a logger."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any: ...


_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)


def _to_json(_logger: Any, _method: str, event: dict[str, Any]) -> bytes:
    return _ENCODER.encode(event)


def make_logger(level: str = "info", form: Literal["json", "console"] = "json", stream: TextIO | None = None) -> Logger:
    """A logger that writes to ``stream`` (stdout unless given)."""
    target = stream or sys.stdout
    processors: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    if form == "json":
        processors += [structlog.processors.format_exc_info, _to_json]
        raw: Any = structlog.BytesLogger(target.buffer) if hasattr(target, "buffer") else _TextLogger(target)
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=target.isatty()))
        raw = structlog.PrintLogger(target)
    wrapper = structlog.make_filtering_bound_logger(LEVELS[level])
    logger: Logger = structlog.wrap_logger(raw, processors, wrapper_class=wrapper).bind()
    return logger


class _TextLogger:
    """Writes encoded lines to a stream that takes only text (a captured stdout)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: bytes) -> None:
        self._stream.write(line.decode() + "\n")

    debug = info = warning = error = exception = msg = _write
