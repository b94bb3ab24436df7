"""Which tokens are refused, and that the provider is not called for them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.ports.clock import SystemClock
from tests.component.dataplane.conftest import Plane, started

OWNER = "key-of-the-owner-1234"
OTHER = "key-of-the-other-1234"
PRINCIPALS = {
    "owner": {"keys": [OWNER], "own_only": True, "limits": {"connections": 1}},
    "other": {"keys": [OTHER], "own_only": True},
}


@pytest.fixture
async def owned(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """A gateway with two principals that see their own runtimes only, and a running browser of the first one."""
    async with started(monkeypatch, principals=PRINCIPALS) as plane:
        body = {"kind": "browser", "name": "own", "start": True}
        made = await plane.gateway.call("POST", "/v1/runtimes", body, Authorization=f"Bearer {OWNER}")
        assert made.status == 201, made.text
        yield Plane(plane.gateway, plane.browser, plane.address, made.json["id"])


async def issued(plane: Plane, key: str = OWNER) -> dict[str, Any]:
    """An address for CDP."""
    path = f"/v1/runtimes/{plane.runtime_id}/connections"
    found = await plane.gateway.call("POST", path, {"protocol": "cdp"}, Authorization=f"Bearer {key}")
    assert found.status == 200, found.text
    item: dict[str, Any] = found.json["items"][0]
    return item


def token_of(address: str) -> str:
    return address.rpartition("/")[2]


async def test_refused_tokens_reach_neither_provider_nor_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch) as other:
        foreign = token_of((await other.connect())["cdp"]["http_url"])
    async with started(monkeypatch) as plane, aiohttp.ClientSession() as client:
        found = await plane.connect()
        cdp, webdriver = found["cdp"], found["webdriver"]
        base, token = cdp["http_url"].rpartition("/cdp/")[0], token_of(cdp["http_url"])
        at = len(token) // 2
        tampered = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        refused = {
            f"/cdp/{tampered}/json/version": 401,
            f"/cdp/{token[:-1]}/json/version": 401,
            f"/cdp/{token}A/json/version": 401,
            f"/cdp/{foreign}/json/version": 401,
            f"/cdp/{token_of(webdriver['url'])}/json/version": 401,
            f"/webdriver/{token}/session": 401,
            f"/runtime_server/{token}/": 401,
            f"/json/version?token={token}": 401,
            "/json/version": 401,
            "/cdp/short/json/version": 401,
        }
        upstream, seen = plane.gateway.upstreams["bctrl_browsers"], len(plane.browser.seen)
        received = upstream.received()
        for path, status in refused.items():
            async with client.get(base + path) as response:
                problem = await response.json()
                assert (response.status, problem["code"]) == (status, "unauthenticated"), path
                assert token[:20] not in str(problem)
        async with client.get(base + "/json/version", headers={"Authorization": f"Bearer {token}"}) as response:
            assert response.status == 401  # CDP has its token in the path
        for origin in ("https://evil.example", "null"):
            async with client.get(cdp["http_url"] + "/json/version", headers={"Origin": origin}) as response:
                assert response.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await client.ws_connect(cdp["url"], headers={"Origin": origin})
        assert (upstream.received(), len(plane.browser.seen)) == (received, seen)
        async with client.get(cdp["http_url"] + "/json/version", headers={"Origin": "https://app.example"}) as response:
            assert response.status == 200
        assert "Origin" not in plane.browser.seen[-1][2]


class ShiftedClock(SystemClock):
    """The system's clock, ``shift`` seconds ahead."""

    shift = 0.0

    def now(self) -> float:
        return super().now() + self.shift


async def test_refused_tokens_have_the_same_response_whatever_is_wrong_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ShiftedClock()
    async with started(monkeypatch) as other:
        foreign = token_of((await other.connect())["cdp"]["http_url"])
    async with started(monkeypatch, clock=clock) as plane, aiohttp.ClientSession() as client:
        expired = token_of((await plane.connect(ttl=1))["cdp"]["http_url"])
        base, _, token = (await plane.connect())["cdp"]["http_url"].rpartition("/")
        clock.shift = 2.0
        wrong = {"foreign": foreign, "expired": expired}
        for place in range(len(token)):
            changed = "A" if token[place] != "A" else "B"
            wrong[f"changed at {place}"] = token[:place] + changed + token[place + 1 :]
        wrong |= {f"only {size} characters": token[:size] for size in range(64, len(token), 5)}
        upstream, seen = plane.gateway.upstreams["bctrl_browsers"], len(plane.browser.seen)
        received, answers = upstream.received(), set()
        for refused in wrong.values():
            async with client.get(f"{base}/{refused}/json/version") as response:
                problem = await response.json()
                del problem["request_id"], problem["instance"]
                varying = {"date", "x-request-id"}
                headers = {name: value for name, value in response.headers.items() if name.lower() not in varying}
                answers.add((response.status, json.dumps(problem), json.dumps(headers)))
        assert [status for status, _, _ in answers] == [401], sorted(answers)[:3]
        assert (upstream.received(), len(plane.browser.seen)) == (received, seen)


async def test_token_of_an_earlier_instance_asks_the_provider_once(plane: Plane) -> None:
    before = (await plane.connect())["cdp"]["http_url"] + "/json/version"
    for verb in ("stop", "start"):
        done = await plane.gateway.call("POST", f"/v1/runtimes/{plane.runtime_id}/{verb}", {})
        assert done.status == 200, done.text
    upstream = plane.gateway.upstreams["bctrl_browsers"]
    async with aiohttp.ClientSession() as client:
        async with client.get(before) as response:
            assert (response.status, (await response.json())["code"]) == (410, "runtime_gone")
        received = upstream.received()
        for _ in range(3):
            async with client.get(before) as response:
                assert response.status == 410
        assert upstream.received() == received
        async with client.get((await plane.connect())["cdp"]["http_url"] + "/json/version") as response:
            assert response.status == 200


async def test_token_is_in_no_log_line_metric_or_header_to_the_runtime(plane: Plane) -> None:
    cdp = (await plane.connect())["cdp"]
    token = token_of(cdp["http_url"])
    headers = {"Referer": cdp["http_url"] + "/page.html"}
    async with aiohttp.ClientSession() as client:
        for path in ("/json/version", "/absent", "/..%2f", "/a b", "?" + "x" * 9000):
            async with client.get(cdp["http_url"] + path, headers=headers) as response:
                if response.status == 200:
                    assert response.headers["Referrer-Policy"] == "no-referrer"
        async with client.ws_connect(cdp["url"], headers=headers) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
    metrics = await plane.gateway.call("GET", "/metrics")
    assert "rtgw_data_connections_ended_total" in metrics.text
    for text in (plane.gateway.log.getvalue(), metrics.text, json.dumps(plane.browser.seen)):
        assert token[:40] not in text
        assert token[-40:] not in text


async def test_assignment_to_another_owner_voids_addresses_and_ends_their_connections(owned: Plane) -> None:
    cdp = await issued(owned)
    async with aiohttp.ClientSession() as client, client.ws_connect(cdp["url"]) as socket:
        assigned = await owned.gateway.call("PUT", f"/v1/runtimes/{owned.runtime_id}/owner", {"owner": "other"})
        assert assigned.status == 200, assigned.text
        end = await socket.receive(timeout=10)
        assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4403)
        async with client.get(cdp["http_url"] + "/json/version") as response:
            assert response.status == 403
        async with client.get((await issued(owned, OTHER))["http_url"] + "/json/version") as response:
            assert response.status == 200


async def test_connections_beyond_the_limit_of_the_principal_are_refused(owned: Plane) -> None:
    cdp = await issued(owned)
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(cdp["url"]) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            async with client.get(cdp["http_url"] + "/json/version") as response:
                problem = await response.json()
                assert (response.status, problem["code"]) == (429, "quota_exceeded")
                assert problem["limit"] == {"name": "connections", "value": 1, "used": 1}
            me = await owned.gateway.call("GET", "/v1/me", Authorization=f"Bearer {OWNER}")
            assert me.json["limits"]["connections"] == {"value": 1, "used": 1}
            async with client.get((await issued(owned, "a-key-of-a-shop-1234"))["http_url"] + "/json/list") as response:
                assert response.status == 200  # another principal has its own
        status = 429
        while status == 429:  # until the gateway has noticed the end
            async with client.get(cdp["http_url"] + "/json/version") as response:
                status = response.status
        assert status == 200
