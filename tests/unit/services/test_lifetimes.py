"""The maximum lifetime of instances: when it is planned, how it is shown, and who ends them."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.domain.access import Principal
from gateway.domain.constraints import Allowance
from gateway.domain.errors import PermissionDenied, ProviderUnavailable, StoreUnavailable
from gateway.domain.requests import KeepaliveRequest, StartRequest
from gateway.domain.runtime import DurablePart, Instance, Runtime
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.places import PlannedEnd
from gateway.services.access.lifetime_ends import EVERY, LifetimeEnder
from gateway.services.access.lifetimes import Lifetimes
from gateway.services.fleet import Fleet
from gateway.services.lifecycle import LifecycleService
from tests.memory_store import MemoryDatabase, MemoryStore
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, FakeClock

SHOP = Principal("shop", allow=Allowance(max_lifetime=3600))


class Seen:
    """Records what an ender reports."""

    def __init__(self) -> None:
        self.verbs: list[tuple[str, str]] = []
        self.troubles: list[str] = []
        self.late = 0.0
        self.errors: list[Exception] = []

    def ended(self, end: PlannedEnd, runtime_id: str, verb: str) -> None:
        assert runtime_id.endswith(end.runtime_id)
        self.verbs.append((end.runtime_id, verb))

    def not_ended(self, end: PlannedEnd, reason: str) -> None:
        assert end.due_in <= 0
        self.troubles.append(reason)

    def overdue(self, seconds: float) -> None:
        self.late = seconds

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


class Scene:
    """A gateway over one adapter, whose clock is the store's too."""

    def __init__(self, adapter: FakeAdapter) -> None:
        self.adapter, self.clock, self.seen = adapter, FakeClock(), Seen()
        self.rows = MemoryDatabase()
        self.store = MemoryStore(self.clock.now, database=self.rows)
        self.fleet = Fleet([adapter], self.clock)
        self.fleet.lifetimes = Lifetimes(self.store, self.clock)
        self.leads = True
        self.ender = LifetimeEnder(self.fleet, self.store, self._lead, self.seen)
        self.service = LifecycleService(self.fleet)

    async def _lead(self, _role: str, _seconds: float) -> bool:
        return self.leads

    def put(self, state: State = State.IDLE) -> Runtime:
        return self.adapter.put("one", state)

    def become(self, runtime: Runtime, state: State, instance: str | None = None, **fields: Any) -> None:
        part = DurablePart(instance=None if instance is None else Instance(id=instance, **fields))
        changed = msgspec.structs.replace(runtime, state=state, durable=part)
        self.adapter.world.runtimes[runtime.provider_id] = self.adapter.shown(changed)

    async def start(self, runtime: Runtime, principal: Principal = SHOP) -> Runtime:
        return await self.service.start(runtime.id, StartRequest(), RequestContext("r", principal))

    async def read(self, runtime: Runtime) -> Runtime:
        return await self.service.get(runtime.id, RequestContext("r", Principal("any")))

    async def after(self, seconds: float) -> None:
        """Let time pass, then make one round."""
        self.clock.time += seconds
        await self.ender.round()
        await self.ender.settled()

    async def planned(self) -> list[str]:
        return [end.runtime_id for end in await self.store.planned_ends(10)]


@pytest.fixture
def durable() -> Scene:
    return Scene(DurableLike())


async def test_instance_is_ended_after_the_maximum_lifetime_and_not_before(durable: Scene) -> None:
    runtime = durable.put()
    started = await durable.start(runtime)
    assert started.expires_at == "1970-01-01T01:16:40.000Z"
    durable.become(runtime, State.RUNNING, "i-1")
    await durable.after(11)
    assert (await durable.read(runtime)).expires_at == started.expires_at
    await durable.after(3588)
    assert durable.seen.verbs == []
    await durable.after(2)
    assert durable.seen.verbs == [(runtime.provider_id, "pause")]
    assert durable.adapter.world.runtimes[runtime.provider_id].state is State.PAUSED
    assert await durable.planned() == []
    assert (await durable.read(runtime)).expires_at is None


async def test_only_starts_of_limited_callers_have_an_end(durable: Scene) -> None:
    await durable.start(durable.put(), Principal("any"))
    assert await durable.planned() == []
    await durable.start(durable.put(), Principal("bare", own_only=False, allow=Allowance()))
    assert await durable.planned() == []


@pytest.mark.parametrize("state", [State.RUNNING, State.STARTING, State.UNKNOWN])
async def test_start_of_an_instance_that_lives_does_not_prolong_it(durable: Scene, state: State) -> None:
    runtime = durable.put()
    first = await durable.start(runtime)
    durable.become(runtime, state, "i-1")
    durable.clock.time += 1800
    await durable.start(runtime)
    (end,) = await durable.store.planned_ends(10)
    assert end.due_at == 1000 + 3600
    assert first.expires_at == (await durable.read(runtime)).expires_at


async def test_every_start_and_resume_has_a_new_end(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    for state, verb in ((State.PAUSED, durable.service.resume), (State.IDLE, None)):
        durable.become(runtime, state, "i-1")
        durable.clock.time += 1800
        if verb is None:
            await durable.start(runtime)
        else:
            await verb(runtime.id, RequestContext("r", SHOP))
        (end,) = await durable.store.planned_ends(10)
        assert end.due_at == durable.clock.time + 3600


async def test_end_is_planned_before_the_start_is_sent_and_nothing_is_sent_without_the_store(durable: Scene) -> None:
    runtime = durable.put()
    planned = []

    async def while_starting() -> None:
        planned.extend(await durable.planned())

    durable.adapter.world.before["start"] = while_starting
    await durable.start(runtime)
    assert planned == [runtime.provider_id]
    durable.become(runtime, State.IDLE)
    await durable.store.close()
    with pytest.raises(StoreUnavailable):
        await durable.start(runtime)
    assert durable.adapter.world.asked.count("start") == 1


@pytest.mark.parametrize("state", [State.IDLE, State.STOPPED, State.FAILED, State.PAUSED, State.STOPPING])
async def test_instance_that_is_over_is_not_touched(durable: Scene, state: State) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.become(runtime, State.RUNNING, "i-1")
    await durable.after(11)
    durable.become(runtime, state, "i-1")
    await durable.after(3600)
    assert (durable.seen.verbs, await durable.planned()) == ([], [])


async def test_instance_that_another_caller_started_is_not_touched(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.become(runtime, State.RUNNING, "i-1")
    await durable.after(11)
    durable.become(runtime, State.RUNNING, "i-2")
    await durable.after(5)
    assert (await durable.read(runtime)).expires_at is None
    await durable.after(3600)
    assert (durable.seen.verbs, await durable.planned()) == ([], [])


async def test_runtime_that_does_not_exist_any_longer_is_forgotten(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.adapter.world.runtimes.clear()
    await durable.after(11)
    assert (durable.seen.verbs, await durable.planned()) == ([], [])


async def test_start_that_is_still_in_progress_keeps_its_end(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.become(runtime, State.IDLE)
    await durable.after(11)
    assert await durable.planned() == [runtime.provider_id]
    durable.become(runtime, State.RUNNING, "i-1")
    await durable.after(3600)
    assert durable.seen.verbs == [(runtime.provider_id, "pause")]


async def test_instance_that_cannot_pause_is_reset(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.become(runtime, State.RUNNING, "i-1", supports_pause=False)
    await durable.after(3601)
    assert durable.seen.verbs == [(runtime.provider_id, "reset")]


async def test_failed_end_is_reported_and_tried_again(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.become(runtime, State.RUNNING, "i-1")
    durable.adapter.world.fail("get", ProviderUnavailable("It is down."))
    durable.adapter.world.fail("pause", ProviderUnavailable("It is down."))
    await durable.after(3610)
    assert (durable.seen.troubles, durable.seen.late) == (["provider_unavailable"], 10)
    await durable.after(5)
    assert len(durable.seen.troubles) == 1
    await durable.after(20)
    assert durable.seen.troubles == ["provider_unavailable"] * 2
    await durable.after(21)
    assert durable.seen.verbs == [(runtime.provider_id, "pause")]
    await durable.after(1)
    assert durable.seen.late == 0


async def test_provider_that_is_not_configured_any_longer_is_reported(durable: Scene) -> None:
    await durable.start(durable.put())
    durable.fleet.replace([])
    await durable.after(3601)
    assert durable.seen.troubles == ["provider_not_configured"]
    assert len(await durable.planned()) == 1


async def test_only_the_leader_ends_instances_and_another_replica_takes_over(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.become(runtime, State.RUNNING, "i-1")
    durable.leads = False
    await durable.after(3601)
    assert durable.seen.verbs == []
    other = LifetimeEnder(durable.fleet, MemoryStore(durable.clock.now, database=durable.rows), _always, durable.seen)
    await other.round()
    await other.settled()
    assert durable.seen.verbs == [(runtime.provider_id, "pause")]


async def test_keepalive_beyond_the_end_is_refused(durable: Scene) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    durable.clock.time += 3000
    ctx = RequestContext("r", SHOP)
    lease = await durable.service.keepalive(runtime.id, KeepaliveRequest(extend_seconds=600), ctx)
    assert lease.expires_at == "1970-01-01T01:16:40.000Z"  # the planned end: the fake's own is no time
    with pytest.raises(PermissionDenied) as refused:
        await durable.service.keepalive(runtime.id, KeepaliveRequest(extend_seconds=601), ctx)
    assert [error.pointer for error in refused.value.errors] == ["#/extend_seconds"]
    later = msgspec.structs.replace(
        durable.adapter.world.runtimes[runtime.provider_id], expires_at="1970-01-01T01:16:00"
    )
    durable.adapter.world.runtimes[runtime.provider_id] = later
    with pytest.raises(PermissionDenied):
        await durable.service.keepalive(runtime.id, KeepaliveRequest(extend_seconds=60), ctx)
    unlimited = RequestContext("r", Principal("any"))
    extended = await durable.service.keepalive(runtime.id, KeepaliveRequest(), unlimited)
    assert extended.expires_at == lease.expires_at


@pytest.mark.parametrize(
    ("provided", "shown"),
    [
        (None, "1970-01-01T01:16:40.000Z"),
        ("1970-01-01T01:00:00Z", "1970-01-01T01:00:00Z"),
        ("1970-01-01T02:00:00", "1970-01-01T01:16:40.000Z"),
        ("soon", "1970-01-01T01:16:40.000Z"),
    ],
)
async def test_earlier_of_both_ends_is_shown(durable: Scene, provided: str | None, shown: str) -> None:
    runtime = durable.put()
    await durable.start(runtime)
    running = durable.adapter.world.runtimes[runtime.provider_id]
    durable.adapter.world.runtimes[runtime.provider_id] = msgspec.structs.replace(running, expires_at=provided)
    assert (await durable.read(runtime)).expires_at == shown


async def test_browser_is_stopped_also_in_standby() -> None:
    scene = Scene(BrowserLike())
    runtime = scene.put(State.PAUSED)
    await scene.store.plan_end("one", scene.adapter.reference(runtime), "shop", 60)
    await scene.after(61)
    assert scene.seen.verbs == [(runtime.provider_id, "stop")]


async def test_provider_that_hangs_does_not_delay_the_ends_at_others() -> None:
    hangs, other = BrowserLike("hangs"), BrowserLike("other")
    scene = Scene(other)
    scene.fleet.replace([hangs, other])
    released = asyncio.Event()

    async def hang() -> None:
        await released.wait()

    hangs.world.before["get"] = hang
    for adapter in (hangs, other):
        for number in range(30):
            runtime = adapter.put(f"{adapter.name}{number}", State.RUNNING)
            await scene.store.plan_end(adapter.name, adapter.reference(runtime), "shop", 60)
    scene.clock.time += 61
    for _ in range(2):
        await scene.ender.round()
        while len(scene.ender._tasks) > 20:  # noqa: ASYNC110 (those of the provider that hangs remain)
            await asyncio.sleep(0)
        scene.clock.time += 21
    assert hangs.world.asked.count("get") == 20
    assert len(scene.seen.verbs) == 30
    released.set()
    await scene.ender.settled()
    await scene.after(21)
    assert len(scene.seen.verbs) == 60


async def test_start_without_a_limit_removes_the_end_of_a_failed_start(durable: Scene) -> None:
    runtime = durable.put()
    durable.adapter.world.fail("start", ProviderUnavailable("It is down."))
    with pytest.raises(ProviderUnavailable):
        await durable.start(runtime)
    assert await durable.planned() == [runtime.provider_id]
    await durable.start(runtime, Principal("any"))
    assert await durable.planned() == []


async def test_loop_survives_a_store_that_is_down_and_bugs(durable: Scene) -> None:
    waits: list[float] = []
    rounds: list[Exception | None] = [StoreUnavailable("down"), ValueError("bug"), None]

    async def round_() -> None:
        if (failure := rounds.pop(0)) is not None:
            raise failure

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if not rounds:
            raise asyncio.CancelledError

    durable.ender.round, durable.clock.sleep = round_, sleep  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await durable.ender.run()
    assert waits == [EVERY] * 3
    assert [str(error) for error in durable.seen.errors] == ["bug"]


async def _always(_role: str, _seconds: float) -> bool:
    return True
