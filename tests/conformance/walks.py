"""Calls of every operation of each API, in every state that the API has, and calls that it refuses.

They are sent both to the emulators and to the gateway's dialects. :data:`WALKS` has all of them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.app import plugins
from tests.conformance.exchanges import Caller, Clock
from tests.conformance.facts import Facts

SCOPES: Final = {api: plugin.demo.scope for api, plugin in plugins().items()}
MISSING: Final = "00000000-dead-4bad-8bad-000000000000"
MALFORMED: Final = b'{"key": '


async def durable(to: Caller, clock: Clock) -> None:
    """Everything below ``/api/v1``."""
    org, workspace = SCOPES["durable"].split("/")
    await durable_account(to, org, workspace)
    runtimes = f"/api/v1/org/{org}/ws/{workspace}/runtimes"
    config = {"version": "v2", "runtime_server": {"env": {"A": "b"}}, "metadata": {"labels": {"team": "shop"}}}
    made = await to.call("POST", runtimes, {"key": "one", "name": "One", "project": "shop", "config": config})
    one = f"{runtimes}/{made['id']}"
    await to.call("POST", runtimes, {"key": "one", "config": config})
    await to.call("POST", runtimes, {"key": "one", "config": {"resources": {"cpu_cores": 4}}})
    await to.call("POST", runtimes, {"key": "two", "requested_runtime_limit_seconds": 60})
    await durable_verbs(to, one, clock)
    await durable_capabilities(to, f"{one}/capabilities", runtimes)
    await to.call("GET", one + "/config")
    await to.call("PUT", one + "/config", {"config": {"sandbox": {"egress": {"allow": ["a.test"]}}}})
    await to.call("PUT", one + "/config", {"config": {"version": "v9", "resources": {"cpu_cores": 0}}})
    page = await to.call("GET", f"{runtimes}?limit=1&state=idle%2Crunning%2Cpaused&owner=me")
    await to.call("GET", f"{runtimes}?limit=1&cursor={page['next_cursor']}&project_id={made['project_id']}")
    for refused in ("?limit=0", "?state=flying", "?project_id=x", "?cursor=nonsense"):
        await to.call("GET", runtimes + refused)
    await to.call("GET", f"{runtimes}/{MISSING}")
    await to.call("POST", runtimes, raw=MALFORMED)
    await to.call("POST", runtimes, {"key": 1, "config": {"secrets": {"secret_ids": ["x"]}}})
    await to.call("POST", runtimes, {"key": "three", "project": MISSING})
    await to.call("GET", runtimes, Authorization="Bearer wrong")
    await to.call("DELETE", one)
    await to.call("GET", "/api/v1/nothing/here")


async def durable_account(to: Caller, org: str, workspace: str) -> None:
    """The user, the organization, its workspaces and their projects."""
    where = f"/api/v1/org/{org}/ws/{workspace}"
    for path in ("/api/v1/user", "/api/v1/user/secrets", "/api/v1/user/organizations", f"/api/v1/org/{org}"):
        await to.call("GET", path)
    await to.call("GET", f"/api/v1/org/{org}/ws")
    await to.call("GET", where)
    await to.call("POST", f"{where}/projects", {"name": "Shop", "key": "shop"})
    await to.call("POST", f"{where}/projects", {"name": "Shop", "key": "shop"})
    await to.call("GET", f"{where}/projects")
    await to.call("GET", f"{where}/projects/shop")
    await to.call("GET", f"{where}/projects/{MISSING}")
    await to.call("GET", f"/api/v1/org/{org}/sandboxes/nothing/logs")


async def durable_verbs(to: Caller, one: str, clock: Clock) -> None:
    """Every verb in every state."""
    verbs = ("pause", "resume", "reset", "keepalive")
    bodies: dict[str, Any] = {"keepalive": {"extend_seconds": 60}}
    for verb in verbs:
        await to.call("POST", f"{one}/{verb}", bodies.get(verb))
    started = await to.call("POST", one + "/start", {"requested_runtime_limit_seconds": 60})
    await to.call("GET", f"{one.partition('/ws/')[0]}/sandboxes/{started['instance']['provider_sandbox_id']}/logs")
    await to.call("POST", one + "/start")
    await to.call("POST", one + "/keepalive", bodies["keepalive"])
    await to.call("POST", one + "/keepalive", {"extend_seconds": 1})
    await to.call("POST", one + "/resume")
    await to.call("GET", one)
    clock.now += 1000
    await to.call("GET", one)
    await to.call("POST", one + "/resume")
    for verb in verbs:
        await to.call("POST", f"{one}/pause")
        await to.call("POST", f"{one}/{verb}", bodies.get(verb))
        await to.call("POST", one + "/start", {})
    await to.call("POST", f"{one}/pause")


async def durable_capabilities(to: Caller, path: str, runtimes: str) -> None:
    """The capability bindings of a runtime."""
    binding = await to.call("POST", path, {"name": "agent", "version": "1.0.0"})
    await to.call("POST", path, {"name": "agent"})
    await to.call("POST", path, {})
    bound = f"{path}/{binding['id']}"
    for change in ({"enabled": False}, {"enabled": True}, {"flags": {"loud": True, "old": None}}, {"version": "2.0.0"}):
        await to.call("PATCH", bound, change)
    await to.call("PATCH", bound, {})
    await to.call("GET", path)
    await to.call("GET", path + "/resolved")
    await to.call("DELETE", bound)
    await to.call("DELETE", bound)
    await to.call("GET", f"{runtimes}/{MISSING}/capabilities")


async def bctrl(to: Caller, _: Clock) -> None:
    """Everything below ``/v1/workspaces``."""
    runtimes = f"/v1/workspaces/{SCOPES['bctrl']}/runtimes"
    proxy = {"type": "socks5", "host": "proxy.test", "port": 1080, "username": "u", "password": "p"}
    config = {"humanize": True, "humanizePersonaId": 3, "solveCaptchas": False, "proxy": proxy}
    await to.call("POST", runtimes, {"alias": "one", "kind": "browser"})
    await to.call("POST", runtimes, {"alias": "one", "kind": "browser", "driver": "selenium"})
    launches: tuple[Any, ...] = (
        {"mode": "profile", "profileId": MISSING},
        {"mode": "ephemeral", "extensionIds": ["ext"], "config": config},
        {"mode": "ephemeral", "config": {"proxy": None}},
    )
    for number, launch in enumerate(launches):
        driver = ("puppeteer", "playwright", "stagehand")[number]
        await to.call(
            "POST", runtimes, {"alias": f"more-{number}", "kind": "browser", "driver": driver, "launch": launch}
        )
    for kind, status in (("desktop", "active"), ("spreadsheet", "stopped"), ("browser", "failed")):
        added = {"workspaceId": SCOPES["bctrl"], "alias": f"a-{kind}", "kind": kind, "status": status}
        await to.control("/__runtimes", added)
        await to.call("GET", f"{runtimes}/a-{kind}")
    await to.call("GET", "/v1/workspaces")
    await to.call("GET", runtimes)
    await to.call("GET", f"{runtimes}/one")
    await to.call("POST", f"{runtimes}/one/stop")
    await to.call("POST", f"{runtimes}/one/stop")
    await to.call("GET", f"{runtimes}/nothing")
    await to.call("POST", f"{runtimes}/nothing/stop")
    await to.call("POST", runtimes, {"alias": "one", "kind": "browser"})
    await to.call("POST", runtimes, {"alias": "bad", "kind": "teapot"})
    await to.call("POST", runtimes, {"alias": "bad", "kind": "browser", "launch": {"mode": "profile"}})
    await to.call("POST", runtimes, raw=MALFORMED)
    await to.call("GET", runtimes, Authorization="Bearer wrong")
    await to.call("DELETE", f"{runtimes}/one")


async def bctrl_browsers(to: Caller, clock: Clock) -> None:
    """Everything below ``/v1/browsers``, then everything below ``/v1/runtimes``, whose clients send no version."""
    to.headers["BCTRL-Version"] = "2026-10-03"
    traffic = {"blockAds": True, "saver": "light", "blockResourceTypes": ["media"], "urlAllowlist": ["a.test"]}
    full = {
        "name": "full", "spaceId": SCOPES["bctrl_browsers"], "location": "us-east", "headless": True, "gpu": False,
        "viewport": {"width": 800, "height": 600}, "stealth": "best", "captcha": {"autoSolve": True},
        "recording": False, "timeoutSeconds": 600, "expireAfterIdleDays": 3, "standbyAfterSeconds": 0,
        "metadata": {"n": 1}, "networkTraffic": traffic, "forceOpenShadowRoots": True, "webRtcProxyOnly": False,
        "autoUpgrade": False, "audit": {"files": "summary"}, "extensions": ["ext"],
        "proxy": {"type": "custom", "protocol": "http", "host": "p.test", "port": 1, "username": "u", "password": "p"},
    }  # fmt: skip
    proxies: tuple[Any, ...] = (None, "http://p.test:1", {"id": "saved"}, {"url": "http://u:p@p.test:1"})
    await to.call("POST", "/v1/browsers?wait=10", full, Idempotency_Key="key-1")
    await to.call("POST", "/v1/browsers?wait=10", full, Idempotency_Key="key-1")
    await to.call("POST", "/v1/browsers", {"name": "other"}, Idempotency_Key="key-1")
    await to.call("POST", "/v1/browsers", {"name": "full"})
    for number, proxy in enumerate(proxies):
        await to.call("POST", "/v1/browsers", {"name": f"proxied-{number}", "proxy": proxy})
    await browser_verbs(to, clock)
    page = await to.call("GET", "/v1/browsers?limit=2&order=asc&status=idle&status=running")
    await to.call("GET", f"/v1/browsers?limit=2&order=asc&cursor={page['nextCursor']}&name=full&q=u&location=auto")
    for refused in ("?limit=0", "?order=up", "?cursor=nonsense"):
        await to.call("GET", "/v1/browsers" + refused)
    await to.call("GET", "/v1/auth/whoami")
    await to.call("POST", "/v1/browsers", {"stealth": "most", "colour": "red"})
    await to.call("POST", "/v1/browsers", raw=MALFORMED)
    await to.call("GET", "/v1/browsers", Authorization="Bearer wrong")
    await to.call("GET", "/v1/browsers", BCTRL_Version="2020-01-01")
    await to.call("PUT", "/v1/browsers")
    to.headers.clear()
    await flat_era(to, clock)


async def browser_verbs(to: Caller, clock: Clock) -> None:
    """Every verb in every state: starting, active, stopping and idle, with and without saved state."""
    made = await to.call("POST", "/v1/browsers", {"name": "one"})
    one = f"/v1/browsers/{made['id']}"
    for verb, wait in (("start", 0), ("connections/revoke", None), ("start", 5), ("connections/revoke", None)):
        await to.call("POST", f"{one}/{verb}" + ("" if wait is None else f"?wait={wait}"))
    await to.call("POST", f"{one}/stop", {"discardState": False})
    await to.call("GET", one)
    clock.now += 10
    await to.call("GET", f"{one}?wait=1")
    await to.call("PATCH", one, {"name": "renamed", "headless": True, "metadata": {"n": 2}})
    await to.call("PATCH", one, {"viewport": {"width": 1, "height": 1}})
    await to.call("PATCH", one, {"spaceId": "sp_other"})
    await to.call("POST", "/v1/browsers?wait=1", {"name": "copy", "fromBrowser": made["id"], "persona": "same"})
    await to.call("POST", "/v1/browsers", {"name": "copy-2", "fromBrowser": made["id"]})
    await to.call("POST", f"{one}/start?wait=5")
    await to.call("POST", f"{one}/stop?wait=5", {"discardState": True})
    await to.call("POST", f"{one}/stop?wait=seconds")
    for method, path in (("DELETE", ""), ("DELETE", ""), ("GET", ""), ("POST", "/start"), ("POST", "/stop")):
        await to.call(method, one + path)


async def flat_era(to: Caller, clock: Clock) -> None:
    """The runtimes of the flat era."""
    config = {"headless": True, "extensionIds": ["ext"], "webRtcProxyOnly": True}
    body = {"type": "browser", "name": "flat", "metadata": {"team": "shop"}, "config": config, "start": True}
    made = await to.call("POST", "/v1/runtimes", body)
    one = f"/v1/runtimes/{made['id']}"
    await to.call("GET", one)
    await to.call("GET", one + "?include=connection")
    for method, path in (("POST", "/start"), ("DELETE", ""), ("POST", "/stop"), ("POST", "/stop")):
        clock.now += 10
        await to.call(method, one + path)
    await to.call("GET", one)
    await to.call("PATCH", one, {"name": "flat-2", "config": {"headless": False}})
    await to.call("POST", one + "/start")
    await to.call("POST", "/v1/runtimes", {"type": "browser", "name": "flat-2"})
    await to.call("POST", "/v1/runtimes", {"type": "browser", "name": "flat-3"})
    page = await to.call("GET", "/v1/runtimes?limit=1")
    await to.call("GET", f"/v1/runtimes?limit=1&cursor={page['nextCursor']}&q=flat&status=active")
    await to.call("GET", "/v1/runtimes?cursor=nonsense")
    await to.call("POST", "/v1/runtimes", {"type": "spaceship"})
    await to.call("POST", "/v1/runtimes", raw=MALFORMED)
    await to.call("GET", "/v1/runtimes", Authorization="Bearer wrong")
    await to.call("DELETE", one + "?force=true")
    await to.call("GET", one)


async def errors(to: Caller, api: str, facts: Facts) -> None:
    """Every documented status of an error, and every documented type, by faults."""
    path = {
        "durable": f"/api/v1/org/acme/ws/research/runtimes/{MISSING}",
        "bctrl": f"/v1/workspaces/{SCOPES['bctrl']}/runtimes/one",
        "bctrl_browsers": "/v1/browsers/br_1",
    }[api]
    for status in facts.errors[0].get("statuses", (400, 401, 402, 403, 404, 409, 412, 429, 500, 502, 503, 504)):
        to.fault("get", "status", status=status)
        await to.call("GET", path)
    for code in facts.shapes.get("error_type", {}).get("enum", ()):
        to.fault("get", "status", status=400, code=code)
        await to.call("GET", path)


WALKS: Final[Mapping[str, Callable[[Caller, Clock], Awaitable[None]]]] = {
    "durable": durable,
    "bctrl": bctrl,
    "bctrl_browsers": bctrl_browsers,
}
"""The calls by API. An API without an entry is not checked."""
