"""Why no whole response came, as one of the reasons of ``TransportFailure``."""

from typing import Final

from gateway.ports.transport import TransportFailure


class Fault(Exception):
    """The response cannot be used. ``reason`` is one of ``TransportFailure``; the message names what was wrong."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


FAILURES: Final = (TimeoutError, Fault, OSError, TransportFailure, ValueError)
"""What can end a request between the gateway and the provider."""


def reason_of(exc: BaseException) -> str:
    if isinstance(exc, TransportFailure | Fault):
        return exc.reason
    if isinstance(exc, TimeoutError):
        return "timeout"
    return "disconnected" if isinstance(exc, OSError) else "failed"


def detail_of(exc: BaseException) -> str | None:
    """What was wrong with a response, for the error and the log; None where the reason says all."""
    if isinstance(exc, TransportFailure):
        return exc.detail
    return str(exc) if isinstance(exc, Fault) else None
