"""Principals that see only their own runtimes, over real sockets."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from gateway.domain.ownership import suffix_of
from tests.component.whole_gateway import Gateway, Response, whole_gateway

SHOP: Final = "key-of-the-shop-12345"
BANK: Final = "key-of-the-bank-12345"
TEAM: Final = "key-of-a-teammate-123"

PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": [SHOP], "own_only": True, "own_group": "trade"},
    "mate": {"keys": [TEAM], "own_only": True, "own_group": "trade"},
    "bank": {"keys": [BANK], "own_only": True},
}
DURABLE: Final = {"kind": "durable", "provider": "durable-demo"}
KINDS: Final = ("durable", "bctrl", "bctrl_browsers")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway(*KINDS, principals=PRINCIPALS) as started:
        yield started


async def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None, **headers: str) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {key}", **headers)


async def made(gateway: Gateway, key: str, api: str, name: str, **fields: Any) -> Any:
    upstream = gateway.upstreams[api]
    body = {"kind": upstream.kind, "provider": upstream.name, "name": name, **fields}
    response = await call(gateway, key, "POST", "/v1/runtimes", body)
    assert response.status == 201, response.text
    return response.json


def _told(answer: Response) -> str:
    """The problem without the ids of its request."""
    return json.dumps({**answer.json, "instance": "", "request_id": ""}, sort_keys=True)


@pytest.mark.parametrize("api", KINDS)
async def test_two_owners_use_one_name_and_never_see_it_with_a_suffix(gateway: Gateway, api: str) -> None:
    mine = await made(gateway, SHOP, api, "agent")
    theirs = await made(gateway, BANK, api, "agent")
    assert mine["id"] != theirs["id"]
    assert (mine["name"], mine["owner"], theirs["owner"]) == ("agent", "trade", "bank")
    for key, own in ((SHOP, mine), (TEAM, mine), (BANK, theirs)):
        listed = (await call(gateway, key, "GET", "/v1/runtimes?name=agent")).json["items"]
        assert [(row["id"], row["name"], row["owner"]) for row in listed] == [(own["id"], "agent", own["owner"])]
        body = {"kind": mine["kind"], "provider": mine["provider"], "name": "agent"}
        again = await call(gateway, key, "POST", "/v1/runtimes", body)
        assert (again.status, again.json["id"], again.json["created"]) == (200, own["id"], False)
    everything = (await gateway.call("GET", "/v1/runtimes?name=agent")).json["items"]
    assert {row["id"] for row in everything} == {mine["id"], theirs["id"]}
    assert {row["owner"] for row in everything} == {"trade", "bank"}
    assert ".rgw-" not in str([mine, theirs, everything])


@pytest.mark.parametrize("api", KINDS)
async def test_runtime_of_another_owner_does_not_exist(gateway: Gateway, api: str) -> None:
    theirs = await made(gateway, BANK, api, "secret-agent")
    nobodys = await gateway.create(gateway.upstreams[api], name="of-nobody")
    absent = theirs["id"][:-1] + ("0" if theirs["id"][-1] != "0" else "1")
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("POST", "/start", {}),
        ("POST", "/pause", {}),
        ("POST", "/resume", {}),
        ("POST", "/stop", {"discard_state": True}),
        ("POST", "/reset", {}),
        ("POST", "/keepalive", {}),
        ("POST", "/connections", {}),
        ("GET", "/config", None),
        ("PUT", "/config", {"config": {}}),
        ("GET", "/capabilities", None),
        ("POST", "/capabilities", {"name": "x"}),
        ("PATCH", "/capabilities/b", {"enabled": True}),
        ("DELETE", "/capabilities/b", None),
        ("GET", "/capabilities/resolved", None),
        ("DELETE", "", None),
    ]
    for method, below, body in calls:
        paths = [f"/v1/runtimes/{id_}{below}" for id_ in (theirs["id"], nobodys["id"], absent)]
        answers = [await call(gateway, SHOP, method, path, body) for path in paths]
        assert [answer.status for answer in answers] == [answers[2].status] * 3, (method, below)
        assert len({_told(answer) for answer in answers}) == 1, (method, below)
    still = await call(gateway, BANK, "GET", f"/v1/runtimes/{theirs['id']}")
    assert (still.status, still.json["state"]) == (200, theirs["state"])
    assert (await call(gateway, SHOP, "GET", "/v1/runtimes")).json["items"] == []
    assert (await call(gateway, SHOP, "GET", f"/native/{theirs['provider']}/v1")).status == 403


async def test_own_runtime_can_be_used_in_every_way(gateway: Gateway) -> None:
    mine = await made(gateway, SHOP, "durable", "agent")
    path = f"/v1/runtimes/{mine['id']}"
    started = await call(gateway, TEAM, "POST", f"{path}/start", {})
    assert started.json["state"] in {"starting", "running"}
    etag = (await call(gateway, SHOP, "GET", path)).headers["ETag"]
    stopped = await call(gateway, SHOP, "POST", f"{path}/stop", {"discard_state": True}, **{"If-Match": etag})
    assert (stopped.status, stopped.json["name"], stopped.json["owner"]) == (200, "agent", "trade")
    assert (await call(gateway, SHOP, "GET", f"{path}/config")).status == 200


async def test_name_in_the_form_of_an_owned_one_is_refused(gateway: Gateway) -> None:
    for key in (SHOP, None):
        body = {**DURABLE, "name": "agent" + suffix_of("bank")}
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        refused = await gateway.call("POST", "/v1/runtimes", body, **headers)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/name")
    long = await call(gateway, SHOP, "POST", "/v1/runtimes", {**DURABLE, "name": "a" * 84})
    assert (long.status, long.json["errors"][0]["pointer"]) == (422, "#/name")
    assert (await call(gateway, SHOP, "POST", "/v1/runtimes", {**DURABLE, "name": "a" * 83})).status == 201


async def test_list_of_owned_runtimes_is_filled_although_most_rows_are_of_others(gateway: Gateway) -> None:
    durable = gateway.upstreams["durable"]
    mine = {(await made(gateway, SHOP, "durable", f"mine-{n}"))["id"] for n in range(3)}
    for _ in range(30):
        await gateway.create(durable)
    last = (await made(gateway, SHOP, "durable", "mine-last"))["id"]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await call(gateway, SHOP, "GET", f"/v1/runtimes?provider=durable-demo&limit=2{cursor}")).json
        assert page["items"] or page["next_cursor"] is None
        seen += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted({*mine, last})


async def test_owner_of_a_runtime_of_an_unlimited_caller_is_shown_where_the_store_knows_it(gateway: Gateway) -> None:
    created = await gateway.create(gateway.upstreams["durable"])
    assert created["owner"] == "demo"
    assert (await gateway.call("GET", f"/v1/runtimes/{created['id']}")).json["owner"] == "demo"


async def test_key_of_another_principal_of_the_group_is_another_key(gateway: Gateway) -> None:
    """Idempotency keys belong to the principal, names to the owner."""
    body = {**DURABLE, "name": "first"}
    first = await call(gateway, SHOP, "POST", "/v1/runtimes", body, **{"Idempotency-Key": "k"})
    other = await call(gateway, TEAM, "POST", "/v1/runtimes", {**body, "name": "second"}, **{"Idempotency-Key": "k"})
    assert (first.status, other.status) == (201, 201)
    again = await call(gateway, SHOP, "POST", "/v1/runtimes", body, **{"Idempotency-Key": "k"})
    assert (again.status, again.json["name"], again.headers["Idempotency-Replayed"]) == (201, "first", "true")


async def test_assigned_runtime_belongs_to_its_new_owner_alone(gateway: Gateway) -> None:
    theirs = await made(gateway, BANK, "durable", "agent")
    nobodys = await gateway.create(gateway.upstreams["durable"], name="of-nobody")
    for id_ in (theirs["id"], nobodys["id"]):
        path = f"/v1/runtimes/{id_}"
        assert (await call(gateway, BANK, "PUT", f"{path}/owner", {"owner": "trade"})).status == 403
        assigned = await gateway.call("PUT", f"{path}/owner", {"owner": "trade"})
        assert (assigned.status, assigned.json["owner"]) == (200, "trade")
        assert (await call(gateway, SHOP, "GET", path)).json["owner"] == "trade"
        assert (await call(gateway, BANK, "GET", path)).status == 404
    listed = (await call(gateway, SHOP, "GET", "/v1/runtimes?name=agent")).json["items"]
    assert [row["id"] for row in listed] == [theirs["id"]]
    taken = await call(gateway, BANK, "POST", "/v1/runtimes", {**DURABLE, "name": "agent"})
    assert (taken.status, taken.json["code"], taken.json.get("errors")) == (409, "already_exists", None)
    removed = await gateway.call("PUT", f"/v1/runtimes/{theirs['id']}/owner", {"owner": None})
    assert removed.json["owner"] == "bank"
    assert (await call(gateway, BANK, "GET", f"/v1/runtimes/{theirs['id']}")).status == 200
    assert (await gateway.call("PUT", f"/v1/runtimes/{theirs['id']}/owner", {})).status == 422


async def test_ids_with_the_name_of_a_runtime_that_was_assigned_to_another_are_absent(gateway: Gateway) -> None:
    """Without an assignment, the runtime of such an id was replaced by another one of its name."""
    mine = await made(gateway, SHOP, "bctrl", "agent")
    absent = mine["id"][:-1] + ("0" if mine["id"][-1] != "0" else "1")
    assert (await call(gateway, SHOP, "GET", f"/v1/runtimes/{absent}")).status == 410
    assigned = await gateway.call("PUT", f"/v1/runtimes/{mine['id']}/owner", {"owner": "bank"})
    assert assigned.status == 200
    answers = [await call(gateway, SHOP, "GET", f"/v1/runtimes/{one}") for one in (mine["id"], absent)]
    assert [answer.status for answer in answers] == [404, 404]
    assert _told(answers[0]) == _told(answers[1])


async def test_list_can_be_filtered_by_owner(gateway: Gateway) -> None:
    mine = await made(gateway, SHOP, "durable", "agent")
    theirs = await made(gateway, BANK, "bctrl", "agent")
    own = await gateway.create(gateway.upstreams["durable"])

    async def ids(key: str | None, owner: str) -> set[str]:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        listed = await gateway.call("GET", f"/v1/runtimes?owner={owner}", **headers)
        return {row["id"] for row in listed.json["items"]}

    assert await ids(None, "trade") == {mine["id"]}
    assert await ids(None, "bank") == {theirs["id"]}
    assert await ids(None, "me") == {own["id"]}
    assert await ids(TEAM, "me") == {mine["id"]}
    assert await ids(SHOP, "bank") == set()
