"""Callers with ``view: public``, over real sockets: they learn nothing about providers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from gateway.api.openapi import ROUTES
from gateway.api.public_view import HIDDEN, RUNTIME_IDS
from gateway.domain.runtime import Model
from gateway.domain.values import Permission
from tests.component.whole_gateway import Gateway, Response, whole_gateway
from tests.issuer import Issuer

WEB, OTHER, WIDE = "key-of-the-frontend-1", "key-of-the-frontend-2", "key-of-the-wide-front"
KINDS: Final = ("durable", "bctrl", "bctrl_browsers")
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "web": {"keys": [WEB], "own_only": True, "view": "public"},
    "other": {"keys": [OTHER], "own_only": True, "view": "public"},
    "wide": {"keys": [WIDE], "view": "public"},
}
MEMBERS: Final = frozenset(
    {
        *("provider", "scope", "provider_id", "provider_state", "provider_data", "provider_instance_id", "cost"),
        *("provider_status", "provider_code", "provider_detail", "provider_request_id"),
        *("created_by", "storage_workspace"),
    }
)
"""Members that no answer has, except for the config, which is the caller's own."""


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway(*KINDS, principals=PRINCIPALS) as started:
        yield started


async def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None, **headers: str) -> Response:
    """A call with a key. Its answer must not show a provider."""
    answer = await gateway.call(method, path, body, Authorization=f"Bearer {key}", **headers)
    if key != "admin":
        require_public(gateway, answer, f"{method} {path}")
    return answer


def require_public(gateway: Gateway, answer: Response, where: str) -> None:
    whole = "\n".join((answer.text, *(f"{name}: {value}" for name, value in answer.headers.items())))
    for upstream in gateway.upstreams.values():
        for word in (upstream.name, upstream.token, upstream.proxy.url):
            assert word not in whole, f"{where}: {whole}"
    assert "acme/research" not in whole, where
    shown = set(members({**answer.json, "config": None} if isinstance(answer.json, dict) else None))
    if answer.status == 403:
        shown.discard("scope")  # the permission that is missing
    assert not MEMBERS & shown, f"{where}: {answer.text}"


def members(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        yield from document
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from members(value)


async def made(gateway: Gateway, key: str, kind: str, name: str, **fields: Any) -> Any:
    answer = await call(gateway, key, "POST", "/v1/runtimes", {"kind": kind, "name": name, **fields})
    assert answer.status == 201, answer.text
    assert answer.headers["Location"] == f"/v1/runtimes/{answer.json['id']}"
    return answer.json


async def test_runtime_is_used_by_its_public_id_only(gateway: Gateway) -> None:
    for kind in ("durable", "browser"):
        runtime = await made(gateway, WEB, kind, "agent")
        assert runtime["id"].startswith("pub_")
        assert (runtime["owner"], runtime["name"], runtime["kind"]) == ("web", "agent", kind)
        path = f"/v1/runtimes/{runtime['id']}"
        read = await call(gateway, WEB, "GET", path)
        assert (read.status, read.json["id"]) == (200, runtime["id"])
        (listed,) = (await call(gateway, WEB, "GET", "/v1/runtimes?name=agent&kind=" + kind)).json["items"]
        assert listed["id"] == runtime["id"]
        rows = (await gateway.call("GET", "/v1/runtimes?owner=web&kind=" + kind)).json["items"]
        (plain,) = [row["id"] for row in rows]
        absent = plain[:-1] + ("0" if plain[-1] != "0" else "1")
        sealed = runtime["id"][:-1] + ("A" if runtime["id"][-1] != "A" else "B")
        for wrong in (plain, absent, sealed, "pub_", "pub_AAAA", runtime["id"] + "AAAA", "x" * 9000):
            for verb in ("", "/config", "/stop", "/connections"):
                method = "GET" if verb in {"", "/config"} else "POST"
                refused = await call(gateway, WEB, method, f"/v1/runtimes/{wrong}{verb}")
                assert refused.status in ({404} if len(wrong) < 8000 else {404, 414}), refused.text
        foreign, absent = [await call(gateway, OTHER, "GET", f"/v1/runtimes/{one}") for one in (runtime["id"], sealed)]
        told = [{**answer.json, "instance": "", "request_id": ""} for answer in (foreign, absent)]
        assert told[0] == told[1]
        assert foreign.status == 404
        full = await gateway.call("GET", f"/v1/runtimes/{runtime['id']}")
        assert full.status == 404  # a public id is for callers with this view


async def test_public_id_needs_no_store_and_is_the_same_everywhere(gateway: Gateway) -> None:
    runtime = await made(gateway, WEB, "browser", "agent")
    async with whole_gateway(*KINDS, principals=PRINCIPALS) as replica:
        # Another store and other emulators: the id is understood, and its runtime asked for at the right provider.
        before = {api: upstream.received() for api, upstream in replica.upstreams.items()}
        assert (await call(replica, WEB, "GET", f"/v1/runtimes/{runtime['id']}")).status == 404
        asked = [api for api, upstream in replica.upstreams.items() if upstream.received() > before[api]]
        assert len(asked) == 1


async def test_every_call_of_a_frontend_works_and_shows_no_provider(gateway: Gateway) -> None:
    durable = await made(gateway, WEB, "durable", "agent", config={"version": "v2", "unknown_key": 1}, start=True)
    assert durable["warnings"]
    path = f"/v1/runtimes/{durable['id']}"
    lease = await call(gateway, WEB, "POST", f"{path}/keepalive", {})
    assert (lease.status, lease.json["id"]) == (200, durable["id"])
    instance = (await call(gateway, WEB, "GET", path)).json["durable"]["instance"]
    assert {"id", "url", "extra"}.isdisjoint(instance)
    config = await call(gateway, WEB, "GET", f"{path}/config")
    assert config.json["config"]["unknown_key"] == 1
    replaced = await call(gateway, WEB, "PUT", f"{path}/config", {"config": {"version": "v2"}})
    assert replaced.status == 200
    bound = await call(gateway, WEB, "POST", f"{path}/capabilities", {"name": "web-search"})
    for answer in (
        bound,
        await call(gateway, WEB, "GET", f"{path}/capabilities"),
        await call(gateway, WEB, "GET", f"{path}/capabilities/resolved"),
    ):
        assert "artifact_id" not in answer.text
        assert "s3" not in answer.text
    for verb in ("pause", "resume", "reset", "start", "stop"):
        answer = await call(gateway, WEB, "POST", f"{path}/{verb}", {"discard_state": True} if verb == "stop" else {})
        assert (answer.status, answer.json["id"]) == (200, durable["id"]), answer.text
    browser = await made(gateway, WEB, "browser", "tab", driver="playwright")
    await call(gateway, WEB, "POST", f"/v1/runtimes/{browser['id']}/stop")
    mine = (await call(gateway, WEB, "GET", "/v1/me")).json
    assert (mine["view"], mine["principal"], mine["own_only"]) == ("public", "web", True)
    assert {"providers", "provider_scopes"}.isdisjoint(mine)
    intents = (await call(gateway, WEB, "GET", "/v1/intents")).json["items"]
    assert {one["runtime_id"] for one in intents} == {durable["id"], browser["id"]}
    one = await call(gateway, WEB, "GET", f"/v1/intents/{intents[0]['id']}")
    assert one.json == intents[0]
    assert all("status" not in attempt for intent in intents for attempt in intent["attempts"])


@pytest.mark.parametrize(
    ("method", "path", "body", "at"),
    [
        ("POST", "/v1/runtimes", {"kind": "browser", "provider": "bctrl-demo"}, {"pointer": "#/provider"}),
        ("POST", "/v1/runtimes", {"kind": "browser", "provider": "absent"}, {"pointer": "#/provider"}),
        ("POST", "/v1/runtimes", {"kind": "durable", "scope": "acme/research"}, {"pointer": "#/scope"}),
        ("GET", "/v1/runtimes?provider=bctrl-demo", None, {"parameter": "provider"}),
        ("GET", "/v1/runtimes?provider=absent", None, {"parameter": "provider"}),
        ("GET", "/v1/runtimes?scope=acme/research", None, {"parameter": "scope"}),
        ("GET", "/v1/intents?provider=bctrl-demo", None, {"parameter": "provider"}),
    ],
)
async def test_provider_and_scope_cannot_be_named(
    gateway: Gateway, method: str, path: str, body: Any, at: dict[str, str]
) -> None:
    for key in (WEB, WIDE):
        refused = await gateway.call(method, path, body, Authorization=f"Bearer {key}")
        assert (refused.status, refused.json["code"]) == (403, "permission_denied")
        (fault,) = refused.json["errors"]
        assert {name: value for name, value in fault.items() if name in {"pointer", "parameter"}} == at
        assert "demo" not in refused.text.replace(json.dumps(body), "")


async def test_providers_dialects_and_pass_through_are_refused(gateway: Gateway) -> None:
    paths = [
        "/v1/providers",
        "/v1/providers/bctrl-demo",
        "/v1/providers/absent",
        "/durable/api/v1/user",
        "/durable/api/v1/org/acme/ws/research/runtimes",
        "/durable/absent",
        "/bctrl/v1/browsers",
        "/bctrl/v1/runtimes",
        "/native/bctrl-demo/v1/browsers",
        "/native/absent/v1/browsers",
    ]
    for key in (WEB, WIDE):
        for path in paths:
            refused = await call(gateway, key, "GET", path)
            assert refused.status == 403, (path, refused.text)


async def test_failures_of_providers_are_shown_without_their_details(gateway: Gateway) -> None:
    for kind in ("durable", "browser"):
        await made(gateway, WIDE, kind, "agent")
    listed = (await call(gateway, WIDE, "GET", "/v1/runtimes")).json["items"]
    for upstream in gateway.upstreams.values():
        upstream.fault(fault="status", status=500, detail=f"{upstream.name} of acme/research failed")
    everything = await call(gateway, WIDE, "GET", "/v1/runtimes")
    assert everything.status == 503
    assert [set(entry) for entry in everything.json["incomplete"]] == [{"problem"}] * 3
    for one in listed:
        for verb in ("", "/stop", "/start"):
            answer = await call(gateway, WIDE, "POST" if verb else "GET", f"/v1/runtimes/{one['id']}{verb}")
            assert answer.status >= 400
    failed = await call(gateway, WIDE, "POST", "/v1/runtimes", {"kind": "browser", "name": "second"})
    assert failed.status >= 500
    for upstream in gateway.upstreams.values():
        upstream.emulator.faults.end_all()
    gateway.upstreams["bctrl"].fault(fault="html")
    part = await call(gateway, WIDE, "GET", "/v1/runtimes")
    assert (part.status, [set(entry) for entry in part.json["incomplete"]]) == (200, [{"problem"}])
    assert part.json["incomplete"][0]["problem"]["source"] == "provider"


async def test_create_that_fits_nowhere_is_refused_without_names(gateway: Gateway) -> None:
    for body in (
        {"kind": "browser", "driver": "stagehand", "launch": {"mode": "profile", "profile_id": "x"}},
        {"kind": "durable", "start": True, "runtime_limit_seconds": 1},
        {"kind": "browser", "provider_options": {"absent": 1}},
        {"kind": "durable", "if_exists": "fail", "name": "taken"},
        {"kind": "durable", "if_exists": "fail", "name": "taken", "display_name": "other"},
    ):
        await call(gateway, WIDE, "POST", "/v1/runtimes", body)


async def test_create_goes_to_a_provider_that_the_principal_may_use() -> None:
    only = {"web": {"keys": [WEB], "view": "public", "providers": ["bctrl_browsers-demo", "browsers-demo"]}}
    async with whole_gateway(*KINDS, principals=only) as gateway:
        named = gateway.upstreams["bctrl_browsers"].name
    only["web"]["providers"] = [named]
    async with whole_gateway(*KINDS, principals=only) as gateway:
        runtime = await made(gateway, WEB, "browser", "agent")
        (row,) = (await gateway.call("GET", "/v1/runtimes?kind=browser")).json["items"]
        assert row["provider"] == named
        refused = await call(gateway, WEB, "POST", "/v1/runtimes", {"kind": "durable"})
        assert refused.status == 422
        assert (await call(gateway, WEB, "GET", f"/v1/runtimes/{runtime['id']}")).status == 200


async def test_entity_tags_depend_on_what_is_shown(gateway: Gateway) -> None:
    runtime = await made(gateway, WEB, "durable", "agent", start=True)
    path = f"/v1/runtimes/{runtime['id']}"
    (row,) = (await gateway.call("GET", "/v1/runtimes?owner=web")).json["items"]
    full = await gateway.call("GET", f"/v1/runtimes/{row['id']}")
    read = await call(gateway, WEB, "GET", path)
    assert read.headers["ETag"] == read.json["etag"] != full.headers["ETag"]
    assert (await call(gateway, WEB, "GET", path, **{"If-None-Match": read.json["etag"]})).status == 304
    assert (await call(gateway, WEB, "GET", path, **{"If-None-Match": full.json["etag"]})).status == 200
    stop = {"discard_state": True}
    refused = await call(gateway, WEB, "POST", f"{path}/stop", stop, **{"If-Match": full.json["etag"]})
    assert refused.status == 412
    stopped = await call(gateway, WEB, "POST", f"{path}/stop", stop, **{"If-Match": read.json["etag"]})
    assert stopped.status == 200
    assert stopped.json["etag"] == (await call(gateway, WEB, "GET", path)).json["etag"]


async def test_cursor_of_a_public_list_is_sealed(gateway: Gateway) -> None:
    names = {f"agent-{number}" for number in range(5)}
    for name in sorted(names):
        await made(gateway, WIDE, "durable", name)
    found, cursor = set(), ""
    while True:
        page = (await call(gateway, WIDE, "GET", f"/v1/runtimes?limit=2{cursor}")).json
        found |= {row["name"] for row in page["items"]}
        if page["next_cursor"] is None:
            break
        for other in (None, WEB):
            answer = await gateway.call(
                "GET",
                f"/v1/runtimes?limit=2&cursor={page['next_cursor']}",
                **({} if other is None else {"Authorization": f"Bearer {other}"}),
            )
            assert answer.status == 400
        cursor = f"&cursor={page['next_cursor']}"
    assert found == names


async def test_replay_by_key_respects_the_view(gateway: Gateway) -> None:
    body = {"kind": "browser", "name": "agent"}
    answers = [
        await call(gateway, WEB, "POST", "/v1/runtimes", body, **{"Idempotency-Key": "one-create"}) for _ in range(2)
    ]
    assert answers[0].json == answers[1].json
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


async def test_waiting_calls_show_public_ids(gateway: Gateway) -> None:
    body = {"kind": "durable", "name": "slow", "start": True}
    accepted = await call(gateway, WEB, "POST", "/v1/runtimes", body, Prefer="respond-async")
    assert accepted.status == 202
    assert accepted.headers["Location"].startswith(("/v1/runtimes/pub_", "/v1/intents/"))
    waited = await call(gateway, WEB, "POST", "/v1/runtimes?wait=20", {**body, "name": "second"})
    assert waited.status == 201
    path = f"/v1/runtimes/{waited.json['id']}"
    assert waited.headers["Location"] == path
    tag = (await call(gateway, WEB, "GET", path)).headers["ETag"]
    asked = asyncio.create_task(call(gateway, WEB, "GET", f"{path}?wait=20", **{"If-None-Match": tag}))
    paused = await call(gateway, WEB, "POST", f"{path}/pause", {})
    news = await asked
    assert (news.status, news.json["id"], news.json["state"]) == (200, waited.json["id"], paused.json["state"])


async def test_holders_of_places_have_public_ids_and_limits_of_accounts_are_not_shown() -> None:
    limited = {"web": {**PRINCIPALS["web"], "limits": {"runtimes": 1}}}
    async with whole_gateway("durable", principals=limited, durable={"limits": {"requests": "9/hour"}}) as gateway:
        runtime = await made(gateway, WEB, "durable", "agent")
        refused = await call(gateway, WEB, "POST", "/v1/runtimes", {"kind": "durable", "name": "second"})
        assert (refused.status, refused.json["code"]) == (429, "quota_exceeded")
        assert refused.json["held_by"] == [runtime["id"]]
        assert refused.json["limit"] == {"name": "runtimes", "value": 1, "used": 1}
        reads = [await call(gateway, WEB, "GET", f"/v1/runtimes/{runtime['id']}") for _ in range(10)]
        assert (reads[-1].status, reads[-1].json["code"]) == (429, "rate_limited")
        assert "limit" not in reads[-1].json


async def test_token_has_the_view_of_its_template() -> None:
    async with Issuer().serving() as issuer:
        jwt = [issuer.settings(template="web", own_group="tenant")]
        async with whole_gateway("bctrl", principals=PRINCIPALS, jwt=jwt) as gateway:
            token = issuer.token(tenant="acme")
            runtime = await made(gateway, token, "browser", "agent")
            assert runtime["owner"] == "login/acme"
            mate = await call(gateway, issuer.token(sub="u2", tenant="acme"), "GET", f"/v1/runtimes/{runtime['id']}")
            assert (mate.status, mate.json["id"]) == (200, runtime["id"])
            assert (await call(gateway, token, "GET", "/v1/providers")).status == 403


def _models(model: Any, seen: set[Any]) -> set[Any]:
    """All models that a response body can contain."""
    if isinstance(model, type) and issubclass(model, Model) and model not in seen:
        seen.add(model)
        for annotation in model.__annotations__.values():
            _models(annotation, seen)
    for argument in getattr(model, "__args__", ()):
        _models(argument, seen)
    return seen


def test_no_response_model_has_a_member_about_providers_that_is_shown() -> None:
    seen: set[Any] = set()
    for route in ROUTES:
        if route.secured and route.permission is not Permission.ADMIN and not route.path.startswith("/v1/providers"):
            for success in route.successes.values():
                for model in success.models:
                    _models(model, seen)
    assert set(HIDDEN) | set(RUNTIME_IDS) <= seen
    shown = {(model, name) for model in seen for name in model.__struct_fields__ if name not in HIDDEN.get(model, ())}
    about = ("provider", "cost", "created_by", "storage_workspace")
    assert [(model, name) for model, name in shown if name.startswith(about) or name == "scope"] == []
