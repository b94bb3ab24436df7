"""Names where ids are accepted, and commands on several runtimes."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from gateway.cli.failures import ExitCode, Failure, Refused
from gateway.cli.output import note, note_missing, pages

if TYPE_CHECKING:
    from gateway.cli.client import Client
    from gateway.cli.options import Connection

T = TypeVar("T")
Item = Mapping[str, Any]

_IDS: Final = {
    "runtimes": re.compile(r"[a-z0-9-]{1,40}\.[A-Za-z0-9_~-]{1,4096}\Z"),
    "keys": re.compile(r"key_[0-9a-f]+\Z"),
    "intents": re.compile(r"in_[0-9a-zA-Z_-]+\Z"),
    "capabilities": re.compile(r"[0-9a-fA-F-]{36}\Z"),
}
"""The form of an id, by the last segment of the path of its list."""

_NO_SUCH_ID: Final = frozenset({"not_found", "provider_not_configured"})
ENDED: Final = frozenset({"stopped", "failed"})  # these do not hold their name any longer
_AT_ONCE: Final = 8
_MOST: Final = 1000  # intents that are searched for a name, the newest first


async def on(
    client: "Client", reference: str, work: Callable[[str], Awaitable[T]], *parts: str, reads: bool = False
) -> T:
    """Call ``work`` with the id that a reference is or names, in the list at the path ``parts``, and return the result.

    A reference in the form of an id is used as one first, because names can have that form too. Raises
    :class:`Failure` with the exit code 2 and the candidates for a name that several items have; and for a name that
    cannot be looked up at every provider, unless ``work`` only ``reads``.
    """
    refused: Failure | None = None
    if _IDS[parts[-1]].match(reference):
        try:
            return await work(reference)
        except Refused as failure:
            if failure.code not in _NO_SUCH_ID:
                raise
            refused = failure
    try:
        found = await named(client, reference, parts, reads=reads)
    except Failure as failure:
        raise refused or failure from failure
    if not found:
        kind = parts[-1].removesuffix("s") if parts[-1] != "capabilities" else "capability"
        raise refused or Failure("not_found", f"there is no {kind} with the id or name {reference}")
    if len(found) > 1:
        lines = tuple(
            "  ".join(str(item[name]) for name in ("id", "state", "provider") if name in item) for item in found
        )
        detail = f"{len(found)} {parts[-1]} have the name {reference}: use the id of one of them"
        raise Failure("ambiguous_name", detail, exit_code=ExitCode.USAGE, lines=lines)
    return await work(found[0]["id"])


async def id_of(client: "Client", reference: str) -> str:
    """Return the id that a reference is, without a request, or names."""

    async def itself(runtime_id: str) -> str:
        return runtime_id

    return await on(client, reference, itself, "runtimes", reads=True)


async def named(
    client: "Client",
    name: str,
    parts: tuple[str, ...] = ("runtimes",),
    *,
    query: Sequence[tuple[str, str]] = (),
    reads: bool = False,
) -> list[Item]:
    """Return the items with this name; of runtimes, those that have ended only if there are no others."""
    if parts == ("intents",):
        return [item for item in (await pages(client, *parts, limit=_MOST))["items"] if item["name"] == name]
    if parts != ("runtimes",):
        items = (await client.call("GET", *parts))["items"]
        return [item for item in items if name in {item.get("name"), item.get("id")}]
    document = await pages(client, *parts, query=[("name", name), *query])
    found: list[Item] = document["items"]
    # A provider without a fixed scope cannot be searched: its runtimes are used by id.
    missing = [each["provider"] for each in document["incomplete"] if each["problem"].get("code") != "invalid_request"]
    if missing and not (reads and found):
        detail = f"{', '.join(missing)} cannot be searched for the name {name} now: use the id of the runtime"
        raise Failure("name_unknown", detail, exit_code=ExitCode.PARTIAL)
    return [item for item in found if item.get("state") not in ENDED] or found


async def call(client: "Client", method: str, *parts: str, **options: Any) -> dict[str, Any]:
    """Send one request as ``Client.call``, with names where ids are in the path."""
    if len(parts) < 2 or parts[0] not in _IDS:
        return await client.call(method, *parts, **options)
    reads = method == "GET"

    async def below(item_id: str) -> dict[str, Any]:
        before = (parts[0], item_id, *parts[2:3])
        if before[-1] != "capabilities" or parts[3:] in {(), ("resolved",)}:
            return await client.call(method, *before, *parts[3:], **options)
        return await on(
            client, parts[3], lambda last: client.call(method, *before, last, **options), *before, reads=reads
        )

    return await on(client, parts[1], below, parts[0], reads=reads)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runtimes of a command: ids and names, or labels."""

    references: tuple[str, ...]
    labels: tuple[str, ...]

    def each(
        self,
        connection: "Connection",
        work: Callable[["Client", str], Awaitable[Any]],
        show: Callable[[Any], None],
        *,
        ask: str | None = None,
        reads: bool = False,
    ) -> None:
        """Do ``work`` on every runtime, and ``show`` the result of the only reference, or a list of the results.

        ``ask`` is what happens to the runtimes, for a command that asks before. The failure of one runtime does not
        prevent the work on others; the command then ends with its exit code, the highest of several.
        """
        chosen, codes = [(each, each) for each in self.references], list[int]()
        if self.labels:
            query = [("label", label) for label in self.labels]
            document = connection.run(lambda client: pages(client, "runtimes", query=query))
            chosen = [(item["id"], item.get("name") or item["id"]) for item in document["items"]]
            codes += [ExitCode.PARTIAL] if note_missing(document) else []
        if ask and chosen:
            from gateway.cli.arguments import confirm

            confirm(f"{ask} {', '.join(name for _, name in chosen)}?")

        async def all_of_them(client: "Client") -> list[Any]:
            import asyncio

            places = asyncio.Semaphore(_AT_ONCE)

            async def one(reference: str, name: str) -> Any:
                async with places:
                    try:
                        return await on(client, reference, lambda found: work(client, found), "runtimes", reads=reads)
                    except Failure as failure:
                        if len(chosen) == 1:
                            raise
                        failure.subject = name
                        return failure

            return await asyncio.gather(*(one(*each) for each in chosen))

        results = connection.run(all_of_them)
        done = [result for result in results if not isinstance(result, Failure)]
        if not results:
            note("no runtime has these labels")
        if len(self.references) == 1:
            show(done[0])
        elif done or not results:
            show({"object": "list", "items": done})
        for failure in results:
            if isinstance(failure, Failure):
                failure.show()
                codes.append(failure.exit_code)
        if codes:
            click.get_current_context().exit(max(codes))
