"""The options that several commands share."""

import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from gateway.cli import contexts
from gateway.cli.completing import MOVES, RUNTIMES

if TYPE_CHECKING:
    from gateway.cli.client import Client

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]
T = TypeVar("T")

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"

_KEY: Final = re.compile(r"[\x21-\x7e]+\Z")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+\Z")
_TAG: Final = re.compile(r"[\x21\x23-\x7e]+\Z")


@dataclass(frozen=True, slots=True)
class Connection:
    """The gateway to use, and the key to use it with. Keys do not appear in the repr."""

    server: str
    api_key: str | None
    given_key: str | None = None
    """The key of an option or a variable, not of a context."""

    def __repr__(self) -> str:
        return f"Connection({self.server})"

    def run(self, work: "Callable[[Client], Awaitable[T]]", *, silent: bool = False) -> T:
        """Do ``work`` with a client. A terminal shows that it takes time, unless the work is ``silent`` or shows it."""
        import asyncio

        from gateway.cli.client import Client
        from gateway.cli.progress import progress

        async def running() -> T:
            async with Client(self.server, self.api_key) as client:
                return await work(client)

        with nullcontext() if silent else progress(f"waiting for {self.server}"):
            return asyncio.run(running())

    def call(self, method: str, *parts: str, **options: Any) -> dict[str, Any]:
        """Send one request. The arguments are those of ``Client.call``, with names where ids are in the path."""
        from gateway.cli.references import call

        return self.run(lambda client: call(client, method, *parts, **options))

    def runtime_id(self, reference: str | None) -> str | None:
        """Return the id of a runtime; one that a name is looked up for, an id unchanged."""
        from gateway.cli.references import id_of

        return None if reference is None else self.run(lambda client: id_of(client, reference))


def examples(*arguments: str) -> Decorator:
    """Return a decorator that adds command lines, written without ``runtime-gateway``, to the help."""

    def with_examples(command: Command) -> Command:
        if not arguments:
            return command
        lines = ["\b", "Example:" if len(arguments) == 1 else "Examples:"]
        lines += [f"  runtime-gateway {line}" for line in arguments]
        command.__doc__ = f"{inspect.getdoc(command)}\n\n" + "\n".join(lines)
        return command

    return with_examples


def connection_options(*lines: str) -> Decorator:
    """Return a decorator that adds ``--server``, ``--api-key`` and ``--context``, which the command receives as
    ``connection``, and :func:`examples`."""

    def connect(command: Command) -> Command:
        @functools.wraps(command)
        def connected(*args: Any, **kwargs: Any) -> Any:
            kwargs = {name: value for name, value in kwargs.items() if name not in _CONNECTION}
            return command(*args, connection=connection_of(click.get_current_context()), **kwargs)

        for option in _CONNECTION.values():
            connected = option(connected)
        return examples(*lines)(connected)

    return connect


def connection_of(ctx: click.Context) -> Connection:
    """Return the gateway and the key: those of options, else of a named context, of the variables, of the current one.

    The key of a context is used only for the server of that context.
    """
    name, server, given = (ctx.params.get(each) for each in ("context", "server", "api_key"))
    if name is not None:
        typed = ParameterSource.COMMANDLINE
        server = server if ctx.get_parameter_source("server") is typed else None
        given = given if ctx.get_parameter_source("api_key") is typed else None
    stored = contexts.kept(name) if name is not None or server is None or given is None else {}
    server = server or stored.get("server") or DEFAULT_SERVER
    key = given or (stored.get("api_key") if server == stored.get("server") else None)
    return Connection(server, key, given)


def output_option(*choices: str) -> Decorator:
    """Return a decorator that adds ``-o``, and ``--query`` where a document can be printed. The first choice is the
    default."""

    def with_output(command: Command) -> Command:
        if "json" in choices:
            command = click.option(
                "--query",
                metavar="JMESPATH",
                is_eager=True,
                expose_value=False,
                callback=_query,
                help="Print this part of what -o json prints; without -o, values as text, one per line.",
            )(command)
        return click.option(
            "-o",
            "--output",
            type=click.Choice(choices),
            default=choices[0],
            show_default=True,
            callback=_output,
            help="The format of the result.",
        )(command)

    return with_output


any_output = output_option("table", "wide", "json", "yaml", "name")


def api_options(*lines: str) -> Decorator:
    """Return a decorator for a command that prints what the API returns: :func:`connection_options`, and ``-o``."""
    return lambda command: any_output(connection_options(*lines)(command))


def read_options(*lines: str) -> Decorator:
    """Return a decorator for a command that only reads: :func:`api_options`, and ``--watch``."""

    def readable(command: Command) -> Command:
        @click.option("--watch", "-w", is_flag=True, help="Print what is new or changes, until Ctrl-C.")
        @functools.wraps(command)
        def reading(*args: Any, watch: bool, **kwargs: Any) -> Any:
            if not watch:
                return command(*args, **kwargs)
            from gateway.cli.watching import repeat

            return repeat(functools.partial(command, *args, **kwargs))

        return api_options(*lines)(reading)

    return readable


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


def _query(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Compile the expression into the context, where the output finds it."""
    if value is None:
        return
    import jmespath

    from gateway.cli.output import QUERY

    try:
        ctx.meta[QUERY] = jmespath.compile(value)
    except jmespath.exceptions.JMESPathError as exc:
        raise click.BadParameter(" ".join(str(exc).split())) from exc


def _output(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from gateway.cli.output import QUERY, VALUES

    if QUERY not in ctx.meta or value in {"json", "yaml"}:
        return value
    if ctx.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT:
        return VALUES
    raise click.BadParameter("with --query only json and yaml are possible")


def _labels(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    pairs(values, "--label")
    return values


def _server(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")  # otherwise the name resolution raises an error that is not aiohttp's
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise click.BadParameter("expected a base URL such as http://127.0.0.1:8080")
    return value.rstrip("/").removesuffix("/v1").rstrip("/")


def _api_key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value and not _KEY.match(value):
        raise click.BadParameter("a key must be printable ASCII without spaces")
    return value or None


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


def query_of(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the given options as query parameters, repeated ones as several."""
    return [
        (name, item)
        for name, value in filters.items()
        for item in (value if isinstance(value, tuple) else [value])
        if item is not None
    ]


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Return repeated ``KEY=VALUE`` options as a mapping. Raises a usage error for a value without ``=`` or a key."""
    found = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", param_hint=option)
        found[key] = text
    return found


_CONNECTION: Final = {
    "server": click.option(
        "--server",
        envvar="RTGW_SERVER",
        show_default=f"that of the context, or {DEFAULT_SERVER}",
        show_envvar=True,
        callback=_server,
        help="Base URL of the gateway.",
    ),
    "api_key": click.option(
        "--api-key",
        envvar="RTGW_API_KEY",
        show_envvar=True,
        callback=_api_key,
        help="Your key for the gateway. Prefer the variable or login: the process list shows options.",
    ),
    "context": click.option(
        "--context",
        envvar="RTGW_CONTEXT",
        show_envvar=True,
        shell_complete=contexts.complete,
        help="The gateway and the key that login has kept under this name.",
    ),
}
label_option = click.option(
    "-l", "--label", multiple=True, metavar="KEY=VALUE", callback=_labels, help="Only with this label. Repeatable."
)
