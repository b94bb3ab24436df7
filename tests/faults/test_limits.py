"""A refused create leaves no intent open, and settling does not depend on the slots of other calls."""

import asyncio
from pathlib import Path

import pytest

from gateway.domain.intents import IntentState
from tests.faults.callers import get
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS
from tests.faults.world import unique_name, world
from tests.tcp_faults import Mode

PATIENT = {"wait_out": 60}


@pytest.mark.parametrize("api", APIS)
async def test_full_bulkhead_leaves_no_intent_open(api: str, sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-20."""
    narrow = {"policies": {"create": {"in_flight": 1, "waiting": 0}}}
    async with world(tmp_path, sqlite_location, deadline=10) as w:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        async with w.gateway(providers={upstream.name: narrow}, creates=PATIENT):
            upstream.fault("hold", times=1)
            first = asyncio.create_task(w.create(upstream, unique_name(), "first"))
            await upstream.emulator.until_waiting(1)
            refused = await w.create(upstream, name, "k")
            assert (refused.status, refused.code, refused.json["retryable"]) == (503, "overloaded", "yes")
            assert [intent.key for intent in await w.unsettled()] == ["first"]
            upstream.emulator.release("create")
            assert (await first).status == 201
            assert (await w.made(upstream, name, "k")).status == 201
            assert upstream.posts() == len(upstream.live()) == 2


@pytest.mark.parametrize("api", APIS)
async def test_open_breaker_leaves_no_intent_open(api: str, sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-20."""
    quick = {"policies": {"breaker": {"minimum": 2, "rest": 0.2}, "retry": {"tries": 1}}}
    async with world(tmp_path, sqlite_location, deadline=1) as w:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        async with w.gateway(providers={upstream.name: quick}, creates=PATIENT):
            await upstream.proxy.set_mode(Mode.REFUSE)
            for number in range(6):
                response = await w.create(upstream, f"{name}-{number}", f"k-{number}")
                assert (response.status, response.code) == (503, "provider_unavailable")
            assert "disabled by its circuit breaker" in response.json["detail"]
            assert await w.unsettled() == []
            await upstream.proxy.set_mode(Mode.FORWARD)
            assert (await w.made(upstream, f"{name}-0", "k-0")).status == 201
            assert len(upstream.live()) == 1


async def test_settling_continues_while_reads_and_creates_flood_the_provider(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-20."""
    narrow = {
        "policies": {lane: {"in_flight": 1, "waiting": 1} for lane in ("read", "create")},
        "deadlines": {"create": 10, "get": 10},
    }
    async with world(tmp_path, sqlite_location) as w:
        upstream, name = w.providers["bctrl-browsers"], unique_name()
        async with w.gateway(providers={upstream.name: narrow}, creates={**PATIENT, "settle_every": 1}) as gateway:
            upstream.fault("drop_after", times=1)
            upstream.fault("list_lag", times=1)
            assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
            (made,) = upstream.live()
            upstream.fault("hold", operation="get")
            upstream.fault("hold")
            reads = [
                asyncio.create_task(get(w.client, gateway.url, f"/v1/runtimes/{upstream.name}.{made.id}"))
                for _ in range(8)
            ]
            creates = [asyncio.create_task(w.create(upstream, unique_name(), f"flood-{n}")) for n in range(8)]
            await upstream.emulator.until_waiting(2)
            upstream.emulator.unseen.release()
            assert (await w.becomes("k", IntentState.DONE)).runtime_id == made.id
            upstream.emulator.faults.end_all()

            async def all_ended() -> bool:
                upstream.emulator.release()
                return all(task.done() for task in (*reads, *creates))

            await eventually(all_ended, "the flood ends")
            await asyncio.gather(*reads, *creates)
