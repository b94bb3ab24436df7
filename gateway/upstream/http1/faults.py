"""The bounded words for why no whole response came (see ``TransportFailure``)."""

from typing import Final

from gateway.ports.transport import TransportFailure
from gateway.upstream.http1.response import Fault

FAILURES: Final = (TimeoutError, Fault, OSError, TransportFailure, ValueError)
"""What can end a request between the gateway and the provider."""


def reason_of(exc: BaseException) -> str:
    """The word for an exception."""
    if isinstance(exc, TransportFailure | Fault):
        return exc.reason
    if isinstance(exc, TimeoutError):
        return "timeout"
    return "disconnected" if isinstance(exc, OSError) else "failed"


def detail_of(exc: BaseException) -> str | None:
    """What was wrong with a response, for the error and the log; None where the word says all."""
    if isinstance(exc, TransportFailure):
        return exc.detail
    return str(exc) if isinstance(exc, Fault) else None
