"""The shutdown of a gateway: it is not ready at once, serves for a while, then accepts no connections, and responds to
every request (docs/promises.md#p8)."""

import asyncio
import signal
from typing import Any

import pytest

from tests.component.fleets import Fleet, Gateway
from tests.component.processes import HANGS

LONG = 300  # seconds; longer than any test waits
SHORT = 0.05


async def stopping(gateway: Gateway) -> None:
    """Send SIGTERM to the gateway, and wait until it has logged that it is stopping."""
    gateway.process.send_signal()
    await gateway.process.until_output('"event":"stopping"')


async def test_gateway_serves_for_the_delay_and_reports_not_ready(fleet: Fleet) -> None:
    async with fleet.gateway(shutdown={"delay": LONG}) as gateway:
        made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
        async with gateway.session.get("/readyz") as response:
            assert (response.status, response.headers.get("Connection")) == (200, None)
        await stopping(gateway)
        async with gateway.session.get("/readyz") as response:
            assert (response.status, response.headers["Connection"]) == (503, "close")
            assert (await response.json())["detail"] == "The gateway is shutting down."
        async with gateway.session.get(f"/v1/runtimes/{made['id']}") as response:
            assert (response.status, response.headers["Connection"]) == (200, "close")
        await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
        gateway.process.send_signal()  # the second signal ends the delay
        assert await gateway.process.wait() == 0
        await gateway.process.until_output('"event":"stopped"')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_the_grace(fleet: Fleet, number: signal.Signals) -> None:
    async with fleet.gateway(shutdown={"grace": LONG}) as gateway:
        start, _ = await held(fleet, gateway, "start")
        await stopping(gateway)
        gateway.process.send_signal(number)
        assert (await start)["code"] == "outcome_unknown"
        assert await gateway.process.wait() == 0


async def test_requests_that_exceed_the_grace_receive_a_problem(fleet: Fleet) -> None:
    """The outcome of a change is unknown; a read can be repeated."""
    async with fleet.gateway(shutdown={"grace": SHORT}, cache={"enabled": False}) as gateway:
        start, runtime_id = await held(fleet, gateway, "start")
        fleet.emulators["durable-demo"].fault("get", "hold")
        read = asyncio.create_task(gateway.call("GET", f"/v1/runtimes/{runtime_id}", 503))
        await fleet.emulators["durable-demo"].emulator.until_waiting(2)
        gateway.process.send_signal()
        unknown, refused = await start, await read
        assert (unknown["code"], unknown["source"], unknown["provider"]) == (
            "outcome_unknown",
            "gateway",
            "durable-demo",
        )
        assert unknown["retryable"] == "same_request"
        assert (refused["code"], refused["retryable"]) == ("overloaded", "yes")
        assert await gateway.process.wait() == 0
        await gateway.process.until_output('"event":"interrupted","requests":2')


async def test_create_that_the_shutdown_interrupts_is_outcome_unknown(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"]
    async with fleet.gateway(shutdown={"grace": SHORT}) as gateway:
        durable.fault("create", "hold_after")
        body = {"kind": "durable", "provider": "durable-demo", "name": "agent"}
        create = asyncio.create_task(gateway.call("POST", "/v1/runtimes", 504, body))
        await durable.emulator.until_waiting()
        gateway.process.send_signal()
        assert (await create)["code"] == "outcome_unknown"
        assert await gateway.process.wait() == 0
    assert durable.emulator.creates == 1


async def test_idle_connection_does_not_delay_the_shutdown(fleet: Fleet) -> None:
    async with fleet.gateway(shutdown={"grace": LONG}) as gateway:
        assert (await gateway.session.get("/livez")).status == 200  # the session keeps the connection open
        gateway.process.send_signal()
        assert await gateway.process.wait() == 0


async def held(fleet: Fleet, gateway: Gateway, operation: str) -> tuple[asyncio.Task[Any], str]:
    """Start a call that the provider holds. Return it and the id of its runtime."""
    durable = fleet.emulators["durable-demo"]
    made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
    durable.fault(operation, "hold")
    call = asyncio.create_task(gateway.call("POST", f"/v1/runtimes/{made['id']}/{operation}", 504))
    async with asyncio.timeout(HANGS):
        await durable.emulator.until_waiting()
    return call, made["id"]
