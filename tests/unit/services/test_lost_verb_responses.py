"""A change whose response was lost: one read shows whether it happened, and nothing is sent again without it."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, ProviderFailure, Retryable
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import TRANSITIONS, Verb
from gateway.domain.requests import KeepaliveRequest, StartRequest, StopRequest
from gateway.domain.runtime import DurablePart, Instance, Lease, Runtime
from gateway.domain.values import Operation, State
from gateway.ports.transport import Attempt, Call, Phase, TransportFailure
from gateway.services.lifecycle import LifecycleService
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, FakeClock, context, fleet_of

SAID = ProviderFailure("one", status=500, own_envelope=True)


def lost(operation: Operation) -> TransportFailure:
    """The connection ended after the request was sent."""
    return TransportFailure("disconnected", Phase.SENT, operation=operation)


def refused(operation: Operation) -> TransportFailure:
    """The connection was never made."""
    return TransportFailure("refused", Phase.CONNECTING, operation=operation)


def _service(adapter: FakeAdapter) -> LifecycleService:
    return LifecycleService(fleet_of([adapter]))


VERBS: dict[Verb, tuple[Operation, State, Callable[[LifecycleService, str], Awaitable[Runtime]]]] = {
    Verb.START: (Operation.START, State.IDLE, lambda service, at: service.start(at, StartRequest(), context())),
    Verb.PAUSE: (Operation.PAUSE, State.RUNNING, lambda service, at: service.pause(at, context())),
    Verb.RESUME: (Operation.RESUME, State.PAUSED, lambda service, at: service.resume(at, context())),
    Verb.RESET: (Operation.RESET, State.RUNNING, lambda service, at: service.reset(at, context())),
    Verb.STOP: (
        Operation.RESET,
        State.RUNNING,
        lambda service, at: service.stop(at, StopRequest(discard_state=True), context()),
    ),
}
TARGETS = {Verb.START: State.STARTING, Verb.PAUSE: State.PAUSED, Verb.RESUME: State.RUNNING}


def happens(adapter: FakeAdapter, method: str, runtime: Runtime, state: State) -> None:
    """Make a verb take effect although its response is a failure."""

    async def act() -> None:
        adapter.move(runtime.provider_id, state)

    adapter.world.before[method] = act


DOUBTS: dict[str, Callable[[Operation], GatewayError | TransportFailure]] = {
    "dropped": lost,
    "unreadable": lambda _: errors.OutcomeUnknown("garbage", failure=SAID),
    "500": lambda _: errors.ProviderError("failed", failure=SAID),
    "503": lambda _: errors.ProviderUnavailable("away", failure=SAID),
    "html": lambda _: errors.ProviderBadResponse("a page", failure=SAID),
}


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_that_happened_without_a_response_succeeds(verb: Verb, doubt: str) -> None:
    adapter = DurableLike("one")
    operation, state, act = VERBS[verb]
    runtime = adapter.put("agent", state)
    happens(adapter, operation.value, runtime, TARGETS.get(verb, State.IDLE))
    adapter.world.fail(operation.value, DOUBTS[doubt](operation))
    after = await act(_service(adapter), runtime.id)
    assert after.state in TRANSITIONS[verb].satisfied_by
    assert after.changed is True
    assert adapter.world.asked == ["get", operation.value, "get"]
    assert [call.settling for call in adapter.world.calls] == [False, False, True]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_without_visible_effect_is_unknown_and_not_sent_again(verb: Verb) -> None:
    """A client must not repeat a stop or reset either: it could end an instance that was started since."""
    adapter = DurableLike("one")
    operation, state, act = VERBS[verb]
    runtime = adapter.put("agent", state)
    adapter.world.fail(operation.value, lost(operation))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await act(_service(adapter), runtime.id)
    expected = Retryable.NO if verb in {Verb.STOP, Verb.RESET} else Retryable.SAME_REQUEST
    assert caught.value.retryable is expected
    assert adapter.world.asked == ["get", operation.value, "get"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_failure_that_changed_nothing_is_reported_unchanged(verb: Verb) -> None:
    adapter = DurableLike("one")
    operation, state, act = VERBS[verb]
    runtime = adapter.put("agent", state)
    adapter.world.fail(operation.value, errors.ProviderError("failed", failure=SAID))
    with pytest.raises(errors.ProviderError) as caught:
        await act(_service(adapter), runtime.id)
    assert caught.value.retryable is Retryable.SAME_REQUEST


@pytest.mark.parametrize("doubt", ["dropped", "500"])
async def test_a_reset_that_cannot_be_verified_is_not_retryable(doubt: str) -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)
    adapter.world.fail("reset", DOUBTS[doubt](Operation.RESET))
    adapter.world.fail("get", None, errors.ProviderUnavailable("away", failure=SAID))
    with pytest.raises((errors.OutcomeUnknown, errors.ProviderError)) as caught:
        await _service(adapter).reset(runtime.id, context())
    assert caught.value.retryable is Retryable.NO
    assert isinstance(caught.value.__cause__, errors.ProviderUnavailable)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_that_was_not_sent_is_not_verified(verb: Verb) -> None:
    adapter = DurableLike("one")
    operation, state, act = VERBS[verb]
    runtime = adapter.put("agent", state)
    adapter.world.fail(operation.value, refused(operation))
    with pytest.raises(errors.ProviderUnavailable):
        await act(_service(adapter), runtime.id)
    assert adapter.world.asked == ["get", operation.value]


def _with_instance(instance: str) -> dict[str, Any]:
    return {"durable": DurablePart(instance=Instance(id=instance))}


async def test_a_reset_happened_if_another_instance_runs_now() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING, provider_id="a1", **_with_instance("first"))

    async def somebody_starts_another() -> None:
        adapter.put("agent", State.RUNNING, provider_id="a1", **_with_instance("second"))

    adapter.world.before["reset"] = somebody_starts_another
    adapter.world.fail("reset", lost(Operation.RESET))
    after = await _service(adapter).reset(runtime.id, context())
    assert (after.state, after.changed) == (State.RUNNING, True)
    assert adapter.world.asked == ["get", "reset", "get"]


async def test_a_reset_with_a_precondition_is_retryable() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)
    adapter.world.fail("reset", lost(Operation.RESET))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await _service(adapter).reset(runtime.id, context(), precondition=lambda _: True)
    assert caught.value.retryable is Retryable.SAME_REQUEST


async def test_a_stop_of_a_runtime_that_cannot_start_again_is_retryable() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    adapter.world.fail("stop", lost(Operation.STOP))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await _service(adapter).stop(runtime.id, StopRequest(), context())
    assert caught.value.retryable is Retryable.SAME_REQUEST


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.RESET])
async def test_a_stop_or_reset_whose_precondition_fails_is_not_sent(verb: Verb) -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)
    idle = adapter.put("idle", State.IDLE)
    service = _service(adapter)

    async def act(at: str) -> Runtime:
        if verb is Verb.RESET:
            return await service.reset(at, context(), precondition=lambda _: False)
        return await service.stop(at, StopRequest(discard_state=True), context(), precondition=lambda _: False)

    with pytest.raises(errors.PreconditionFailed) as caught:
        await act(runtime.id)
    assert [fault.header for fault in caught.value.errors] == ["If-Match"]
    assert adapter.world.asked == ["get"]
    assert (await act(idle.id)).changed is False, "what has no instance has nothing to lose"


async def test_a_conflict_of_a_retry_succeeds_if_the_first_attempt_did() -> None:
    """The retry policy may send again after a lost response; the first attempt then causes the conflict of the
    second."""
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)

    async def twice() -> None:
        adapter.move(runtime.provider_id, State.PAUSED)
        for outcome, phase in (("disconnected", Phase.SENT), ("409", Phase.ANSWERED)):
            adapter.world.calls[-1].attempts.append(Attempt("one", Operation.PAUSE, outcome, 0.0, phase))

    adapter.world.before["pause"] = twice
    adapter.world.fail("pause", errors.StateConflict("paused", failure=ProviderFailure("one", status=409)))
    after = await _service(adapter).pause(runtime.id, context())
    assert (after.state, after.changed) == (State.PAUSED, True)


async def test_the_read_has_the_remaining_time_and_at_least_five_seconds() -> None:
    adapter = DurableLike("one", deadlines={"reset": 60, "get": 10})
    clock = FakeClock()
    service = LifecycleService(fleet_of([adapter], clock))
    runtime = adapter.put("agent", State.RUNNING)
    for taken, left in ((53.0, 7.0), (60.0, 5.0), (1.0, 10.0)):
        adapter.move(runtime.provider_id, State.RUNNING)

        async def takes_its_time(taken: float = taken) -> None:
            clock.time += taken

        adapter.world.before["reset"] = takes_its_time
        adapter.world.fail("reset", lost(Operation.RESET))
        with pytest.raises(errors.OutcomeUnknown):
            await service.reset(runtime.id, context())
        assert adapter.world.calls[-1].deadline == clock.time + left


class Expiring(DurableLike):
    """An adapter whose keepalive changes the expiry."""

    async def keepalive(self, ref: RuntimeRef, extend_seconds: int, call: Call) -> Lease:
        runtime = self.world.runtimes[ref.provider_id]
        if self.reaches:
            self.world.runtimes[ref.provider_id] = msgspec.structs.replace(runtime, expires_at="2026-01-01T01:00:00Z")
        return await super().keepalive(ref, extend_seconds, call)

    reaches = True


@pytest.mark.parametrize("reaches", [True, False])
async def test_a_lost_keepalive_is_verified_by_the_expiry(reaches: bool) -> None:
    adapter = Expiring("one")
    adapter.reaches = reaches
    runtime = adapter.put("agent", State.RUNNING, expires_at="2026-01-01T00:00:00Z")
    adapter.world.fail("keepalive", lost(Operation.KEEPALIVE))
    if reaches:
        lease = await _service(adapter).keepalive(runtime.id, KeepaliveRequest(), context())
        assert (lease.id, lease.expires_at) == (runtime.id, "2026-01-01T01:00:00Z")
    else:
        with pytest.raises(errors.OutcomeUnknown):
            await _service(adapter).keepalive(runtime.id, KeepaliveRequest(), context())
    assert adapter.world.asked == ["get", "keepalive", "get"]


async def test_a_lost_delete_succeeds_if_the_runtime_does_not_exist() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)

    async def gone() -> None:
        del adapter.world.runtimes[runtime.provider_id]

    adapter.world.before["delete"] = gone
    adapter.world.fail("delete", lost(Operation.DELETE))
    await _service(adapter).delete(runtime.id, context())
    assert adapter.world.asked == ["delete", "get"]


async def test_a_lost_delete_of_an_existing_runtime_is_retryable() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    adapter.world.fail("delete", lost(Operation.DELETE))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await _service(adapter).delete(runtime.id, context())
    assert caught.value.retryable is Retryable.SAME_REQUEST


@pytest.mark.parametrize("first", [("disconnected", Phase.SENT), ("502", Phase.ANSWERED)])
async def test_not_found_after_a_lost_attempt_of_a_delete_succeeds(first: tuple[str, Phase]) -> None:
    adapter = BrowserLike("one")
    tries = [first, ("404", Phase.ANSWERED)]

    async def twice() -> None:
        for outcome, phase in tries:
            adapter.world.calls[-1].attempts.append(Attempt("one", Operation.DELETE, outcome, 0.0, phase))

    adapter.world.before["delete"] = twice
    await _service(adapter).delete("one.gone", context())
    tries[:] = [("refused", Phase.CONNECTING), ("404", Phase.ANSWERED)]
    with pytest.raises(errors.NotFound):
        await _service(adapter).delete("one.gone", context())
