"""Promises that are tested with complete processes: ownership, blame in errors, secrets and bad input."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.app import plugins
from gateway.domain.values import Feature
from tests.component.fleets import KEY, Emulated, Fleet, Gateway

PROXY_PASSWORD = "canary-proxy-password"
ENV_VALUE = "canary-env-value"
SECRETS = (KEY, PROXY_PASSWORD, ENV_VALUE, "canary-token-of")

DURABLE: dict[str, Any] = {
    "kind": "durable",
    "provider": "durable-demo",
    "config": {"version": "v2", "runtime_server": {"env": {"API_TOKEN": ENV_VALUE}}},
}
PROXY = {"type": "http", "host": "proxy.example", "port": 3128, "username": "shop", "password": PROXY_PASSWORD}
BROWSER: dict[str, Any] = {"kind": "browser", "provider": "bctrl-demo", "launch": {"mode": "ephemeral", "proxy": PROXY}}


async def exchange(gateway: Gateway, raw: bytes) -> tuple[int, str, Any]:
    """Send bytes on a new connection. Return the status, the head and the decoded body of the response."""
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(raw)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head.decode("latin-1").lower(), json.loads(body)


async def test_any_gateway_sends_a_verb_only_to_the_provider_that_made_the_runtime(fleet: Fleet) -> None:
    """The two gateways share only their settings. See docs/promises.md#p3."""
    async with fleet.gateway("one") as one, fleet.gateway("two") as two:
        for name, emulator in fleet.emulators.items():
            adapter = plugins()[emulator.settings["api"]].adapter
            kind = min(adapter.creates)
            made = await one.call("POST", "/v1/runtimes", 201, {"kind": kind, "provider": name, "start": True})
            before = {other: fleet.emulators[other].requests() for other in fleet.emulators}
            stopped = await two.call("POST", f"/v1/runtimes/{made['id']}/stop", 200, stop_body(adapter.features))
            after = {other: fleet.emulators[other].requests() for other in fleet.emulators}
            assert (stopped["provider"], stopped["changed"]) == (name, True)
            assert {other for other in after if after[other] != before[other]} == {name}
            assert emulator.emulator.stats()["live_runtimes"] == 0


def stop_body(features: frozenset[str]) -> dict[str, Any]:
    """The body of a stop that succeeds at a provider with these features."""
    return {"discard_state": True} if Feature.STOP_DISCARDS_STATE in features else {}


async def test_runtime_of_an_unconfigured_provider_is_421_and_not_404(fleet: Fleet) -> None:
    """After a 404 a caller might create a replacement. See docs/promises.md#p3."""
    rest = {name: emulator.settings for name, emulator in fleet.emulators.items() if name != "bctrl-demo"}
    async with fleet.gateway("all") as everything, fleet.gateway("rest", providers=rest) as other:
        made = await everything.call("POST", "/v1/runtimes", 201, {"kind": "browser", "provider": "bctrl-demo"})
        problem = await other.call("GET", f"/v1/runtimes/{made['id']}", 421)
        assert (problem["code"], problem["provider"]) == ("provider_not_configured", "bctrl-demo")
        assert (await everything.call("GET", f"/v1/runtimes/{made['id']}", 200))["state"] == "running"


async def test_every_failure_is_a_problem_with_the_right_source(fleet: Fleet) -> None:
    """Unknown routes, malformed bodies, malformed HTTP, aborted uploads, providers that respond with HTML.
    See docs/promises.md#p5."""
    durable = fleet.emulators["durable-demo"]
    async with fleet.gateway() as gateway:
        made = await gateway.call("POST", "/v1/runtimes", 201, DURABLE)
        path = f"/v1/runtimes/{made['id']}"

        unknown = await gateway.call("GET", "/v1/nothing/here", 404)
        assert (unknown["code"], unknown["source"]) == ("not_found", "client")

        top = f"POST /v1/runtimes HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\nConnection: close\r\n"
        typed = f"{top}Content-Type: application/json\r\n"
        for raw, status, code in (
            (f"{typed}Content-Length: 5\r\n\r\n{{oops", 400, "invalid_request"),
            (f"{typed}Content-Length: -5\r\n\r\n", 400, "invalid_request"),
            (f"{top}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}", 415, "unsupported_media_type"),
            ("NONSENSE\r\n\r\n", 400, "invalid_request"),
        ):
            received, head, problem = await exchange(gateway, raw.encode())
            assert (received, problem["code"], problem["source"]) == (status, code, "client")
            assert problem["retryable"] == "no"
            assert "content-type: application/problem+json" in head

        await abort_upload(gateway, f"{typed}Content-Length: 500\r\nX-Request-ID: aborted-upload\r\n\r\n{{")
        line = await gateway.process.until_output(r'.*"event":"request".*"request_id":"aborted-upload".*')
        assert '"code":"client_aborted","source":"client"' in line[0]

        for html, status in ((200, 502), (403, 502), (404, 502), (502, 503)):
            durable.fault("get", "html", status=html, times=3 if html == 502 else 1)
            problem = await gateway.call("GET", path, status)
            assert (problem["source"], problem["provider"]) == ("provider", "durable-demo")
            assert problem["provider_status"] == html
            assert "<" not in problem["detail"]
        assert (await gateway.call("GET", path, 200))["id"] == made["id"]
        assert "Traceback" not in gateway.process.output
        assert "unexpected_error" not in gateway.process.output


async def abort_upload(gateway: Gateway, raw: str) -> None:
    """Send a part of a request, and close the connection."""
    address = urlsplit(gateway.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(raw.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_no_secret_appears_in_a_log_a_metric_or_a_problem(fleet: Fleet) -> None:
    """At log level debug, through successes and failures, with providers that echo what they received.
    See docs/promises.md#p6."""
    durable, bctrl = fleet.emulators["durable-demo"], fleet.emulators["bctrl-demo"]
    problems: list[Any] = []
    down = {**durable.settings, "base_url": "http://127.0.0.1:9", "token": "canary-token-of-nobody"}
    rejected = {**durable.settings, "token": "canary-token-of-a-stranger"}
    providers = {
        **{name: emulator.settings for name, emulator in fleet.emulators.items()},
        "durable-down": down,
        "durable-rejected": rejected,
    }
    async with fleet.gateway(log={"level": "debug"}, providers=providers) as gateway:
        made = await gateway.call("POST", "/v1/runtimes", 201, DURABLE)
        path = f"/v1/runtimes/{made['id']}"
        await gateway.call("POST", "/v1/runtimes", 201, BROWSER)
        await gateway.call("PUT", f"{path}/config", 200, {"config": DURABLE["config"]})
        await gateway.call("POST", f"{path}/start", 200)
        connections = await gateway.call("POST", f"{path}/connections", 200)
        sandbox_token = connections["items"][0]["token"]
        assert len(sandbox_token) > 10
        await gateway.call("GET", "/v1/runtimes", 200)

        for provider, status in (("durable-down", 503), ("durable-rejected", 502)):
            problems.append(await gateway.call("POST", "/v1/runtimes", status, {**DURABLE, "provider": provider}))
        problems += [await gateway.call("POST", "/v1/runtimes", 422, body) for body in bad_bodies()]
        for emulator, body, secret in ((durable, DURABLE, ENV_VALUE), (bctrl, BROWSER, PROXY_PASSWORD)):
            problems += await failures_with_echo(gateway, emulator, body, secret)
        problems += await refusals_of_keys(gateway)

        metrics = await (await gateway.session.get("/metrics")).text()
        views = json.dumps(await gateway.call("GET", "/v1/providers", 200))
        gateway.process.send_signal()
        assert await gateway.process.wait() == 0
        await gateway.process.until_output('"event":"stopped"')
        log = gateway.process.output
    assert '"level":"debug"' in log
    assert len(problems) > 20
    for secret in (*SECRETS, sandbox_token):
        assert not [problem for problem in problems if secret in json.dumps(problem)]
        for text in (metrics, views):
            assert secret not in text
        assert not [line for line in log.splitlines() if secret in line]
    assert "Traceback" not in log
    assert "unexpected_error" not in log


def bad_bodies() -> list[dict[str, Any]]:
    """Invalid bodies, each with a secret in an unexpected member or in an invalid one."""
    return [
        {**BROWSER, "launch": {"mode": "ephemeral", "proxy": f"http://shop:{PROXY_PASSWORD}@proxy.example"}},
        {**BROWSER, "launch": {"mode": "ephemeral", "proxy": {**PROXY, "password": [PROXY_PASSWORD]}}},
        {**BROWSER, "launch": {"mode": "ephemeral", "proxy": {**PROXY, "port": PROXY_PASSWORD}}},
        {**BROWSER, "launch": {"mode": PROXY_PASSWORD, "proxy": PROXY}},
        {**BROWSER, "password": PROXY_PASSWORD},
        {**BROWSER, "name": f"{PROXY_PASSWORD}/"},
        {**DURABLE, "config": {"version": "v2", "runtime_server": {"env": {"API_TOKEN": [ENV_VALUE]}}}},
        {**DURABLE, "config": {"version": "v2", "runtime_server": {"env": ENV_VALUE}}},
        {**DURABLE, "config": {"version": ENV_VALUE, "runtime_server": {"env": {"API_TOKEN": ENV_VALUE}}}},
        {**DURABLE, "provider_options": {"secret": ENV_VALUE}},
    ]


async def failures_with_echo(gateway: Gateway, emulator: Emulated, body: Any, secret: str) -> list[Any]:
    """Make creates fail at a provider that echoes what it received. Return the problems."""
    detail = f"cannot use {secret}, nor {emulator.settings['token']}"
    problems = []
    for status in (400, 401, 402, 403, 409, 422, 429, 500, 503):
        emulator.fault("create", "status", status=status, detail=detail)
        response = await gateway.session.post("/v1/runtimes", json=body)
        assert response.status >= 400
        problems.append(await response.json())
    for fault in ({"fault": "html"}, {"fault": "malformed_json"}, {"fault": "drop_before"}, {"fault": "half_body"}):
        emulator.fault("create", **fault)
        response = await gateway.session.post("/v1/runtimes", json=body)
        assert response.status >= 500
        problems.append(await response.json())
    return problems


async def refusals_of_keys(gateway: Gateway) -> list[Any]:
    """The problems of callers with a wrong key, with two keys, and with the key in a wrong place."""
    problems = [
        await gateway.call("GET", "/v1/providers", 401, headers={"Authorization": f"Bearer {KEY}x"}),
        await gateway.call("GET", "/v1/providers", 401, headers={"Authorization": f"Basic {KEY}"}),
        await gateway.call("GET", "/v1/providers", 400, headers={"X-API-Key": "another-key-altogether"}),
        await gateway.call("GET", f"/v1/providers?api_key={KEY}", 400),
        await gateway.call("GET", f"/v1/providers/{KEY}", 404),
        await gateway.call("GET", "/v1/runtimes", 422, headers={"Idempotency-Key": KEY}),
    ]
    raw = f"GET /v1/runtimes HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n"
    return [*problems, (await exchange(gateway, raw.encode()))[2]]


BAD_CREATES: dict[str, Any] = {
    "no kind": {"name": "x"},
    "a kind that cannot be made": {"kind": "desktop"},
    "a kind of another type": {"kind": ["durable"]},
    "an unknown field": {"kind": "durable", "colour": "red"},
    "a bad name": {"kind": "durable", "name": "no spaces"},
    "a null name": {"kind": "durable", "name": None},
    "a provider that is not there": {"kind": "durable", "provider": "nobody"},
    "a provider of the other kind": {"kind": "browser", "provider": "durable-demo"},
    "a scope that is none": {"kind": "durable", "scope": "a/b/c/d"},
    "too little time": {"kind": "durable", "runtime_limit_seconds": 59},
    "a number beyond all bounds": {"kind": "durable", "runtime_limit_seconds": 10**400},
    "a config of another version": {"kind": "durable", "config": {"version": "v1"}},
    "a config that is a list": {"kind": "durable", "config": []},
    "a secret that is no UUID": {"kind": "durable", "config": {"version": "v2", "secrets": {"secret_ids": ["x"]}}},
    "labels that are numbers": {"kind": "durable", "labels": {"a": 1}},
    "a browser that starts without a mode": {"kind": "browser", "launch": {}},
    "a profile that is no UUID": {"kind": "browser", "launch": {"mode": "profile", "profile_id": "mine"}},
    "a proxy without a port": {"kind": "browser", "launch": {"mode": "ephemeral", "proxy": {"type": "http"}}},
    "a port beyond the last": {
        "kind": "browser",
        "launch": {"mode": "ephemeral", "proxy": {"type": "http", "host": "p", "port": 65536}},
    },
    "an unknown driver": {"kind": "browser", "driver": "netscape"},
    "a list": [],
    "a string": "durable",
}
BAD_PATHS = (
    ("GET", "/v1/runtimes?limit=0", 400),
    ("GET", "/v1/runtimes?state=happy", 400),
    ("GET", "/v1/runtimes?cursor=made-up", 400),
    ("GET", "/v1/runtimes?provider=nobody", 400),
    ("GET", "/v1/runtimes?unknown=1", 400),
    ("GET", "/v1/runtimes/durable-demo.not-a-uuid", 404),
    ("GET", "/v1/runtimes/%00", 404),
    ("POST", "/v1/runtimes/bctrl-demo.%ff~%fe/stop", 404),
    ("GET", "/v1/runtimes/nobody.2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", 421),
    ("PATCH", "/v1/runtimes", 405),
)


async def test_bad_input_is_refused_with_its_position_before_any_provider_is_called(fleet: Fleet) -> None:
    """It is never a 500. See docs/promises.md#p7."""
    async with fleet.gateway() as gateway:
        for name, body in BAD_CREATES.items():
            response = await gateway.session.post("/v1/runtimes", json=body)
            problem = await response.json()
            assert response.status == (400 if "beyond all bounds" in name else 422), (name, problem)
            if response.status == 422 and problem["code"] == "validation_failed":
                assert problem["errors"][0]["pointer"].startswith("#"), name
        for method, path, status in BAD_PATHS:
            await gateway.call(method, path, status)
        assert "unexpected_error" not in gateway.process.output
    for emulator in fleet.emulators.values():
        assert emulator.requests() == 0


async def test_kind_that_no_provider_creates_is_refused_with_a_reason_per_provider_before_any_call(
    fleet: Fleet,
) -> None:
    providers = {name: fleet.emulators[name].settings for name in ("bctrl-demo", "browsers-demo")}
    async with fleet.gateway(providers=providers) as gateway:
        problem = await gateway.call("POST", "/v1/runtimes", 422, {"kind": "durable", "name": "agent"})
    assert problem["code"] == "unsupported_feature"
    assert [(error["pointer"], error["detail"]) for error in problem["errors"]] == [
        ("#/kind", "bctrl-demo creates only: browser."),
        ("#/kind", "browsers-demo creates only: browser."),
    ]
    assert [emulator.requests() for emulator in fleet.emulators.values()] == [0] * len(fleet.emulators)


@pytest.mark.parametrize("fault", ["hang", "drop_before", "malformed_json"])
async def test_list_has_the_runtimes_of_the_other_providers_when_one_fails(fleet: Fleet, fault: str) -> None:
    """``incomplete`` has the failed provider and the reason. See docs/promises.md#p4."""
    durable = {**fleet.emulators["durable-demo"].settings, "deadlines": {"list": 0.5}}
    providers = {name: emulator.settings for name, emulator in fleet.emulators.items()} | {"durable-demo": durable}
    async with fleet.gateway(providers=providers) as gateway:
        made = await gateway.call("POST", "/v1/runtimes", 201, BROWSER)
        fleet.emulators["durable-demo"].fault("list", fault, times=3)
        page = await gateway.call("GET", "/v1/runtimes", 200)
        assert [runtime["id"] for runtime in page["items"]] == [made["id"]]
        (missing,) = page["incomplete"]
        assert (missing["provider"], missing["problem"]["source"]) == ("durable-demo", "provider")
