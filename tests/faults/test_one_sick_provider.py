"""A provider hangs, refuses connections, responds with 429 and 500, and recovers (docs/promises.md#p4).

Its own callers fail at once, callers of other providers are not affected, and the gateway keeps nothing of it.
"""

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
from tests.faults.callers import Response
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, Upstream
from tests.faults.world import Local, World, unique_name, world
from tests.tcp_faults import Mode

REST: Final = 60.0
"""Seconds for which an open breaker stays open. Only a test that advances the clock ends it."""

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


class AdvanceableClock(SystemClock):
    """The system clock, plus the seconds by which a test has advanced it."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def advance(self, seconds: float) -> None:
        self._seconds += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self._seconds


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway with one provider that is going to be sick; ``healthy`` are the others, and ``made`` is a runtime of
    each by the provider's name."""

    w: World
    gateway: Local
    clock: AdvanceableClock
    sick: Upstream
    healthy: Sequence[Upstream]
    made: Mapping[str, str]

    async def call(self, method: str, path: str, body: Any = None) -> Response:
        """One call, on a connection of its own."""
        async with self.w.client.request(method, self.gateway.url + path, json=body) as response:
            return Response(response.status, response.headers, json.loads(await response.read() or "null"))

    async def get(self, upstream: Upstream) -> Response:
        """Read the provider's runtime."""
        return await self.call("GET", f"/v1/runtimes/{self.made[upstream.name]}")

    async def stop(self, upstream: Upstream) -> Response:
        """Stop the provider's runtime; a durable one loses its state."""
        body = {"discard_state": True} if upstream.kind == "durable" else None
        return await self.call("POST", f"/v1/runtimes/{self.made[upstream.name]}/stop", body)

    async def create(self, upstream: Upstream) -> Response:
        """A create under a new name."""
        return await self.w.create(upstream, name := unique_name(), name)

    async def policies(self, upstream: Upstream) -> Any:
        """The present state of the policies, by class of work."""
        return (await self.call("GET", f"/v1/providers/{upstream.name}")).json["policies"]

    async def metrics(self) -> dict[str, float]:
        """The values of all metric series, by name and labels."""
        async with self.w.client.get(self.gateway.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def requests(self, upstream: Upstream) -> list[dict[str, Any]]:
        """The access log lines of the requests for this provider."""
        lines = [json.loads(line) for line in self.gateway.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == "request" and line.get("provider") == upstream.name]

    async def healthy_are_unaffected(self) -> None:
        """No call for a healthy provider failed or waited for a slot."""
        metrics = await self.metrics()
        for upstream in self.healthy:
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
async def scene(api: str, folder: Path, location: StoreLocation, **settings: Any) -> AsyncIterator[Scene]:
    """``settings`` are those of the provider that is going to be sick."""
    clock = AdvanceableClock()
    async with world(folder, location) as w:
        sick = w.providers[api.replace("_", "-")]
        async with w.gateway(clock=clock, providers={sick.name: settings}, **SECTIONS) as gateway:
            made = {}
            for upstream in w.providers.values():
                response = await w.made(upstream, name := unique_name(), name)
                made[upstream.name] = response.json["id"]
            healthy = [upstream for upstream in w.providers.values() if upstream is not sick]
            yield Scene(w, gateway, clock, sick, healthy, made)


@pytest.mark.parametrize("api", APIS)
async def test_healthy_providers_keep_all_their_slots_while_another_hangs_with_a_full_queue(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    patient = {"policies": SICK["policies"], "deadlines": dict.fromkeys(SICK["deadlines"], 60)}
    async with scene(api, tmp_path, sqlite_location, **patient) as s:
        s.sick.fault("hold", operation="*")
        stuck = [asyncio.create_task(work(s.sick)) for work in (s.get, s.create) for _ in range(4)]

        async def is_full() -> bool:
            lanes = await s.policies(s.sick)
            return all((lanes[work]["in_flight"], lanes[work]["waiting"]) == (2, 2) for work in ("read", "create"))

        await eventually(is_full, "all slots and both queues are full")
        for work in (s.get, s.create):
            refused = await work(s.sick)
            assert (refused.status, refused.code, "Retry-After" in refused.headers) == (503, "overloaded", True)

        for healthy in s.healthy:
            most = (await s.policies(healthy))["read"]["max_in_flight"]
            healthy.fault("hold", operation="get")
            reads = [asyncio.create_task(s.get(healthy)) for _ in range(most)]
            await healthy.emulator.until_waiting(most)
            read = (await s.policies(healthy))["read"]
            assert (read["in_flight"], read["waiting"]) == (most, 0)
            assert (await s.create(healthy)).status == 201
            healthy.emulator.faults.end_all()
            healthy.emulator.release()
            assert {response.status for response in await asyncio.gather(*reads)} == {200}
            assert (await s.stop(healthy)).status == 200
        await s.healthy_are_unaffected()

        s.sick.emulator.faults.end_all()

        async def all_ended() -> bool:
            s.sick.emulator.release()
            return all(task.done() for task in stuck)

        await eventually(all_ended, "the held calls end")
        assert Counter(response.status for response in await asyncio.gather(*stuck)) == {200: 4, 201: 4}
        assert len(s.sick.live()) == 5


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
"""The failures in order: how to cause it, which codes a read may then receive, and whether it opens the breaker."""


@pytest.mark.parametrize("api", APIS)
async def test_sick_provider_fails_at_once_recovers_and_leaves_no_task_intent_or_queued_call(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    async with scene(api, tmp_path, sqlite_location, **SICK) as s:
        before = _tasks()
        for sicken, codes, opens in PHASES:
            await sicken(s.sick)
            async with asyncio.TaskGroup() as group:
                flood = [group.create_task(_flood(s)) for _ in range(CALLERS)]
                for healthy in s.healthy:
                    group.create_task(_ordinary(s, healthy))
            reads: Counter[str | None] = sum((task.result() for task in flood), Counter())
            assert reads.total() == CALLERS * ROUNDS
            assert set(reads) <= codes, reads
            await s.healthy_are_unaffected()

            if opens:
                assert (await s.policies(s.sick))["read"]["breaker"] == "open"
                gets = s.sick.posts("get")
                refused = await s.get(s.sick)
                assert (refused.status, refused.code) == (503, "provider_unavailable")
                assert 0 < int(refused.headers["Retry-After"]) <= REST
                assert s.sick.posts("get") == gets
            await _recovers(s)

        async def nothing_is_left() -> bool:
            for intent in await s.w.unsettled():  # their callers retry
                await s.w.create(s.sick, intent.name, intent.key)
            return not await s.w.unsettled() and _tasks() == before

        await eventually(nothing_is_left, "no intent and no task is left", last=lambda: _tasks() - before)
        for policy in (await s.policies(s.sick)).values():
            assert (policy["in_flight"], policy["waiting"]) == (0, 0)
        depths = {series: value for series, value in (await s.metrics()).items() if "queue_depth" in series}
        assert set(depths.values()) == {0.0}, depths


async def _flood(s: Scene) -> Counter[str | None]:
    """A caller of the sick provider that keeps calling. Return the codes that its reads received."""
    codes: Counter[str | None] = Counter()
    for _ in range(ROUNDS):
        codes[(await s.get(s.sick)).code] += 1
        listed = await s.call("GET", f"/v1/runtimes?provider={s.sick.name}")
        assert listed.status == 503
        for response in (await s.create(s.sick), await s.stop(s.sick)):
            assert response.status >= 400
            assert response.code != "internal_error", response
    return codes


async def _ordinary(s: Scene, healthy: Upstream) -> None:
    """A caller of a healthy provider."""
    for _ in range(ROUNDS):
        assert (await s.get(healthy)).status == 200
        listed = await s.call("GET", f"/v1/runtimes?provider={healthy.name}")
        assert (listed.status, listed.json["incomplete"]) == (200, [])
        assert (await s.create(healthy)).status == 201


async def _recovers(s: Scene) -> None:
    """The provider recovers, and after the breakers' rest all calls succeed again."""
    s.sick.emulator.faults.end_all()
    s.sick.emulator.release()
    await s.sick.proxy.set_mode(Mode.FORWARD)
    s.clock.advance(REST)

    async def works() -> bool:
        responses = [await s.get(s.sick), await s.create(s.sick)]
        return [response.status for response in responses] == [200, 201]

    await eventually(works, "the provider is used again")
    policies = await s.policies(s.sick)
    assert {policies[work]["breaker"] for work in ("read", "create")} == {"closed"}


def _tasks() -> Counter[str]:
    """The tasks in this process by name, without those of connections, which have a bound of their own."""
    names = (str(getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks())
    return Counter(name for name in names if not name.startswith(("RequestHandler.", "TcpFaultProxy.")))


@pytest.mark.parametrize("api", APIS)
async def test_stop_succeeds_while_the_breaker_of_creates_is_open(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    async with scene(api, tmp_path, sqlite_location, **{**SICK, "deadlines": {}}) as s:
        s.sick.fault("status", status=503)

        async def is_open() -> bool:
            refused = await s.create(s.sick)
            assert refused.status in {503, 504}
            return bool((await s.policies(s.sick))["create"]["breaker"] == "open")

        await eventually(is_open, "the breaker of creates is open")
        posts, unsettled = s.sick.posts(), len(await s.w.unsettled())
        refused = await s.create(s.sick)
        assert (refused.status, refused.code, refused.json["retryable"]) == (503, "provider_unavailable", "yes")
        assert "Retry-After" in refused.headers
        assert (s.sick.posts(), len(await s.w.unsettled())) == (posts, unsettled)
        assert (await s.get(s.sick)).status == 200
        assert (await s.stop(s.sick)).status == 200
