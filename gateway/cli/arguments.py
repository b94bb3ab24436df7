"""What several commands are given (runtimes, how long to wait, preconditions), and what a shell offers after Tab."""

import functools
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.options import Command, Decorator, pairs

if TYPE_CHECKING:
    from gateway.cli.client import Client

_PATIENCE: Final = 3.0  # seconds; a shell waits for the answer


def _asked(resource: str, *members: str) -> dict[str, Any]:
    """Return the keyword argument of a parameter that is completed with these members of the items of a list.

    It offers nothing where the gateway cannot be asked: an error would be printed into the command line.
    """

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        import asyncio

        from gateway.cli.options import connection_of

        async def work(client: "Client") -> dict[str, Any]:
            query = [] if resource in {"providers", "keys"} else [("limit", "100")]
            async with asyncio.timeout(_PATIENCE):
                return await client.call("GET", resource, query=query)

        try:
            items = connection_of(ctx).run(work, silent=True)["items"]
        except (click.ClickException, TimeoutError):
            return []
        values = [str(item[member]) for member in members for item in items if item.get(member)]
        first = len(items) if not incomplete else len(values)  # ids only for those who begin to type one
        return [value for value in values[:first] if value.startswith(incomplete) and value.isprintable()]

    return {"shell_complete": complete}


def _fixed(enumeration: str) -> dict[str, Any]:
    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        from gateway.domain import values

        return [each for each in getattr(values, enumeration) if each.startswith(incomplete)]

    return {"shell_complete": complete}


RUNTIMES: Final = _asked("runtimes", "name", "id")
PROVIDERS: Final = _asked("providers", "name")
KEYS: Final = _asked("keys", "name", "id")
INTENTS: Final = _asked("intents", "name", "id")
MOVES: Final = _asked("moves", "id")
KINDS: Final = _fixed("Kind")
STATES: Final = _fixed("State")


_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+\Z")
_TAG: Final = re.compile(r"[\x21\x23-\x7e]+\Z")


def _labels(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    pairs(values, "--label")
    return values


label_option = click.option(
    "-l", "--label", multiple=True, metavar="KEY=VALUE", callback=_labels, help="Only with this label. Repeatable."
)


def runtime_argument(command: Command) -> Command:
    """Add the argument ``runtime_id``, an id or a name."""
    return click.argument("runtime_id", metavar="RUNTIME", **RUNTIMES)(command)


def runtime_arguments(command: Command) -> Command:
    """Add arguments and ``-l``, which select runtimes; the command receives ``chosen``."""

    @click.argument("references", metavar="[RUNTIME]...", nargs=-1, **RUNTIMES)
    @label_option
    @functools.wraps(command)
    def choosing(*args: Any, references: tuple[str, ...], label: tuple[str, ...], **kwargs: Any) -> Any:
        from gateway.cli.references import Chosen

        if bool(references) == bool(label):
            raise click.UsageError("Give ids or names of runtimes, or -l KEY=VALUE.")
        return command(*args, chosen=Chosen(tuple(dict.fromkeys(references)), label), **kwargs)

    return choosing


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def confirm(question: str) -> None:
    """Ask on a terminal. Ends the command if the answer is no."""
    if sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def move_argument(command: Command) -> Command:
    return click.argument("move_id", metavar="MOVE", **MOVES)(command)


def wait_options(command: Command) -> Command:
    """Add ``--wait`` and ``--timeout``; the command receives ``patience``, the seconds to wait, or None."""

    @click.option("--wait", is_flag=True, help="Wait until the runtime has reached the target state.")
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=300,
        show_default=True,
        metavar="SECONDS",
        help="Maximum time that --wait waits.",
    )
    @functools.wraps(command)
    def waiting(*args: Any, wait: bool, timeout: float, **kwargs: Any) -> Any:
        return command(*args, patience=timeout if wait else None, **kwargs)

    return waiting


def idempotency_options(command: Command) -> Command:
    command = click.option(
        "--retry-for",
        type=click.FloatRange(min=0),
        default=360,  # longer than creates.wait_out, after which a create that was not found can be sent again
        show_default=True,
        metavar="SECONDS",
        help="How long the create is repeated while its outcome is unknown.",
    )(command)
    return click.option(
        "--idempotency-key",
        metavar="KEY",
        callback=_idempotency_key,
        help="Creates with the same key make one runtime only. Default: a new key for each command.",
    )(command)


def if_match_option(metavar: str, help_text: str) -> Decorator:
    """Return a decorator that adds ``--if-match``; the command receives ``if_match``, the headers to send."""
    return click.option("--if-match", metavar=metavar, callback=_if_match, help=help_text)


def _idempotency_key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and (value.strip() != value or not _PRINTABLE.match(value)):
        raise click.BadParameter("a key must be 1 to 255 printable ASCII characters, without spaces at its ends")
    return value


def _if_match(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dict[str, str]:
    if value is None:
        return {}
    tag = value.removeprefix('"').removesuffix('"')
    if not _TAG.match(tag):
        raise click.BadParameter("expected one tag of printable ASCII characters, without spaces and quotes")
    return {"If-Match": f'"{tag}"'}
