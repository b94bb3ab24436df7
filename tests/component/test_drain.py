"""How a gateway ends: not ready at once, serving for a while, then closed to new connections; all are answered."""

import asyncio
import signal
from typing import Any

import pytest

from tests.component.fleets import Fleet, Gateway
from tests.component.processes import HANGS

LONG = 300  # seconds that no test waits for
SHORT = 0.05


async def stopping(gateway: Gateway) -> None:
    """Tell the gateway to stop, and wait until it has heard."""
    gateway.process.tell()
    await gateway.process.says('"event":"stopping"')


async def test_it_serves_for_the_delay_and_says_that_it_is_not_ready(fleet: Fleet) -> None:
    async with fleet.gateway(shutdown={"delay": LONG}) as gateway:
        made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable"})
        async with gateway.session.get("/readyz") as answer:
            assert (answer.status, answer.headers.get("Connection")) == (200, None)
        await stopping(gateway)
        async with gateway.session.get("/readyz") as answer:
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
            assert (await answer.json())["detail"] == "The gateway is shutting down."
        async with gateway.session.get(f"/v1/runtimes/{made['id']}") as answer:
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable"})
        gateway.process.tell()  # again: no more waiting
        assert await gateway.process.ended() == 0
        await gateway.process.says('"event":"stopped"')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_grace(fleet: Fleet, number: signal.Signals) -> None:
    async with fleet.gateway(shutdown={"grace": LONG}) as gateway:
        start, _ = await held(fleet, gateway, "start")
        await stopping(gateway)
        gateway.process.tell(number)
        assert (await start)["code"] == "outcome_unknown"
        assert await gateway.process.ended() == 0


async def test_what_the_grace_does_not_suffice_for_is_answered(fleet: Fleet) -> None:
    """A change may have happened; a read has not changed anything."""
    async with fleet.gateway(shutdown={"grace": SHORT}, cache={"enabled": False}) as gateway:
        start, runtime_id = await held(fleet, gateway, "start")
        fleet.emulators["durable-demo"].fault("get", "hold")
        read = asyncio.create_task(gateway.call("GET", f"/v1/runtimes/{runtime_id}", 503))
        await fleet.emulators["durable-demo"].emulator.until_waiting(2)
        gateway.process.tell()
        unknown, refused = await start, await read
        assert (unknown["code"], unknown["source"], unknown["provider"]) == (
            "outcome_unknown",
            "gateway",
            "durable-demo",
        )
        assert unknown["retryable"] == "same_request"
        assert (refused["code"], refused["retryable"]) == ("overloaded", "yes")
        assert await gateway.process.ended() == 0
        await gateway.process.says('"event":"interrupted","requests":2')


async def test_a_create_that_the_shutdown_interrupts_is_answered_as_open(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"]
    async with fleet.gateway(shutdown={"grace": SHORT}) as gateway:
        durable.fault("create", "hold_after")
        body = {"kind": "durable", "provider": "durable-demo", "name": "agent"}
        create = asyncio.create_task(gateway.call("POST", "/v1/runtimes", 504, body))
        await durable.emulator.until_waiting()
        gateway.process.tell()
        assert (await create)["code"] == "outcome_unknown"
        assert await gateway.process.ended() == 0
    assert durable.emulator.creates == 1


async def test_an_idle_connection_does_not_keep_it(fleet: Fleet) -> None:
    async with fleet.gateway(shutdown={"grace": LONG}) as gateway:
        assert (await gateway.session.get("/livez")).status == 200  # and the connection stays open
        gateway.process.tell()
        assert await gateway.process.ended() == 0


async def held(fleet: Fleet, gateway: Gateway, operation: str) -> tuple[asyncio.Task[Any], str]:
    """A call that the provider leaves hanging, and the runtime that it is about."""
    durable = fleet.emulators["durable-demo"]
    made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
    durable.fault(operation, "hold")
    call = asyncio.create_task(gateway.call("POST", f"/v1/runtimes/{made['id']}/{operation}", 504))
    async with asyncio.timeout(HANGS):
        await durable.emulator.until_waiting()
    return call, made["id"]
