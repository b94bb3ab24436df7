"""One sick provider: the list goes on without it and says why, nobody else notices, and every loop ends (P4, P5)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.testing.tcp_faults import Mode
from tests.component.whole_gateway import APIS, Answer, Gateway, Upstream, whole_gateway

DEADLINE = 0.2  # seconds that a provider has for a list here
PATIENCE = 8.0  # far more than that, and less than the default of ten

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
    "answers 500": (_fault(fault="status", status=500), "provider_error", "same_request"),
    "answers 503": (_fault(fault="status", status=503), "provider_unavailable", "yes"),
    "answers 504": (_fault(fault="status", status=504), "provider_timeout", "yes"),
    "rejects the credentials": (_fault(fault="status", status=401), "provider_credentials_rejected", "no"),
    "answers a web page": (_fault(fault="html", status=200), "provider_bad_response", "no"),
    "is a broken proxy": (_fault(fault="html", status=502), "provider_unavailable", "yes"),
    "redirects": (_fault(fault="status", status=307, body=""), "provider_bad_response", "no"),
    "stops in the middle": (_fault(fault="half_body"), "provider_bad_response", "yes"),
    "answers broken JSON": (_fault(fault="malformed_json"), "provider_bad_response", "no"),
    "answers other JSON": (_fault(fault="status", status=200, body=[]), "provider_bad_response", "no"),
    "answers a flood": (_fault(fault="status", status=200, body="x" * 100_000), "provider_bad_response", "yes"),
}


@asynccontextmanager
async def _filled(sick: str) -> AsyncIterator[Gateway]:
    """Three runtimes at each provider; only the one to be sick has little time."""
    async with whole_gateway(**{sick: {"deadlines": {"list": DEADLINE}, "max_response_bytes": 65_536}}) as gateway:
        for upstream in gateway.upstreams.values():
            for _ in range(3):
                await gateway.create(upstream)
        yield gateway


def _parts(gateway: Gateway, sick: str) -> tuple[Upstream, Upstream]:
    (well,) = set(APIS) - {sick}
    return gateway.upstreams[sick], gateway.upstreams[well]


async def _in_time(answer: Awaitable[Answer]) -> Answer:
    return await asyncio.wait_for(answer, PATIENCE)


@pytest.mark.parametrize("sick", APIS)
@pytest.mark.parametrize("sickness", SICKNESSES)
async def test_a_list_goes_on_without_a_sick_provider_and_says_what_ails_it(sickness: str, sick: str) -> None:
    sicken, code, retryable = SICKNESSES[sickness]
    async with _filled(sick) as gateway:
        ill, well = _parts(gateway, sick)
        await sicken(ill)
        answer = await _in_time(gateway.call("GET", "/v1/runtimes"))
        assert answer.status == 200, answer.text
        assert [item["provider"] for item in answer.json["items"]] == [well.name] * 3
        (missing,) = answer.json["incomplete"]
        problem = missing["problem"]
        assert missing["provider"] == problem["provider"] == ill.name
        assert (problem["code"], problem["source"], problem["retryable"]) == (code, "provider", retryable)
        assert ill.token not in answer.text

        denied = await _in_time(gateway.call("GET", "/v1/runtimes?partial=deny"))
        assert (denied.status, denied.json["code"]) == (503, "provider_unavailable")
        assert [part["provider"] for part in denied.json["incomplete"]] == [ill.name]

        page, pages, seen = answer, 1, [item["id"] for item in answer.json["items"]]
        while page.json["next_cursor"] is not None:
            assert pages < 10, "the loop does not end"
            page = await _in_time(gateway.call("GET", f"/v1/runtimes?cursor={page.json['next_cursor']}"))
            assert page.status == 200, page.text
            seen += [item["id"] for item in page.json["items"]]
            pages += 1
        assert len(seen) == len(set(seen)) == 3


@pytest.mark.parametrize("sick", APIS)
async def test_nobody_else_notices_a_provider_that_hangs(sick: str) -> None:
    async with _filled(sick) as gateway:
        ill, well = _parts(gateway, sick)
        ill.fault(fault="hold")
        stuck = [asyncio.create_task(gateway.call("GET", f"/v1/runtimes?provider={ill.name}")) for _ in range(20)]
        await asyncio.wait_for(ill.emulator.until_waiting(1), PATIENCE)
        made = await asyncio.wait_for(gateway.create(well), PATIENCE)
        assert (await _in_time(gateway.call("GET", f"/v1/runtimes/{made['id']}"))).status == 200
        listed = await _in_time(gateway.call("GET", f"/v1/runtimes?provider={well.name}"))
        assert (len(listed.json["items"]), listed.json["incomplete"]) == (4, [])
        assert {answer.status for answer in await asyncio.gather(*map(_in_time, stuck))} == {503}


@pytest.mark.parametrize("sick", APIS)
async def test_a_loop_in_small_pages_sees_everything_of_the_healthy_while_the_other_comes_and_goes(sick: str) -> None:
    async with _filled(sick) as gateway:
        ill, well = _parts(gateway, sick)
        ill.fault("list", fault="status", status=500, probability=0.5, seed=7)
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
        assert sum(identity.startswith(well.name + ".") for identity in seen) == 3


@pytest.mark.parametrize("sick", APIS)
async def test_a_provider_that_recovers_is_whole_again_without_any_doing(sick: str) -> None:
    async with whole_gateway() as gateway:
        for upstream in gateway.upstreams.values():
            await gateway.create(upstream)
        ill = gateway.upstreams[sick]
        await ill.proxy.cut()
        await ill.proxy.set_mode(Mode.REFUSE)
        assert (await gateway.call("GET", "/v1/runtimes")).json["incomplete"]
        view = (await gateway.call("GET", f"/v1/providers/{ill.name}")).json
        assert (view["health"]["status"], view["health"]["last_failure_code"]) == ("failing", "provider_unavailable")
        await ill.proxy.set_mode(Mode.FORWARD)
        whole = (await gateway.call("GET", "/v1/runtimes")).json
        assert (len(whole["items"]), whole["incomplete"]) == (2, [])
        assert (await gateway.call("GET", f"/v1/providers/{ill.name}")).json["health"]["status"] == "ok"


async def test_where_all_are_sick_the_list_is_unavailable_and_names_each() -> None:
    async with whole_gateway() as gateway:
        for upstream in gateway.upstreams.values():
            upstream.fault(fault="status", status=429, retry_after=30)
        answer = await gateway.call("GET", "/v1/runtimes")
        assert (answer.status, answer.json["code"], answer.json["source"]) == (503, "provider_unavailable", "provider")
        assert (answer.headers["Retry-After"], answer.json["retry_after"]) == ("30", 30)
        told = {part["provider"]: part["problem"]["code"] for part in answer.json["incomplete"]}
        assert told == {"durable-demo": "quota_exceeded", "bctrl-demo": "rate_limited"}


async def test_readiness_does_not_depend_on_providers() -> None:
    async with whole_gateway() as gateway:
        for upstream in gateway.upstreams.values():
            await upstream.proxy.set_mode(Mode.REFUSE)
        assert (await gateway.call("GET", "/readyz")).status == 200


@pytest.mark.parametrize("sick", APIS)
async def test_what_a_provider_echoes_of_secrets_is_shown_and_logged_nowhere(sick: str) -> None:
    secret = "hunter2-and-more"
    fields: dict[str, Any] = {"config": {"runtime_server": {"env": {"KEY": secret}}}}
    if sick == "bctrl":
        proxy = {"type": "http", "host": "h.test", "port": 1, "password": secret}
        fields = {"launch": {"mode": "ephemeral", "proxy": proxy}}
    async with whole_gateway() as gateway:
        ill = gateway.upstreams[sick]
        ill.fault("create", fault="status", status=422, detail=f"cannot use {secret} with {ill.token}")
        body = {"kind": ill.kind, "provider": ill.name, "name": "agent", **fields}
        answer = await gateway.call("POST", "/v1/runtimes", body)
        assert (answer.status, answer.json["source"]) == (422, "provider")
        assert "cannot use" in answer.json["provider_detail"]
        for text in (answer.text, gateway.log.getvalue(), (await gateway.call("GET", "/metrics")).text):
            assert text
            assert secret not in text
            assert ill.token not in text


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
async def test_a_create_whose_answer_is_lost_is_told_as_open_and_sent_once(
    sick: str, rule: dict[str, Any], code: str, made: int
) -> None:
    async with whole_gateway() as gateway:
        ill = gateway.upstreams[sick]
        ill.fault("create", **rule)
        answer = await gateway.call("POST", "/v1/runtimes", {"kind": ill.kind, "provider": ill.name, "name": "agent"})
        assert (answer.status, answer.json["code"], answer.json["retryable"]) == (504, code, "same_request")
        assert answer.json["name"] == "agent"
        assert ill.emulator.requests.per_operation["create"] == 1
        assert ill.emulator.creates == made
