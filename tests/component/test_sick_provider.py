"""One failing provider: lists continue without it and give the reason, others are unaffected, and paging ends.

See docs/promises.md#p4 and #p5.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.component.whole_gateway import APIS, Gateway, Response, Upstream, whole_gateway
from tests.tcp_faults import Mode

DEADLINE = 0.2  # the deadline of a list, in seconds
PATIENCE = 8.0  # seconds; far more than that, and less than the default deadline of 10 s

Sicken = Callable[[Upstream], Awaitable[None]]


def _tcp(mode: Mode) -> Sicken:
    async def sicken(upstream: Upstream) -> None:
        await upstream.proxy.cut()
        await upstream.proxy.set_mode(mode)

    return sicken


def _fault(**rule: Any) -> Sicken:
    async def sicken(upstream: Upstream) -> None:
        upstream.fault(**rule)

    return sicken


SICKNESSES: dict[str, tuple[Sicken, str, str]] = {
    "refuses connections": (_tcp(Mode.REFUSE), "provider_unavailable", "yes"),
    "resets connections": (_tcp(Mode.RESET), "provider_unavailable", "yes"),
    "accepts and is silent": (_tcp(Mode.STALL), "provider_timeout", "yes"),
    "hangs": (_fault(fault="hang"), "provider_timeout", "yes"),
    "hangs up": (_fault(fault="drop_before"), "provider_unavailable", "yes"),
    "responses 500": (_fault(fault="status", status=500), "provider_error", "same_request"),
    "responses 503": (_fault(fault="status", status=503), "provider_unavailable", "yes"),
    "responses 504": (_fault(fault="status", status=504), "provider_timeout", "yes"),
    "rejects the credentials": (_fault(fault="status", status=401), "provider_credentials_rejected", "no"),
    "responses a web page": (_fault(fault="html", status=200), "provider_bad_response", "no"),
    "is a broken proxy": (_fault(fault="html", status=502), "provider_unavailable", "yes"),
    "redirects": (_fault(fault="status", status=307, body=""), "provider_bad_response", "no"),
    "stops in the middle": (_fault(fault="half_body"), "provider_bad_response", "yes"),
    "responses broken JSON": (_fault(fault="malformed_json"), "provider_bad_response", "no"),
    "responses other JSON": (_fault(fault="status", status=200, body=[]), "provider_bad_response", "no"),
    "responses a flood": (_fault(fault="status", status=200, body="x" * 100_000), "provider_bad_response", "yes"),
}
SILENT = {"accepts and is silent", "hangs"}


@asynccontextmanager
async def _filled(sick: str, deadline: float = DEADLINE) -> AsyncIterator[Gateway]:
    """Three runtimes at each provider; only the provider that will fail has the deadline."""
    async with whole_gateway(**{sick: {"deadlines": {"list": deadline}, "max_response_bytes": 65_536}}) as gateway:
        for upstream in gateway.upstreams.values():
            for _ in range(3):
                await gateway.create(upstream)
        yield gateway


def _parts(gateway: Gateway, sick: str) -> tuple[Upstream, Upstream]:
    (healthy,) = set(APIS) - {sick}
    return gateway.upstreams[sick], gateway.upstreams[healthy]


async def _in_time(response: Awaitable[Response]) -> Response:
    return await asyncio.wait_for(response, PATIENCE)


@pytest.mark.parametrize("sick", APIS)
@pytest.mark.parametrize("sickness", SICKNESSES)
async def test_list_continues_without_a_failing_provider_and_gives_the_reason(sickness: str, sick: str) -> None:
    sicken, code, retryable = SICKNESSES[sickness]
    # What fails at once must not meet the deadline first, on a busy machine.
    async with _filled(sick, DEADLINE if sickness in SILENT else PATIENCE / 2) as gateway:
        failing, healthy = _parts(gateway, sick)
        await sicken(failing)
        response = await _in_time(gateway.call("GET", "/v1/runtimes"))
        assert response.status == 200, response.text
        assert [item["provider"] for item in response.json["items"]] == [healthy.name] * 3
        (missing,) = response.json["incomplete"]
        problem = missing["problem"]
        assert missing["provider"] == problem["provider"] == failing.name
        assert (problem["code"], problem["source"], problem["retryable"]) == (code, "provider", retryable)
        assert failing.token not in response.text

        denied = await _in_time(gateway.call("GET", "/v1/runtimes?partial=deny"))
        assert (denied.status, denied.json["code"]) == (503, "provider_unavailable")
        assert [part["provider"] for part in denied.json["incomplete"]] == [failing.name]

        page, pages, seen = response, 1, [item["id"] for item in response.json["items"]]
        while page.json["next_cursor"] is not None:
            assert pages < 10, "the loop does not end"
            page = await _in_time(gateway.call("GET", f"/v1/runtimes?cursor={page.json['next_cursor']}"))
            assert page.status == 200, page.text
            seen += [item["id"] for item in page.json["items"]]
            pages += 1
        assert len(seen) == len(set(seen)) == 3


@pytest.mark.parametrize("sick", APIS)
async def test_hanging_provider_does_not_affect_other_providers(sick: str) -> None:
    async with _filled(sick) as gateway:
        failing, healthy = _parts(gateway, sick)
        failing.fault(fault="hold")
        stuck = [asyncio.create_task(gateway.call("GET", f"/v1/runtimes?provider={failing.name}")) for _ in range(20)]
        await asyncio.wait_for(failing.emulator.until_waiting(1), PATIENCE)
        made = await asyncio.wait_for(gateway.create(healthy), PATIENCE)
        assert (await _in_time(gateway.call("GET", f"/v1/runtimes/{made['id']}"))).status == 200
        listed = await _in_time(gateway.call("GET", f"/v1/runtimes?provider={healthy.name}"))
        assert (len(listed.json["items"]), listed.json["incomplete"]) == (4, [])
        assert {response.status for response in await asyncio.gather(*map(_in_time, stuck))} == {503}


@pytest.mark.parametrize("sick", APIS)
async def test_paging_returns_every_runtime_of_the_healthy_provider_while_the_other_fails_at_times(sick: str) -> None:
    async with _filled(sick) as gateway:
        failing, healthy = _parts(gateway, sick)
        failing.fault("list", fault="status", status=500, probability=0.5, seed=7)
        seen, cursor, failures = [], "", 0
        for _ in range(30):
            page = await _in_time(gateway.call("GET", f"/v1/runtimes?limit=2{cursor}"))
            assert page.status == 200, page.text
            seen += [item["id"] for item in page.json["items"]]
            failures += len(page.json["incomplete"])
            if page.json["next_cursor"] is None:
                break
            cursor = f"&cursor={page.json['next_cursor']}"
        else:
            pytest.fail("the loop does not end")
        assert failures > 0
        assert len(seen) == len(set(seen))
        assert sum(identity.startswith(healthy.name + ".") for identity in seen) == 3


@pytest.mark.parametrize("sick", APIS)
async def test_recovered_provider_is_listed_again_by_itself(sick: str) -> None:
    async with whole_gateway() as gateway:
        for upstream in gateway.upstreams.values():
            await gateway.create(upstream)
        failing = gateway.upstreams[sick]
        await failing.proxy.cut()
        await failing.proxy.set_mode(Mode.REFUSE)
        assert (await gateway.call("GET", "/v1/runtimes")).json["incomplete"]
        view = (await gateway.call("GET", f"/v1/providers/{failing.name}")).json
        assert (view["health"]["status"], view["health"]["last_failure_code"]) == ("failing", "provider_unavailable")
        await failing.proxy.set_mode(Mode.FORWARD)
        listed = (await gateway.call("GET", "/v1/runtimes")).json
        assert (len(listed["items"]), listed["incomplete"]) == (2, [])
        assert (await gateway.call("GET", f"/v1/providers/{failing.name}")).json["health"]["status"] == "ok"


async def test_list_is_unavailable_and_names_each_provider_when_all_fail() -> None:
    async with whole_gateway() as gateway:
        for upstream in gateway.upstreams.values():
            upstream.fault(fault="status", status=429, retry_after=30)
        response = await gateway.call("GET", "/v1/runtimes")
        assert (response.status, response.json["code"], response.json["source"]) == (
            503,
            "provider_unavailable",
            "provider",
        )
        assert (response.headers["Retry-After"], response.json["retry_after"]) == ("30", 30)
        codes = {part["provider"]: part["problem"]["code"] for part in response.json["incomplete"]}
        assert codes == {"durable-demo": "quota_exceeded", "bctrl-demo": "rate_limited"}


async def test_readiness_does_not_depend_on_providers() -> None:
    async with whole_gateway() as gateway:
        for upstream in gateway.upstreams.values():
            await upstream.proxy.set_mode(Mode.REFUSE)
        assert (await gateway.call("GET", "/readyz")).status == 200


@pytest.mark.parametrize("sick", APIS)
async def test_secret_that_a_provider_echoes_is_neither_shown_nor_logged(sick: str) -> None:
    secret = "hunter2-and-more"
    fields: dict[str, Any] = {"config": {"runtime_server": {"env": {"KEY": secret}}}}
    if sick == "bctrl":
        proxy = {"type": "http", "host": "h.test", "port": 1, "password": secret}
        fields = {"launch": {"mode": "ephemeral", "proxy": proxy}}
    async with whole_gateway() as gateway:
        failing = gateway.upstreams[sick]
        failing.fault("create", fault="status", status=422, detail=f"cannot use {secret} with {failing.token}")
        body = {"kind": failing.kind, "provider": failing.name, "name": "agent", **fields}
        response = await gateway.call("POST", "/v1/runtimes", body)
        assert (response.status, response.json["source"]) == (422, "provider")
        assert "cannot use" in response.json["provider_detail"]
        for text in (response.text, gateway.log.getvalue(), (await gateway.call("GET", "/metrics")).text):
            assert text
            assert secret not in text
            assert failing.token not in text


@pytest.mark.parametrize("sick", APIS)
@pytest.mark.parametrize(
    ("rule", "code", "made"),
    [
        ({"fault": "drop_after"}, "outcome_unknown", 1),
        ({"fault": "drop_before"}, "outcome_unknown", 0),
        ({"fault": "half_body"}, "outcome_unknown", 1),
        ({"fault": "status_after", "status": 500}, "outcome_unknown", 1),
        ({"fault": "html", "status": 502}, "outcome_unknown", 1),
        ({"fault": "malformed_json"}, "outcome_unknown", 1),
    ],
    ids=str,
)
async def test_create_whose_response_is_lost_is_outcome_unknown_and_sent_once(
    sick: str, rule: dict[str, Any], code: str, made: int
) -> None:
    async with whole_gateway() as gateway:
        failing = gateway.upstreams[sick]
        failing.fault("create", **rule)
        response = await gateway.call(
            "POST", "/v1/runtimes", {"kind": failing.kind, "provider": failing.name, "name": "agent"}
        )
        assert (response.status, response.json["code"], response.json["retryable"]) == (504, code, "same_request")
        assert response.json["name"] == "agent"
        assert failing.emulator.requests.per_operation["create"] == 1
        assert failing.emulator.creates == made
