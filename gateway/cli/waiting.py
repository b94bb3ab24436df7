"""``--wait``: ask until the runtime has got where it was sent."""

from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.cli.client import Client, path
from gateway.cli.failures import Failure, Refused, Unreachable
from gateway.cli.output import note
from gateway.ports.clock import Clock, SystemClock

SETTLED: Final = frozenset({"idle", "running", "paused", "stopped"})
"""Where a runtime can stay."""

FIRST_DELAY: Final = 1.0
"""Seconds between the first two requests."""

LONGEST_DELAY: Final = 10.0
"""Seconds that the pauses grow to."""

GROWTH: Final = 1.5
"""By how much each pause is longer than the one before."""


def clock_of_command() -> Clock:
    """The clock that the running command was given, else the machine's."""
    clock = click.get_current_context().obj
    return clock if isinstance(clock, Clock) else SystemClock()


async def wait_for(
    client: Client, runtime_id: str, states: frozenset[str], patience: float, *, failed_ends: bool
) -> Mapping[str, Any]:
    """The runtime once it is in one of ``states``. ``failed_ends``: the state ``failed`` ends the wait with an error.

    A read that may succeed a little later is repeated. Raises :class:`Failure` after ``patience`` seconds.
    """
    waiting = _Waiting(runtime_id, patience)
    while True:
        runtime = await waiting.read(client)
        if runtime is not None:
            state = str(runtime.get("state"))
            if state in states:
                return runtime
            if state == "failed" and failed_ends:
                raise Failure("failed", f"{runtime_id} has failed: {runtime.get('state_reason') or 'no reason given'}")
            waiting.tell(state)
        await waiting.pause()


async def wait_until_gone(client: Client, runtime_id: str, patience: float) -> None:
    """Return when the runtime is not found any more. Raises :class:`Failure` after ``patience`` seconds."""
    waiting = _Waiting(runtime_id, patience)
    while True:
        try:
            runtime = await waiting.read(client)
        except Refused as refused:
            if refused.status == 404:
                return
            raise
        if runtime is not None:
            waiting.tell(str(runtime.get("state")))
        await waiting.pause()


class _Waiting:
    """One wait: its deadline, the growing pauses, and what was told already."""

    def __init__(self, runtime_id: str, patience: float) -> None:
        self._clock = clock_of_command()
        self._runtime_id = runtime_id
        self._patience = patience
        self._deadline = self._clock.monotonic() + patience
        self._delay = FIRST_DELAY
        self._state = "not readable"

    async def read(self, client: Client) -> Mapping[str, Any] | None:
        """The runtime, or None when it cannot be read right now."""
        try:
            answer = await client.call("GET", path("runtimes", self._runtime_id))
        except Unreachable as unreachable:
            self.tell(unreachable.message)
            return None
        except Refused as refused:
            if not refused.passes:
                raise
            self.tell(refused.code)
            self._delay = max(self._delay, refused.retry_after or 0)
            return None
        body: Mapping[str, Any] = answer.body
        return body

    def tell(self, state: str) -> None:
        """Report progress, once per state."""
        if state != self._state:
            note(f"waiting: {self._runtime_id} is {state}")
        self._state = state

    async def pause(self) -> None:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise Failure("timeout", f"{self._runtime_id} is {self._state} after {self._patience:g} s")
        await self._clock.sleep(min(self._delay, left))
        self._delay = min(self._delay * GROWTH, LONGEST_DELAY)
