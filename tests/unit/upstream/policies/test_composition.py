"""The policies together: their order, metrics and log lines."""

import asyncio
from collections.abc import Iterator, Sequence
from io import StringIO

import msgspec
import pytest

from gateway.domain.values import Operation, WorkClass
from gateway.ports.policies import PolicySettings
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase, Transport, TransportFailure, UpstreamResponse, WrappingTransport
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.policies import guarded
from gateway.upstream.policies.breaker import Breaker
from gateway.upstream.policies.bulkhead import Bulkhead
from gateway.upstream.policies.deadline import Deadline
from gateway.upstream.policies.retry import Retry
from tests.unit.upstream.policies.simulation import LoopClock, ScriptedTransport, call, outcome_of, request, simulated


class Guarded:
    """A provider behind all policies, with their metrics and log lines."""

    def __init__(
        self,
        outcomes: Sequence[int | TransportFailure | UpstreamResponse] = (),
        *,
        seconds: float = 0,
        **policies: dict[str, float],
    ) -> None:
        self.inner = ScriptedTransport(outcomes, seconds)
        self.metrics, self.log = Metrics(), StringIO()
        known = {"name": "one", "api": "test", "base_url": "http://p.test", "token": "t", "policies": policies}
        self.transport: Transport = guarded(
            self.inner,
            ProviderSettings.model_validate(known),
            clock=LoopClock(),
            metrics=self.metrics,
            logger=make_logger(stream=self.log),
        )

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"provider": "one", **labels})

    def events(self) -> list[dict[str, object]]:
        return [msgspec.json.decode(line) for line in self.log.getvalue().splitlines()]


def layers(transport: Transport) -> Iterator[type[Transport]]:
    while isinstance(transport, WrappingTransport):
        yield type(transport)
        transport = transport.inner


@simulated
async def test_the_order_from_outside_in_is_bulkhead_retry_breaker_deadline() -> None:
    assert list(layers(Guarded().transport)) == [Bulkhead, Retry, Breaker, Deadline]


@simulated
async def test_a_call_keeps_its_slot_while_it_is_retried() -> None:
    guard = Guarded([503], retry={"backoff": 2, "total_seconds": 30}, read={"in_flight": 1, "waiting": 1})
    first, second = call(), call()
    calls = [asyncio.create_task(guard.transport.send(request(), on)) for on in (first, second)]
    await asyncio.gather(*calls)
    assert [attempt.outcome for attempt in first.attempts] == ["503", "200"]
    assert [attempt.outcome for attempt in second.attempts] == ["200"]
    assert second.queued == pytest.approx(first.queued)


@simulated
async def test_every_attempt_counts_at_the_breaker_and_circuit_open_is_not_retried() -> None:
    guard = Guarded([503] * 9, breaker={"minimum": 2}, retry={"tries": 5})
    assert await outcome_of(guard.transport, request(), call()) == "circuit_open"
    assert len(guard.inner.sent) == 2


@simulated
async def test_a_timed_out_attempt_counts_at_the_breaker_and_is_retried() -> None:
    hang = [TransportFailure("timeout", Phase.SENT)] * 2
    guard = Guarded(hang, seconds=0.1, breaker={"minimum": 2})
    assert await outcome_of(guard.transport, request(), call(10)) == "circuit_open"
    assert guard.sample("rtgw_breaker_state", **{"class": "read", "state": "open"}) == 1


@simulated
async def test_a_reservation_takes_a_slot_and_passes_the_breaker() -> None:
    guard = Guarded([500] * 2, breaker={"minimum": 2}, create={"in_flight": 1, "waiting": 0})
    on = call()
    async with guard.transport.reserve(Operation.CREATE, on):
        assert guard.transport.status()[WorkClass.CREATE].in_flight == 1
        assert await outcome_of(guard.transport, request(Operation.CREATE), call()) == "overloaded"
        for outcome in ("500", "500", "200"):
            assert await outcome_of(guard.transport, request(Operation.CREATE), on) == outcome
    assert guard.transport.status()[WorkClass.CREATE].in_flight == 0
    with pytest.raises(TransportFailure, match="circuit_open"):
        async with guard.transport.reserve(Operation.CREATE, on):
            pytest.fail("it was let through")
    assert guard.transport.status()[WorkClass.CREATE].in_flight == 0


@simulated
async def test_a_stop_passes_while_creates_fail() -> None:
    guard = Guarded([500] * 10)
    for _ in range(10):
        await guard.transport.send(request(Operation.CREATE), call())
    assert await outcome_of(guard.transport, request(Operation.CREATE), call()) == "circuit_open"
    on = call()
    assert await outcome_of(guard.transport, request(Operation.STOP), on) == "200"
    assert on.queued == 0


@simulated
async def test_a_stop_and_its_read_pass_while_reads_fill_their_slots() -> None:
    guard = Guarded(seconds=1, read={"in_flight": 1, "waiting": 0})
    flood = asyncio.create_task(outcome_of(guard.transport, request(), call()))
    await asyncio.sleep(0)
    stop = call(work=WorkClass.RELEASE)
    assert await outcome_of(guard.transport, request(), call()) == "overloaded"
    assert await outcome_of(guard.transport, request(), stop) == "200"
    assert await outcome_of(guard.transport, request(Operation.STOP), stop) == "200"
    assert stop.queued == 0
    assert await flood == "200"


@simulated
async def test_a_stop_and_its_read_pass_while_the_breaker_of_reads_is_open() -> None:
    guard = Guarded([500] * 10)
    for _ in range(10):
        await guard.transport.send(request(), call())
    assert await outcome_of(guard.transport, request(), call()) == "circuit_open"
    assert await outcome_of(guard.transport, request(), call(work=WorkClass.RELEASE)) == "200"


@simulated
async def test_a_failed_read_counts_for_its_purpose_and_a_successful_one_does_not() -> None:
    guard = Guarded([500] * 10, breaker={"minimum": 10, "rest": 1})
    starting = [call(work=WorkClass.START) for _ in range(12)]
    for on in starting[:10]:
        await guard.transport.send(request(), on)
    assert await outcome_of(guard.transport, request(), starting[10]) == "circuit_open"
    assert await outcome_of(guard.transport, request(), call()) == "200"
    await asyncio.sleep(1)
    assert await outcome_of(guard.transport, request(), starting[10]) == "200"
    assert guard.sample("rtgw_breaker_state", **{"class": "start", "state": "half_open"}) == 1
    assert await outcome_of(guard.transport, request(Operation.START), starting[10]) == "200"
    assert guard.sample("rtgw_breaker_state", **{"class": "start", "state": "closed"}) == 1


@simulated
async def test_a_read_in_a_reservation_takes_no_second_slot() -> None:
    guard = Guarded(create={"in_flight": 1, "waiting": 0}, read={"in_flight": 1, "waiting": 0})
    on = call(work=WorkClass.CREATE)
    async with guard.transport.reserve(Operation.CREATE, on):
        for operation in (Operation.LIST, Operation.CREATE):
            assert await outcome_of(guard.transport, request(operation), on) == "200"
    assert guard.transport.status()[WorkClass.CREATE].in_flight == 0


@simulated
async def test_a_settling_read_uses_its_own_slots_and_the_breaker_of_reads() -> None:
    guard = Guarded([500] * 2, breaker={"minimum": 2})
    for _ in range(2):
        await guard.transport.send(request(Operation.CREATE), call())
    on = call(work=WorkClass.CREATE, settling=True)
    assert await outcome_of(guard.transport, request(Operation.LIST), on) == "200"


@simulated
async def test_a_burst_is_queued_and_no_call_is_lost_or_repeated() -> None:
    """500 creates of 2 seconds each."""
    guard = Guarded(seconds=2)
    outcomes = await asyncio.gather(
        *(outcome_of(guard.transport, request(Operation.CREATE), call(60)) for _ in range(500))
    )
    assert outcomes == ["200"] * 500
    assert len(guard.inner.sent) == 500
    assert guard.inner.most_in_flight == PolicySettings().create.in_flight


@simulated
async def test_the_metrics_show_the_slots() -> None:
    guard = Guarded(seconds=1, release={"in_flight": 1, "waiting": 1})
    tasks = [asyncio.create_task(outcome_of(guard.transport, request(Operation.STOP), call())) for _ in range(3)]
    await asyncio.sleep(0.5)
    names = ("limit", "in_flight", "waiting", "rejected_total")
    release = {"class": "release"}
    assert [guard.sample(f"rtgw_bulkhead_{name}", **release) for name in names] == [1, 1, 1, 1]
    await asyncio.gather(*tasks)
    assert [guard.sample(f"rtgw_bulkhead_{name}", **release) for name in names] == [1, 0, 0, 1]
    for lane, limits in PolicySettings().lanes().items():
        if lane != "release":
            assert guard.sample("rtgw_bulkhead_limit", **{"class": lane}) == limits.in_flight


@simulated
async def test_the_metrics_show_the_breaker_and_every_change_is_logged() -> None:
    guard = Guarded([500] * 3, breaker={"minimum": 2, "rest": 1})

    def states() -> list[float | None]:
        names = ("closed", "open", "half_open")
        return [guard.sample("rtgw_breaker_state", **{"class": "create", "state": state}) for state in names]

    assert states() == [1, 0, 0]
    for _ in range(2):
        await guard.transport.send(request(Operation.CREATE), call())
    assert states() == [0, 1, 0]
    for _ in range(2):
        await asyncio.sleep(2)
        await guard.transport.send(request(Operation.CREATE), call())
    assert states() == [1, 0, 0]
    assert [(event["level"], event["state"], event.get("retry_after")) for event in guard.events()] == [
        ("warning", "open", 1.0),
        ("info", "half_open", None),
        ("warning", "open", 2.0),
        ("info", "half_open", None),
        ("info", "closed", None),
    ]
    assert {(event["event"], event["provider"], event["class"]) for event in guard.events()} == {
        ("breaker", "one", "create")
    }


@simulated
async def test_retries_are_counted_by_reason() -> None:
    guard = Guarded([TransportFailure("refused", Phase.CONNECTING), 503])
    await guard.transport.send(request(), call())
    assert guard.sample("rtgw_upstream_retries_total", reason="refused") == 1
    assert guard.sample("rtgw_upstream_retries_total", reason="503") == 1


@simulated
async def test_without_retries_a_read_has_the_whole_deadline() -> None:
    guard = Guarded(retry={"tries": 1})
    slow = Guarded(retry={"tries": 1}, seconds=9.9)
    assert await outcome_of(guard.transport, request(), call(10)) == "200"
    assert await outcome_of(slow.transport, request(), call(10)) == "200"
