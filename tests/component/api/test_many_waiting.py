"""Many callers that wait for a few runtimes: reads with ``?wait=``, event streams, and starts with ``?wait=``.

``make waiting`` measures the same with thousands of callers and real processes (docs/performance.md#many-that-wait).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
from gateway.services.waiting.hub import FAST
from tests.component.api.conftest import Response, Serve
from tests.component.api.waiting_scene import Scene, Stream, stream
from tests.unit.services.fakes import DurableLike

RUNTIMES = 4
OF_EACH = 5
"""Callers of each kind per runtime."""


class CountedDurable(DurableLike):
    """Counts the reads of each runtime."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reads: Counter[str] = Counter()

    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        self.reads[ref.provider_id] += 1
        return await super().get(ref, call)


@dataclass
class Crowd:
    """Callers of all kinds that wait for starting runtimes."""

    scene: Scene
    adapter: CountedDurable
    runtimes: list[Runtime] = field(default_factory=list)
    reads: list["asyncio.Task[Response]"] = field(default_factory=list)
    starts: list["asyncio.Task[Response]"] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    async def gathers(self) -> None:
        """All callers wait. (A start reads the runtime once, and does not start what starts already.)"""
        scene = self.scene
        self.runtimes = [self.adapter.put(f"agent-{n}", State.STARTING) for n in range(RUNTIMES)]
        opening = []
        for runtime in self.runtimes:
            path = f"/v1/runtimes/{runtime.id}"
            tag = (await scene.send("GET", path)).headers["etag"]
            for _ in range(OF_EACH):
                self.reads.append(scene.send("GET", f"{path}?wait=60", If_None_Match=tag))
                self.starts.append(scene.send("POST", f"{path}/start?wait=60", {}))
                opening.append(asyncio.create_task(stream(scene, runtime)))
        while self.waiting() < len(self.reads) + len(self.starts) + len(opening):
            await scene.send("GET", "/v1/me")
        await self.interval()  # those that came during a poll see the next one
        self.streams = await asyncio.gather(*opening)
        for opened in self.streams:
            await opened.event("runtime")

    def waiting(self) -> float:
        return self.scene.api.metrics.registry.get_sample_value("rtgw_waiting") or 0.0

    async def interval(self) -> None:
        """One interval passes, and the next poll of each runtime has ended."""
        before = self.adapter.reads.copy()
        await self.scene.clock.passes(FAST)
        await self.scene.watch.until(
            lambda: all(self.adapter.reads[each.provider_id] > before[each.provider_id] for each in self.runtimes)
        )


@pytest.fixture
async def crowd(serve: Serve) -> AsyncIterator[Crowd]:
    adapter = CountedDurable("one")
    scene = Scene(serve, durable=adapter)
    await scene.begin()
    scene.count(adapter, "get")
    yield Crowd(scene, adapter)
    scene.gate.release()


async def test_each_runtime_is_polled_once_per_interval_however_many_wait(crowd: Crowd) -> None:
    await crowd.gathers()
    await crowd.interval()
    crowd.adapter.reads.clear()
    for number in range(1, 6):
        await crowd.interval()
        assert set(crowd.adapter.reads.values()) == {number}
    for runtime in crowd.runtimes:
        crowd.adapter.move(runtime.provider_id, State.RUNNING)
    await crowd.interval()
    assert set(crowd.adapter.reads.values()) == {6}
    for answer in await asyncio.gather(*crowd.reads, *crowd.starts):
        assert (answer.status, answer.json["state"]) == (200, "running")
    for opened in crowd.streams:
        assert (await opened.event("runtime"))["state"] == "running"


async def test_shutdown_answers_all_that_wait(crowd: Crowd) -> None:
    await crowd.gathers()
    stopping = asyncio.create_task(crowd.scene.api.runner.cleanup())
    assert {answer.status for answer in await asyncio.gather(*crowd.reads)} == {304}
    starts: list[Any] = [(answer.status, answer.json["state"]) for answer in await asyncio.gather(*crowd.starts)]
    assert set(starts) == {(202, "starting")}
    for opened in crowd.streams:
        await opened.ends("drain")
    await stopping
    assert crowd.waiting() == 0
