"""The values that a shell offers after Tab."""

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from gateway.cli.client import Client

_PATIENCE: Final = 3.0  # seconds; a shell waits for the answer


def _asked(resource: str, *members: str) -> dict[str, Any]:
    """Return the keyword argument of a parameter that is completed with these members of the items of a list.

    It offers nothing where the gateway cannot be asked: an error would be printed into the command line.
    """

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        import asyncio

        from gateway.cli.connecting import connection_of

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
