"""The gateway that a command uses, and the key: options, variables and contexts."""

import re
from collections.abc import Awaitable, Callable
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
