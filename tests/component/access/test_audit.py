"""The audit trail has each action of every surface once, and each refusal."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import pytest

from gateway.app import plugins
from gateway.domain.values import Permission
from gateway.http.audit import masked
from gateway.ports.audit import GatewayAction
from tests.access_table import AccessRow, access_table
from tests.component.access.matrix_calls import (
    APIS,
    FORWARD,
    MAKER,
    OTHER,
    Thing,
    apis_of,
    body_of,
    call,
    key_of,
    make,
    make_principal,
    paths,
    principals,
)
from tests.component.whole_gateway import KEY, Gateway, Response, whole_gateway

ROWS: Final = list(access_table(plugins()))
MUTATING: Final = [row for row in ROWS if row.method not in {"GET", "any method"}]
_numbers: Final = itertools.count()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    known = {api: plugins()[api].demo.provider for api in APIS}
    async with whole_gateway(*APIS, principals=principals(known), forward=FORWARD) as started:
        yield started


async def events(gateway: Gateway, query: str = "", key: str = KEY) -> Sequence[Mapping[str, Any]]:
    """All events that fit, newest first."""
    found: list[Mapping[str, Any]] = []
    cursor = ""
    while True:
        page = await call(gateway, key, "GET", f"/v1/audit?limit=100{query}{cursor}")
        assert page.status == 200, page.text
        found += page.json["items"]
        if page.json["next_cursor"] is None:
            return found
        cursor = f"&cursor={page.json['next_cursor']}"


async def ask(gateway: Gateway, key: str | None, method: str, path: str, body: Any = None) -> tuple[str, Response]:
    """Make a call. Return its request id too."""
    request_id = f"call-{next(_numbers)}"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return request_id, await gateway.call(method, path, body, **{"X-Request-ID": request_id}, **headers)


def by_request(found: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The events by the ids of their requests."""
    return {key: [e for e in found if e["request_id"] == key] for key in {event["request_id"] for event in found}}


async def test_each_call_that_changes_something_is_recorded_once_with_its_action(gateway: Gateway) -> None:
    """Each call of the access table, so that a new route is covered; those that only read are not recorded."""
    things = {api: await make_principal(gateway, await make(gateway, MAKER, api)) for api in APIS}
    made: dict[str, tuple[AccessRow, Thing, Response]] = {}
    for row in sorted(ROWS, key=lambda row: row.method == "DELETE"):
        for api in apis_of(row) if row.method != "any method" else ():
            thing = things[api]
            request_id, answer = await ask(gateway, KEY, row.method, next(paths(row, thing)), body_of(row, thing))
            made[request_id] = (row, thing, answer)
    recorded = by_request(await events(gateway))
    ok = set()
    for request_id, (row, thing, answer) in made.items():
        found = recorded.get(request_id, [])
        if row not in MUTATING:
            assert found == [], row
            continue
        (event,) = found
        assert (event["action"], event["status"]) == (row.action, answer.status), row
        assert (event["principal"], event["remote"], event["count"]) == ("demo", "127.0.0.1", 1)
        assert event["outcome"] == ("ok" if answer.status < 400 else "failed"), (row, event)
        assert (event["code"] is None) == (answer.status < 400), (row, event)
        if answer.status < 400:
            ok.add(row.call)
            if "/runtimes/{" in row.path or "/browsers/{" in row.path:
                known = (event["runtime_id"], *(event["changes"] or {}).values())
                assert any(name in known for name in (thing.id, thing.native_id, thing.name)), (row, event)
    assert len(ok) > 2 * len(MUTATING) / 3, sorted({row.call for row in MUTATING} - ok)
    documented = {row.action for row in ROWS} | set(GatewayAction)
    assert {event["action"] for event in await events(gateway)} <= documented


async def test_a_refusal_is_recorded_once_for_each_call_of_the_table(gateway: Gateway) -> None:
    """A missing scope, also for calls that only read."""
    thing = await make(gateway, MAKER, "durable")
    refused: dict[str, AccessRow] = {}
    for row in ROWS:
        lacking = next((p for p in Permission if row.permission not in {None, p} and p is not Permission.ADMIN), None)
        if row.secured and row.permission is not None and row.path != "/metrics":
            assert lacking is not None
            method = "DELETE" if row.method == "any method" else row.method
            path = next(paths(row, thing))
            request_id, answer = await ask(gateway, key_of(lacking), method, path, body_of(row, thing))
            assert answer.status == 403, (row, answer.text)
            refused[request_id] = row
    recorded = by_request(await events(gateway, "&outcome=refused"))
    assert {event["action"] for (event,) in recorded.values()} == {row.action for row in refused.values()}
    for request_id, (event,) in recorded.items():
        row = refused[request_id]
        assert (event["action"], event["code"], event["status"]) == (row.action, "permission_denied", 403)
        assert event["principal"].startswith("only-")


async def test_what_a_caller_may_not_see_is_a_refusal_and_what_is_gone_is_none(gateway: Gateway) -> None:
    theirs = await make(gateway, MAKER, "bctrl_browsers")
    own = await make(gateway, OTHER, "bctrl_browsers")
    assert (await call(gateway, OTHER, "DELETE", f"/v1/runtimes/{own.id}")).status == 204
    foreign, _ = await ask(gateway, OTHER, "GET", f"/v1/runtimes/{theirs.id}")
    gone, answer = await ask(gateway, OTHER, "GET", f"/v1/runtimes/{own.id}")
    assert answer.status == 404
    stopped, _ = await ask(gateway, OTHER, "POST", f"/v1/runtimes/{theirs.id}/stop", {})
    recorded = by_request(await events(gateway, "&principal=other&outcome=refused"))
    assert set(recorded) == {foreign, stopped}
    for action, request_id in (("getRuntime", foreign), ("stopRuntime", stopped)):
        (event,) = recorded[request_id]
        assert (event["action"], event["code"], event["runtime_id"]) == (action, "not_found", theirs.id)
    assert gone not in recorded


async def test_wrong_keys_are_recorded_and_summed(gateway: Gateway) -> None:
    """Guesses are bounded, and neither a key nor its principal is known."""
    wrong = "a-key-that-is-none-123"
    for _ in range(25):
        await call(gateway, wrong, "POST", "/v1/runtimes", {})
    await gateway.call("GET", "/bctrl/nothing", Authorization="")
    found = await events(gateway, "&outcome=refused")
    assert sorted((event["action"], event["status"], event["principal"]) for event in found) == [
        ("bctrl.unmatched", 401, None),
        ("createRuntime", 401, None),
        ("createRuntime", 429, None),
    ]
    assert wrong not in json.dumps(found)
    await call(gateway, KEY, "POST", "/v1/nothing", {})
    assert await events(gateway, "&outcome=failed") == []


async def test_events_say_what_was_changed_without_values(gateway: Gateway) -> None:
    thing = await make_principal(gateway, await make(gateway, MAKER, "durable"))
    path, secret = f"/v1/runtimes/{thing.id}", "a-secret-value-47"
    config = {"version": "v2", "runtime_server": {"env": {"TOKEN": secret}}}
    calls = {
        "replaceRuntimeConfig": ("PUT", f"{path}/config", {"config": config}),
        "assignOwner": ("PUT", f"{path}/owner", {"owner": "mine"}),
        "createKey": ("POST", "/v1/keys", {"principal": thing.principal, "name": "second"}),
        "revokeKey": ("DELETE", f"/v1/keys/{thing.key_id}", None),
        "removeCapability": ("DELETE", f"{path}/capabilities/{thing.binding}", None),
    }
    answers = {}
    for action, (method, target, body) in calls.items():
        answers[action] = await call(gateway, KEY, method, target, body)
        assert answers[action].status < 300, answers[action].text
    await call(gateway, KEY, "DELETE", f"/v1/keys/{secret}")
    found = await events(gateway)
    changes = {event["action"]: event["changes"] for event in reversed(found[1:])}
    assert changes["replaceRuntimeConfig"]["fields"] == ["#/config/runtime_server/env", "#/config/version"]
    assert changes["assignOwner"] == {"owner": "mine", "fields": ["#/owner"]}
    assert changes["createKey"]["principal"] == thing.principal
    assert changes["createKey"]["key"] == answers["createKey"].json["id"]
    assert changes["revokeKey"] == {"principal": thing.principal, "key": thing.key_id}
    assert changes["removeCapability"] == {"binding_id": thing.binding}
    created = next(event for event in found if event["action"] == "createRuntime")
    assert (created["runtime_id"], created["changes"]["name"]) == (thing.id, thing.name)
    assert (found[0]["outcome"], found[0]["code"]) == ("failed", "not_found")
    assert secret not in json.dumps(found)
    assert secret not in "".join(line for line in gateway.log.getvalue().splitlines() if '"audit"' in line)


async def test_an_unknown_outcome_is_recorded_as_unknown(gateway: Gateway) -> None:
    thing = await make(gateway, MAKER, "durable")
    gateway.upstreams["durable"].fault("pause", fault="drop_before")
    answer = await call(gateway, KEY, "POST", f"/v1/runtimes/{thing.id}/pause", {})
    assert answer.json["code"] == "outcome_unknown"
    (event,) = await events(gateway, f"&runtime={thing.id}&action=pauseRuntime")
    assert (event["outcome"], event["code"], event["status"]) == ("unknown", "outcome_unknown", 504)


async def test_what_goes_on_after_a_202_is_recorded_when_it_ends(gateway: Gateway) -> None:
    """The 202 itself has an unknown outcome."""
    upstream = gateway.upstreams["durable"]
    made = await gateway.create(upstream)
    query = f"&runtime={made['id']}&action=startRuntime"
    for fails in (True, False):
        before = len(await events(gateway, query))
        upstream.fault("start", fault="hold")
        if fails:
            upstream.fault("start", fault="status", status=400)
        accepted = await gateway.call("POST", f"/v1/runtimes/{made['id']}/start?wait=0", {})
        assert accepted.status == 202, accepted.text
        (event, *_) = await events(gateway, query)
        assert (event["outcome"], event["status"], event["code"]) == ("unknown", 202, None)
        async with asyncio.timeout(60):
            while len(found := await events(gateway, query)) < before + 2:
                upstream.emulator.release("start")
        assert (found[0]["outcome"], found[0]["status"]) == ("failed" if fails else "ok", None)
        assert (found[0]["code"] is not None) == fails
        assert found[0]["request_id"] == found[1]["request_id"]
        upstream.emulator.faults.end_all()


async def test_filters_and_pages_show_each_event_once(gateway: Gateway) -> None:
    thing = await make(gateway, MAKER, "bctrl")
    for verb in ("start", "stop", "stop"):
        await call(gateway, MAKER, "POST", f"/v1/runtimes/{thing.id}/{verb}", {})
    of_runtime = await events(gateway, f"&runtime={thing.id}")
    assert [event["action"] for event in of_runtime] == ["stopRuntime", "stopRuntime", "startRuntime", "createRuntime"]
    some = await events(gateway, f"&runtime={thing.id}&action=startRuntime,createRuntime&principal=maker")
    assert some == of_runtime[2:]
    since, until = of_runtime[2]["at"], of_runtime[0]["at"].replace("Z", "%2B00:00")
    between = await events(gateway, f"&runtime={thing.id}&since={since}&until={until}")
    assert of_runtime[2] in between
    assert of_runtime[0] not in between
    cursor, paged = "", []
    while cursor is not None:
        page = await gateway.call("GET", f"/v1/audit?limit=1&runtime={thing.id}{cursor and f'&cursor={cursor}'}")
        paged += page.json["items"]
        cursor = page.json["next_cursor"]
    assert paged == list(of_runtime)
    for wrong in ("since=yesterday", "since=2027-01-01", "outcome=bad", "cursor=ev_1", "action=%20", "limit=0"):
        answer = await gateway.call("GET", f"/v1/audit?{wrong}")
        assert (answer.status, answer.json["errors"][0]["parameter"]) == (400, wrong.partition("=")[0])


async def test_a_caller_that_sees_only_a_part_sees_its_own_actions(gateway: Gateway) -> None:
    """With the scope audit; without it, none."""
    thing = await make(gateway, MAKER, "durable")
    auditor = key_of(Permission.AUDIT)
    await call(gateway, auditor, "POST", f"/v1/runtimes/{thing.id}/stop", {})
    own = await events(gateway, key=auditor)
    assert {event["principal"] for event in own} == {"only-audit"}
    assert own == await events(gateway, "&principal=only-audit", key=auditor)
    answer = await call(gateway, auditor, "GET", "/v1/audit?principal=maker")
    assert (answer.status, answer.json["errors"][0]["parameter"]) == (403, "principal")
    assert (await call(gateway, MAKER, "GET", "/v1/audit")).status == 403


async def test_a_caller_with_the_public_view_sees_its_own_actions_without_the_provider() -> None:
    settings = {"keys": [MAKER], "view": "public", "scopes": [p.value for p in Permission if p is not Permission.ADMIN]}
    async with whole_gateway("bctrl", principals={"shop": settings}) as gateway:
        made = await call(gateway, MAKER, "POST", "/v1/runtimes", {"kind": "browser", "name": "one"})
        assert made.status == 201, made.text
        public_id = made.json["id"]
        await call(gateway, MAKER, "POST", f"/v1/runtimes/{public_id}/stop", {})
        own = await events(gateway, f"&runtime={public_id}", key=MAKER)
        assert [(event["action"], event["runtime_id"]) for event in own] == [
            ("stopRuntime", public_id),
            ("createRuntime", public_id),
        ]
        assert not {"provider", "changes"} & set(own[0])
        (_, plain, *_) = await events(gateway)
        assert plain["runtime_id"] != public_id
        assert public_id not in json.dumps(await events(gateway))
        assert (await call(gateway, MAKER, "GET", f"/v1/audit?runtime={plain['runtime_id']}")).status == 404


async def test_an_instance_that_the_gateway_ends_is_in_the_trail() -> None:
    brief = {"brief": {"keys": [MAKER], "allow": {"max_lifetime": "1s"}}}
    async with whole_gateway("bctrl", principals=brief) as gateway:
        body = {"kind": "browser", "name": "one", "start": True}
        made = await call(gateway, MAKER, "POST", "/v1/runtimes", body)
        assert made.status == 201, made.text
        async with asyncio.timeout(60):
            while not (found := await events(gateway, f"&action={GatewayAction.LIFETIME_ENDED}")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    (event,) = found
    assert (event["principal"], event["runtime_id"]) == (None, made.json["id"])
    assert event["changes"] == {"verb": "stop", "started_by": "brief"}
    line = next(line for line in map(json.loads, gateway.log.getvalue().splitlines()) if line.get("id") == event["id"])
    assert {name: line[name] for name in event} == dict(event)
    assert (line["event"], line["level"]) == ("audit", "info")


def test_a_path_of_the_pass_through_is_recorded_without_anything_that_may_be_a_secret() -> None:
    assert masked("/api/v1/org/acme/runtimes/2489e9ad-1/start?key=x") == "/api/v1/org/acme/runtimes/*/start"
    assert masked("/t/ABCDEF/v2x/a%20b/snake_case/kebab-case/") == "/t/*/*/*/snake_case/kebab-case/"
    assert len(masked("/word" * 1000)) == 200
