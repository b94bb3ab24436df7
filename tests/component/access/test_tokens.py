"""Callers with tokens of an issuer, over real sockets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from gateway.ports.clock import SystemClock
from gateway.ports.key_sets import KeySetUnavailable
from gateway.settings import CacheSettings
from gateway.testing.processes import running
from gateway.upstream import key_sets
from gateway.upstream.key_sets import MAX_KEY_SET_BYTES, fetch_key_set
from tests.certificates import write_certificate
from tests.component.whole_gateway import Gateway, Response, whole_gateway
from tests.issuer import Issuer

PRINCIPALS: Final[dict[str, dict[str, Any]]] = {
    "shop": {"keys": ["key-of-the-template-1"], "own_only": True},
    "staff": {"keys": ["key-of-the-template-2"]},
}
MAPPED: Final = {"scopes": "scope", "own_group": "tenant"}
CACHED: Final = CacheSettings(ttl=60)
KINDS: Final = ("durable", "bctrl", "bctrl_browsers")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer().serving() as serving:
        yield serving


@asynccontextmanager
async def gateway_of(issuer: Issuer, *apis: str, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway that accepts the issuer's tokens: of tenants, and for another audience of staff."""
    jwt = [issuer.settings(**MAPPED), issuer.settings(audience="staff", name="staff-login", template="staff")]
    async with whole_gateway(*(apis or ("bctrl",)), principals=PRINCIPALS, jwt=jwt, **options) as gateway:
        yield gateway


async def call(gateway: Gateway, token: str, method: str, path: str, body: Any = None, **headers: str) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {token}", **headers)


async def test_token_is_a_principal_of_its_tenant(issuer: Issuer) -> None:
    async with gateway_of(issuer) as gateway:
        token = issuer.token(sub="auth0|u1", tenant="acme", scope="openid runtimes:read")
        mine = (await call(gateway, token, "GET", "/v1/me")).json
        assert (mine["principal"], mine["owner"], mine["own_group"]) == ("login/auth0|u1", "login/acme", "login/acme")
        assert (mine["scopes"], mine["own_only"]) == (["runtimes:read"], True)
        assert mine["expires_at"] is not None
        refused = await call(gateway, token, "POST", "/v1/runtimes", {"kind": "browser"})
        assert (refused.status, refused.json["scope"]) == (403, "runtimes:create")
        assert (await call(gateway, token, "GET", "/v1/runtimes")).json["items"] == []
        by_header = await gateway.call("GET", "/v1/me", None, **{"Authorization": "", "X-API-Key": token})
        assert by_header.json["principal"] == "login/auth0|u1"
        lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
        (listed,) = [line for line in lines if line["event"] == "request" and line["operation"] == "listRuntimes"]
        assert listed["principal"] == "login/auth0|u1"


async def test_tenants_of_one_issuer_see_nothing_of_each_other(issuer: Issuer) -> None:
    async with gateway_of(issuer, *KINDS) as gateway:
        ann, joe, eve = (issuer.token(sub=u, tenant=t) for u, t in (("ann", "acme"), ("joe", "acme"), ("eve", "evil")))
        # The same person in two tenants: the principal is the same, the owner is not.
        both = issuer.token(sub="ann", tenant="evil")
        native = {"durable": "/durable/api/v1/org/acme/ws/research/runtimes", "bctrl_browsers": "/bctrl/v1/browsers"}
        for api in KINDS:
            upstream = gateway.upstreams[api]
            body = {"kind": upstream.kind, "provider": upstream.name, "name": "agent"}
            made = await call(gateway, ann, "POST", "/v1/runtimes", body, **{"Idempotency-Key": f"first-{api}"})
            assert (made.status, made.json["name"], made.json["owner"]) == (201, "agent", "login/acme"), made.text
            path = f"/v1/runtimes/{made.json['id']}"
            assert (await call(gateway, joe, "GET", path)).status == 200
            for foreign in (eve, both):
                assert (await call(gateway, foreign, "GET", path)).status == 404
                assert (await call(gateway, foreign, "POST", f"{path}/stop")).status == 404
                again = await call(
                    gateway, foreign, "POST", "/v1/runtimes", body, **{"Idempotency-Key": f"first-{api}"}
                )
                assert again.status == (201 if foreign is eve else 422), again.text
                assert made.json["id"] not in again.text
            if api in native:
                seen = await call(gateway, joe, "GET", f"{native[api]}")
                unseen = await call(gateway, both, "GET", f"{native[api]}")
                assert made.json["provider_id"] in seen.text
                assert made.json["provider_id"] not in unseen.text
        listed = (await call(gateway, joe, "GET", "/v1/runtimes?owner=me")).json["items"]
        assert [(row["name"], row["owner"]) for row in listed] == [("agent", "login/acme")] * 3
        assert (await call(gateway, ann, "GET", f"/native/{upstream.name}/v1/browsers")).status == 403
        staff = issuer.token(sub="ann", aud="staff")
        assert (await call(gateway, staff, "GET", f"/native/{upstream.name}/v1/browsers")).status == 200
        assert len((await call(gateway, staff, "GET", "/v1/runtimes?owner=login/acme")).json["items"]) == 3


async def test_cached_reads_of_one_person_in_two_tenants_are_kept_apart(issuer: Issuer) -> None:
    async with gateway_of(issuer, cache=CACHED) as gateway:
        acme, evil = (issuer.token(sub="ann", tenant=tenant) for tenant in ("acme", "evil"))
        made = await call(gateway, acme, "POST", "/v1/runtimes", {"kind": "browser", "name": "agent"})
        assert made.status == 201
        path = f"/v1/runtimes/{made.json['id']}"
        for token, status, count in ((acme, 200, 1), (evil, 404, 0), (acme, 200, 1)):
            assert (await call(gateway, token, "GET", path)).status == status
            assert len((await call(gateway, token, "GET", "/v1/runtimes")).json["items"]) == count
        hit = await call(gateway, acme, "GET", path)
        assert "hit" in hit.headers["Cache-Status"]


async def test_key_rotation_needs_no_second_request(issuer: Issuer) -> None:
    async with gateway_of(issuer, "bctrl_browsers") as gateway:
        assert (await call(gateway, issuer.token(tenant="a"), "GET", "/v1/me")).status == 200
        old = issuer.token(tenant="a", jti="old")
        issuer.rotate("EdDSA")
        issuer.held.clear()
        asking = [
            asyncio.create_task(call(gateway, issuer.token(tenant="a", jti=str(number)), "GET", "/v1/me"))
            for number in range(5)
        ]
        native = asyncio.create_task(call(gateway, issuer.token(aud="staff"), "GET", "/bctrl/v1/browsers"))
        assert (await call(gateway, "key-of-the-template-1", "GET", "/v1/me")).status == 200  # nobody else waits
        issuer.held.set()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 5
        assert (await native).status == 200
        assert (await call(gateway, old, "GET", "/v1/me")).status == 401
        assert issuer.fetches == 4  # two issuers at the start, and one fetch of each for the new key


async def test_gateway_starts_and_serves_keys_while_the_issuer_is_down(issuer: Issuer) -> None:
    issuer.down = True
    async with gateway_of(issuer) as gateway:
        refused = await call(gateway, issuer.token(tenant="a"), "GET", "/v1/me")
        assert (refused.status, refused.json["code"]) == (503, "provider_unavailable")
        assert (refused.json["source"], refused.headers["Retry-After"]) == ("gateway", "5")
        assert (await call(gateway, "key-of-the-template-1", "GET", "/v1/me")).status == 200
        lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
        fetched = [(line["issuer"], line["detail"]) for line in lines if line["event"] == "key_set"]
        assert sorted(fetched) == [("login", "status 503"), ("staff-login", "status 503")]


async def test_wrong_tokens_count_as_wrong_keys_and_are_never_logged(issuer: Issuer) -> None:
    async with gateway_of(issuer) as gateway:
        good = issuer.token(tenant="a")
        expired = issuer.token(tenant="a", exp=1000)
        for _ in range(30):  # a token that has ended is no guess
            assert (await call(gateway, expired, "GET", "/v1/me")).status == 401
        head, claims, signature = good.split(".")
        wrong = [f"{head}.{claims}.{signature[:-4]}{number:04}" for number in range(22)]
        refused = [await call(gateway, token, "GET", "/v1/me") for token in wrong]
        assert [answer.status for answer in refused] == [401] * 20 + [429] * 2
        assert (await call(gateway, good, "GET", "/v1/me")).status == 200
        dialect = await call(gateway, wrong[0], "GET", "/bctrl/v1/browsers")
        assert dialect.status == 429
        huge = await call(gateway, issuer.token(tenant="a", more="x" * 20_000), "GET", "/v1/me")
        assert huge.status == 431
        log = gateway.log.getvalue()
        for token in (good, expired, *wrong):
            assert token not in log
            assert token.split(".")[1] not in log


@pytest.mark.parametrize("form", ["e30.e30.e30", "ey..", "eyJ.a.b", "ey" + "[" * 3000 + ".a.b"])
async def test_malformed_token_is_401(issuer: Issuer, form: str) -> None:
    async with gateway_of(issuer) as gateway:
        for path in ("/v1/me", "/bctrl/v1/browsers", "/native/x/y"):
            answer = await call(gateway, form, "GET", path)
            assert answer.status == 401, answer.text


async def test_principal_of_a_token_is_disabled_and_enabled_by_name(issuer: Issuer) -> None:
    async with gateway_of(issuer) as gateway:
        token = issuer.token(sub="auth0|u/1", tenant="a")
        assert (await call(gateway, token, "GET", "/v1/me")).status == 200
        disabled = await gateway.call("POST", "/v1/principals/login%2Fauth0%7Cu%2F1/disable")
        assert (disabled.status, disabled.json["source"]) == (200, "token"), disabled.text
        refused = await call(gateway, token, "GET", "/v1/me")
        assert (refused.status, refused.json["detail"]) == (401, "The principal of this token is disabled.")
        assert (await call(gateway, issuer.token(tenant="a"), "GET", "/v1/me")).status == 200
        await gateway.call("POST", "/v1/principals/login%2Fauth0%7Cu%2F1/enable")
        assert (await call(gateway, token, "GET", "/v1/me")).status == 200


async def test_key_set_is_fetched_over_tls_from_a_trusted_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/jwks", issuer._serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    address = f"https://127.0.0.1:{runner.addresses[0][1]}/jwks"
    try:
        with pytest.raises(KeySetUnavailable, match="tls"):
            await fetch_key_set(address, SystemClock())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await fetch_key_set(address, SystemClock()) == issuer.key_set()
    finally:
        await runner.cleanup()


async def test_fetch_of_a_key_set_is_bounded_and_follows_no_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    async def respond(request: web.Request) -> web.StreamResponse:
        asked.append((request.path_qs, request.headers.get("Authorization", "")))
        match request.path:
            case "/large":
                return web.Response(body=b"x" * (MAX_KEY_SET_BYTES + 1))
            case "/bomb":
                response = web.Response(body=b" " * (MAX_KEY_SET_BYTES * 50))
                response.enable_compression(web.ContentCoding.gzip)
                return response
            case "/redirect":
                return web.Response(status=302, headers={"Location": "/keys"})
            case "/silent":
                await asyncio.get_running_loop().create_future()
        return web.Response(text="{}")

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    async with running(app) as url:
        for path, reason in (("/large", "too_large"), ("/bomb", "too_large"), ("/redirect", "status 302")):
            with pytest.raises(KeySetUnavailable, match=reason):
                await fetch_key_set(url + path, SystemClock())
        assert await fetch_key_set(f"{url}/keys?p=sign%20in", SystemClock()) == b"{}"
        assert await fetch_key_set(url, SystemClock()) == b"{}"
        assert [path for path, _ in asked[-2:]] == ["/keys?p=sign%20in", "/"]
        monkeypatch.setattr(key_sets, "FETCH_SECONDS", 0.01)
        with pytest.raises(KeySetUnavailable, match="timeout"):
            await fetch_key_set(f"{url}/silent", SystemClock())
    with pytest.raises(KeySetUnavailable, match="refused"):
        await fetch_key_set(url, SystemClock())
    assert {authorization for _, authorization in asked} == {""}
