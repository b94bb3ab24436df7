"""``--wait``: poll until the runtime has reached its target state."""

from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.cli.client import Client
from gateway.cli.failures import Failure, Refused, Unreachable
from gateway.cli.output import note
from gateway.ports.clock import Clock, SystemClock

SETTLED: Final = frozenset({"idle", "running", "paused", "stopped"})
"""The states in which a runtime can remain."""

FIRST_DELAY: Final = 1.0
"""The pause between the first two requests, in seconds."""

LONGEST_DELAY: Final = 10.0
"""The longest pause between two requests, in seconds."""

GROWTH: Final = 1.5
"""The factor by which each pause is longer than the previous one."""


def clock_of_command() -> Clock:
    """Return the clock in the click context of the running command (tests set one), else the system clock."""
    clock = click.get_current_context().obj
    return clock if isinstance(clock, Clock) else SystemClock()


async def wait_for(
    client: Client, runtime_id: str, states: frozenset[str], patience: float, *, failed_ends: bool, gone: bool = False
) -> Mapping[str, Any]:
    """Wait until the runtime is in one of ``states``, and return it; with ``gone``, until it is not found any more.

    A read with a temporary failure is repeated. Raises :class:`Failure` after ``patience`` seconds and, if
    ``failed_ends``, for a runtime in the state ``failed``.
    """
    waiting = _Waiting(runtime_id, patience)
    while True:
        try:
            runtime = await waiting.read(client)
        except Refused as refused:
            if gone and refused.status == 404:
                return {}
            raise
        if runtime is not None:
            state = str(runtime.get("state"))
            if state in states:
                return runtime
            if state == "failed" and failed_ends:
                raise Failure("failed", f"{runtime_id} has failed: {runtime.get('state_reason') or 'no reason given'}")
            waiting.report(state)
        await waiting.pause()


class _Waiting:
    """One wait: its deadline, its growing pauses, and the state that was reported last."""

    def __init__(self, runtime_id: str, patience: float) -> None:
        self._clock = clock_of_command()
        self._runtime_id = runtime_id
        self._patience = patience
        self._deadline = self._clock.monotonic() + patience
        self._delay = FIRST_DELAY
        self._state = "not readable"

    async def read(self, client: Client) -> Mapping[str, Any] | None:
        """Return the runtime, or None after a temporary failure. Raises :class:`Refused` for any other refusal."""
        try:
            return await client.call("GET", "runtimes", self._runtime_id)
        except Unreachable as unreachable:
            self.report(unreachable.message)
            return None
        except Refused as refused:
            if not refused.temporary:
                raise
            self.report(refused.code)
            self._delay = max(self._delay, refused.retry_after or 0)
            return None

    def report(self, state: str) -> None:
        """Print the state, unless it was the last one that was printed."""
        if state != self._state:
            note(f"waiting: {self._runtime_id} is {state}")
        self._state = state

    async def pause(self) -> None:
        """Wait before the next read. Raises :class:`Failure` after the deadline."""
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise Failure("timeout", f"{self._runtime_id} is {self._state} after {self._patience:g} s")
        await self._clock.sleep(min(self._delay, left))
        self._delay = min(self._delay * GROWTH, LONGEST_DELAY)
