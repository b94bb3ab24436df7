"""File descriptors: the limit of the process, how many connections of clients it allows, and what happens without any
left."""

import asyncio
import errno
import resource
from typing import Any, Final

from aiohttp import web

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import Problem, Settings, SettingsError
from gateway.telemetry.logs import Event, Logger

MOST_CONNECTIONS: Final = web.AppKey("most_connections", int)
"""The open connections that the file descriptors allow, where these are fewer than ``http.max_connections``."""

OWN: Final = 64
"""Descriptors kept for the store, the output, the listening sockets, and files that are opened for a moment."""
FEWEST: Final = 16
"""Connections of clients without which the gateway does not start."""

_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BETWEEN_LINES: Final = 1.0  # seconds


def raise_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one, and return the limit that applies."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft  # some systems report a hard limit that they do not grant
    return hard


def most_connections(settings: Settings, descriptors: int) -> int:
    """How many connections of clients ``descriptors`` allow.

    :data:`OWN` of them are reserved, and one for each connection to a provider, up to half of the rest. Raises
    :class:`SettingsError` for fewer than :data:`FEWEST` connections.
    """
    if descriptors == resource.RLIM_INFINITY:
        return settings.http.max_connections
    rest = descriptors - OWN
    left = rest - min(sum(map(_calls, settings.providers.values())), rest // 2)
    if left < FEWEST:
        message = f"the limit of {descriptors} file descriptors leaves fewer than {FEWEST} connections; raise the limit"
        raise SettingsError([Problem("http.max_connections", message)])
    return min(left, settings.http.max_connections)


def _calls(provider: ProviderSettings) -> int:
    return provider.policies.connections + provider.native.max_in_flight


def fit_descriptors(app: web.Application, settings: Settings, logger: Logger) -> None:
    """Raise the limit of file descriptors, and lower ``http.max_connections`` for ``app`` to what it allows, with a
    warning. Raises as :func:`most_connections`."""
    descriptors = raise_limit()
    allowed = most_connections(settings, descriptors)
    if allowed < settings.http.max_connections:
        app[MOST_CONNECTIONS] = allowed
        logger.warning(
            Event.CONNECTIONS_LOWERED,
            descriptors=descriptors,
            max_connections=allowed,
            configured=settings.http.max_connections,
        )


class AcceptFailures:
    """An exception handler of an event loop, which logs connections that could not be accepted for want of file
    descriptors: at most one line per second, with their number. asyncio would write a text for each."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._next = 0.0
        self._failures = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        cause = context.get("exception")
        if not (isinstance(cause, OSError) and cause.errno in _OUT_OF_DESCRIPTORS and "socket" in context):
            loop.default_exception_handler(context)
            return
        self._failures += 1
        if loop.time() >= self._next:
            self._next = loop.time() + _BETWEEN_LINES
            self._logger.error(Event.ACCEPT_FAILED, reason=errno.errorcode[cause.errno], failures=self._failures)
            self._failures = 0
