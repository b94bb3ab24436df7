"""What a provider's trouble does to its own callers and to everybody else, through the whole gateway (P4)."""

import asyncio
from typing import Any

import pytest

from gateway.testing.tcp_faults import Mode
from tests.component.whole_gateway import APIS, Gateway, Upstream, whole_gateway

REST = 0.05  # seconds that a breaker rests here
PATIENCE = 8.0


def quick(*lanes: str) -> dict[str, Any]:
    """Policies that open after 3 failures and come back soon, with one place and nobody waiting in these lanes."""
    return {
        "policies": {
            "breaker": {"minimum": 3, "rest": REST, "max_rest": REST},
            "retry": {"tries": 1},
            **{lane: {"in_flight": 1, "waiting": 0} for lane in lanes},
        }
    }


async def policies(gateway: Gateway, upstream: Upstream) -> Any:
    return (await gateway.call("GET", f"/v1/providers/{upstream.name}")).json["policies"]


async def test_while_starts_fail_callers_hear_at_once_and_a_stop_goes_through() -> None:
    async with whole_gateway(durable=quick()) as gateway:
        ill = gateway.upstreams["durable"]
        idle, running = await gateway.create(ill, start=False), await gateway.create(ill, start=True)
        ill.fault("start", fault="status", status=500)
        starting = f"/v1/runtimes/{idle['id']}/start"
        for _ in range(3):
            assert (await gateway.call("POST", starting)).json["code"] == "provider_error"
        before = ill.emulator.requests.per_operation["start"]
        refused = await gateway.call("POST", starting)
        assert (refused.status, refused.json["code"]) == (503, "provider_unavailable")
        assert refused.json["source"] == "provider"
        assert "Retry-After" in refused.headers
        assert ill.emulator.requests.per_operation["start"] == before
        states = {work: policy["breaker"] for work, policy in (await policies(gateway, ill)).items()}
        assert states["start"] in {"open", "half_open"}
        assert {states[work] for work in ("read", "create", "release")} == {"closed"}
        stopped = await gateway.call("POST", f"/v1/runtimes/{running['id']}/stop", {"discard_state": True})
        assert (stopped.status, stopped.json["changed"]) == (200, True)


@pytest.mark.parametrize("sick", APIS)
async def test_a_provider_that_comes_back_is_used_again(sick: str) -> None:
    async with whole_gateway(**{sick: quick()}) as gateway:
        ill = gateway.upstreams[sick]
        made = await gateway.create(ill)
        await ill.proxy.cut()
        await ill.proxy.set_mode(Mode.REFUSE)
        path = f"/v1/runtimes/{made['id']}"
        while (await policies(gateway, ill))["read"]["breaker"] == "closed":
            assert (await gateway.call("GET", path, **{"Cache-Control": "no-cache"})).status in {200, 503}
        await ill.proxy.set_mode(Mode.FORWARD)

        async def back() -> None:
            while (await policies(gateway, ill))["read"]["breaker"] != "closed":
                await gateway.call("GET", path, **{"Cache-Control": "no-cache"})

        await asyncio.wait_for(back(), PATIENCE)
        assert (await gateway.call("GET", path)).status == 200
        told = [line for line in gateway.log.getvalue().splitlines() if '"event":"breaker"' in line]
        assert '"state":"open"' in told[0]
        assert '"state":"closed"' in told[-1]


@pytest.mark.parametrize("sick", APIS)
async def test_a_provider_that_hangs_fills_its_own_places_and_nobody_elses(sick: str) -> None:
    async with whole_gateway(**{sick: quick("read")}) as gateway:
        ill, well = gateway.upstreams[sick], gateway.upstreams[(set(APIS) - {sick}).pop()]
        made = await gateway.create(well)
        ill.fault(fault="hold")
        stuck = asyncio.create_task(gateway.call("GET", f"/v1/runtimes?provider={ill.name}"))
        await asyncio.wait_for(ill.emulator.until_waiting(1), PATIENCE)

        refused = await gateway.call("GET", f"/v1/runtimes?provider={ill.name}&limit=7")
        assert refused.status == 503, refused.text
        (missing,) = refused.json["incomplete"]
        assert (missing["problem"]["code"], missing["problem"]["source"]) == ("overloaded", "gateway")
        read = (await policies(gateway, ill))["read"]
        assert (read["in_flight"], read["max_in_flight"], read["waiting"], read["max_waiting"]) == (1, 1, 0, 0)

        for _ in range(5):
            answer = await gateway.call("GET", f"/v1/runtimes/{made['id']}", **{"Cache-Control": "no-cache"})
            assert answer.status == 200
        assert {policy["in_flight"] for policy in (await policies(gateway, well)).values()} == {0}
        assert not [line for line in gateway.log.getvalue().splitlines() if "queue_ms" in line]
        metrics = (await gateway.call("GET", "/metrics")).text
        assert f'rtgw_bulkhead_rejected_total{{class="read",provider="{ill.name}"}} 1.0' in metrics
        assert f'rtgw_bulkhead_rejected_total{{class="read",provider="{well.name}"}} 0.0' in metrics
        ill.emulator.release()
        assert (await asyncio.wait_for(stuck, PATIENCE)).status == 200
        assert (await policies(gateway, ill))["read"]["in_flight"] == 0


@pytest.mark.parametrize("sick", APIS)
async def test_while_reads_hang_in_all_their_places_a_stop_goes_through(sick: str) -> None:
    async with whole_gateway(**{sick: quick("read")}) as gateway:
        ill = gateway.upstreams[sick]
        made = await gateway.create(ill, start=True)
        ill.fault("list", fault="hold")
        stuck = asyncio.create_task(gateway.call("GET", f"/v1/runtimes?provider={ill.name}"))
        await asyncio.wait_for(ill.emulator.until_waiting(1), PATIENCE)
        path = f"/v1/runtimes/{made['id']}"
        assert (await gateway.call("GET", path)).json["code"] == "overloaded"
        body = {"discard_state": True} if sick == "durable" else {}
        stopped = await gateway.call("POST", f"{path}/stop", body)
        assert (stopped.status, stopped.json["changed"]) == (200, True)
        ill.emulator.release()
        assert (await asyncio.wait_for(stuck, PATIENCE)).status == 200


@pytest.mark.parametrize("sick", APIS)
async def test_the_callers_of_a_provider_that_hangs_leave_room_for_those_of_the_others(sick: str) -> None:
    """And for a stop at the very same one."""
    async with whole_gateway(most_requests=8, **{sick: {"deadlines": {"get": 60}}}) as gateway:
        ill, well = gateway.upstreams[sick], gateway.upstreams[(set(APIS) - {sick}).pop()]
        made, running = await gateway.create(well), await gateway.create(ill, start=True)
        ill.fault("get", fault="hold", times=4)
        ill.fault("list", fault="hold", times=4)
        path = f"/v1/runtimes/{running['id']}"
        stuck = [asyncio.create_task(gateway.call("GET", path)) for _ in range(4)]
        await asyncio.wait_for(ill.emulator.until_waiting(4), PATIENCE)

        for refused in (await gateway.call("GET", path), await gateway.call("POST", f"{path}/start")):
            assert (refused.status, refused.json["code"], refused.json["provider"]) == (503, "overloaded", ill.name)
        listed = await gateway.call("GET", "/v1/runtimes")
        assert [part["problem"]["code"] for part in listed.json["incomplete"]] == ["overloaded"]
        assert (await gateway.call("GET", f"/v1/runtimes/{made['id']}")).status == 200
        stopped = await gateway.call("POST", f"{path}/stop", {"discard_state": True} if sick == "durable" else {})
        assert (stopped.status, stopped.json["changed"]) == (200, True)

        ill.emulator.release()
        assert {answer.status for answer in await asyncio.wait_for(asyncio.gather(*stuck), PATIENCE)} == {200}
        assert (await gateway.call("GET", path)).status == 200
        metrics = (await gateway.call("GET", "/metrics")).text
        assert 'rtgw_requests_rejected_total{reason="provider"} 3.0' in metrics


@pytest.mark.parametrize("sick", APIS)
async def test_callers_that_wait_for_a_create_of_another_leave_room_too(sick: str) -> None:
    async with whole_gateway(most_requests=8, **{sick: {"deadlines": {"create": 60}}}) as gateway:
        ill, well = gateway.upstreams[sick], gateway.upstreams[(set(APIS) - {sick}).pop()]
        made = await gateway.create(well)
        ill.fault("create", fault="hold")
        body = {"kind": ill.kind, "provider": ill.name, "name": "slow"}

        async def create() -> Any:
            return await gateway.call("POST", "/v1/runtimes", body, **{"Idempotency-Key": "again"})

        waiting = [asyncio.create_task(create())]
        await asyncio.wait_for(ill.emulator.until_waiting(1), PATIENCE)
        waiting += [asyncio.create_task(create()) for _ in range(7)]
        hasty, _ = await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result().json["code"] for each in hasty} == {"idempotency_in_progress"}
        assert (await gateway.call("GET", f"/v1/runtimes/{made['id']}")).status == 200
        ill.emulator.release()
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 2 * PATIENCE)
        assert len({answer.json["id"] for answer in answers if answer.status == 201}) == 1
        assert {answer.status for answer in answers} == {201, 409}


async def test_how_long_a_request_waited_for_its_turn_is_logged() -> None:
    lanes = {"read": {"in_flight": 1, "waiting": 10}}
    async with whole_gateway(durable={"policies": lanes}) as gateway:
        ill = gateway.upstreams["durable"]
        made = await gateway.create(ill)
        ill.fault(fault="delay_before", seconds=0.02)
        await asyncio.gather(
            *(gateway.call("GET", f"/v1/runtimes/{made['id']}", **{"Cache-Control": "no-cache"}) for _ in range(3))
        )
        waited = [line for line in gateway.log.getvalue().splitlines() if '"queue_ms":' in line]
        assert len(waited) == 2
        assert all('"event":"request"' in line for line in waited)
