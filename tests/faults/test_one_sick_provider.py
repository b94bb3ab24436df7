"""A provider hangs, refuses, floods with 429, answers 500, and comes back: its callers hear at once, nobody else
notices, and nothing of it is left in the gateway."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.ports.clock import SystemClock
from gateway.testing.tcp_faults import Mode
from tests.faults.callers import Answer
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, Upstream
from tests.faults.world import Local, World, a_name, world

REST: Final = 60.0
"""Seconds that a breaker rests here: it ends when a test says so, and not before."""

DEADLINE: Final = 1.0
CALLERS: Final = 6
ROUNDS: Final = 3

SICK: Final[Mapping[str, Any]] = {
    "policies": {
        **{lane: {"in_flight": 2, "waiting": 2} for lane in ("read", "create", "release")},
        "breaker": {"minimum": 2, "rest": REST, "max_rest": REST},
        "retry": {"backoff": 0.001, "max_backoff": 0.01, "attempt_share": 1.0},
    },
    "deadlines": dict.fromkeys(("get", "list", "create", "stop"), DEADLINE),
}
SECTIONS: Final[Mapping[str, Any]] = {
    "cache": {"enabled": False},
    "health": {"probe": False},
    "creates": {"wait_out": 0.5},
}


class Ahead(SystemClock):
    """The machine's clock, and as much more as was added."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def advance(self, seconds: float) -> None:
        self._seconds += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self._seconds


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway with one provider that is going to be ill; ``well`` are the others, and ``made`` is a runtime of
    each by the provider's name."""

    w: World
    gateway: Local
    clock: Ahead
    ill: Upstream
    well: Sequence[Upstream]
    made: Mapping[str, str]

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        """One call. (Each has a connection of its own.)"""
        async with self.w.client.request(method, self.gateway.url + path, json=body) as response:
            return Answer(response.status, response.headers, json.loads(await response.read() or "null"))

    async def get(self, upstream: Upstream) -> Answer:
        """A read of its runtime."""
        return await self.call("GET", f"/v1/runtimes/{self.made[upstream.name]}")

    async def stop(self, upstream: Upstream) -> Answer:
        """A stop of its runtime, whatever is lost."""
        body = {"discard_state": True} if upstream.kind == "durable" else None
        return await self.call("POST", f"/v1/runtimes/{self.made[upstream.name]}/stop", body)

    async def create(self, upstream: Upstream) -> Answer:
        """A create under a new name."""
        return await self.w.create(upstream, name := a_name(), name)

    async def policies(self, upstream: Upstream) -> Any:
        """The policies as they stand, by class of work."""
        return (await self.call("GET", f"/v1/providers/{upstream.name}")).json["policies"]

    async def metrics(self) -> dict[str, float]:
        """All series by name and labels."""
        async with self.w.client.get(self.gateway.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def requests(self, upstream: Upstream) -> list[dict[str, Any]]:
        """What was logged of its callers' requests."""
        lines = [json.loads(line) for line in self.gateway.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == "request" and line.get("provider") == upstream.name]

    async def healthy_are_not_touched(self) -> None:
        """Every call at the others went through at once, and none waited for a turn."""
        metrics = await self.metrics()
        for upstream in self.well:
            for work, policy in (await self.policies(upstream)).items():
                assert (policy["waiting"], policy["breaker"]) == (0, "closed"), (upstream.name, work, policy)
            rejected = [
                value
                for series, value in metrics.items()
                if series.startswith("rtgw_bulkhead_rejected_total") and f'"{upstream.name}"' in series
            ]
            assert set(rejected) == {0.0}
            logged = self.requests(upstream)
            assert logged
            assert [line for line in logged if line.get("queue_ms") or line["status"] >= 400] == []


@asynccontextmanager
async def scene(api: str, folder: Path, place: StorePlace, **settings: Any) -> AsyncIterator[Scene]:
    """``settings`` are those of the provider that is going to be ill."""
    clock = Ahead()
    async with world(folder, place) as w:
        ill = w.providers[api.replace("_", "-")]
        async with w.gateway(clock=clock, providers={ill.name: settings}, **SECTIONS) as gateway:
            made = {}
            for upstream in w.providers.values():
                answer = await w.made(upstream, name := a_name(), name)
                made[upstream.name] = answer.json["id"]
            well = [upstream for upstream in w.providers.values() if upstream is not ill]
            yield Scene(w, gateway, clock, ill, well, made)


@pytest.mark.parametrize("api", APIS)
async def test_all_places_of_a_provider_are_its_own_while_another_hangs_and_its_row_is_full(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    patient = {"policies": SICK["policies"], "deadlines": dict.fromkeys(SICK["deadlines"], 60)}
    async with scene(api, tmp_path, sqlite_place, **patient) as s:
        s.ill.fault("hold", operation="*")
        stuck = [asyncio.create_task(work(s.ill)) for work in (s.get, s.create) for _ in range(4)]

        async def is_full() -> bool:
            lanes = await s.policies(s.ill)
            return all((lanes[work]["in_flight"], lanes[work]["waiting"]) == (2, 2) for work in ("read", "create"))

        await eventually(is_full, "all places and the rows are taken")
        for work in (s.get, s.create):
            refused = await work(s.ill)
            assert (refused.status, refused.code, "Retry-After" in refused.headers) == (503, "overloaded", True)

        for well in s.well:
            most = (await s.policies(well))["read"]["max_in_flight"]
            well.fault("hold", operation="get")
            reads = [asyncio.create_task(s.get(well)) for _ in range(most)]
            await well.emulator.until_waiting(most)
            read = (await s.policies(well))["read"]
            assert (read["in_flight"], read["waiting"]) == (most, 0)
            assert (await s.create(well)).status == 201
            well.emulator.faults.end_all()
            well.emulator.release()
            assert {answer.status for answer in await asyncio.gather(*reads)} == {200}
            assert (await s.stop(well)).status == 200
        await s.healthy_are_not_touched()

        s.ill.emulator.faults.end_all()

        async def all_ended() -> bool:
            s.ill.emulator.release()
            return all(task.done() for task in stuck)

        await eventually(all_ended, "what was held ends")
        assert Counter(answer.status for answer in await asyncio.gather(*stuck)) == {200: 4, 201: 4}
        assert len(s.ill.live()) == 5


async def _refuses(upstream: Upstream) -> None:
    await upstream.proxy.cut()
    await upstream.proxy.set_mode(Mode.REFUSE)


def _faulty(fault: str, **rule: Any) -> Callable[[Upstream], Awaitable[None]]:
    async def sicken(upstream: Upstream) -> None:
        upstream.fault(fault, operation="*", **rule)

    return sicken


PHASES: Final[Sequence[tuple[Callable[[Upstream], Awaitable[None]], set[str], bool]]] = (
    (_faulty("hang"), {"provider_timeout", "provider_unavailable", "overloaded"}, True),
    (_refuses, {"provider_unavailable", "overloaded"}, True),
    (_faulty("status", status=429, retry_after=30), {"rate_limited", "quota_exceeded", "overloaded"}, False),
    (_faulty("status", status=500), {"provider_error", "provider_unavailable", "overloaded"}, True),
)
"""How it is sick one after the other, what a read may hear then, and whether that opens the breaker."""


@pytest.mark.parametrize("api", APIS)
async def test_a_provider_that_is_sick_in_every_way_is_refused_at_once_comes_back_and_leaves_nothing(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with scene(api, tmp_path, sqlite_place, **SICK) as s:
        before = _tasks()
        for sicken, heard, opens in PHASES:
            await sicken(s.ill)
            async with asyncio.TaskGroup() as group:
                flood = [group.create_task(_flood(s)) for _ in range(CALLERS)]
                for well in s.well:
                    group.create_task(_ordinary(s, well))
            reads: Counter[str | None] = sum((task.result() for task in flood), Counter())
            assert reads.total() == CALLERS * ROUNDS
            assert set(reads) <= heard, reads
            await s.healthy_are_not_touched()

            if opens:
                assert (await s.policies(s.ill))["read"]["breaker"] == "open"
                asked = s.ill.posts("get")
                refused = await s.get(s.ill)
                assert (refused.status, refused.code) == (503, "provider_unavailable")
                assert 0 < int(refused.headers["Retry-After"]) <= REST
                assert s.ill.posts("get") == asked
            await _comes_back(s)

        async def nothing_is_left() -> bool:
            for intent in await s.w.unsettled():  # whose callers ask again
                await s.w.create(s.ill, intent.name, intent.key)
            return not await s.w.unsettled() and _tasks() == before

        await eventually(nothing_is_left, "no intent and no task is left", last=lambda: _tasks() - before)
        for policy in (await s.policies(s.ill)).values():
            assert (policy["in_flight"], policy["waiting"]) == (0, 0)
        depths = {series: value for series, value in (await s.metrics()).items() if "queue_depth" in series}
        assert set(depths.values()) == {0.0}, depths


async def _flood(s: Scene) -> Counter[str | None]:
    """A caller of the sick provider that does not give up; gives what its reads heard."""
    heard: Counter[str | None] = Counter()
    for _ in range(ROUNDS):
        heard[(await s.get(s.ill)).code] += 1
        listed = await s.call("GET", f"/v1/runtimes?provider={s.ill.name}")
        assert listed.status == 503
        for answer in (await s.create(s.ill), await s.stop(s.ill)):
            assert answer.status >= 400
            assert answer.code != "internal_error", answer
    return heard


async def _ordinary(s: Scene, well: Upstream) -> None:
    """A caller of a healthy provider."""
    for _ in range(ROUNDS):
        assert (await s.get(well)).status == 200
        listed = await s.call("GET", f"/v1/runtimes?provider={well.name}")
        assert (listed.status, listed.json["incomplete"]) == (200, [])
        assert (await s.create(well)).status == 201


async def _comes_back(s: Scene) -> None:
    """The provider is well, and after the breakers' rest everything goes through again."""
    s.ill.emulator.faults.end_all()
    s.ill.emulator.release()
    await s.ill.proxy.set_mode(Mode.FORWARD)
    s.clock.advance(REST)

    async def works() -> bool:
        answers = [await s.get(s.ill), await s.create(s.ill)]
        return [answer.status for answer in answers] == [200, 201]

    await eventually(works, "the provider is used again")
    policies = await s.policies(s.ill)
    assert {policies[work]["breaker"] for work in ("read", "create")} == {"closed"}


def _tasks() -> Counter[str]:
    """What runs in this process, connections aside: those are bounded by themselves, and closed later."""
    names = (str(getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks())
    return Counter(name for name in names if not name.startswith(("RequestHandler.", "TcpFaultProxy.")))


@pytest.mark.parametrize("api", APIS)
async def test_a_stop_goes_through_while_creates_are_given_a_rest(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with scene(api, tmp_path, sqlite_place, **{**SICK, "deadlines": {}}) as s:
        s.ill.fault("status", status=503)

        async def is_open() -> bool:
            refused = await s.create(s.ill)
            assert refused.status in {503, 504}
            return bool((await s.policies(s.ill))["create"]["breaker"] == "open")

        await eventually(is_open, "the breaker of creates is open")
        posts, unsettled = s.ill.posts(), len(await s.w.unsettled())
        refused = await s.create(s.ill)
        assert (refused.status, refused.code, refused.json["retryable"]) == (503, "provider_unavailable", "yes")
        assert "Retry-After" in refused.headers
        assert (s.ill.posts(), len(await s.w.unsettled())) == (posts, unsettled)
        assert (await s.get(s.ill)).status == 200
        assert (await s.stop(s.ill)).status == 200
