"""What principals with constraints may ask for, on every surface, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from gateway.app import plugins
from tests.component.whole_gateway import Gateway, Response, whole_gateway

SHOP: Final = "key-of-the-shop-12345"
BARE: Final = "key-of-a-bare-one-123"
SECRET: Final = "6f1b5a52-5a0e-4b6b-9a57-0d3d3f5c2b11"
PROFILE: Final = "7a1b5a52-5a0e-4b6b-9a57-0d3d3f5c2b11"

PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {
        "keys": [SHOP],
        "allow": {
            "secret_ids": [SECRET],
            "projects": ["research"],
            "extension_ids": ["ext-1"],
            "proxy": {"hosts": ["proxy.example"]},
            "drivers": ["playwright"],
            "resources": {"cpu_cores": 4},
            "max_lifetime": "2h",
        },
    },
    "bare": {"keys": [BARE], "own_only": True},
}
DURABLE: Final = "/durable/api/v1/org/acme/ws/research"
WORKSPACE: Final = f"/bctrl/v1/workspaces/{plugins()['bctrl'].demo.scope}/runtimes"
KINDS: Final = ("durable", "bctrl", "bctrl_browsers")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway(*KINDS, principals=PRINCIPALS) as started:
        yield started


async def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {key}")


def places(refused: Response) -> list[str]:
    assert (refused.status, refused.json["code"]) == (403, "permission_denied"), refused.text
    return [error["pointer"] for error in refused.json["errors"]]


def received(gateway: Gateway) -> int:
    return sum(upstream.received() for upstream in gateway.upstreams.values())


async def test_create_beyond_the_constraints_is_refused_with_all_pointers_and_nothing_is_sent(gateway: Gateway) -> None:
    before = received(gateway)
    config = {
        "secrets": {"secret_ids": [SECRET, PROFILE]},
        "build": {"source": {"kind": "git", "ref": "x"}},
        "resources": {"cpu_cores": 5},
    }
    body = {"kind": "durable", "name": "a", "project": "other", "runtime_limit_seconds": 7201, "config": config}
    assert set(places(await call(gateway, SHOP, "POST", "/v1/runtimes", body))) == {
        "#/project",
        "#/runtime_limit_seconds",
        "#/config/build/source",
        "#/config/secrets/secret_ids/1",
        "#/config/resources/cpu_cores",
    }
    proxy = {"type": "http", "host": "evil.example", "port": 1}
    launch = {"mode": "ephemeral", "extension_ids": ["ext-1", "ext-2"], "proxy": proxy}
    browser = {"kind": "browser", "name": "a", "driver": "selenium", "launch": launch}
    assert places(await call(gateway, SHOP, "POST", "/v1/runtimes", browser)) == [
        "#/driver",
        "#/launch/extension_ids/1",
        "#/launch/proxy/host",
    ]
    profile = {"kind": "browser", "name": "a", "launch": {"mode": "profile", "profile_id": PROFILE}}
    assert places(await call(gateway, BARE, "POST", "/v1/runtimes", profile)) == ["#/launch/profile_id"]
    options = {"proxy": {"id": "saved"}, "extensions": ["e"], "fromBrowser": "br_1", "persona": "same"}
    native = {"kind": "browser", "name": "a", "provider": "bctrl-browsers-demo", "provider_options": options}
    native["provider"] = gateway.upstreams["bctrl_browsers"].name
    assert places(await call(gateway, BARE, "POST", "/v1/runtimes", native)) == [
        "#/provider_options/extensions/0",
        "#/provider_options/fromBrowser",
        "#/provider_options/proxy",
    ]
    assert received(gateway) == before


async def test_create_within_the_constraints_succeeds_and_has_the_time_limit(gateway: Gateway) -> None:
    config = {"secrets": {"secret_ids": [SECRET]}, "resources": {"cpu_cores": 4}}
    body = {"kind": "durable", "name": "a", "project": "research", "config": config, "start": True}
    made = await call(gateway, SHOP, "POST", "/v1/runtimes", body)
    assert made.status == 201, made.text
    assert made.json["durable"]["instance"]["runtime_limit_seconds"] == 7200
    launch = {
        "mode": "ephemeral",
        "extension_ids": ["ext-1"],
        "proxy": {"type": "http", "host": "Proxy.example", "port": 1},
    }
    for api in ("bctrl", "bctrl_browsers"):
        provider = gateway.upstreams[api].name
        browser = {"kind": "browser", "name": "b", "provider": provider, "launch": launch}
        made = await call(gateway, SHOP, "POST", "/v1/runtimes", browser)
        assert (made.status, made.json["browser"]["driver"]) == (201, "playwright"), made.text


async def test_start_and_config_beyond_the_constraints_are_refused(gateway: Gateway) -> None:
    made = await call(gateway, SHOP, "POST", "/v1/runtimes", {"kind": "durable", "name": "a"})
    path = f"/v1/runtimes/{made.json['id']}"
    before = received(gateway)
    options = {"secret_ids": [SECRET, PROFILE], "runtime_limit_seconds": 7201}
    assert places(await call(gateway, SHOP, "POST", f"{path}/start", options)) == [
        "#/secret_ids/1",
        "#/runtime_limit_seconds",
    ]
    config = {"config": {"secrets": {"secret_ids": [PROFILE]}}}
    assert places(await call(gateway, SHOP, "PUT", f"{path}/config", config)) == ["#/config/secrets/secret_ids/0"]
    assert received(gateway) == before
    started = await call(gateway, SHOP, "POST", f"{path}/start", {"secret_ids": [SECRET]})
    assert started.json["durable"]["instance"]["runtime_limit_seconds"] == 7200
    assert (await call(gateway, SHOP, "PUT", f"{path}/config", {"config": {}})).status == 200


async def test_durable_dialect_refuses_in_its_own_form(gateway: Gateway) -> None:
    runtimes = f"{DURABLE}/runtimes"
    made = await call(gateway, SHOP, "POST", runtimes, {"key": "a", "project": "research"})
    assert made.status == 201, made.text
    before = received(gateway)
    path = f"{runtimes}/{made.json['id']}"
    for method, where, body, place in (
        ("POST", runtimes, {"key": "b", "project": "other"}, "project"),
        ("POST", runtimes, {"key": "b", "requested_runtime_limit_seconds": 7201}, "requested_runtime_limit_seconds"),
        ("POST", runtimes, {"project": "other"}, "project"),
        ("POST", f"{DURABLE}/projects", {"name": "Other", "key": "other"}, "key"),
        ("POST", f"{path}/start", {"requested_runtime_limit_seconds": 7201}, "requested_runtime_limit_seconds"),
        ("POST", f"{path}/start", {"secret_ids": [PROFILE]}, "secret_ids"),
        ("PUT", f"{path}/config", {"config": {"secrets": {"secret_ids": [PROFILE]}}}, "config"),
    ):
        refused = await call(gateway, SHOP, method, where, body)
        assert (refused.status, refused.json["type"]) == (403, "forbidden_error"), refused.text
        assert place in refused.text
    assert received(gateway) == before
    started = await call(gateway, SHOP, "POST", f"{path}/start", {})
    assert started.json["instance"]["actual_runtime_limit_seconds"] == 7200


async def test_durable_create_without_a_key_needs_the_project_that_it_resolves_to(gateway: Gateway) -> None:
    runtimes = f"{DURABLE}/runtimes"
    default = await gateway.call("POST", runtimes, {})
    assert default.status in {200, 201}
    key = default.json["key"]
    refused = await call(gateway, BARE, "POST", runtimes, {})
    assert refused.status == 403
    assert key not in refused.text
    async with whole_gateway("durable", principals={"shop": {"keys": [SHOP], "allow": {"projects": [key]}}}) as other:
        assert (await call(other, SHOP, "POST", runtimes, {})).status == 201


async def test_browser_dialects_refuse_creates_and_updates_in_their_own_form(gateway: Gateway) -> None:
    made = await call(gateway, SHOP, "POST", "/bctrl/v1/browsers", {"name": "a"})
    assert made.status == 201, made.text
    before = received(gateway)
    browser = f"/bctrl/v1/browsers/{made.json['id']}"
    for method, path, body, place in (
        ("POST", "/bctrl/v1/browsers", {"proxy": "http://evil.example:80"}, "proxy"),
        ("POST", "/bctrl/v1/browsers", {"extensions": ["ext-1", "x"]}, "extensions.1"),
        ("POST", "/bctrl/v1/browsers", {"timeoutSeconds": 7201}, "timeoutSeconds"),
        ("PATCH", browser, {"proxy": {"id": "saved"}}, "proxy"),
        ("PATCH", browser, {"extensions": ["x"]}, "extensions.0"),
        ("POST", "/bctrl/v1/runtimes", {"type": "browser", "config": {"extensionIds": ["x"]}}, "extensions.0"),
        ("PATCH", f"/bctrl/v1/runtimes/{made.json['id']}", {"config": {"proxy": {"id": "p"}}}, "proxy"),
        (
            "POST",
            WORKSPACE,
            {"alias": "a", "kind": "browser", "launch": {"mode": "profile", "profileId": PROFILE}},
            "launch.profileId",
        ),
    ):
        refused = await call(gateway, SHOP, method, path, body)
        assert refused.status == 403, (path, refused.text)
        assert place in refused.text, refused.text
    assert received(gateway) == before
    allowed = {"proxy": "http://proxy.example:80", "extensions": ["ext-1"]}
    assert (await call(gateway, SHOP, "PATCH", browser, allowed)).status == 200


async def test_unlimited_caller_is_not_bounded_and_me_shows_the_constraints(gateway: Gateway) -> None:
    body = {"kind": "durable", "name": "a", "config": {"build": {"source": {"kind": "git", "ref": "x"}}}}
    assert (await gateway.call("POST", "/v1/runtimes", body)).status == 201
    shown = (await call(gateway, SHOP, "GET", "/v1/me")).json["allow"]
    assert (shown["secret_ids"], shown["proxy"], shown["max_lifetime"]) == (
        [SECRET],
        {"hosts": ["proxy.example"]},
        7200,
    )
    assert (shown["drivers"], shown["resources"]) == (["playwright"], {"cpu_cores": 4, "memory_mb": None})
    assert (await call(gateway, BARE, "GET", "/v1/me")).json["allow"]["projects"] == []
    assert (await gateway.call("GET", "/v1/me")).json["allow"] is None
