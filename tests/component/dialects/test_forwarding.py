"""Requests of the providers' own clients that no route serves and the settings forward."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import pytest
from yarl import URL

from adapters.bctrl_browsers.emulator import BrowsersEmulator
from adapters.durable.emulator import DurableEmulator
from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Route
from tests.component.access.dialect_owners import APIS, BANK, PRINCIPALS, SHOP, call, made
from tests.component.whole_gateway import Gateway, whole_gateway
from tests.tcp_faults import Mode

BCTRL: Final = "/bctrl/v1"
DURABLE: Final = "/durable/api/v1"
NATIVE_SHOP: Final = "a-key-of-a-limited-shop-1"
REQUESTS: Final = (
    ("GET", "/v1/spaces"),
    ("GET", "/v1/spaces/{space}"),
    ("GET", "/v1/browsers/{id}/pages"),
    ("POST", "/v1/browsers/{id}/pages/goto"),
    ("GET", "/v1/usage"),
    ("DELETE", "/v1/spaces/{space}"),
    ("GET", "/api/v1/org/{org}/sandboxes"),
    ("GET", "/api/v1/org/{org}/sandboxes/{sandbox}"),
    ("GET", "/api/v1/org/{org}/capabilities/{name}/{version}/readme"),
    ("GET", "/api/v1/org/{org}/ws/{ws}/sessions/{session}"),
    ("GET", "/api/v1/org/{org}/ws/{ws}/runtimes/{runtime}/history"),
)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """Emulators that echo the requests above, and a gateway that forwards presets and one more call. A parameter is the
    scope of the durable provider."""

    def echo(asked: Call) -> Answer:
        assert "gateway" not in str(asked.headers.get("Authorization"))
        return Answer(body={"path": asked.path, "query": dict(asked.query), "body": asked.raw.decode()})

    for emulator, prefix in ((BrowsersEmulator, "/v1"), (DurableEmulator, "/api")):
        extra = [Route(f"extra_{i}", m, path, echo) for i, (m, path) in enumerate(REQUESTS) if path.startswith(prefix)]

        def routes(self: Any, own: Any = emulator.routes, extra: Any = extra) -> Iterable[Route]:
            yield from own(self)
            yield from extra

        monkeypatch.setattr(emulator, "routes", routes)
    forward = {
        "bctrl": ["browsing"],
        "durable": ["reads", "GET /api/v1/org/*/ws/*/runtimes/*/history", "* /api/v1/org/*/ws/*/runtimes/**"],
    }
    scopes = ["runtimes:read", "runtimes:create", "runtimes:lifecycle", "native"]
    limited = {"limited": {"keys": [NATIVE_SHOP], "own_only": True, "scopes": scopes}}
    async with whole_gateway(
        "durable",
        "bctrl_browsers",
        principals={**PRINCIPALS, **limited},
        forward=forward,
        durable={"scope": getattr(request, "param", "acme/research")},
    ) as started:
        yield started


def requests_of(gateway: Gateway, api: str) -> int:
    emulator: Emulator = gateway.upstreams[api].emulator
    return sum(emulator.requests.per_operation.values())


async def test_listed_requests_reach_the_provider_with_its_credentials(gateway: Gateway) -> None:
    browser = await made(gateway, None, APIS["browsers"], "agent")
    spaces = await gateway.call("GET", f"{BCTRL}/spaces?limit=3")
    assert (spaces.status, spaces.json["query"]) == (200, {"limit": "3"})
    assert spaces.headers["Proxy-Status"] == "runtime-gateway; received-status=200"
    pages = await gateway.call("GET", f"{BCTRL}/browsers/agent/pages")
    assert pages.json == {"path": {"id": browser["id"]}, "query": {"spaceId": "sp_demo"}, "body": ""}
    goto = await gateway.call("POST", f"{BCTRL}/browsers/{browser['id']}/pages/goto", {"url": "https://a.example"})
    assert goto.json["body"] == '{"url": "https://a.example"}'
    session = await gateway.call("GET", f"{DURABLE}/org/acme/ws/research/sessions/s1")
    assert session.json["path"] == {"org": "acme", "ws": "research", "session": "s1"}
    assert (await gateway.call("GET", f"{DURABLE}/org/acme/sandboxes")).status == 200
    assert (await gateway.call("GET", f"{DURABLE}/org/acme/sandboxes/none")).status == 200
    lines = [line for line in gateway.log.getvalue().splitlines() if '"operation":"forward"' in line]
    assert any('"surface":"bctrl"' in line and browser["id"] in line for line in lines)


async def test_name_of_a_capability_keeps_its_encoded_slash(gateway: Gateway) -> None:
    """``dn`` encodes it so that the name is one segment."""
    path = URL(f"{gateway.url}{DURABLE}/org/acme/capabilities/dreadnode%2Fweb/1.0/readme?a=b", encoded=True)
    async with gateway.client.get(path) as response:
        assert (await response.json())["path"] == {"org": "acme", "name": "dreadnode/web", "version": "1.0"}


@pytest.mark.parametrize(
    "path",
    [
        "/org/acme/capabilities/a%2F..%2Fsandboxes",
        "/org/acme/capabilities/%2Fsandboxes",
        "/org/acme%2Fws/research/sessions/s1",
        "/org/acme/ws/research/sessions%2Fs1",
        "/org/acme/ws/research/runtimes/agent/other%2Fhistory",
        "/org/acme/sandboxes/a%2Fb",
    ],
)
async def test_other_encoded_slashes_are_not_forwarded(gateway: Gateway, path: str) -> None:
    before = requests_of(gateway, "durable")
    async with gateway.client.get(URL(f"{gateway.url}{DURABLE}{path}", encoded=True)) as response:
        assert response.status == 404
        assert "Proxy-Status" not in response.headers
    assert requests_of(gateway, "durable") == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"{BCTRL}/spaces/sp_demo"),
        ("GET", f"{BCTRL}/unknown"),
        ("GET", f"{BCTRL}/spaces/../unknown"),
        ("POST", f"{BCTRL}/browsers/"),
        ("POST", f"{DURABLE}/org/acme/ws/research/runtimes/"),
        ("POST", f"{DURABLE}/org/acme/ws/research/runtimes/agent/start/"),
        ("POST", f"{DURABLE}/org/acme/ws/research/%72untimes/agent/star%74/"),
    ],
)
async def test_other_requests_and_spellings_of_routes_are_not_forwarded(
    gateway: Gateway, method: str, path: str
) -> None:
    before = [requests_of(gateway, api) for api in gateway.upstreams]
    refused = await gateway.call(method, path, {} if method == "POST" else None)
    assert refused.status == 404
    assert "Proxy-Status" not in refused.headers
    assert [requests_of(gateway, api) for api in gateway.upstreams] == before


async def test_scope_native_is_needed(gateway: Gateway) -> None:
    refused = await call(gateway, SHOP, "GET", f"{BCTRL}/spaces")
    assert refused.status == 403


async def test_caller_with_own_only_reaches_nothing_but_its_own_runtimes(gateway: Gateway) -> None:
    theirs = await made(gateway, BANK, APIS["browsers"], "agent")
    mine = await made(gateway, NATIVE_SHOP, APIS["browsers"], "agent")
    await made(gateway, BANK, APIS["durable"], "secret")
    await made(gateway, NATIVE_SHOP, APIS["durable"], "open")

    async def ask(path: str) -> Any:
        return await call(gateway, NATIVE_SHOP, "GET", path)

    own = await ask(f"{BCTRL}/browsers/agent/pages")
    assert (own.status, own.json["path"]["id"]) == (200, mine["id"])
    absent = await ask(f"{BCTRL}/browsers/absent/pages")
    foreign = await ask(f"{BCTRL}/browsers/{theirs['id']}/pages")
    assert absent.status == foreign.status == 404
    assert absent.json["error"]["code"] == foreign.json["error"]["code"]
    durable = f"{DURABLE}/org/acme/ws/research/runtimes"
    assert (await ask(f"{durable}/open/history")).status == 200
    assert (await ask(f"{durable}/secret/history")).status == 404
    account = f"{DURABLE}/org/acme"
    for path in (
        f"{BCTRL}/spaces",
        f"{BCTRL}/usage",
        f"{account}/sandboxes",
        f"{account}/sandboxes/usage",
        f"{account}/capabilities/web/1.0/readme",
        f"{account}/ws/research/sessions/s1",
    ):
        assert (await ask(path)).status == 403, path


@pytest.mark.parametrize("gateway", ["acme/research", None], indirect=True)
async def test_caller_with_own_only_reads_the_sandboxes_of_its_own_runtimes(gateway: Gateway) -> None:
    answers = {}
    for key in (NATIVE_SHOP, BANK):
        await made(gateway, key, APIS["durable"], "agent")
        started = await call(gateway, key, "POST", f"{APIS['durable'].runtimes}/agent/start", {})
        sandbox = started.json["instance"]["provider_sandbox_id"]
        answers[key] = await call(gateway, NATIVE_SHOP, "GET", f"{DURABLE}/org/acme/sandboxes/{sandbox}")
    assert (answers[NATIVE_SHOP].status, answers[BANK].status) == (200, 404)
    absent = await call(gateway, NATIVE_SHOP, "GET", f"{DURABLE}/org/acme/sandboxes/i0")
    assert (absent.status, absent.json) == (404, answers[BANK].json)


async def test_space_and_workspace_that_no_provider_serves_are_absent(gateway: Gateway) -> None:
    for path in (f"{BCTRL}/spaces/sp_other", f"{BCTRL}/usage?spaceId=sp_other", f"{DURABLE}/org/b/ws/c/sessions/s"):
        refused = await gateway.call("GET", path)
        assert refused.status == 404, path
        assert "Proxy-Status" not in refused.headers


async def test_failure_of_the_gateway_has_the_envelope_of_the_provider(gateway: Gateway) -> None:
    await gateway.upstreams["bctrl_browsers"].proxy.set_mode(Mode.REFUSE)
    failed = await gateway.call("GET", f"{BCTRL}/usage", **{"BCTRL-Version": "2026-10-03"})
    assert failed.status == 503
    assert failed.json["error"]["code"]
