"""Callers of the dialects that see only their own runtimes, over real sockets."""

import itertools
from collections.abc import AsyncIterator

import pytest

from gateway.app import plugins
from gateway.domain.ids import bytes_from_b64url
from gateway.domain.ownership import suffix_of
from tests.component.access.dialect_owners import (
    ALL,
    APIS,
    BANK,
    BODIES,
    PAGED,
    PRINCIPALS,
    SHOP,
    Api,
    call,
    listed,
    made,
    told,
)
from tests.component.whole_gateway import Gateway, whole_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable", "bctrl", "bctrl_browsers", principals=PRINCIPALS) as started:
        yield started


@ALL
async def test_two_owners_use_one_name_and_see_it_without_a_suffix(gateway: Gateway, api: Api) -> None:
    mine, theirs = await made(gateway, SHOP, api, "agent"), await made(gateway, BANK, api, "agent")
    assert mine["id"] != theirs["id"]
    for key, own in ((SHOP, mine), (BANK, theirs)):
        assert own[api.name] == "agent"
        rows = await listed(gateway, key, api)
        assert [(row["id"], row[api.name]) for row in rows] == [(own["id"], "agent")]
        for by in api.by:
            read = await call(gateway, key, "GET", f"{api.runtimes}/{api.address(own, by)}")
            assert (read.status, read.json["id"], read.json[api.name]) == (200, own["id"], "agent")
    everything = await listed(gateway, None, api)
    names = {row["id"]: row[api.name] for row in everything}
    assert names == {mine["id"]: "agent" + suffix_of("shop"), theirs["id"]: "agent" + suffix_of("bank")}
    for row in everything:
        for by in api.by:
            assert (await call(gateway, None, "GET", f"{api.runtimes}/{api.address(row, by)}")).status == 200


def _routes_on_runtimes(api: Api) -> list[tuple[str, str]]:
    prefix, family = api.runtimes.split("/v1/")[0], api.runtimes.split("/v1/")[1].split("/")[0]
    found = []
    for plugin in plugins().values():
        for route in plugin.dialect.routes if plugin.dialect is not None else ():
            _, _, below = route.path.partition("/v1/")
            if f"/{plugin.dialect.prefix}{route.path.split('/v1/')[0]}" == prefix and below.split("/")[0] == family:
                for variable in ("{runtime}", "{alias}", "{id}"):
                    before, found_it, after = below.rpartition(variable)
                    if found_it and before.endswith(("runtimes/", "browsers/")):
                        found.append((route.method, after.replace("{binding}", "b")))
    return found


@ALL
async def test_runtime_of_another_owner_is_answered_as_an_absent_one(gateway: Gateway, api: Api) -> None:
    theirs, nobodys = await made(gateway, BANK, api, "secret"), await made(gateway, None, api, "unowned")
    routes = _routes_on_runtimes(api)
    assert len(routes) >= 2
    for (method, below), by in itertools.product(routes, api.by):
        foreign, unowned = api.address(theirs, by), api.address(nobodys, by)
        absent = foreign[:-4] + ("0000" if by == "id" else "none")
        answers, calls = [], []
        for address in (foreign, unowned, absent):
            before = gateway.upstreams[api.upstream].received()
            path = f"{api.runtimes}/{address}{below}"
            answers.append(told(await call(gateway, SHOP, method, path, BODIES.get((method, below)))))
            calls.append(gateway.upstreams[api.upstream].received() - before)
        assert answers[0][0] == 404, (method, below, answers[0])
        assert answers[0] == answers[1] == answers[2], (method, below, by)
        assert calls[0] == calls[1] == calls[2], (method, below, by)
    assert await listed(gateway, SHOP, api) == []
    (still,) = await listed(gateway, BANK, api)
    assert (still["id"], still[api.name]) == (theirs["id"], "secret")
    assert still["status"] in {theirs["status"], "running", "active"}


@ALL
async def test_name_at_the_provider_of_an_own_runtime_is_no_name_of_the_caller(gateway: Gateway, api: Api) -> None:
    await made(gateway, SHOP, api, "agent")
    if "name" in api.by:
        path = f"{api.runtimes}/agent{suffix_of('shop')}"
        assert (await call(gateway, SHOP, "GET", path)).status == 404


@PAGED
async def test_pages_are_filled_although_most_rows_are_of_others(gateway: Gateway, api: Api) -> None:
    mine = [(await made(gateway, SHOP, api, f"mine-{number}"))["id"] for number in range(2)]
    upstream = gateway.upstreams[api.upstream]
    for _ in range(25):
        await gateway.create(upstream)
    mine.append((await made(gateway, SHOP, api, "mine-last"))["id"])
    for query in ("", "?limit=1", "?limit=2"):
        assert sorted(row["id"] for row in await listed(gateway, SHOP, api, query)) == sorted(mine)
    assert await listed(gateway, BANK, api, "?limit=1") == []


@PAGED
async def test_cursor_of_an_owner_is_sealed_and_of_no_use_to_others(gateway: Gateway, api: Api) -> None:
    for key in (SHOP, BANK):
        for number in range(2):
            await made(gateway, key, api, f"one-{number}")
    pages = {}
    for key in (SHOP, BANK, None):
        page = (await call(gateway, key, "GET", f"{api.runtimes}?limit=1")).json
        assert set(page) <= {api.rows, api.cursor, "hasMore"}
        pages[key] = page[api.cursor]
    again = await call(gateway, SHOP, "GET", f"{api.runtimes}?limit=1&cursor={pages[SHOP]}")
    assert (again.status, len(again.json[api.rows])) == (200, 1)
    plain = bytes_from_b64url(pages[None].removeprefix("rgw1."))
    assert plain  # the cursor of a caller that sees everything is readable
    for cursor in (pages[BANK], pages[None], "made-up", pages[SHOP][:-4] + "AAAA"):
        refused = await call(gateway, SHOP, "GET", f"{api.runtimes}?limit=1&cursor={cursor}")
        assert refused.status == 400, refused.text
    assert (await call(gateway, None, "GET", f"{api.runtimes}?limit=1&cursor={pages[SHOP]}")).status != 200


async def test_cursor_of_the_unified_list_is_sealed_for_its_owner(gateway: Gateway) -> None:
    api, cursors = APIS["durable"], {}
    for key in (SHOP, BANK):
        for number in range(2):
            await made(gateway, key, api, f"one-{number}")
    for key in (SHOP, BANK, None):
        page = (await call(gateway, key, "GET", "/v1/runtimes?provider=durable-demo&limit=1")).json
        cursors[key] = page["next_cursor"]
        again = await call(gateway, key, "GET", f"/v1/runtimes?provider=durable-demo&limit=1&cursor={cursors[key]}")
        assert (again.status, len(again.json["items"])) == (200, 1)
    assert b"durable-demo" in bytes_from_b64url(cursors[None])
    assert b"durable-demo" not in bytes_from_b64url(cursors[SHOP])
    for key, cursor in ((SHOP, cursors[BANK]), (SHOP, cursors[None]), (None, cursors[SHOP])):
        refused = await call(gateway, key, "GET", f"/v1/runtimes?provider=durable-demo&limit=1&cursor={cursor}")
        assert (refused.status, refused.json["errors"][0]["parameter"]) == (400, "cursor")


async def test_filters_by_name_take_the_name_of_the_caller(gateway: Gateway) -> None:
    mine, _ = [await made(gateway, key, APIS["browsers"], "agent") for key in (SHOP, BANK)]
    await made(gateway, SHOP, APIS["browsers"], "other")
    assert [row["id"] for row in await listed(gateway, SHOP, APIS["browsers"], "?name=agent")] == [mine["id"]]
    assert [row["id"] for row in await listed(gateway, SHOP, APIS["flat"], "?q=agent")] == [mine["id"]]


@pytest.mark.parametrize("api", [APIS["browsers"], APIS["flat"]], ids=["browsers", "flat"])
async def test_renamed_runtime_stays_its_owners(gateway: Gateway, api: Api) -> None:
    mine = await made(gateway, SHOP, api, "agent")
    path = f"{api.runtimes}/{mine['id']}"
    for body in ({"name": "renamed"}, {"name": "renamed", "metadata": {"a": 1}}):
        renamed = await call(gateway, SHOP, "PATCH", path, body)
        assert (renamed.status, renamed.json["name"]) == (200, "renamed")
    assert [row["name"] for row in await listed(gateway, None, api)] == ["renamed" + suffix_of("shop")]
    for key, name in itertools.product((SHOP, None), ("x" + suffix_of("bank"), "x" + suffix_of("shop"))):
        refused = await gateway.call(
            "PATCH", path, {"name": name}, **({} if key is None else {"Authorization": f"Bearer {key}"})
        )
        assert refused.status == 400
        assert "request.invalid" in refused.text
    assert (await call(gateway, SHOP, "PATCH", path, {"name": "a" * 84})).status == 400


@ALL
async def test_create_of_a_name_in_the_form_of_an_owned_one_is_refused_in_the_providers_form(
    gateway: Gateway, api: Api
) -> None:
    for key in (SHOP, None):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        body = {api.name: "agent" + suffix_of("bank"), **api.create}
        refused = await gateway.call("POST", api.runtimes, body, **headers)
        assert refused.status == (422 if api.upstream == "durable" else 400), refused.text
        faults = refused.json.get("errors") or (refused.json.get("details") or refused.json["error"]["details"])
        assert api.name in str(faults)
    long = await call(gateway, SHOP, "POST", api.runtimes, {api.name: "a" * 84, **api.create})
    assert long.status in {400, 422}
    assert await listed(gateway, None, api) == []


@ALL
async def test_repeated_create_of_an_owner_is_its_own_runtime(gateway: Gateway, api: Api) -> None:
    mine = await made(gateway, SHOP, api, "agent")
    again = await call(gateway, SHOP, "POST", api.runtimes, {api.name: "agent", **api.create})
    if again.status < 300:
        assert (again.json["id"], again.json[api.name]) == (mine["id"], "agent")
    else:  # the browser API itself refuses a name that is taken
        assert (again.status, api.upstream) == (409, "bctrl_browsers")
