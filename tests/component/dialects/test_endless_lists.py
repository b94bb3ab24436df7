"""Lists of providers that would never end, repeat rows or exceed the limit, as clients of each dialect read them.

See docs/promises.md#p10.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from aiohttp import web

from gateway.domain.ownership import suffix_of
from gateway.testing.processes import running
from tests.component.whole_gateway import Gateway, Response, whole_gateway
from tests.unit.adapters.bctrl import fakes as bctrl
from tests.unit.adapters.bctrl_browsers import fakes as browsers
from tests.unit.adapters.durable import fakes as durable

OWNERS_KEY = "key-of-an-owner-12345"
OWNER = {"owner": {"keys": [OWNERS_KEY], "own_only": True}}
OWNED = 9999
"""The number of the row that belongs to the owner."""

MOST = 300
"""Requests after which a list counts as endless."""


class Surface(NamedTuple):
    """A list of a dialect: its provider API, path, and the members of a page."""

    api: str
    path: str
    rows: str
    cursor: str


DURABLE = Surface("durable", "/durable/api/v1/org/acme/ws/research/runtimes", "items", "next_cursor")
CURRENT = Surface("bctrl_browsers", "/bctrl/v1/browsers", "data", "nextCursor")
FLAT = Surface("bctrl_browsers", "/bctrl/v1/runtimes", "data", "nextCursor")
SURFACES = pytest.mark.parametrize("surface", [DURABLE, CURRENT, FLAT], ids=["durable", "current", "flat"])

Script = Callable[[int, str | None], tuple[Sequence[int], str | None]]
"""The numbers of the rows on a page, and its cursor, by the number of the request and the cursor that it has."""


def id_of(surface: Surface, number: int) -> str:
    return str(UUID(int=number)) if surface is DURABLE else f"br_{number}"


def name_of(number: int) -> str:
    return f"n{number}" + (suffix_of("owner") if number == OWNED else "")


def page(surface: Surface, numbers: Sequence[int], cursor: str | None) -> dict[str, Any]:
    """A page in the provider's JSON."""
    if surface is DURABLE:
        return {"items": [durable.row(id=id_of(surface, n), key=name_of(n)) for n in numbers], "next_cursor": cursor}
    rows = [browsers.row(id=id_of(surface, n), name=name_of(n), spaceId=None) for n in numbers]
    return {"data": rows, "hasMore": cursor is not None, "nextCursor": cursor}


@asynccontextmanager
async def listing(surface: Surface, script: Script, **options: Any) -> AsyncIterator[tuple[Gateway, list[str | None]]]:
    """A gateway in front of a provider that follows the script, and the cursors that the provider received. ``options``
    are additional settings of the provider."""
    received: list[str | None] = []

    async def respond(request: web.Request) -> web.Response:
        cursor = request.query.get("cursor")
        received.append(cursor)
        return web.json_response(page(surface, *script(len(received) - 1, cursor)))

    provider = web.Application()
    provider.router.add_get("/{path:.*}", respond)
    async with (
        running(provider) as url,
        whole_gateway(surface.api, principals=OWNER, **{surface.api: {"base_url": url, **options}}) as gateway,
    ):
        yield gateway, received


async def read_all(gateway: Gateway, surface: Surface, query: str = "") -> tuple[list[list[str]], Response]:
    """The ids on the pages that a client reads, and the last response."""
    pages: list[list[str]] = []
    cursor = None
    for _ in range(MOST):
        parameters = "&".join(filter(None, (query, f"cursor={cursor}" if cursor else "")))
        response = await gateway.call("GET", f"{surface.path}?{parameters}")
        if response.status != 200:
            return pages, response
        pages.append([row["id"] for row in response.json[surface.rows]])
        cursor = response.json[surface.cursor]
        if cursor is None:
            return pages, response
    raise AssertionError("the list does not end")


@SURFACES
@pytest.mark.parametrize("length", [1, 2, 3, 5, 9, 20])
async def test_cursors_that_cycle_over_several_requests_end_the_list(length: int, surface: Surface) -> None:
    """Each page has new rows, so that only the cursors show the cycle."""
    async with listing(surface, lambda n, _: ([n], f"cursor-{n % length}")) as (gateway, received):
        pages, last = await read_all(gateway, surface)
    assert last.status == 502
    assert "repeats a cursor" in last.text
    assert len(received) <= 4 * length + 2
    assert [len(rows) for rows in pages] == [1] * len(pages)


@SURFACES
@pytest.mark.parametrize("length", [1, 2, 3, 5, 9])
async def test_pages_that_repeat_under_new_cursors_end_the_list(length: int, surface: Surface) -> None:
    def script(n: int, _: str | None) -> tuple[Sequence[int], str]:
        return [2 * (n % length), 2 * (n % length) + 1], f"cursor-{n}"

    async with listing(surface, script) as (gateway, received):
        _, last = await read_all(gateway, surface)
    assert last.status == 502
    assert "rows that it listed before" in last.text
    assert len(received) <= 4 * length + 2


@SURFACES
async def test_empty_pages_under_new_cursors_end_the_list(surface: Surface) -> None:
    async with listing(surface, lambda n, _: ([], f"cursor-{n}")) as (gateway, received):
        pages, last = await read_all(gateway, surface)
    assert (pages, last.status) == ([], 502)
    assert len(received) <= 50


@SURFACES
async def test_cursor_that_the_client_sent_itself_ends_the_list_when_it_repeats(surface: Surface) -> None:
    async with listing(surface, lambda n, _: ([n], "the-providers-own")) as (gateway, received):
        response = await gateway.call("GET", f"{surface.path}?cursor=the-providers-own")
        assert (response.status, received) == (502, ["the-providers-own"])


@SURFACES
async def test_rows_beyond_the_limit_come_on_the_next_pages(surface: Surface) -> None:
    def script(_: int, cursor: str | None) -> tuple[Sequence[int], str | None]:
        return (range(7), "second") if cursor is None else (range(7, 12), None)

    async with listing(surface, script) as (gateway, received):
        pages, _ = await read_all(gateway, surface, "limit=3")
    assert pages == [[id_of(surface, n) for n in some] for some in ([0, 1, 2], [3, 4, 5], [6], [7, 8, 9], [10, 11])]
    assert received == [None, None, None, "second", "second"]


@SURFACES
async def test_page_without_a_limit_has_at_most_the_largest_limit_of_the_api(surface: Surface) -> None:
    async with listing(surface, lambda _n, _c: (range(250), None)) as (gateway, _):
        pages, _last = await read_all(gateway, surface)
    assert [len(rows) for rows in pages] == [100, 100, 50]
    assert [row for rows in pages for row in rows] == [id_of(surface, n) for n in range(250)]


@SURFACES
async def test_rows_repeated_within_a_page_come_once(surface: Surface) -> None:
    def script(_: int, cursor: str | None) -> tuple[Sequence[int], str | None]:
        return ([1, 2, 1, 3, 2, 1], "second") if cursor is None else ([4, 4, 4], None)

    async with listing(surface, script) as (gateway, _):
        pages, _last = await read_all(gateway, surface, "limit=3")
    assert pages == [[id_of(surface, n) for n in some] for some in ([1, 2, 3], [4])]


async def test_list_without_pages_has_each_row_once() -> None:
    rows = [bctrl.row(), bctrl.row(id=bctrl.OTHER, alias="other"), bctrl.row(), bctrl.row()]
    async with whole_gateway("bctrl") as gateway:
        upstream = gateway.upstreams["bctrl"]
        scope = (await gateway.call("GET", "/v1/providers")).json["items"][0]["scope"]
        for sent, expected in ((rows, rows[:2]), (rows[:2], rows[:2])):
            upstream.fault("list", fault="status", status=200, body={"runtimes": sent}, times=1)
            response = await gateway.call("GET", f"/bctrl/v1/workspaces/{scope}/runtimes")
            assert (response.status, response.json) == (200, {"runtimes": expected})


@SURFACES
async def test_changed_cursor_is_refused_and_not_sent(surface: Surface) -> None:
    async with listing(surface, lambda n, _: ([n], "second")) as (gateway, received):
        cursor = (await gateway.call("GET", surface.path)).json[surface.cursor]
        for changed in (cursor[:-1], cursor[:8] + "A" + cursor[8:], cursor + "AAAA", cursor[:5]):
            response = await gateway.call("GET", f"{surface.path}?cursor={changed}")
            assert response.status == 400, response.text
        assert received == [None]


@pytest.mark.parametrize("surface", [CURRENT, FLAT], ids=["current", "flat"])
async def test_last_page_has_no_cursor_that_a_client_could_follow(surface: Surface) -> None:
    async with whole_gateway("bctrl_browsers") as gateway:
        body = {**page(surface, [1], None), "nextCursor": "forever"}
        gateway.upstreams["bctrl_browsers"].fault("list", fault="status", status=200, body=body)
        pages, last = await read_all(gateway, surface)
    assert (pages, last.json["nextCursor"]) == ([["br_1"]], None)


async def test_page_whose_members_cannot_be_read_is_a_bad_response() -> None:
    async def respond(_request: web.Request) -> web.Response:
        return web.Response(body=b'{"items": [], "\xff": 1}', content_type="application/json")

    provider = web.Application()
    provider.router.add_get("/{path:.*}", respond)
    async with running(provider) as url, whole_gateway("durable", durable={"base_url": url}) as gateway:
        response = await gateway.call("GET", DURABLE.path)
        assert (response.status, response.json["type"]) == (502, "bad_gateway_error")


@SURFACES
async def test_list_without_an_own_runtime_ends_at_its_deadline(surface: Surface) -> None:
    """For a caller that sees only its own runtimes a page is filled until then: an empty one would end the list."""
    async with listing(surface, lambda n, _: ([n], f"cursor-{n}"), deadlines={"list": 1}) as (gateway, _):
        response = await gateway.call("GET", surface.path, Authorization=f"Bearer {OWNERS_KEY}")
    assert (response.status in {502, 503, 504}, surface.rows in response.json) == (True, False)
    assert "cursor-" not in response.text


@SURFACES
async def test_own_runtime_behind_many_pages_of_others_is_on_the_first_page(surface: Surface) -> None:
    def script(n: int, _: str | None) -> tuple[Sequence[int], str | None]:
        return ([OWNED], None) if n == 60 else ([n], f"cursor-{n}")

    async with listing(surface, script) as (gateway, received):
        response = await gateway.call("GET", f"{surface.path}?limit=1", Authorization=f"Bearer {OWNERS_KEY}")
    assert [row["id"] for row in response.json[surface.rows]] == [id_of(surface, OWNED)]
    assert (len(received), response.json[surface.cursor]) == (61, None)
