"""How a failing provider affects its own callers and those of others, through the complete gateway.

See docs/promises.md#p4.
"""

import asyncio
from typing import Any

import pytest

from tests.component.whole_gateway import APIS, Gateway, Upstream, whole_gateway
from tests.tcp_faults import Mode

REST = 0.05  # seconds for which an open breaker stays open
PATIENCE = 8.0


def quick(*lanes: str) -> dict[str, Any]:
    """Policies whose breaker opens after 3 failures for :data:`REST`; these lanes have one slot and no queue."""
    return {
        "policies": {
            "breaker": {"minimum": 3, "rest": REST, "max_rest": REST},
            "retry": {"tries": 1},
            **{lane: {"in_flight": 1, "waiting": 0} for lane in lanes},
        }
    }


async def policies(gateway: Gateway, upstream: Upstream) -> Any:
    return (await gateway.call("GET", f"/v1/providers/{upstream.name}")).json["policies"]


async def test_failing_starts_are_refused_at_once_while_a_stop_succeeds() -> None:
    async with whole_gateway(durable=quick()) as gateway:
        failing = gateway.upstreams["durable"]
        idle, running = await gateway.create(failing, start=False), await gateway.create(failing, start=True)
        failing.fault("start", fault="status", status=500)
        starting = f"/v1/runtimes/{idle['id']}/start"
        for _ in range(3):
            assert (await gateway.call("POST", starting)).json["code"] == "provider_error"
        before = failing.emulator.requests.per_operation["start"]
        refused = await gateway.call("POST", starting)
        assert (refused.status, refused.json["code"]) == (503, "provider_unavailable")
        assert refused.json["source"] == "provider"
        assert "Retry-After" in refused.headers
        assert failing.emulator.requests.per_operation["start"] == before
        states = {work: policy["breaker"] for work, policy in (await policies(gateway, failing)).items()}
        assert states["start"] in {"open", "half_open"}
        assert {states[work] for work in ("read", "create", "release")} == {"closed"}
        stopped = await gateway.call("POST", f"/v1/runtimes/{running['id']}/stop", {"discard_state": True})
        assert (stopped.status, stopped.json["changed"]) == (200, True)


@pytest.mark.parametrize("sick", APIS)
async def test_recovered_provider_is_used_again(sick: str) -> None:
    async with whole_gateway(**{sick: quick()}) as gateway:
        failing = gateway.upstreams[sick]
        made = await gateway.create(failing)
        await failing.proxy.cut()
        await failing.proxy.set_mode(Mode.REFUSE)
        path = f"/v1/runtimes/{made['id']}"
        while (await policies(gateway, failing))["read"]["breaker"] == "closed":
            assert (await gateway.call("GET", path, **{"Cache-Control": "no-cache"})).status in {200, 503}
        await failing.proxy.set_mode(Mode.FORWARD)

        async def recover() -> None:
            while (await policies(gateway, failing))["read"]["breaker"] != "closed":
                await gateway.call("GET", path, **{"Cache-Control": "no-cache"})

        await asyncio.wait_for(recover(), PATIENCE)
        assert (await gateway.call("GET", path)).status == 200
        events = [line for line in gateway.log.getvalue().splitlines() if '"event":"breaker"' in line]
        assert '"state":"open"' in events[0]
        assert '"state":"closed"' in events[-1]


@pytest.mark.parametrize("sick", APIS)
async def test_hanging_provider_fills_only_its_own_slots(sick: str) -> None:
    async with whole_gateway(**{sick: quick("read")}) as gateway:
        failing, healthy = gateway.upstreams[sick], gateway.upstreams[(set(APIS) - {sick}).pop()]
        made = await gateway.create(healthy)
        failing.fault(fault="hold")
        stuck = asyncio.create_task(gateway.call("GET", f"/v1/runtimes?provider={failing.name}"))
        await asyncio.wait_for(failing.emulator.until_waiting(1), PATIENCE)

        refused = await gateway.call("GET", f"/v1/runtimes?provider={failing.name}&limit=7")
        assert refused.status == 503, refused.text
        (missing,) = refused.json["incomplete"]
        assert (missing["problem"]["code"], missing["problem"]["source"]) == ("overloaded", "gateway")
        read = (await policies(gateway, failing))["read"]
        assert (read["in_flight"], read["max_in_flight"], read["waiting"], read["max_waiting"]) == (1, 1, 0, 0)

        for _ in range(5):
            response = await gateway.call("GET", f"/v1/runtimes/{made['id']}", **{"Cache-Control": "no-cache"})
            assert response.status == 200
        assert {policy["in_flight"] for policy in (await policies(gateway, healthy)).values()} == {0}
        assert not [line for line in gateway.log.getvalue().splitlines() if "queue_ms" in line]
        metrics = (await gateway.call("GET", "/metrics")).text
        assert f'rtgw_bulkhead_rejected_total{{class="read",provider="{failing.name}"}} 1.0' in metrics
        assert f'rtgw_bulkhead_rejected_total{{class="read",provider="{healthy.name}"}} 0.0' in metrics
        failing.emulator.release()
        assert (await asyncio.wait_for(stuck, PATIENCE)).status == 200
        assert (await policies(gateway, failing))["read"]["in_flight"] == 0


@pytest.mark.parametrize("sick", APIS)
async def test_stop_succeeds_while_hanging_reads_fill_all_their_slots(sick: str) -> None:
    async with whole_gateway(**{sick: quick("read")}) as gateway:
        failing = gateway.upstreams[sick]
        made = await gateway.create(failing, start=True)
        failing.fault("list", fault="hold")
        stuck = asyncio.create_task(gateway.call("GET", f"/v1/runtimes?provider={failing.name}"))
        await asyncio.wait_for(failing.emulator.until_waiting(1), PATIENCE)
        path = f"/v1/runtimes/{made['id']}"
        assert (await gateway.call("GET", path)).json["code"] == "overloaded"
        body = {"discard_state": True} if sick == "durable" else {}
        stopped = await gateway.call("POST", f"{path}/stop", body)
        assert (stopped.status, stopped.json["changed"]) == (200, True)
        failing.emulator.release()
        assert (await asyncio.wait_for(stuck, PATIENCE)).status == 200


@pytest.mark.parametrize("sick", APIS)
async def test_requests_for_a_hanging_provider_leave_capacity_for_other_providers(sick: str) -> None:
    """They also leave capacity for a stop at the hanging provider itself."""
    async with whole_gateway(most_requests=8, **{sick: {"deadlines": {"get": 60}}}) as gateway:
        failing, healthy = gateway.upstreams[sick], gateway.upstreams[(set(APIS) - {sick}).pop()]
        made, running = await gateway.create(healthy), await gateway.create(failing, start=True)
        failing.fault("get", fault="hold", times=4)
        failing.fault("list", fault="hold", times=4)
        path = f"/v1/runtimes/{running['id']}"
        stuck = [asyncio.create_task(gateway.call("GET", path)) for _ in range(4)]
        await asyncio.wait_for(failing.emulator.until_waiting(4), PATIENCE)

        for refused in (await gateway.call("GET", path), await gateway.call("POST", f"{path}/start")):
            assert (refused.status, refused.json["code"], refused.json["provider"]) == (503, "overloaded", failing.name)
        listed = await gateway.call("GET", "/v1/runtimes")
        assert [part["problem"]["code"] for part in listed.json["incomplete"]] == ["overloaded"]
        assert (await gateway.call("GET", f"/v1/runtimes/{made['id']}")).status == 200
        stopped = await gateway.call("POST", f"{path}/stop", {"discard_state": True} if sick == "durable" else {})
        assert (stopped.status, stopped.json["changed"]) == (200, True)

        failing.emulator.release()
        assert {response.status for response in await asyncio.wait_for(asyncio.gather(*stuck), PATIENCE)} == {200}
        assert (await gateway.call("GET", path)).status == 200
        metrics = (await gateway.call("GET", "/metrics")).text
        assert 'rtgw_requests_rejected_total{reason="provider"} 3.0' in metrics


@pytest.mark.parametrize("sick", APIS)
async def test_callers_that_wait_for_another_callers_create_leave_capacity_too(sick: str) -> None:
    async with whole_gateway(most_requests=8, **{sick: {"deadlines": {"create": 60}}}) as gateway:
        failing, healthy = gateway.upstreams[sick], gateway.upstreams[(set(APIS) - {sick}).pop()]
        made = await gateway.create(healthy)
        failing.fault("create", fault="hold")
        body = {"kind": failing.kind, "provider": failing.name, "name": "slow"}

        async def create() -> Any:
            return await gateway.call("POST", "/v1/runtimes", body, **{"Idempotency-Key": "again"})

        waiting = [asyncio.create_task(create())]
        await asyncio.wait_for(failing.emulator.until_waiting(1), PATIENCE)
        waiting += [asyncio.create_task(create()) for _ in range(7)]
        first_done, _ = await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result().json["code"] for each in first_done} == {"idempotency_in_progress"}
        assert (await gateway.call("GET", f"/v1/runtimes/{made['id']}")).status == 200
        failing.emulator.release()
        responses = await asyncio.wait_for(asyncio.gather(*waiting), 2 * PATIENCE)
        assert len({response.json["id"] for response in responses if response.status == 201}) == 1
        assert {response.status for response in responses} == {201, 409}


async def test_queue_time_of_a_request_is_logged() -> None:
    lanes = {"read": {"in_flight": 1, "waiting": 10}}
    async with whole_gateway(durable={"policies": lanes}) as gateway:
        failing = gateway.upstreams["durable"]
        made = await gateway.create(failing)
        failing.fault(fault="delay_before", seconds=0.02)
        await asyncio.gather(
            *(gateway.call("GET", f"/v1/runtimes/{made['id']}", **{"Cache-Control": "no-cache"}) for _ in range(3))
        )
        waited = [line for line in gateway.log.getvalue().splitlines() if '"queue_ms":' in line]
        assert len(waited) == 2
        assert all('"event":"request"' in line for line in waited)
