"""The event loop that the settings select."""

import asyncio
from collections.abc import Callable

from gateway.settings import Problem, SettingsError


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop. Raises :class:`SettingsError` if it is not installed."""
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 (takes time, and is not there on every system)
    except ImportError:
        raise SettingsError([Problem("http.event_loop", "uvloop is not installed; use asyncio")]) from None
    return new_event_loop
