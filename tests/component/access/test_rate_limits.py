"""Rate limits of principals and of providers' accounts, over real sockets; shared ones with a real Redis."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from gateway.domain.access import Rate
from gateway.ports.policies import SharedWindowsAway
from gateway.settings import CorsSettings, LimitsSettings
from gateway.storage.redis_windows import RedisWindows
from tests.certificates import write_certificate
from tests.component.whole_gateway import Gateway, Response, whole_gateway
from tests.redis_server import RedisServer, redis_server

SHOP: Final = "key-of-the-shop-12345"
PATIENT: Final = 10.0
"""The timeout of calls to Redis in seconds: long, so that a busy machine does not make a test count alone."""


def shop(requests: str = "1000/hour", **rights: Any) -> dict[str, Any]:
    return {"shop": {"keys": [SHOP], "limits": {"requests": requests}, **rights}}


async def call(gateway: Gateway, method: str, path: str, body: Any = None, **headers: str) -> Response:
    return await gateway.call(method, path, body, Authorization=f"Bearer {SHOP}", **headers)


def remaining(response: Response) -> int:
    assert response.headers["RateLimit-Policy"] == '"requests";q=1000;w=3600'
    assert response.headers["RateLimit"].startswith('"requests";r=')
    return int(response.headers["RateLimit"].partition("=")[2].partition(";")[0])


async def test_every_answer_to_a_limited_principal_has_the_headers() -> None:
    cors = CorsSettings(origins=["https://app.example"])
    limited = shop(scopes=["runtimes:read", "runtimes:create", "native"])
    async with whole_gateway(principals=limited, cors=cors) as gateway:
        names = {api: upstream.name for api, upstream in gateway.upstreams.items()}
        calls: list[tuple[str, str, Any, int]] = [
            ("GET", "/v1/me", None, 200),
            ("POST", "/v1/runtimes", {"kind": "durable", "name": "one"}, 201),
            ("POST", "/v1/runtimes", {"kind": "nothing"}, 422),
            ("GET", "/v1/runtimes", None, 200),
            ("GET", "/v1/runtimes?nothing=1", None, 400),
            ("GET", f"/v1/runtimes/{names['durable']}.2489e9ad-0d1c-4a6e-8e4e-64a5a10a2a5b", None, 404),
            ("PUT", "/v1/runtimes/x/config", {}, 403),
            ("GET", "/durable/api/v1/org/acme/ws/research/runtimes", None, 200),
            ("GET", "/durable/api/v1/org/acme/ws/research/nothing", None, 404),
            ("GET", f"/native/{names['durable']}/api/v1/user", None, 200),
            ("GET", "/native/nothing/api/v1/user", None, 421),
        ]
        before = 1000
        for method, path, body, status in calls:
            response = await call(gateway, method, path, body, Origin="https://app.example")
            assert response.status == status, (path, response.text)
            assert remaining(response) == before - 1, path
            exposed = response.headers["Access-Control-Expose-Headers"]
            assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(exposed.split(", "))
            before -= 1
        shown = (await call(gateway, "GET", "/v1/me")).json["limits"]
        assert shown["requests"] == {"value": 1000, "used": len(calls) + 1, "seconds": 3600}
        assert (await gateway.call("GET", "/v1/me")).json["limits"] is None
        for unlimited in (await gateway.call("GET", "/v1/me"), await call(gateway, "GET", "/livez")):
            assert "RateLimit" not in unlimited.headers


async def test_requests_beyond_the_rate_are_refused_on_every_surface_but_release_verbs() -> None:
    async with whole_gateway("durable", principals=shop("3/hour")) as gateway:
        upstream = gateway.upstreams["durable"]
        first, second = [await gateway.create(upstream, start=True) for _ in range(2)]
        for _ in range(3):
            assert (await call(gateway, "GET", "/v1/me")).status == 200
        native, dialect = f"/native/{upstream.name}/api/v1/user", "/durable/api/v1/org/acme/ws/research/runtimes"
        asked = upstream.received()
        for path in ("/v1/me", "/v1/runtimes", f"/v1/runtimes/{first['id']}", dialect, native):
            refused = await call(gateway, "GET", path)
            assert (refused.status, refused.headers["RateLimit"][:14]) == (429, '"requests";r=0'), path
            assert 0 < int(refused.headers["Retry-After"]) <= 3601
        assert upstream.received() == asked
        refused = await call(gateway, "POST", f"/v1/runtimes/{first['id']}/start", {})
        problem = {name: refused.json[name] for name in ("status", "code", "source", "retryable", "limit")}
        assert problem == {
            "status": 429,
            "code": "rate_limited",
            "source": "gateway",
            "retryable": "yes",
            "limit": {"name": "requests", "value": 3, "used": 3},
        }
        path = f"{dialect}/{second['id'].partition('.')[2]}"
        for verb in (f"/v1/runtimes/{first['id']}/pause", f"/v1/runtimes/{first['id']}/reset", f"{path}/pause"):
            released = await call(gateway, "POST", verb)
            assert (released.status, released.headers["RateLimit"][:14]) == (200, '"requests";r=0'), released.text
        metrics = (await gateway.call("GET", "/metrics")).text
        assert 'rtgw_limit_refusals_total{limit="requests"} 6.0' in metrics


async def test_list_costs_an_account_one_request_and_release_verbs_none() -> None:
    """A list of two providers lacks the one whose rate is used up."""
    limits = {"limits": {"requests": "9/hour"}}
    async with whole_gateway("durable", "bctrl_browsers", durable=limits) as gateway:
        upstream = gateway.upstreams["durable"]
        made = [await gateway.create(upstream, start=number < 3) for number in range(5)]
        for _ in range(4):
            listed = await gateway.call("GET", "/v1/runtimes?limit=1")
            assert (listed.status, listed.json["incomplete"]) == (200, [])
        listed = await gateway.call("GET", "/v1/runtimes")
        (missing,) = listed.json["incomplete"]
        assert (listed.status, missing["provider"]) == (200, upstream.name)
        assert (missing["problem"]["code"], missing["problem"]["source"]) == ("rate_limited", "gateway")
        for path in (f"/v1/runtimes/{made[0]['id']}", f"/native/{upstream.name}/api/v1/user"):
            refused = await gateway.call("GET", path)
            assert (refused.status, refused.json["limit"]["name"]) == (429, "provider_requests"), refused.text
            assert "RateLimit" not in refused.headers
        assert (await gateway.call("POST", f"/v1/runtimes/{made[0]['id']}/pause")).status == 200
        created = await gateway.call("POST", "/v1/runtimes", {"kind": "durable", "provider": upstream.name})
        assert (created.status, created.json["code"]) == (429, "rate_limited")
        metrics = (await gateway.call("GET", "/metrics")).text
        assert 'rtgw_limit_refusals_total{limit="provider_requests"} 4.0' in metrics


async def test_create_goes_to_another_provider_if_the_rate_of_the_first_is_used_up() -> None:
    limits = {"limits": {"requests": "1/hour"}}
    async with whole_gateway("durable", twice=["durable"], durable=limits) as gateway:
        body = {"kind": "durable"}
        found = [(await gateway.call("POST", "/v1/runtimes", body)).json["provider"] for _ in range(3)]
        assert found == [gateway.upstreams[name].name for name in ("durable", "durable-2", "durable-2")]


async def test_probes_are_not_counted_at_an_account() -> None:
    limits = {"limits": {"requests": "1/hour"}}
    async with whole_gateway("durable", durable=limits) as gateway:
        for _ in range(2):
            assert (await gateway.call("GET", "/readyz")).status == 200
        assert (await gateway.call("GET", "/v1/runtimes")).json["incomplete"] == []


@asynccontextmanager
async def two_gateways(url: str, requests: str, patience: float = PATIENT) -> AsyncIterator[tuple[Gateway, Gateway]]:
    limits = {"storage": url, "timeout": patience}
    async with (
        whole_gateway("durable", principals=shop(requests), limits=limits) as one,
        whole_gateway("durable", principals=shop(requests), limits=limits) as two,
    ):
        yield one, two


async def burst(gateways: tuple[Gateway, ...], count: int) -> Counter[int]:
    """The statuses of this many concurrent calls, in turn at each gateway."""
    calls = (call(gateways[number % len(gateways)], "GET", "/v1/me") for number in range(count))
    return Counter(response.status for response in await asyncio.gather(*calls))


async def test_rate_holds_for_two_gateways_together_under_a_burst(redis: RedisServer) -> None:
    async with two_gateways(redis.url, "50/hour") as gateways:
        assert await burst(gateways, 120) == {200: 50, 429: 70}
        for gateway in gateways:
            refused = await call(gateway, "GET", "/v1/me")
            assert refused.headers["RateLimit"].startswith('"requests";r=0;t=')
            assert refused.json["limit"] == {"name": "requests", "value": 50, "used": 50}
            assert "rtgw_limits_storage_up 1.0" in (await gateway.call("GET", "/metrics")).text


async def test_gateways_count_alone_while_redis_is_away_and_together_again_afterwards(redis: RedisServer) -> None:
    async with two_gateways(redis.url, "20/hour") as gateways:
        assert await burst(gateways, 30) == {200: 20, 429: 10}
        redis.kill()
        assert await burst(gateways, 60) == {200: 40, 429: 20}
        for gateway in gateways:
            metrics = (await gateway.call("GET", "/metrics")).text
            assert "rtgw_limits_storage_up 0.0" in metrics
            assert "rtgw_limits_counted_alone_total 30.0" in metrics
            assert gateway.log.getvalue().count('"limits_storage_down"') == 1
        redis.start()
        async with asyncio.timeout(60):
            for gateway in gateways:
                while (await call(gateway, "GET", "/v1/me")).status == 429:  # noqa: ASYNC110 (the next try is due)
                    await asyncio.sleep(0.1)
        assert (await burst(gateways, 60))[200] == 18
        assert all('"limits_storage_up"' in gateway.log.getvalue() for gateway in gateways)


async def test_redis_that_hangs_delays_no_answer_beyond_the_timeout(redis: RedisServer) -> None:
    """With a timeout of a minute these calls would fail."""
    async with two_gateways(redis.url, "20/hour", patience=0.05) as gateways:
        await call(gateways[0], "GET", "/v1/me")
        redis.suspend()
        async with asyncio.timeout(50):
            assert (await burst(gateways, 60))[429] >= 20
            assert all('"limits_storage_down"' in gateway.log.getvalue() for gateway in gateways)
        redis.resume()


async def test_redis_is_reached_with_tls_and_with_a_password(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    options = ["--requirepass", "secret-of-redis", "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    options += ["--tls-auth-clients", "no"]
    with redis_server(*options) as plain:
        for user, works in ((":secret-of-redis@", True), (":wrong@", False), ("", False)):
            await uses(f"valkey://{user}127.0.0.1:{plain.port}/1", works=works)
    with redis_server(*options, tls=True) as server:
        address = f"valkeys://:secret-of-redis@127.0.0.1:{server.port}"
        await uses(f"{address}?ssl_ca_certs={certificate}", works=True)
        await uses(address, works=False)


async def uses(address: str, *, works: bool) -> None:
    settings = LimitsSettings(storage=SecretStr(address))
    assert settings.storage is not None
    windows = RedisWindows(settings.storage, PATIENT)
    try:
        if works:
            assert (await windows.take("k" * 64, Rate(5, 60)))[0]
            return
        with pytest.raises(SharedWindowsAway) as caught:
            await windows.take("k" * 64, Rate(5, 60))
        assert "secret" not in str(caught.value)
    finally:
        await windows.close()


async def test_burst_that_takes_longer_than_the_timeout_is_counted_together(redis: RedisServer) -> None:
    """The calls wait for a connection; the server answers each of them quickly."""
    windows, rate = RedisWindows(SecretStr(redis.url), 1.0), Rate(100, 3600)
    try:
        taken = await asyncio.gather(*(windows.take("k" * 64, rate) for _ in range(4000)))
        assert sum(admitted for admitted, _ in taken) == 100
    finally:
        await windows.close()


async def test_burst_at_a_server_that_does_not_answer_fails_together(redis: RedisServer) -> None:
    windows, rate = RedisWindows(SecretStr(redis.url), 1.0), Rate(100, 3600)
    redis.suspend()
    try:
        failed = await asyncio.gather(*(windows.take("k" * 64, rate) for _ in range(200)), return_exceptions=True)
        assert {type(each) for each in failed} == {SharedWindowsAway}
        assert [str(each) for each in failed].count("another call has failed") >= 150
    finally:
        redis.resume()
        await windows.close()
