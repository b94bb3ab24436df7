"""``--watch``: run a command that reads again and again, and print what changes."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Final

import click

from gateway.cli.failures import ExitCode, Failure, Refused, Unreachable
from gateway.cli.output import SEEN, note
from gateway.cli.waiting import clock_of_command

EVERY: Final = 2.0
"""The pause between two reads, in seconds."""


class _Screen(StringIO):
    """What a command prints, for a terminal."""

    def isatty(self) -> bool:
        return True


def repeat(command: Callable[[], Any]) -> None:
    """Run the command until Ctrl-C. On a terminal the new result replaces the previous one; elsewhere each item is
    printed when it is new or has changed. A temporary failure is reported, and the command continues."""
    terminal = sys.stdout.isatty()
    clock, context = clock_of_command(), click.get_current_context()
    previous = ""
    if not terminal:
        context.meta[SEEN] = {}
    while True:
        try:
            if terminal:
                with redirect_stdout(_Screen()) as screen:
                    _run(command)
                if (text := screen.getvalue()) != previous:
                    click.clear()
                    click.echo(text, nl=False)
                    previous = text
            else:
                _run(command)
        except Failure as failure:
            if not isinstance(failure, Unreachable) and not (isinstance(failure, Refused) and failure.temporary):
                raise
            note(f"{failure.code}: {failure.message}")
        asyncio.run(clock.sleep(EVERY))


def _run(command: Callable[[], Any]) -> None:
    """Run the command, whose list may be incomplete."""
    try:
        command()
    except (SystemExit, click.exceptions.Exit) as end:
        code = end.exit_code if isinstance(end, click.exceptions.Exit) else end.code
        if code != ExitCode.PARTIAL:
            raise
