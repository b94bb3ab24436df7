"""What principals with fewer rights may do, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from gateway.domain.values import Permission
from tests.component.whole_gateway import Gateway, Response, whole_gateway

READER: Final = "key-of-a-reader-1234"
NARROW: Final = "key-of-a-narrow-one-1"
ELSEWHERE: Final = "key-of-elsewhere-1234"
SCOPED: Final = "key-of-a-scoped-one-1"

PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "reader": {"keys": [READER], "scopes": ["runtimes:read"]},
    "narrow": {"keys": [NARROW], "providers": ["bctrl-demo"]},
    "elsewhere": {"keys": [ELSEWHERE], "kinds": ["browser"], "provider_scopes": ["some/where"]},
    "scoped": {"keys": [SCOPED], "provider_scopes": ["acme/research"], "expires": "2999-01-01"},
}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway(principals=PRINCIPALS) as started:
        yield started


async def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {key}")


async def test_call_without_the_needed_scope_is_refused_and_names_it(gateway: Gateway) -> None:
    made = await gateway.create(gateway.upstreams["durable"])
    path = f"/v1/runtimes/{made['id']}"
    assert (await call(gateway, READER, "GET", path)).status == 200
    for method, below, scope in (
        ("POST", "/start", Permission.LIFECYCLE),
        ("DELETE", "", Permission.LIFECYCLE),
        ("PUT", "/config", Permission.CONFIG),
        ("POST", "/connections", Permission.CONNECT),
    ):
        refused = await call(gateway, READER, method, path + below, {"config": {}})
        assert (refused.status, refused.json["code"], refused.json["scope"]) == (403, "permission_denied", scope)
    before = gateway.upstreams["durable"].received()
    assert (await call(gateway, READER, "GET", "/native/durable-demo/api/v1/user")).status == 403
    refused = await call(gateway, READER, "POST", "/durable/api/v1/org/acme/ws/research/runtimes", {"key": "k"})
    assert refused.status == 403
    assert "runtimes:create" in refused.json["detail"]
    assert gateway.upstreams["durable"].received() == before


async def test_runtime_outside_the_restrictions_does_not_exist(gateway: Gateway) -> None:
    """Its answers equal those for an id that no runtime has, and nothing is asked at the provider."""
    made = await gateway.create(gateway.upstreams["durable"])
    absent = made["id"][:-1] + ("0" if made["id"][-1] != "0" else "1")
    before = gateway.upstreams["durable"].received()
    for key in (NARROW, ELSEWHERE):
        for method, below in (
            ("GET", ""),
            ("POST", "/stop"),
            ("DELETE", ""),
            ("GET", "/config"),
            ("GET", "/capabilities"),
        ):
            answers = [await call(gateway, key, method, f"/v1/runtimes/{id_}{below}") for id_ in (made["id"], absent)]
            assert [answer.status for answer in answers] == [404, 404], (method, below)
            assert answers[0].json["detail"] == answers[1].json["detail"]
        unknown = await call(gateway, key, "GET", "/v1/runtimes/nothere.abc")
        assert (unknown.status, unknown.json["code"]) == (404, "not_found")
    assert gateway.upstreams["durable"].received() == before


async def test_lists_and_providers_show_only_what_the_caller_may_use(gateway: Gateway) -> None:
    await gateway.create(gateway.upstreams["durable"])
    browser = await gateway.create(gateway.upstreams["bctrl"])
    listed = await call(gateway, NARROW, "GET", "/v1/runtimes")
    assert [item["id"] for item in listed.json["items"]] == [browser["id"]]
    assert listed.json["incomplete"] == []
    assert [one["name"] for one in (await call(gateway, NARROW, "GET", "/v1/providers")).json["items"]] == [
        "bctrl-demo"
    ]
    missing = await call(gateway, NARROW, "GET", "/v1/providers/durable-demo")
    assert missing.status == 404
    assert "durable" not in missing.json["detail"]
    assert (await call(gateway, ELSEWHERE, "GET", "/v1/runtimes")).json["items"] == []
    scoped = await call(gateway, SCOPED, "GET", "/v1/runtimes")
    assert {item["provider"] for item in scoped.json["items"]} == {"durable-demo"}


async def test_value_outside_the_restrictions_is_refused_whether_it_exists_or_not(gateway: Gateway) -> None:
    for provider in ("durable-demo", "no-such-one"):
        listed = await call(gateway, NARROW, "GET", f"/v1/runtimes?provider={provider}")
        assert (listed.status, listed.json["errors"][0]["parameter"]) == (403, "provider")
        body = {"kind": "durable", "name": "x", "provider": provider}
        made = await call(gateway, NARROW, "POST", "/v1/runtimes", body)
        assert (made.status, made.json["errors"][0]["pointer"]) == (403, "#/provider")
        assert "durable-demo" not in made.text
    made = await call(gateway, ELSEWHERE, "POST", "/v1/runtimes", {"kind": "durable", "name": "x"})
    assert (made.status, made.json["errors"][0]["pointer"]) == (403, "#/kind")
    listed = await call(gateway, ELSEWHERE, "GET", "/v1/runtimes?kind=durable")
    assert (listed.status, listed.json["errors"][0]["parameter"]) == (403, "kind")
    listed = await call(gateway, SCOPED, "GET", "/v1/runtimes?scope=acme/other")
    assert (listed.status, listed.json["errors"][0]["parameter"]) == (403, "scope")
    made = await call(gateway, SCOPED, "POST", "/v1/runtimes", {"kind": "browser", "name": "x"})
    assert made.status == 422


async def test_pass_through_is_only_for_callers_that_see_the_whole_provider(gateway: Gateway) -> None:
    path = "/native/durable-demo/api/v1/user"
    before = gateway.upstreams["durable"].received()
    assert (await call(gateway, NARROW, "GET", path)).status == 404
    for key in (SCOPED, ELSEWHERE):
        assert (await call(gateway, key, "GET", path)).status == 403
    assert gateway.upstreams["durable"].received() == before


async def test_dialect_serves_only_what_the_caller_may_use(gateway: Gateway) -> None:
    made = await gateway.create(gateway.upstreams["durable"])
    below = "/durable/api/v1/org/acme/ws/research/runtimes"
    shown = await call(gateway, SCOPED, "GET", f"{below}/{made['provider_id']}")
    assert shown.status == 200
    hidden = await call(gateway, NARROW, "GET", f"{below}/{made['provider_id']}")
    elsewhere = await call(gateway, NARROW, "GET", below.replace("research", "nowhere") + f"/{made['provider_id']}")
    assert hidden.status == elsewhere.status == 404


async def test_me_shows_the_caller_and_its_rights(gateway: Gateway) -> None:
    me = (await call(gateway, SCOPED, "GET", "/v1/me")).json
    assert (me["principal"], me["owner"], me["provider_scopes"]) == ("scoped", "scoped", ["acme/research"])
    assert (me["expires_at"], me["providers"], me["own_only"]) == ("2999-01-02T00:00:00Z", None, False)
    assert "admin" not in me["scopes"]
    assert (await call(gateway, READER, "GET", "/v1/me")).json["scopes"] == ["runtimes:read"]
    mine = (await gateway.call("GET", "/v1/me")).json
    assert mine["scopes"] == sorted(Permission)
