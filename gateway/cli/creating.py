"""A create that its command sends until it hears what came of it: again and again under one ``Idempotency-Key``."""

import asyncio
import secrets
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from click.core import ParameterSource

from gateway.cli.client import Client, path
from gateway.cli.failures import ExitCode, Failure, Refused, Unreachable
from gateway.cli.output import note
from gateway.cli.waiting import FIRST_DELAY, GROWTH, LONGEST_DELAY, clock_of_command

_AGAIN: Final = frozenset({"outcome_unknown", "idempotency_in_progress", "store_unavailable"})
_NOT_REPEATED: Final = frozenset({"api_key", "idempotency_key"})


def new_key() -> str:
    """A key for one create."""
    return f"cli-{secrets.token_hex(16)}"


class Creating:
    """One create, sent again for at most ``patience`` seconds, and always as the same request.

    Once a send may have made something, the later ones are for hearing of it: then whatever may pass is sent again, and
    giving up tells that the outcome is unknown, and how to go on.
    """

    def __init__(self, body: Mapping[str, Any], key: str, patience: float) -> None:
        self._body = body
        self._key = key
        self._clock = clock_of_command()
        self._end = self._clock.monotonic() + patience
        self._delay = FIRST_DELAY
        self._doubtful = False

    async def send(self, client: Client) -> Mapping[str, Any]:
        """The runtime. Raises :class:`Failure`; where something may have been made, it says how to go on."""
        headers = {"Idempotency-Key": self._key}
        try:
            while True:
                try:
                    answer = await client.call("POST", path("runtimes"), body=self._body, headers=headers)
                except Failure as failure:
                    await self._pause_after(failure)
                else:
                    runtime: Mapping[str, Any] = answer.body
                    return runtime
        except asyncio.CancelledError:  # Ctrl-C
            note(f"interrupted: it may have been made; to go on: {self._command()}")
            raise

    async def _pause_after(self, failure: Failure) -> None:
        """Wait for the next send. Raises the failure when there is to be none."""
        unknown = failure.exit_code == ExitCode.OUTCOME_UNKNOWN or failure.code == "idempotency_in_progress"
        self._doubtful = self._doubtful or unknown
        if not self._may_tell_more(failure):
            # What refuses the caller, rather than the create, tells nothing of an earlier send.
            leaves_doubt = unknown or (self._doubtful and failure.exit_code == ExitCode.AUTH)
            raise self._with_a_way_on(failure) if leaves_doubt else failure
        pause = max(self._delay, failure.retry_after or 0.0)
        if self._clock.monotonic() + pause > self._end:
            raise self._with_a_way_on(failure) if self._doubtful else failure
        note(f"retrying: {failure.code}: the same create again in {pause:g} s")
        await self._clock.sleep(pause)
        self._delay = min(self._delay * GROWTH, LONGEST_DELAY)

    def _may_tell_more(self, failure: Failure) -> bool:
        """Whether the same request, sent again, may have another answer."""
        if isinstance(failure, Refused):
            return failure.passes and (self._doubtful or failure.code in _AGAIN)
        return failure.exit_code == ExitCode.OUTCOME_UNKNOWN or (self._doubtful and isinstance(failure, Unreachable))

    def _with_a_way_on(self, failure: Failure) -> Failure:
        detail = f"{failure.message} (Idempotency-Key: {self._key}; to go on: {self._command()})"
        return Failure(failure.code, detail, exit_code=ExitCode.OUTCOME_UNKNOWN, lines=failure.lines)

    def _command(self) -> str:
        """The command line of the same request under the same key. Values of --set are dots: they may be secrets."""
        context = click.get_current_context()
        return shlex.join([*context.command_path.split(), *_typed(context), "--idempotency-key", self._key])


def _typed(context: click.Context) -> Iterator[str]:
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in _NOT_REPEATED or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        option = max(parameter.opts, key=len)
        if isinstance(value, bool):
            yield option if value else max(parameter.secondary_opts, key=len)
            continue
        for item in value if isinstance(value, tuple) else [value]:
            yield option
            if name == "assignments":
                yield f"{str(item).partition('=')[0]}=..."
            else:
                yield "-" if getattr(item, "name", "") == "<stdin>" else str(getattr(item, "name", item))
