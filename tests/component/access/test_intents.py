"""Intents by API: who sees which creates, and how an admin settles a parked one, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from gateway.app import plugins
from gateway.domain.ids import from_b64url
from gateway.domain.intents import Actor, Intent, IntentState, namespace_of
from gateway.ports.store import Changes, Decision, Store, Version
from tests.component.stores import in_memory
from tests.component.whole_gateway import Gateway, Response, whole_gateway
from tests.contract.store.subject import LEASE, begun, bring, create, moved

SHOP: Final = "key-of-a-shop-12345678"
OTHER: Final = "key-of-another-1234567"
NARROW: Final = "key-of-a-narrow-admin1"
CONFINED: Final = "key-of-a-confined-one1"
BLIND: Final = "key-of-one-who-creates"
RUNTIME: Final = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"
ABSENT_ID: Final = "in_" + "0" * 32
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": [SHOP]},
    "other": {"keys": [OTHER]},
    "narrow": {"keys": [NARROW], "scopes": ["admin"], "providers": ["bctrl-demo"]},
    "confined": {"keys": [CONFINED], "scopes": ["admin"], "own_only": True},
    "blind": {"keys": [BLIND], "scopes": ["runtimes:create"]},
}


@pytest.fixture
def store() -> Store:
    return in_memory()[0]


@pytest.fixture
async def gateway(store: Store) -> AsyncIterator[Gateway]:
    async with whole_gateway(principals=PRINCIPALS, store=(store, in_memory()[1])) as started:
        yield started


async def call(gateway: Gateway, key: str | None, method: str, path: str, body: Any = None) -> Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return await gateway.call(method, path, body, **headers)


async def intent_in(
    gateway: Gateway, store: Store, state: str = "parked", *, principal: str = "shop", api: str = "durable", **more: Any
) -> Intent:
    """An intent of a create that was sent to a provider of the gateway."""
    demo, upstream = plugins()[api].demo, gateway.upstreams[api]
    namespace = namespace_of(api, upstream.proxy.url + demo.base_path, "", demo.scope)
    target = {"namespace": namespace, "provider": upstream.name, "scope": demo.scope, "kind": upstream.kind}
    new = create(**{"principal": principal, **target, **more})
    return await bring(store, begun(await store.begin(new, "me", LEASE)), IntentState(state))


async def test_own_intents_are_shown_and_foreign_ones_do_not_exist(gateway: Gateway, store: Store) -> None:
    own = await intent_in(gateway, store)
    foreign = await intent_in(gateway, store, principal="other", name="secret-name")
    shown = await call(gateway, SHOP, "GET", f"/v1/intents/{own.id}")
    assert (shown.status, shown.json["id"], shown.json["principal"]) == (200, own.id, "shop")
    answers = [await call(gateway, SHOP, "GET", f"/v1/intents/{id_}") for id_ in (foreign.id, ABSENT_ID, "nonsense")]
    assert [answer.status for answer in answers] == [404, 404, 404]
    told = [{**answer.json, "instance": "", "request_id": ""} for answer in answers]
    assert told[0] == told[1] == told[2]
    listed = await call(gateway, SHOP, "GET", "/v1/intents")
    assert [item["id"] for item in listed.json["items"]] == [own.id]
    assert (await call(gateway, SHOP, "GET", "/v1/intents?principal=shop")).json == listed.json
    for principal in ("other", "nobody"):
        refused = await call(gateway, SHOP, "GET", f"/v1/intents?principal={principal}")
        assert (refused.status, refused.json["errors"][0]["parameter"]) == (403, "principal")
    for text in (listed.text, *(answer.text for answer in answers)):
        assert "secret-name" not in text
    assert (await call(gateway, BLIND, "GET", "/v1/intents")).json["scope"] == "runtimes:read"
    assert (await call(gateway, BLIND, "GET", f"/v1/intents/{own.id}")).json["scope"] == "runtimes:read"


async def test_admin_sees_all_intents_within_its_restrictions(gateway: Gateway, store: Store) -> None:
    durable = await intent_in(gateway, store, principal="other")
    browser = await intent_in(gateway, store, "unknown", api="bctrl")
    own = await intent_in(gateway, store, principal="confined", name="of-confined")

    async def ids(key: str | None, query: str = "") -> list[str]:
        return [item["id"] for item in (await call(gateway, key, "GET", f"/v1/intents{query}")).json["items"]]

    assert await ids(None) == [own.id, browser.id, durable.id]
    assert await ids(None, "?state=unknown&state=open") == [browser.id]
    assert await ids(None, "?principal=other") == [durable.id]
    assert await ids(None, "?provider=durable-demo&state=parked&principal=confined") == [own.id]
    assert await ids(NARROW) == [browser.id]
    assert await ids(CONFINED) == [own.id]
    for key in (NARROW, CONFINED):
        path = f"/v1/intents/{durable.id}"
        assert (await call(gateway, key, "GET", path)).status == 404
        assert (await call(gateway, key, "POST", f"{path}/resolve", {"absent": True})).status == 404
    refused = await call(gateway, NARROW, "GET", "/v1/intents?provider=durable-demo")
    assert (refused.status, refused.json["errors"][0]["parameter"]) == (403, "provider")
    assert await store.get(durable.id) == durable


async def test_pages_of_intents_are_complete(gateway: Gateway, store: Store) -> None:
    ids = [(await intent_in(gateway, store, name=f"n-{number}")).id for number in range(5)]
    seen, query = [], "?limit=2"
    while query:
        page = (await call(gateway, SHOP, "GET", f"/v1/intents{query}")).json
        seen += [item["id"] for item in page["items"]]
        query = f"?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert sorted(seen) == sorted(ids)
    for cursor in ("none", "bmFuIGlu", "MS4wIGluX3gA"):
        refused = await call(gateway, SHOP, "GET", f"/v1/intents?cursor={cursor}")
        assert (refused.status, refused.json["errors"][0]["parameter"]) == (400, "cursor")


@pytest.mark.parametrize("made", [RUNTIME, RUNTIME.upper(), f"durable-demo.{RUNTIME}"])
async def test_parked_create_is_done_with_the_runtime_that_an_admin_names(
    gateway: Gateway, store: Store, made: str
) -> None:
    parked = await intent_in(gateway, store)
    before = gateway.upstreams["durable"].received()
    body = {"made": made, "note": "seen by hand"}
    resolved = await call(gateway, None, "POST", f"/v1/intents/{parked.id}/resolve", body)
    assert resolved.status == 200, resolved.text
    assert (resolved.json["state"], resolved.json["runtime_id"]) == ("done", f"durable-demo.{RUNTIME}")
    assert resolved.json["problem"] is None
    (record,) = await store.decisions(10)
    assert (record.operator, record.decision, record.runtime_id) == ("demo", Decision.MADE, RUNTIME)
    assert (record.intent_id, record.note) == (parked.id, "seen by hand")
    assert gateway.upstreams["durable"].received() == before
    again = await call(gateway, None, "POST", f"/v1/intents/{parked.id}/resolve", {"absent": True})
    assert (again.status, again.json["code"]) == (409, "state_conflict")
    assert (await call(gateway, SHOP, "GET", f"/v1/intents/{parked.id}")).json == resolved.json


async def test_id_of_a_settled_browser_names_its_alias_and_its_provider(gateway: Gateway, store: Store) -> None:
    parked = await intent_in(gateway, store, api="bctrl", name="checkout")
    path = f"/v1/intents/{parked.id}/resolve"
    resolved = await call(gateway, None, "POST", path, {"made": RUNTIME})
    provider, _, reference = resolved.json["runtime_id"].partition(".")
    alias, _, provider_id = reference.partition("~")
    assert (provider, from_b64url(alias), provider_id) == ("bctrl-demo", "checkout", RUNTIME)


async def test_parked_create_is_absent_when_an_admin_says_so(gateway: Gateway, store: Store) -> None:
    parked = await intent_in(gateway, store)
    resolved = await call(gateway, None, "POST", f"/v1/intents/{parked.id}/resolve", {"absent": True})
    assert (resolved.status, resolved.json["state"], resolved.json["runtime_id"]) == (200, "absent", None)
    (record,) = await store.decisions(10)
    assert (record.operator, record.decision, record.note) == ("demo", Decision.ABSENT, None)


async def test_decision_needs_admin_also_about_an_own_intent(gateway: Gateway, store: Store) -> None:
    parked = await intent_in(gateway, store)
    refused = await call(gateway, SHOP, "POST", f"/v1/intents/{parked.id}/resolve", {"absent": True})
    assert (refused.status, refused.json["scope"]) == (403, "admin")
    assert await store.get(parked.id) == parked


@pytest.mark.parametrize("state", [state for state in IntentState if state is not IntentState.PARKED])
async def test_decision_about_an_intent_that_is_not_parked_is_a_conflict(
    gateway: Gateway, store: Store, state: IntentState
) -> None:
    intent = await intent_in(gateway, store, state)
    for decision in ({"absent": True}, {"made": RUNTIME}):
        refused = await call(gateway, None, "POST", f"/v1/intents/{intent.id}/resolve", decision)
        assert (refused.status, refused.json["code"]) == (409, "state_conflict")
        assert f"is {state}" in refused.json["detail"]
    assert await store.decisions(10) == []


async def test_second_of_two_concurrent_decisions_is_a_conflict(
    gateway: Gateway, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = await intent_in(gateway, store)
    decide = type(store).decide

    async def late(own: Store, version: Version, *args: Any, **options: Any) -> Any:
        await decide(own, version, Decision.ABSENT, "otto")
        return await decide(own, version, *args, **options)

    monkeypatch.setattr(type(store), "decide", late)
    refused = await call(gateway, None, "POST", f"/v1/intents/{parked.id}/resolve", {"made": RUNTIME})
    assert (refused.status, refused.json["code"]) == (409, "state_conflict")
    assert [record.operator for record in await store.decisions(10)] == ["otto"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#"),
        ({"made": RUNTIME, "absent": True}, "#"),
        ({"absent": False}, "#/absent"),
        ({"made": None}, "#/made"),
        ({"made": ""}, "#/made"),
        ({"made": "two words"}, "#/made"),
        ({"made": "no-uuid"}, "#/made"),
        ({"made": "durable-demo.nonsense"}, "#/made"),
        ({"made": f"bctrl-demo.Ym90~{RUNTIME}"}, "#/made"),
        ({"made": f"gone.{RUNTIME}"}, "#/made"),
        ({"absent": True, "note": "x" * 2001}, "#/note"),
        ({"absent": True, "note": "a\0b"}, "#/note"),
        ({"absent": True, "operator": "me"}, "#/operator"),
    ],
)
async def test_invalid_decision_is_refused_with_its_pointer(
    gateway: Gateway, store: Store, body: dict[str, Any], pointer: str
) -> None:
    parked = await intent_in(gateway, store)
    refused = await call(gateway, None, "POST", f"/v1/intents/{parked.id}/resolve", body)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, pointer), refused.text
    assert await store.get(parked.id) == parked


@pytest.mark.parametrize(("status", "state", "made"), [(403, "refused", False), (402, "absent", None)])
async def test_refused_create_shows_the_code_of_its_refusal_and_no_secret(
    gateway: Gateway, status: int, state: str, made: bool | None
) -> None:
    gateway.upstreams["durable"].fault("create", fault="status", status=status)
    config = {"runtime_server": {"env": {"K": "canary-4711"}}}
    body = {"kind": "durable", "name": "one", "provider": "durable-demo", "config": config}
    refused = await call(gateway, SHOP, "POST", "/v1/runtimes", body)
    assert refused.status >= 400
    listed = await call(gateway, SHOP, "GET", f"/v1/intents?state={state}")
    (item,) = listed.json["items"]
    assert (item["problem"]["code"], item["problem"]["reason"]) == (refused.json["code"], None)
    (attempt,) = item["attempts"]
    assert (attempt["status"], attempt["made"], attempt["epoch"]) == (status, made, 1)
    assert attempt["first_send"].endswith("Z")
    assert "canary-4711" not in listed.text


@pytest.mark.parametrize("reason", ["several", "made_but_not_found", "target_changed", "unreadable", "too_old"])
async def test_parked_intent_shows_why_an_operator_has_to_decide(gateway: Gateway, store: Store, reason: str) -> None:
    unknown = await intent_in(gateway, store, "open")
    unknown = moved(await store.move(Version.of(unknown), IntentState.UNKNOWN, Actor.HOLDER, "me", lease=LEASE))
    changes = Changes(reason=reason)
    await store.move(Version.of(unknown), IntentState.PARKED, Actor.RECONCILER, "me", changes=changes)
    problem = (await call(gateway, SHOP, "GET", f"/v1/intents/{unknown.id}")).json["problem"]
    assert (problem["code"], problem["reason"]) == ("outcome_unknown", reason)
    assert problem["detail"].endswith("an operator has to decide.")


async def test_intents_need_the_store(gateway: Gateway, store: Store) -> None:
    parked = await intent_in(gateway, store)
    await store.close()
    for method, path, body in (
        ("GET", "/v1/intents", None),
        ("GET", f"/v1/intents/{parked.id}", None),
        ("POST", f"/v1/intents/{parked.id}/resolve", {"absent": True}),
    ):
        failed = await call(gateway, None, method, path, body)
        assert (failed.status, failed.json["code"]) == (503, "store_unavailable")
    await store.open()
    assert (await call(gateway, SHOP, "GET", f"/v1/intents/{parked.id}")).status == 200
