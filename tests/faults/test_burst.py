"""Far more creates at once than a provider takes: it never sees more than its places, and each becomes one runtime."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.testing.waiting import Watch
from tests.faults.callers import Answer
from tests.faults.conftest import StorePlace
from tests.faults.providers import Upstream
from tests.faults.world import World, a_name, world

CREATES: Final = {"durable": 500, "bctrl": 150, "bctrl_browsers": 250}
"""How many at once. (Of the look before each one, bctrl's emulator makes ever longer lists.)"""

IN_FLIGHT: Final = 24
WAITING: Final = 100
LANE: Final = {"in_flight": IN_FLIGHT, "waiting": WAITING}
SECTIONS: Final[dict[str, Any]] = {"creates": {"wait_out": 60}, "health": {"probe": False}}


class Burst:
    """Callers that all begin at once. Who is refused comes again, with the same key, when others are done."""

    def __init__(self, w: World, upstream: Upstream, creates: int) -> None:
        self._w = w
        self._creates = creates
        self._upstream = upstream
        self._room = asyncio.Semaphore(0)
        self._watch = Watch()
        self.under_way = 0
        self.heard: Counter[str] = Counter()

    async def one(self) -> Answer:
        """A create, until it is answered with a runtime."""
        name = a_name()
        while True:
            self._entered(1)
            answer = await self._w.create(self._upstream, name, name)
            self._entered(-1)
            self.heard[answer.code or "created"] += 1
            if answer.status == 201:
                self._room.release()
                return answer
            assert (answer.status, answer.code, answer.json["retryable"]) == (503, "overloaded", "yes")
            assert answer.headers["Retry-After"] == "1"
            assert answer.json["source"] == "gateway"
            await self._room.acquire()

    def _entered(self, count: int) -> None:
        self.under_way += count
        self._watch.changed()

    async def _all_but_refused(self, left: int) -> None:
        await self._watch.until(lambda: self.under_way == min(left, IN_FLIGHT + WAITING))

    async def in_rounds(self) -> None:
        """The provider finishes its creates only when it has as many as it gets, and everybody else is in the row or
        has been refused."""
        emulator, done = self._upstream.emulator, 0
        while left := self._creates - done:
            due = min(left, IN_FLIGHT)
            await emulator.until_waiting(due)
            await self._all_but_refused(left)
            assert emulator.waiting == due
            emulator.release("create")
            done += due
            await emulator.until_committed("create", done)


@pytest.mark.parametrize(("api", "creates"), CREATES.items())
async def test_of_a_burst_of_creates_none_is_lost_none_is_doubled_and_never_too_many_are_under_way(
    api: str, creates: int, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=60) as w:
        upstream = w.providers[api.replace("_", "-")]
        async with w.gateway(providers={upstream.name: {"policies": {"create": LANE}}}, **SECTIONS):
            upstream.fault("hold")
            burst = Burst(w, upstream, creates)
            async with asyncio.TaskGroup() as group:
                group.create_task(burst.in_rounds())
                made = [group.create_task(burst.one()) for _ in range(creates)]
            answers = [task.result() for task in made]
            assert burst.heard["created"] == creates
            assert burst.heard["overloaded"] >= creates - IN_FLIGHT - WAITING
            assert {answer.json["provider_id"] for answer in answers} == {made.id for made in upstream.live()}
            assert upstream.posts("get_user") + upstream.posts("whoami") <= 1  # the account is one question for all
            assert len(upstream.made()) == upstream.posts() == upstream.emulator.creates == creates
            assert await w.unsettled() == []


async def test_a_create_that_waits_for_its_turn_until_its_deadline_is_refused_and_nothing_of_it_is_sent_or_kept(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    policies = {"create": {"in_flight": 1, "waiting": 5}}
    settings = {"policies": policies, "deadlines": {"create": 0.1, "replace_config": 60}}
    async with world(tmp_path, sqlite_place) as w:
        upstream = w.providers["durable"]
        async with w.gateway(providers={upstream.name: settings}, **SECTIONS) as gateway:
            made = (await w.made(upstream, "agent", "agent")).json
            upstream.fault("hold", operation="replace_config")
            writing = asyncio.create_task(_configure(w, f"{gateway.url}/v1/runtimes/{made['id']}/config"))
            await upstream.emulator.until_waiting(1)
            names = [a_name() for _ in range(5)]
            refused = await asyncio.gather(*(w.create(upstream, name, name) for name in names))
            assert {(answer.status, answer.code, answer.json["retryable"]) for answer in refused} == {
                (503, "overloaded", "yes")
            }
            assert all("Retry-After" in answer.headers for answer in refused)
            assert (upstream.posts(), await w.unsettled()) == (1, [])
            upstream.emulator.release()
            assert await writing == 200
            for name in names:
                await w.made(upstream, name, name)
            assert len(upstream.live()) == upstream.posts() == 6


async def _configure(w: World, url: str) -> int:
    async with w.client.put(url, json={"config": {}}) as response:
        return response.status
