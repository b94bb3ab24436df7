"""Which outcomes count as failures of the provider, and which calls an open breaker refuses."""

import asyncio
import contextlib

import pytest

from gateway.domain.values import Operation, WorkClass
from gateway.ports.policies import BreakerSettings
from gateway.ports.transport import Phase, TransportFailure
from gateway.upstream.policies.breaker import Breaker, Circuit, State
from tests.unit.upstream.policies.simulation import LoopClock, ScriptedTransport, call, outcome_of, request, simulated

SETTINGS = BreakerSettings(share=0.5, minimum=3, window=10, rest=1, max_rest=4, probes=1)


def guarded(inner: ScriptedTransport) -> Breaker:
    return Breaker(inner, {work: Circuit(SETTINGS, LoopClock()) for work in WorkClass})


def failing(reason: str = "refused", phase: Phase = Phase.CONNECTING, times: int = 3) -> list[TransportFailure]:
    return [TransportFailure(reason, phase) for _ in range(times)]


async def send(breaker: Breaker, times: int = 1, operation: Operation = Operation.GET) -> list[str]:
    return [await outcome_of(breaker, request(operation), call()) for _ in range(times)]


@pytest.mark.parametrize(
    "outcome",
    [
        *(TransportFailure(reason, Phase.CONNECTING) for reason in ("refused", "dns", "tls", "timeout")),
        *(TransportFailure(reason, Phase.SENT) for reason in ("timeout", "disconnected", "unreadable")),
        TransportFailure("cut_short", Phase.ANSWERED, status=200),
        *(500, 502, 503, 504),
    ],
    ids=str,
)
def test_failures_of_the_provider_and_the_network_open_it(outcome: int | TransportFailure) -> None:
    @simulated
    async def run() -> None:
        breaker = guarded(ScriptedTransport([outcome] * 3))
        await send(breaker, 3)
        assert await send(breaker) == ["circuit_open"]

    run()


@pytest.mark.parametrize(
    "outcome",
    [
        *(TransportFailure(reason, Phase.QUEUED) for reason in ("timeout", "overloaded", "circuit_open", "closed")),
        TransportFailure("too_large", Phase.ANSWERED, status=200),
        TransportFailure("failed", Phase.SENT),
        *(200, 307, 400, 401, 404, 409, 422, 429),
    ],
    ids=str,
)
def test_other_outcomes_do_not_open_it(outcome: int | TransportFailure) -> None:
    @simulated
    async def run() -> None:
        breaker = guarded(ScriptedTransport([outcome] * 50))
        await send(breaker, 50)
        assert await send(breaker) == ["200"]

    run()


@simulated
async def test_while_open_nothing_is_sent_and_failures_have_retry_after() -> None:
    inner = ScriptedTransport(failing())
    breaker = guarded(inner)
    await send(breaker, 3)
    with pytest.raises(TransportFailure) as caught:
        await breaker.send(request(), call())
    assert (caught.value.reason, caught.value.phase, caught.value.retry_after) == ("circuit_open", Phase.QUEUED, 1)
    assert caught.value.operation is Operation.GET
    assert len(inner.sent) == 3


@simulated
async def test_a_failing_class_of_work_does_not_affect_the_others() -> None:
    breaker = guarded(ScriptedTransport(failing()))
    await send(breaker, 3, Operation.CREATE)
    assert await send(breaker, 1, Operation.CREATE) == ["circuit_open"]
    assert await send(breaker, 1, Operation.STOP) == ["200"]
    states = {work: status.breaker for work, status in breaker.status().items()}
    assert states == {"read": "closed", "create": "open", "start": "closed", "release": "closed"}
    assert breaker.status()[WorkClass.CREATE].retry_after == 1


@simulated
async def test_a_recovered_provider_is_used_again_after_the_open_time() -> None:
    inner = ScriptedTransport(failing())
    breaker = guarded(inner)
    await send(breaker, 3)
    await asyncio.sleep(1)
    assert await send(breaker, 5) == ["200"] * 5


@simulated
async def test_only_one_probe_passes_at_a_time() -> None:
    inner = ScriptedTransport(failing(), seconds=0.1)
    breaker = guarded(inner)
    await send(breaker, 3)
    await asyncio.sleep(1)
    probing = asyncio.create_task(outcome_of(breaker, request(), call()))
    await asyncio.sleep(0)
    assert await send(breaker) == ["circuit_open"]
    assert await probing == "200"
    assert await send(breaker) == ["200"]


@simulated
async def test_a_cancelled_probe_allows_another() -> None:
    inner = ScriptedTransport(failing(), seconds=0.1)
    breaker = guarded(inner)
    await send(breaker, 3)
    await asyncio.sleep(1)
    probing = asyncio.create_task(breaker.send(request(), call()))
    await asyncio.sleep(0)
    probing.cancel()
    await asyncio.wait([probing])
    assert await send(breaker) == ["200"]


@simulated
async def test_an_open_breaker_refuses_a_reservation() -> None:
    breaker = guarded(ScriptedTransport(failing()))
    await send(breaker, 3, Operation.CREATE)
    with pytest.raises(TransportFailure, match="circuit_open"):
        async with breaker.reserve(Operation.CREATE, call()):
            pytest.fail("it was let through")


@simulated
async def test_a_reserved_call_passes_after_the_breaker_opened() -> None:
    breaker = guarded(ScriptedTransport(failing()))
    on = call()
    async with breaker.reserve(Operation.CREATE, on), breaker.reserve(Operation.CREATE, on):
        await send(breaker, 3, Operation.CREATE)
        assert await outcome_of(breaker, request(Operation.CREATE), call()) == "circuit_open"
        assert await outcome_of(breaker, request(Operation.CREATE), on) == "200"
    assert await outcome_of(breaker, request(Operation.CREATE), on) == "circuit_open"


@simulated
async def test_an_unused_reservation_allows_another_probe() -> None:
    breaker = guarded(ScriptedTransport(failing()))
    await send(breaker, 3, Operation.CREATE)
    await asyncio.sleep(1)
    with contextlib.suppress(KeyError):
        async with breaker.reserve(Operation.CREATE, call()):
            assert await send(breaker, 1, Operation.CREATE) == ["circuit_open"]
            raise KeyError
    assert breaker.status()[WorkClass.CREATE].breaker == State.HALF_OPEN
    assert await send(breaker, 1, Operation.CREATE) == ["200"]
