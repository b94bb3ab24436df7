"""The signals of a server process, from its first moment to its last: none ends it in another way than is documented.

This module is imported before everything else, so it imports nothing that takes time.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

STOP: Final = (signal.SIGTERM, signal.SIGINT)

RELOAD: Final = signal.SIGHUP

_held: set[int] = set()
_remembered: set[int] = set()


def hold(*numbers: int) -> None:
    """Until :func:`react` takes a signal over: remember SIGHUP, and end the process with 0 upon SIGTERM and SIGINT."""
    for number in numbers:
        _held.add(number)
        signal.signal(number, _remember if number == RELOAD else _end)


def react(number: int, reaction: Callable[[], object]) -> None:
    """Call ``reaction`` in the running event loop upon a signal, and at once if the signal has been remembered.

    The event loop sets the signals that it handles to their default when it closes, and SIGHUP would then end the
    process: so SIGHUP is not one of them. To wake the loop, it relies on SIGTERM and SIGINT having a reaction.
    """
    from asyncio import get_running_loop  # noqa: PLC0415 (takes time)

    loop = get_running_loop()
    if number != RELOAD:
        loop.add_signal_handler(number, reaction)
        return
    signal.signal(number, lambda *_: loop.call_soon_threadsafe(reaction))
    if number in _remembered:
        _remembered.discard(number)
        reaction()


def ignore_reload() -> None:
    """Ignore SIGHUP until the process has ended."""
    signal.signal(RELOAD, signal.SIG_IGN)


def hold_again() -> None:
    """Hold the signals to stop, if they were held before: the event loop that reacted to them has ended."""
    hold(*(_held - {RELOAD}))


def _remember(number: int, _frame: FrameType | None) -> None:
    _remembered.add(number)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # an exception could be raised inside of any import, which would wrap it or report it
