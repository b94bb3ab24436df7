"""Lists that the API returns in pages."""

from typing import TYPE_CHECKING, Any, Final

from gateway.cli.failures import Failure
from gateway.cli.output import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.cli.client import Client

_PAGE: Final = 100
_MOST_WITHOUT_NEW: Final = 1000
"""The number of consecutive pages without a new item that end a list with an error. The gateway itself ends the part
of a provider that repeats its pages earlier, and reports it as incomplete."""


async def pages(
    client: "Client",
    *parts: str,
    query: "Sequence[tuple[str, str]]" = (),
    limit: int | None = None,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Return up to ``limit`` items of all pages as one document, each once. Raises :class:`Failure` for a list without
    end."""
    items: dict[str, Any] = {}
    incomplete: dict[str, Any] = {}
    warnings: list[Any] = []
    sent: set[str | None] = set()
    without_new = 0
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(items))
        following = [("cursor", cursor)] if cursor else []
        page = await client.call("GET", *parts, query=[*query, ("limit", str(size)), *following])
        known = len(items)
        for item in page["items"]:
            items.setdefault(item.get("id") or item.get("runtime_id") or str(len(items)), item)
        incomplete |= {missing["provider"]: missing for missing in page.get("incomplete", ())}
        warnings += page.get("warnings", ())
        cursor = page.get("next_cursor")
        if cursor in sent:
            raise Failure("cursor_repeated", "the gateway returned a cursor that it had returned before")
        sent.add(cursor)
        without_new = 0 if len(items) > known else without_new + 1
        if cursor and without_new >= _MOST_WITHOUT_NEW:
            detail = f"the gateway returned {without_new} pages in a row without a new item, and a further cursor"
            raise Failure("list_endless", detail)
        if not cursor or (limit is not None and len(items) >= limit):
            return {
                **page,
                "items": list(items.values())[:limit],
                "next_cursor": cursor,
                **({"incomplete": list(incomplete.values())} if "incomplete" in page else {}),
                **({"warnings": warnings} if warnings else {}),
            }


def note_missing(document: "Mapping[str, Any]") -> bool:
    """Note what a list of runtimes leaves out, and return whether it may lack runtimes of a provider that failed."""
    for warning in document.get("warnings", ()):
        note(f"warning: {warning.get('detail')}")
    for missing in document["incomplete"]:
        problem = missing["problem"]
        note(f"incomplete: {missing['provider']}: {problem.get('code')}: {problem.get('detail')}")
    return bool(document["incomplete"])
