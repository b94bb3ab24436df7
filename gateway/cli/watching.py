"""``--watch``: run a command that reads again and again, and print each item that is new or has changed."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import click

from gateway.cli.failures import ExitCode, Failure, Refused, Unreachable
from gateway.cli.output import SEEN, note
from gateway.cli.waiting import clock_of_command

EVERY: Final = 2.0
"""The pause between two reads, in seconds."""


def repeat(command: Callable[[], Any]) -> None:
    """Run the command until Ctrl-C. A temporary failure is reported, and the command continues."""
    clock = clock_of_command()
    click.get_current_context().meta[SEEN] = {}
    while True:
        try:
            command()
        except (SystemExit, click.exceptions.Exit) as end:
            if getattr(end, "exit_code", getattr(end, "code", None)) != ExitCode.PARTIAL:  # an incomplete list
                raise
        except Failure as failure:
            if not isinstance(failure, Unreachable) and not (isinstance(failure, Refused) and failure.temporary):
                raise
            note(f"{failure.code}: {failure.message}")
        asyncio.run(clock.sleep(EVERY))
