"""Keys and principals by API, over real sockets."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.component.whole_gateway import KEY, Gateway, Response, whole_gateway

SHOP: Final = "key-of-a-shop-123456"
PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": [SHOP], "scopes": ["runtimes:read", "runtimes:create"], "kinds": ["browser"], "own_only": True}
}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("bctrl", principals=PRINCIPALS) as started:
        yield started


async def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {key}")


async def made(gateway: Gateway, **body: Any) -> Any:
    """A new key."""
    response = await gateway.call("POST", "/v1/keys", body)
    assert response.status == 201, response.text
    assert response.headers["Cache-Control"] == "no-store"
    return response.json


async def me(gateway: Gateway, key: str) -> Any:
    return (await call(gateway, key, "GET", "/v1/me")).json


async def listed(gateway: Gateway, query: str = "") -> dict[str, Any]:
    """The keys by id."""
    return {key["id"]: key for key in (await gateway.call("GET", f"/v1/keys{query}")).json["items"]}


async def principals(gateway: Gateway) -> dict[str, Any]:
    """The principals by name."""
    return {one["name"]: one for one in (await gateway.call("GET", "/v1/principals")).json["items"]}


async def test_new_key_works_at_once_and_only_its_creation_shows_it(gateway: Gateway) -> None:
    key = await made(gateway, principal="shop", name="web", expires_at="2999-01-01")
    assert key["key"].startswith("rtgw_")
    assert len(key["key"]) >= 5 + 32
    assert key["key"].startswith(key["prefix"])
    assert (key["object"], key["principal"], key["name"]) == ("key", "shop", "web")
    assert (key["expires_at"], key["last_used_at"], key["scopes"]) == ("2999-01-02T00:00:00Z", None, None)
    mine = await me(gateway, key["key"])
    assert (mine["principal"], mine["expires_at"]) == ("shop", "2999-01-02T00:00:00Z")
    assert mine["scopes"] == ["runtimes:create", "runtimes:read"]
    shown = (await listed(gateway))[key["id"]]
    assert shown == {name: value for name, value in key.items() if name != "key"}
    assert key["key"] not in gateway.log.getvalue()
    lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
    (changed,) = [line for line in lines if line["event"] == "access_changed"]
    assert (changed["action"], changed["by"], changed["key_id"]) == ("create_key", "demo", key["id"])
    assert [line["key_id"] for line in lines if line["event"] == "request" and line["principal"] == "shop"] == [
        key["id"]
    ]


async def test_template_makes_a_principal_with_its_rights(gateway: Gateway) -> None:
    key = await made(gateway, principal="team", template="shop")
    mine = await me(gateway, key["key"])
    assert (mine["principal"], mine["owner"], mine["own_only"], mine["kinds"]) == ("team", "team", True, ["browser"])
    team = (await principals(gateway))["team"]
    assert (team["source"], team["template"], team["disabled"], team["warning"]) == ("api", "shop", False, None)
    assert (await made(gateway, principal="team"))["principal"] == "team"
    assert (await principals(gateway))["shop"]["source"] == "settings"
    for body, status, pointer in (
        ({"principal": "new"}, 422, "#/principal"),
        ({"principal": "new", "template": "absent"}, 422, "#/template"),
        ({"principal": "new", "template": "team"}, 422, "#/template"),
        ({"principal": "shop", "template": "shop"}, 422, "#/template"),
        ({"principal": "team", "template": "demo"}, 409, "#/template"),
        ({"principal": "login/sub", "template": "shop"}, 422, "#/principal"),
    ):
        refused = await gateway.call("POST", "/v1/keys", body)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (status, pointer), body
    assert "new" not in await principals(gateway)


async def test_key_has_at_most_the_scopes_of_its_principal(gateway: Gateway) -> None:
    key = await made(gateway, principal="shop", scopes=["runtimes:read"])
    assert (await me(gateway, key["key"]))["scopes"] == ["runtimes:read"]
    assert (await listed(gateway))[key["id"]]["scopes"] == ["runtimes:read"]
    refused = await gateway.call("POST", "/v1/keys", {"principal": "shop", "scopes": ["runtimes:read", "admin"]})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/scopes/1")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/principal"),
        ({"principal": "shop", "scopes": []}, "#/scopes"),
        ({"principal": "shop", "scopes": ["everything"]}, "#/scopes/0"),
        ({"principal": "shop", "expires_at": "2020-01-01"}, "#/expires_at"),
        ({"principal": "shop", "expires_at": "9999-12-31"}, "#/expires_at"),
        ({"principal": "shop", "expires_at": "9999-12-31T23:59:59-23:59"}, "#/expires_at"),
        ({"principal": "shop", "expires_at": "0001-01-01T00:00:00+23:59"}, "#/expires_at"),
        ({"principal": "shop", "expires_at": "tomorrow"}, "#/expires_at"),
        ({"principal": "shop", "expires_at": 4102444800}, "#/expires_at"),
        ({"principal": "shop", "name": "two\nlines"}, "#/name"),
    ],
)
async def test_invalid_request_for_a_key_names_the_field(gateway: Gateway, body: dict[str, Any], pointer: str) -> None:
    refused = await gateway.call("POST", "/v1/keys", body)
    assert (refused.status, refused.json["code"]) == (422, "validation_failed")
    assert refused.json["errors"][0]["pointer"] == pointer


async def test_key_made_with_an_idempotency_key_is_refused(gateway: Gateway) -> None:
    """A secret cannot be replayed."""
    refused = await gateway.call("POST", "/v1/keys", {"principal": "shop"}, **{"Idempotency-Key": "k-1"})
    assert (refused.status, refused.json["errors"][0]["header"]) == (422, "Idempotency-Key")


async def test_revoked_key_is_refused_and_a_second_revocation_is_404(gateway: Gateway) -> None:
    key = await made(gateway, principal="shop")
    path = f"/v1/keys/{key['id']}"
    assert (await gateway.call("DELETE", path)).status == 204
    assert (await call(gateway, key["key"], "GET", "/v1/me")).status == 401
    assert (await gateway.call("DELETE", path)).status == 404
    assert (await gateway.call("POST", f"{path}/rotate")).status == 404
    assert key["id"] not in await listed(gateway)


async def test_rotated_key_works_for_the_overlap(gateway: Gateway) -> None:
    old = await made(gateway, principal="shop", name="web", scopes=["runtimes:read"])
    new = (await gateway.call("POST", f"/v1/keys/{old['id']}/rotate")).json
    assert (new["name"], new["scopes"], new["expires_at"]) == ("web", ["runtimes:read"], None)
    assert new["id"] != old["id"]
    assert (await me(gateway, old["key"]))["expires_at"] is not None
    last = await gateway.call("POST", f"/v1/keys/{new['id']}/rotate", {"overlap": 0})
    assert last.status == 201
    assert (await call(gateway, new["key"], "GET", "/v1/me")).status == 401
    for key in (old["key"], last.json["key"]):
        assert (await me(gateway, key))["principal"] == "shop"
    for overlap in (-1, 40 * 86400, "1"):
        refused = await gateway.call("POST", f"/v1/keys/{last.json['id']}/rotate", {"overlap": overlap})
        assert refused.status == 422


async def test_keys_of_the_settings_are_listed_and_not_changed(gateway: Gateway) -> None:
    (declared,) = (await listed(gateway, "?principal=shop")).values()
    assert (declared["source"], declared["prefix"], declared["created_at"]) == ("settings", None, None)
    for method, below in (("DELETE", ""), ("POST", "/rotate")):
        refused = await gateway.call(method, f"/v1/keys/{declared['id']}{below}")
        assert (refused.status, refused.json["code"]) == (409, "state_conflict")
        assert "settings" in refused.json["detail"]
    refused = await gateway.call("DELETE", "/v1/principals/shop")
    assert (refused.status, refused.json["code"]) == (409, "state_conflict")
    assert (await me(gateway, SHOP))["principal"] == "shop"


async def test_keys_are_listed_by_principal(gateway: Gateway) -> None:
    key = await made(gateway, principal="team", template="shop")
    assert list(await listed(gateway, "?principal=team")) == [key["id"]]
    assert await listed(gateway, "?principal=nobody") == {}
    assert (await gateway.call("GET", "/v1/keys?owner=x")).status == 400


async def test_principal_is_disabled_and_enabled_with_all_its_keys(gateway: Gateway) -> None:
    """One of the settings too."""
    key = (await made(gateway, principal="shop"))["key"]
    for _ in range(2):
        disabled = await gateway.call("POST", "/v1/principals/shop/disable")
        assert (disabled.status, disabled.json["disabled"]) == (200, True)
        for text in (key, SHOP):
            refused = await call(gateway, text, "GET", "/v1/me")
            assert (refused.status, refused.json["code"]) == (401, "unauthenticated")
            assert "disabled" in refused.json["detail"]
    assert (await principals(gateway))["shop"]["disabled"] is True
    enabled = await gateway.call("POST", "/v1/principals/shop/enable")
    assert (enabled.status, enabled.json["disabled"]) == (200, False)
    for text in (key, SHOP):
        assert (await me(gateway, text))["principal"] == "shop"


async def test_principal_of_a_token_is_disabled_by_its_escaped_name(gateway: Gateway) -> None:
    disabled = await gateway.call("POST", "/v1/principals/login%2Fuser@example.com/disable")
    assert (disabled.status, disabled.json["name"]) == (200, "login/user@example.com")
    shown = (await principals(gateway))["login/user@example.com"]
    assert (shown["source"], shown["disabled"], shown["scopes"]) == ("token", True, None)
    assert (await gateway.call("DELETE", "/v1/principals/login%2Fuser@example.com")).status == 404
    await gateway.call("POST", "/v1/principals/login%2Fuser@example.com/enable")
    assert "login/user@example.com" not in await principals(gateway)
    assert (await gateway.call("POST", "/v1/principals/nobody/disable")).status == 404


async def test_deleted_principal_loses_its_keys_and_keeps_its_runtimes(gateway: Gateway) -> None:
    key = (await made(gateway, principal="team", template="shop"))["key"]
    runtime = await call(gateway, key, "POST", "/v1/runtimes", {"kind": "browser", "name": "of-the-team"})
    assert runtime.status == 201
    assert (await gateway.call("DELETE", "/v1/principals/team")).status == 204
    assert (await call(gateway, key, "GET", "/v1/me")).status == 401
    assert (await gateway.call("DELETE", "/v1/principals/team")).status == 404
    assert await listed(gateway, "?principal=team") == {}
    found = await gateway.call("GET", f"/v1/runtimes/{runtime.json['id']}")
    assert found.status == 200


async def test_only_administrators_see_keys_and_principals(gateway: Gateway) -> None:
    for method, path in (
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("DELETE", "/v1/keys/key_x"),
        ("POST", "/v1/keys/key_x/rotate"),
        ("GET", "/v1/principals"),
        ("DELETE", "/v1/principals/shop"),
        ("POST", "/v1/principals/shop/disable"),
        ("POST", "/v1/principals/shop/enable"),
    ):
        refused = await call(gateway, SHOP, method, path)
        assert (refused.status, refused.json["scope"]) == (403, "admin"), (method, path)


async def test_wrong_keys_from_one_address_are_limited_and_right_ones_are_not(gateway: Gateway) -> None:
    statuses = [(await call(gateway, f"wrong-{n}", "GET", "/v1/me")).status for n in range(21)]
    assert statuses == [401] * 20 + [429]
    limited = await call(gateway, "wrong", "GET", "/v1/runtimes")
    assert (limited.status, limited.json["code"]) == (429, "rate_limited")
    assert 0 < int(limited.headers["Retry-After"]) <= 60
    assert (await call(gateway, "wrong", "GET", "/bctrl/v1/browsers")).status == 429
    assert (await call(gateway, KEY, "GET", "/v1/me")).status == 200
