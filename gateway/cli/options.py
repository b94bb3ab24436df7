"""The options of commands that print what the API returns, and the gateway and the key that they use."""

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from gateway.cli import contexts

if TYPE_CHECKING:
    from gateway.cli.client import Client

T = TypeVar("T")

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"

_KEY: Final = re.compile(r"[\x21-\x7e]+\Z")


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


CONNECTION: Final = {
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
"""The options, by parameter."""


Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

_OMITTED: Final = frozenset({"api_key", "idempotency_key", "output"})


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
            kwargs = {name: value for name, value in kwargs.items() if name not in CONNECTION}
            return command(*args, connection=connection_of(click.get_current_context()), **kwargs)

        for option in CONNECTION.values():
            connected = option(connected)
        return examples(*lines)(connected)

    return connect


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


def query_of(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the given options as query parameters, repeated ones as several."""
    return [
        (name, item)
        for name, value in filters.items()
        for item in (value if isinstance(value, tuple) else [value])
        if item is not None
    ]


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def typed(context: click.Context) -> Iterator[str]:
    """Yield the options of the running command that were given, but for keys, formats and the values of ``--set``."""
    for option in context.command.params:
        name = str(option.name)
        if name in _OMITTED or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            yield max(option.opts if one is not False else option.secondary_opts, key=len)
            if name == "assignments":
                yield f"{str(one).partition('=')[0]}=..."
            elif not isinstance(one, bool):
                yield "-" if getattr(one, "name", "") == "<stdin>" else str(getattr(one, "name", one))


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Return repeated ``KEY=VALUE`` options as a mapping. Raises a usage error for a value without ``=`` or a key."""
    found = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", param_hint=option)
        found[key] = text
    return found
