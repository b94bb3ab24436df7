"""More concurrent creates than a provider's bulkhead admits: it never receives more, and each makes one runtime."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.testing.waiting import Watch
from tests.faults.callers import Response
from tests.faults.conftest import StoreLocation
from tests.faults.providers import Upstream
from tests.faults.world import World, unique_name, world

CREATES: Final = {"durable": 500, "bctrl": 150, "bctrl_browsers": 250}
"""Concurrent creates per API. (Before each one the gateway lists at bctrl, and the emulator's lists grow.)"""

IN_FLIGHT: Final = 24
WAITING: Final = 100
LANE: Final = {"in_flight": IN_FLIGHT, "waiting": WAITING}
SECTIONS: Final[dict[str, Any]] = {"creates": {"wait_out": 60}, "health": {"probe": False}}


class Burst:
    """Callers that all start at once. A refused caller retries with the same key when another one has finished."""

    def __init__(self, w: World, upstream: Upstream, creates: int) -> None:
        self._w = w
        self._creates = creates
        self._upstream = upstream
        self._finished = asyncio.Semaphore(0)
        self._watch = Watch()
        self.in_progress = 0
        self.codes: Counter[str] = Counter()

    async def one(self) -> Response:
        """Repeat a create until the response is a runtime."""
        name = unique_name()
        while True:
            self._count(1)
            response = await self._w.create(self._upstream, name, name)
            self._count(-1)
            self.codes[response.code or "created"] += 1
            if response.status == 201:
                self._finished.release()
                return response
            assert (response.status, response.code, response.json["retryable"]) == (503, "overloaded", "yes")
            assert response.headers["Retry-After"] == "1"
            assert response.json["source"] == "gateway"
            await self._finished.acquire()

    def _count(self, count: int) -> None:
        self.in_progress += count
        self._watch.changed()

    async def _all_but_refused(self, left: int) -> None:
        await self._watch.until(lambda: self.in_progress == min(left, IN_FLIGHT + WAITING))

    async def in_rounds(self) -> None:
        """Make the provider finish its creates in rounds: each time it holds as many as the bulkhead admits, and every
        other caller is in the queue or was refused."""
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
async def test_burst_of_creates_makes_each_runtime_once_and_never_exceeds_the_bulkhead(
    api: str, creates: int, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_location, deadline=60) as w:
        upstream = w.providers[api.replace("_", "-")]
        async with w.gateway(providers={upstream.name: {"policies": {"create": LANE}}}, **SECTIONS):
            upstream.fault("hold")
            burst = Burst(w, upstream, creates)
            async with asyncio.TaskGroup() as group:
                group.create_task(burst.in_rounds())
                made = [group.create_task(burst.one()) for _ in range(creates)]
            responses = [task.result() for task in made]
            assert burst.codes["created"] == creates
            assert burst.codes["overloaded"] >= creates - IN_FLIGHT - WAITING
            assert {response.json["provider_id"] for response in responses} == {made.id for made in upstream.live()}
            assert upstream.posts("get_user") + upstream.posts("whoami") <= 1  # the account is asked for once
            assert len(upstream.made()) == upstream.posts() == upstream.emulator.creates == creates
            assert await w.unsettled() == []


async def test_create_that_waits_for_a_slot_until_its_deadline_is_refused_without_send_or_intent(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    policies = {"create": {"in_flight": 1, "waiting": 5}}
    settings = {"policies": policies, "deadlines": {"create": 0.1, "replace_config": 60}}
    async with world(tmp_path, sqlite_location) as w:
        upstream = w.providers["durable"]
        async with w.gateway(providers={upstream.name: settings}, **SECTIONS) as gateway:
            made = (await w.made(upstream, "agent", "agent")).json
            upstream.fault("hold", operation="replace_config")
            writing = asyncio.create_task(_configure(w, f"{gateway.url}/v1/runtimes/{made['id']}/config"))
            await upstream.emulator.until_waiting(1)
            names = [unique_name() for _ in range(5)]
            refused = await asyncio.gather(*(w.create(upstream, name, name) for name in names))
            assert {(response.status, response.code, response.json["retryable"]) for response in refused} == {
                (503, "overloaded", "yes")
            }
            assert all("Retry-After" in response.headers for response in refused)
            assert (upstream.posts(), await w.unsettled()) == (1, [])
            upstream.emulator.release()
            assert await writing == 200
            for name in names:
                await w.made(upstream, name, name)
            assert len(upstream.live()) == upstream.posts() == 6


async def _configure(w: World, url: str) -> int:
    async with w.client.put(url, json={"config": {}}) as response:
        return response.status
