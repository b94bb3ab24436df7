"""A create that is repeated under one ``Idempotency-Key`` until its outcome is known (``docs/creates.md``)."""

import asyncio
import secrets
import shlex
from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.cli.client import Client
from gateway.cli.failures import ExitCode, Failure, Refused, Unreachable
from gateway.cli.options import typed
from gateway.cli.output import note
from gateway.cli.waiting import FIRST_DELAY, GROWTH, LONGEST_DELAY, clock_of_command

_REPEATED_CODES: Final = frozenset({"outcome_unknown", "idempotency_in_progress", "store_unavailable"})


def new_key() -> str:
    return f"cli-{secrets.token_hex(16)}"


class Creating:
    """One create, which is repeated as the same request for at most ``patience`` seconds.

    Once an attempt may have created something, the later attempts find out its outcome: then each temporary failure is
    followed by another attempt, and the final failure is ``outcome_unknown``, with the command that continues.
    """

    def __init__(self, body: Mapping[str, Any], key: str, patience: float) -> None:
        self._body = body
        self._key = key
        self._clock = clock_of_command()
        self._end = self._clock.monotonic() + patience
        self._delay = FIRST_DELAY
        self._may_exist = False

    async def send(self, client: Client) -> Mapping[str, Any]:
        """Return the runtime. Raises :class:`Failure`; if something may have been created, it says how to continue."""
        headers = {"Idempotency-Key": self._key}
        try:
            while True:
                try:
                    return await client.call("POST", "runtimes", body=self._body, headers=headers)
                except Failure as failure:
                    await self._pause_after(failure)
        except asyncio.CancelledError:  # Ctrl-C
            note(f"interrupted: the runtime may have been created; to continue: {self._command()}")
            raise

    async def _pause_after(self, failure: Failure) -> None:
        """Wait until the next attempt. Raises the failure if there is no further attempt."""
        unknown = failure.exit_code == ExitCode.OUTCOME_UNKNOWN or failure.code == "idempotency_in_progress"
        self._may_exist = self._may_exist or unknown
        if not self._worth_repeating(failure):
            # A rejected caller: this says nothing about the outcome of an earlier attempt.
            still_unknown = unknown or (self._may_exist and failure.exit_code == ExitCode.AUTH)
            raise self._continuable(failure) if still_unknown else failure
        pause = max(self._delay, failure.retry_after or 0.0)
        if self._clock.monotonic() + pause > self._end:
            raise self._continuable(failure) if self._may_exist else failure
        note(f"retrying: {failure.code}: the same create is sent again in {pause:g} s")
        await self._clock.sleep(pause)
        self._delay = min(self._delay * GROWTH, LONGEST_DELAY)

    def _worth_repeating(self, failure: Failure) -> bool:
        """Return whether the same request may get another response when it is repeated."""
        if isinstance(failure, Refused):
            return failure.temporary and (self._may_exist or failure.code in _REPEATED_CODES)
        return failure.exit_code == ExitCode.OUTCOME_UNKNOWN or (self._may_exist and isinstance(failure, Unreachable))

    def _continuable(self, failure: Failure) -> Failure:
        """Return the failure with exit code 5, the key, and the command that continues the create."""
        detail = f"{failure.message} (Idempotency-Key: {self._key}; to continue: {self._command()})"
        return Failure(failure.code, detail, exit_code=ExitCode.OUTCOME_UNKNOWN, lines=failure.lines)

    def _command(self) -> str:
        """Return the command line of the same request and key. Values of --set become ``...``: they may be secrets."""
        context = click.get_current_context()
        return shlex.join([*context.command_path.split(), *typed(context), "--idempotency-key", self._key])
