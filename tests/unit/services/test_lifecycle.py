"""Verbs on one runtime: read, refuse what is not possible, act, and report whether anything changed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec import UNSET

from gateway.domain.errors import (
    NotFound,
    Overloaded,
    ProviderBadResponse,
    ProviderFailure,
    ProviderTimeout,
    StateConflict,
    UnsupportedFeature,
)
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import TRANSITIONS, Verb
from gateway.domain.requests import ConnectRequest, KeepaliveRequest, StartRequest, StopRequest
from gateway.domain.runtime import Connection, DurablePart, Instance, Runtime
from gateway.domain.validation import validate
from gateway.domain.values import Operation, State
from gateway.ports.transport import Attempt, Call, Phase, TransportFailure
from gateway.services.lifecycle import LifecycleService
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, context, fleet_of

CONFLICT = StateConflict("no", failure=ProviderFailure("one", status=409))
DISCARD = StopRequest(discard_state=True)


def _service(*adapters: FakeAdapter) -> LifecycleService:
    return LifecycleService(fleet_of(adapters))


async def test_options_of_a_start_without_effect_are_warnings() -> None:
    adapter = DurableLike("one")
    options = StartRequest(runtime_limit_seconds=60)
    running = adapter.put("running", State.RUNNING)
    again = await _service(adapter).start(running.id, options, context())
    assert again.changed is False
    assert isinstance(again.warnings, list)
    assert [warning.pointer for warning in again.warnings] == ["#/runtime_limit_seconds"]
    started = await _service(adapter).start(adapter.put("idle", State.IDLE).id, options, context())
    assert (started.changed, started.warnings) == (True, UNSET)


class ParseCounter(DurableLike):
    """Counts how often a runtime id is parsed. Its writes are recorded as requests that reached the provider."""

    parsed = 0

    def parse_reference(self, reference: str) -> RuntimeRef:
        self.parsed += 1
        return super().parse_reference(reference)

    async def _verb(self, verb: str, ref: RuntimeRef, state: State, call: Call) -> Runtime:
        call.attempts.append(Attempt(self.name, Operation(verb), "200", 0.0, Phase.ANSWERED))
        return await super()._verb(verb, ref, state, call)


async def test_each_verb_resolves_the_runtime_id_once() -> None:
    for verb, state in ((Verb.START, State.IDLE), (Verb.STOP, State.RUNNING), (Verb.RESET, State.RUNNING)):
        adapter = ParseCounter("one")
        runtime = adapter.put("agent", state)
        fleet = fleet_of([adapter])
        written: list[tuple[str, RuntimeRef | None]] = []
        fleet.on_write.append(lambda provider, ref, written=written: written.append((provider, ref)))
        await VERBS[verb](LifecycleService(fleet), runtime.id)
        assert adapter.parsed == 1
        assert written == [("one", adapter.reference(runtime))]


VERBS: dict[Verb, Callable[[LifecycleService, str], Awaitable[Runtime]]] = {
    Verb.START: lambda service, at: service.start(at, StartRequest(), context()),
    Verb.PAUSE: lambda service, at: service.pause(at, context()),
    Verb.RESUME: lambda service, at: service.resume(at, context()),
    Verb.STOP: lambda service, at: service.stop(at, DISCARD, context()),
    Verb.RESET: lambda service, at: service.reset(at, context()),
}
STATES = {Verb.START: State.IDLE, Verb.RESUME: State.PAUSED}


@pytest.mark.parametrize("verb", VERBS)
async def test_of_five_concurrent_identical_verbs_one_acts(verb: Verb) -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", STATES.get(verb, State.RUNNING))
    service = _service(adapter)

    async def slow() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    for method in ("get", CALLED[verb]):
        adapter.world.before[method] = slow
    answers = await asyncio.gather(*(VERBS[verb](service, runtime.id) for _ in range(5)))
    assert sorted(answer.changed is True for answer in answers) == [False] * 4 + [True]
    assert adapter.world.asked.count(CALLED[verb]) == 1
    assert len(service._locks) == 0


async def test_after_a_failed_verb_the_next_one_acts() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.IDLE)
    adapter.world.fail("start", NotFound("gone"))
    service = _service(adapter)
    starts = [service.start(runtime.id, StartRequest(), context()) for _ in range(2)]
    first, second = await asyncio.gather(*starts, return_exceptions=True)
    assert isinstance(first, NotFound)
    assert isinstance(second, Runtime)
    assert second.changed is True


async def test_a_cancelled_verb_releases_the_lock() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.IDLE)
    service = _service(adapter)
    acting, never = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        acting.set()
        await never.wait()

    adapter.world.before["start"] = hang
    first = asyncio.create_task(service.start(runtime.id, StartRequest(), context()))
    await acting.wait()
    waiting = asyncio.create_task(service.start(runtime.id, StartRequest(), context()))
    adapter.world.before.clear()
    first.cancel()
    assert (await waiting).changed is True


async def test_a_stop_does_not_wait_for_a_start_and_a_second_start_is_refused_at_its_deadline() -> None:
    adapter = DurableLike("one", deadlines={"start": 0.01})
    runtime = adapter.put("agent", State.FAILED)
    service = LifecycleService(fleet_of([adapter]))
    acting, release = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        acting.set()
        await release.wait()

    adapter.world.before["start"] = held
    first = asyncio.create_task(service.start(runtime.id, StartRequest(), context()))
    await acting.wait()
    assert (await service.stop(runtime.id, DISCARD, context())).changed is True
    with pytest.raises(Overloaded):
        await service.start(runtime.id, StartRequest(), context())
    release.set()
    await first
    assert adapter.world.asked.count("start") == 1


TARGETS = {
    Verb.START: State.RUNNING,
    Verb.PAUSE: State.PAUSED,
    Verb.RESUME: State.RUNNING,
    Verb.STOP: State.IDLE,
    Verb.RESET: State.IDLE,
}
CALLED = {**{verb: verb.value for verb in VERBS}, Verb.STOP: "reset"}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_in_each_state_acts_has_no_effect_or_is_refused(verb: Verb, state: State) -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", state)
    transition = TRANSITIONS[verb]
    conflict: StateConflict | None = None
    try:
        after = await VERBS[verb](_service(adapter), runtime.id)
    except StateConflict as refused:
        conflict = refused
    if state in transition.satisfied_by:
        assert (after.state, after.changed) == (state, False)
        assert adapter.world.asked == ["get"]
    elif state in transition.works_from:
        assert (after.state, after.changed) == (TARGETS[verb], True)
        assert adapter.world.asked == ["get", CALLED[verb]]
    else:
        assert conflict is not None
        assert conflict.extra == {"state": state.value}
        for possible in transition.works_from - {State.UNKNOWN}:
            assert possible.value in conflict.detail
        assert adapter.world.asked == ["get"]


@pytest.mark.parametrize("state", [State.RUNNING, State.PAUSED, State.FAILED])
async def test_a_stop_that_discards_state_has_to_be_confirmed(state: State) -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", state)
    with pytest.raises(StateConflict) as caught:
        await _service(adapter).stop(runtime.id, StopRequest(), context())
    assert [fault.pointer for fault in caught.value.errors] == ["#/discard_state"]
    assert adapter.world.asked == ["get"]
    assert adapter.world.runtimes[runtime.provider_id].state is state


async def test_a_stop_with_no_state_to_discard_needs_no_confirmation() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.IDLE)
    assert (await _service(adapter).stop(runtime.id, StopRequest(), context())).changed is False


async def test_a_stop_of_a_browser_needs_no_confirmation() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    after = await _service(adapter).stop(runtime.id, StopRequest(), context())
    assert (after.state, after.changed) == (State.STOPPED, True)
    again = await _service(adapter).stop(runtime.id, StopRequest(), context())
    assert again.changed is False


async def test_discard_state_is_refused_at_a_provider_that_does_not_support_it() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    with pytest.raises(UnsupportedFeature) as caught:
        await _service(adapter).stop(runtime.id, DISCARD, context())
    assert caught.value.errors[0].pointer == "#/discard_state"
    assert adapter.world.runtimes[runtime.provider_id].state is State.RUNNING


@pytest.mark.parametrize("verb", [Verb.START, Verb.PAUSE, Verb.RESUME, Verb.RESET])
async def test_a_verb_that_the_provider_lacks_is_refused_without_a_call(verb: Verb) -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    with pytest.raises(UnsupportedFeature) as caught:
        await VERBS[verb](_service(adapter), runtime.id)
    assert caught.value.provider == "one"
    assert adapter.world.asked == []


async def test_a_conflict_with_a_concurrent_change_is_read_as_no_change() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)

    async def pause_concurrently() -> None:
        adapter.move(runtime.provider_id, State.PAUSED)

    adapter.world.before["pause"] = pause_concurrently
    adapter.world.fail("pause", CONFLICT)
    after = await _service(adapter).pause(runtime.id, context())
    assert (after.state, after.changed) == (State.PAUSED, False)
    assert adapter.world.asked == ["get", "pause", "get"]


async def test_a_conflict_that_a_read_does_not_explain_remains_the_providers() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)
    adapter.world.fail("pause", CONFLICT)
    with pytest.raises(StateConflict) as caught:
        await _service(adapter).pause(runtime.id, context())
    assert caught.value.failure is not None
    assert caught.value.failure.status == 409


async def test_a_pause_of_an_instance_that_cannot_pause_is_not_sent() -> None:
    adapter = DurableLike("one")
    part = DurablePart(instance=Instance(supports_pause=False))
    runtime = adapter.put("agent", State.RUNNING, durable=part)
    with pytest.raises(StateConflict):
        await _service(adapter).pause(runtime.id, context())
    assert adapter.world.asked == ["get"]


async def test_the_options_of_a_start_reach_the_adapter() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent")
    options = validate(StartRequest, {"runtime_limit_seconds": 60})
    await _service(adapter).start(runtime.id, options, context())
    assert adapter.world.starts == [options]


async def test_a_failed_read_before_a_verb_changes_nothing() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent", State.RUNNING)
    adapter.world.fail("get", TransportFailure("timeout", Phase.SENT, operation=Operation.GET))
    with pytest.raises(ProviderTimeout):
        await _service(adapter).reset(runtime.id, context())
    assert adapter.world.asked == ["get"]


async def test_the_read_and_the_verb_share_one_deadline() -> None:
    adapter = DurableLike("one", deadlines={"reset": 9})
    runtime = adapter.put("agent", State.RUNNING)
    await _service(adapter).reset(runtime.id, context())
    assert [call.deadline for call in adapter.world.calls] == [1_009.0, 1_009.0]


async def test_a_keepalive_extends_only_a_running_runtime() -> None:
    adapter = DurableLike("one")
    running, idle = adapter.put("a", State.RUNNING), adapter.put("b", State.IDLE)
    lease = await _service(adapter).keepalive(running.id, KeepaliveRequest(), context())
    assert lease.expires_at == "+300"
    with pytest.raises(StateConflict) as caught:
        await _service(adapter).keepalive(idle.id, KeepaliveRequest(), context())
    assert "running" in caught.value.detail
    assert adapter.world.asked == ["get", "keepalive", "get"]


CDP = Connection(protocol="cdp", url="ws://x", token="secret")
LIVE = Connection(protocol="live_view", url="http://x")


async def test_connections_are_all_or_those_of_a_protocol() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    adapter.world.connections[runtime.provider_id] = [CDP, LIVE]
    service = _service(adapter)
    assert (await service.connections(runtime.id, ConnectRequest(), context())).items == [CDP, LIVE]
    assert (await service.connections(runtime.id, ConnectRequest(protocol="cdp"), context())).items == [CDP]
    with pytest.raises(UnsupportedFeature) as caught:
        await service.connections(runtime.id, ConnectRequest(protocol="webdriver"), context())
    assert caught.value.errors[0].pointer == "#/protocol"
    assert "cdp, live_view" in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "file:///etc/passwd", "ftp://host/x", "data:text/html,x", "//host/x", "host:9222", ""),
        *("http:///x", "https://", "http:host", "ws://host:port/", "http://[", "java\nscript:x", "wss://ho\tst/"),
        *("http://host/\r\nx", "http://a b/", "http:\\\\host", "http://host\\@other/"),
    ],
)
async def test_connection_without_a_web_address_is_a_bad_response(url: str) -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    adapter.world.connections[runtime.provider_id] = [CDP, Connection(protocol="live_view", url=url)]
    service = _service(adapter)
    with pytest.raises(ProviderBadResponse, match="live_view"):
        await service.connections(runtime.id, ConnectRequest(), context())
    assert (await service.connections(runtime.id, ConnectRequest(protocol="cdp"), context())).items == [CDP]


@pytest.mark.parametrize("url", ["http://h", "https://h:8443/x?k=v#f", "ws://[::1]:1/", "WSS://Host/devtools"])
async def test_connection_with_a_web_address_is_returned_unchanged(url: str) -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    adapter.world.connections[runtime.provider_id] = [Connection(protocol="cdp", url=url)]
    found = await _service(adapter).connections(runtime.id, ConnectRequest(), context())
    assert [connection.url for connection in found.items] == [url]


@pytest.mark.parametrize("state", [State.STOPPED, State.RUNNING])
async def test_a_runtime_without_connections_is_a_state_conflict(state: State) -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", state)
    with pytest.raises(StateConflict):
        await _service(adapter).connections(runtime.id, ConnectRequest(), context())


async def test_a_second_delete_is_not_found() -> None:
    adapter = BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    service = _service(adapter)
    await service.delete(runtime.id, context())
    with pytest.raises(NotFound):
        await service.delete(runtime.id, context())
    with pytest.raises(UnsupportedFeature):
        await _service(DurableLike("two")).delete("two.x", context())


async def test_a_read_goes_only_to_the_provider_in_the_id() -> None:
    one, two = DurableLike("one"), DurableLike("two")
    runtime = two.put("agent")
    assert (await _service(one, two).get(runtime.id, context())).id == runtime.id
    assert (one.world.asked, two.world.asked) == ([], ["get"])
