"""Which calls are retried, how often and when, and which never are."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.values import TRAITS, Operation, WorkClass
from gateway.ports.policies import RetrySettings
from gateway.ports.transport import Phase, TransportFailure, UpstreamResponse
from gateway.upstream.policies.retry import Budget, Retry
from tests.unit.upstream.policies.simulation import LoopClock, ScriptedTransport, call, outcome_of, request, simulated

Outcome = int | TransportFailure | UpstreamResponse
READS = [operation for operation, traits in TRAITS.items() if traits.work is WorkClass.READ]
MUTATIONS = [operation for operation in Operation if operation not in READS]
REFUSED = TransportFailure("refused", Phase.CONNECTING)
DROPPED = TransportFailure("disconnected", Phase.SENT)


def trying(
    outcomes: Sequence[Outcome], *, seconds: float = 0, draw: float = 1.0, **settings: float
) -> tuple[Retry, ScriptedTransport]:
    """A retry with pauses of ``draw`` times the longest one, around a transport with these ``outcomes``."""
    inner = ScriptedTransport(outcomes, seconds)
    retry = Retry(
        inner, RetrySettings.model_validate(settings), LoopClock(), lambda _reason: None, lambda _low, high: high * draw
    )
    return retry, inner


def pauses(inner: ScriptedTransport) -> list[float]:
    """The seconds between the attempts."""
    return [round(later - earlier, 6) for (earlier, _), (later, _) in itertools.pairwise(inner.sent)]


def sent(operation: Operation, outcome: Outcome) -> int:
    """How often a request is sent that always ends with ``outcome``."""
    retry, inner = trying([outcome] * 20)

    @simulated
    async def run() -> None:
        await outcome_of(retry, request(operation), call())

    run()
    return len(inner.sent)


@pytest.mark.parametrize("reason", ["refused", "dns", "timeout", "disconnected"])
def test_a_call_without_a_connection_is_retried(reason: str) -> None:
    times = {operation: sent(operation, TransportFailure(reason, Phase.CONNECTING)) for operation in Operation}
    assert times == dict.fromkeys(Operation, 3)


@pytest.mark.parametrize("outcome", [429, 502, 503, 504, DROPPED, TransportFailure("timeout", Phase.SENT)], ids=str)
def test_reads_are_retried_after_transient_failures(outcome: Outcome) -> None:
    assert {operation: sent(operation, outcome) for operation in READS} == dict.fromkeys(READS, 3)


@pytest.mark.parametrize(
    "outcome",
    [
        *(TransportFailure(reason, Phase.SENT) for reason in ("timeout", "disconnected", "unreadable", "failed")),
        *(TransportFailure(reason, Phase.ANSWERED, status=200) for reason in ("timeout", "cut_short", "too_large")),
        *(200, 201, 307, 400, 408, 409, 425, 429, 500, 502, 503, 504),
    ],
    ids=str,
)
def test_a_mutation_that_may_have_been_received_is_never_repeated(outcome: Outcome) -> None:
    assert {operation: sent(operation, outcome) for operation in MUTATIONS} == dict.fromkeys(MUTATIONS, 1)


@pytest.mark.parametrize(
    "outcome",
    [
        *(TransportFailure(reason, Phase.QUEUED) for reason in ("overloaded", "circuit_open", "closed")),
        TransportFailure("tls", Phase.CONNECTING),
        TransportFailure("unreadable", Phase.SENT),
        TransportFailure("too_large", Phase.ANSWERED, status=200),
        *(200, 304, 400, 401, 403, 404, 409, 500, 501),
    ],
    ids=str,
)
def test_a_failure_that_a_retry_cannot_fix_is_returned_at_once(outcome: Outcome) -> None:
    assert sent(Operation.GET, outcome) == 1


@simulated
async def test_the_response_of_the_successful_attempt_is_returned() -> None:
    retry, inner = trying([REFUSED, 503])
    on = call()
    assert await outcome_of(retry, request(), on) == "200"
    assert [attempt.outcome for attempt in on.attempts] == ["refused", "503", "200"]
    assert pauses(inner) == [0.1, 0.2]
    assert on.queued == pytest.approx(0.3)


@simulated
async def test_the_last_response_or_failure_is_returned_unchanged() -> None:
    retry, _ = trying([503, 503, 504])
    assert await outcome_of(retry, request(), call()) == "504"
    retry, _ = trying([503, REFUSED, DROPPED])
    assert await outcome_of(retry, request(), call()) == "disconnected"


@simulated
async def test_an_attempt_without_time_to_connect_does_not_hide_the_failure_before() -> None:
    silent, out_of_time = TransportFailure("timeout", Phase.SENT), TransportFailure("timeout", Phase.CONNECTING)
    retry, _ = trying([silent, silent, out_of_time])
    with pytest.raises(TransportFailure) as told:
        await retry.send(request(), call())
    assert told.value.phase is Phase.SENT
    retry, _ = trying([silent, silent, REFUSED])
    with pytest.raises(TransportFailure) as told:
        await retry.send(request(), call())
    assert told.value.reason == "refused", "that is news"


@simulated
async def test_pauses_double_up_to_max_backoff_with_full_jitter() -> None:
    retry, inner = trying([503] * 6, tries=6, backoff=0.5, max_backoff=1.5)
    await retry.send(request(), call())
    assert pauses(inner) == [0.5, 1, 1.5, 1.5, 1.5]
    retry, inner = trying([503] * 6, draw=0)
    await retry.send(request(), call())
    assert pauses(inner) == [0, 0]


@simulated
async def test_retry_after_is_respected() -> None:
    retry, inner = trying([UpstreamResponse(429, {"Retry-After": "2"}, b"")])
    assert await outcome_of(retry, request(), call()) == "200"
    assert pauses(inner) == [2.1]


@simulated
async def test_a_retry_after_beyond_the_time_left_is_not_waited_for() -> None:
    """The same holds for one that is longer than ``max_backoff``."""
    told = [UpstreamResponse(429, {"Retry-After": seconds}, b"") for seconds in ("2", "3")]
    retry, inner = trying(told)
    for on, seconds in ((call(2), "2"), (call(30), "3")):
        response = await retry.send(request(), on)
        assert (response.status, response.headers["Retry-After"], on.queued) == (429, seconds, 0)
    assert len(inner.sent) == 2


@simulated
async def test_no_attempt_starts_after_the_deadline_or_total_seconds() -> None:
    for seconds, settings in ((3.0, {}), (30.0, {"total_seconds": 3.0})):
        retry, inner = trying([503] * 20, seconds=1, tries=10, backoff=1, max_backoff=1, budget=1, **settings)
        assert await outcome_of(retry, request(), call(seconds)) == "503"
        assert len(inner.sent) == 2


@simulated
async def test_without_retries_there_is_one_attempt() -> None:
    retry, inner = trying([REFUSED], tries=1)
    assert await outcome_of(retry, request(), call()) == "refused"
    assert len(inner.sent) == 1


@simulated
async def test_the_budget_limits_retries_while_a_provider_is_down() -> None:
    retry, inner = trying([503] * 1000)
    for _ in range(200):
        await retry.send(request(), call())
    assert len(inner.sent) <= 200 + 10 + 200 * 0.1


@simulated
async def test_failing_reads_do_not_use_the_budget_of_a_release() -> None:
    retry, inner = trying([503] * 200 + [REFUSED])
    while len(inner.sent) < 200:
        await retry.send(request(), call())
    assert await outcome_of(retry, request(Operation.STOP), call()) == "200"


@simulated
async def test_every_retry_is_reported_with_its_reason() -> None:
    told: list[str] = []
    retry = Retry(ScriptedTransport([REFUSED, 503]), RetrySettings(), LoopClock(), told.append)
    assert await outcome_of(retry, request(), call()) == "200"
    assert told == ["refused", "503"]


@simulated
async def test_a_call_cancelled_during_a_pause_is_not_retried() -> None:
    retry, inner = trying([503])
    task = asyncio.create_task(retry.send(request(), call()))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(inner.sent) == 1


@given(share=st.floats(0, 1), steps=st.lists(st.booleans(), max_size=300))
def test_a_budget_is_never_overdrawn(share: float, steps: list[bool]) -> None:
    budget = Budget(share)
    spent = earned = 0
    for retry in steps:
        if retry:
            spent += budget.spend()
        else:
            budget.earn()
            earned += 1
        assert 0 <= budget.left <= 10
        assert spent <= 10 + share * earned + 1e-6
