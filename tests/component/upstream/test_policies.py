"""Every policy, and all of them together, pass the transport contract; and retries against a real server."""

from io import StringIO

import pytest

from gateway.domain.values import Operation, WorkClass
from gateway.ports.clock import SystemClock
from gateway.ports.policies import BreakerSettings, RetrySettings
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Phase, Transport
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.observed import AttemptLog
from gateway.upstream.policies import guarded
from gateway.upstream.policies.breaker import Breaker, Circuit
from gateway.upstream.policies.bulkhead import Bulkhead, SlotPool
from gateway.upstream.policies.deadline import Deadline
from gateway.upstream.policies.retry import Retry
from gateway.upstream.transport import HttpTransport
from tests.contract.transport.contract import TransportContract
from tests.contract.transport.subject import call, failure_of, request
from tests.scripted_server import DROP, HANG, ScriptedServer, reply
from tests.tcp_faults import Mode, TcpFaultProxy

CLOCK = SystemClock()


def circuits() -> dict[WorkClass, Circuit]:
    return {work: Circuit(BreakerSettings(), CLOCK) for work in WorkClass}


class TestDeadline(TransportContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        return Deadline(HttpTransport(settings), 0.6, CLOCK, settings.deadline)


class TestBreaker(TransportContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        return Breaker(HttpTransport(settings), circuits())


class TestRetryOfMutations(TransportContract):
    operation = Operation.START

    def make_transport(self, settings: ProviderSettings) -> Transport:
        return Retry(HttpTransport(settings), RetrySettings(), CLOCK, lambda _reason: None)


class TestRetryOfReadsSwitchedOff(TransportContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        return Retry(HttpTransport(settings), RetrySettings(tries=1), CLOCK, lambda _reason: None)


class TestBulkhead(TransportContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        lanes = {lane: SlotPool(1, 20) for lane in [*WorkClass, "settling"]}
        return Bulkhead(HttpTransport(settings), lanes, circuits(), CLOCK, lambda _lane: None)


class TestAllPolicies(TransportContract):
    operation = Operation.START

    def make_transport(self, settings: ProviderSettings) -> Transport:
        return everything(settings)


def everything(settings: ProviderSettings) -> Transport:
    metrics, logger = Metrics(), make_logger(stream=StringIO())
    transport = HttpTransport(settings, CLOCK, AttemptLog(settings.name, metrics, logger))
    return guarded(transport, settings, clock=CLOCK, metrics=metrics, logger=logger)


def transport_to(url: str, **options: object) -> Transport:
    known = {"name": "p", "api": "test", "base_url": url, "token": "t"}
    return everything(ProviderSettings.model_validate({**known, **options}))


QUICK = {"backoff": 0.001}


async def test_a_read_is_retried_after_a_dropped_connection_and_a_503() -> None:
    async with ScriptedServer([DROP, reply(status=503), reply({"a": 1})]) as server:
        transport, on = transport_to(server.url, policies={"retry": QUICK}), call()
        response = await transport.send(request(), on)
        await transport.close()
    assert (response.status, response.body) == (200, b'{"a": 1}')
    assert [attempt.outcome for attempt in on.attempts] == ["disconnected", "503", "200"]
    assert len(server.received) == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_mutation_whose_connection_drops_is_sent_once(method: str) -> None:
    async with ScriptedServer([reply({}), DROP]) as server:
        transport = transport_to(server.url, policies={"retry": QUICK})
        asked = request(method, operation=Operation.STOP, body=b"{}")
        assert (await transport.send(asked, call())).status == 200
        failure = await failure_of(transport, asked, call())  # on the connection of the first
        await transport.close()
    assert (failure.reason, failure.phase) == ("disconnected", Phase.SENT)
    assert len(server.received) == 2


async def test_a_mutation_is_retried_while_the_connection_is_refused() -> None:
    async with ScriptedServer() as server, TcpFaultProxy(server.url) as proxy:
        await proxy.set_mode(Mode.REFUSE)
        transport = transport_to(proxy.url, policies={"retry": QUICK})
        asked = request("POST", operation=Operation.CREATE, body=b"{}")
        failure = await failure_of(transport, asked, on := call())
        assert failure.reason == "refused"
        assert [attempt.outcome for attempt in on.attempts] == ["refused"] * 3
        await proxy.set_mode(Mode.FORWARD)
        assert (await transport.send(asked, call())).status == 200
        await transport.close()
    assert len(server.received) == 1


async def test_a_hanging_read_attempt_is_retried_within_the_deadline() -> None:
    async with ScriptedServer([HANG]) as server:
        transport = transport_to(server.url, policies={"retry": {**QUICK, "attempt_share": 0.1}})
        on = call(1)
        assert (await transport.send(request(), on)).status == 200
        await transport.close()
    assert [attempt.outcome for attempt in on.attempts] == ["timeout", "200"]


async def test_the_date_of_a_response_passes_all_layers() -> None:
    date = "Sun, 22 Nov 2026 03:00:00 GMT"
    async with ScriptedServer([reply({}, headers=[("Date", date)])]) as server:
        transport, on = transport_to(server.url), call()
        await transport.send(request(), on)
        await transport.close()
    assert on.provider_date == date
