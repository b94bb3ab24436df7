"""Maximum lifetimes hold through the kill of the replica that has the role of ending instances, and of all replicas."""

import asyncio
import sys
from pathlib import Path

from tests.faults.callers import Response, post, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, Upstream, body, settings_of
from tests.faults.replicas import DEADLINE, KEY, Replica, replicas, write_settings
from tests.faults.world import unique_name, world

BRIEF = "a-key-of-a-brief-one-1234"
AUTH = {"keys": {"caller": {"key": KEY}}, "principals": {"brief": {"keys": [BRIEF], "allow": {"max_lifetime": "3s"}}}}

SHORT_INTERVALS = """
from gateway.cli import main
from gateway.services.access import lifetime_ends

lifetime_ends.EVERY, lifetime_ends.LEASE, lifetime_ends.POSTPONE = 0.5, 2.0, 4.0
main()
"""
COMMAND = (sys.executable, "-c", SHORT_INTERVALS)
"""A gateway whose rounds, leases and postponements are shorter, with the same order: 5 s, 10 s and 20 s."""


async def create(upstream: Upstream, at: Replica) -> Response:
    assert at.url is not None
    async with session(BRIEF) as client:
        return await post(client, at.url, body(upstream, upstream.kind, unique_name()))


async def ends(upstream: Upstream, count: int) -> None:
    """Return when ``count`` stops have arrived and no browser is live."""

    async def is_ended() -> bool:
        return not upstream.live() and upstream.posts("stop") == count

    await eventually(is_ended, f"{count} instances are ended", last=lambda: (upstream.live(), upstream.posts("stop")))


async def leader(gateways: list[Replica]) -> Replica:
    """The only one of the replicas that has ended an instance, once its log says so."""

    async def is_logged() -> bool:
        return any(one.events("lifetime_ended") for one in gateways)

    await eventually(is_logged, "the end is logged")
    (found,) = [one for one in gateways if one.events("lifetime_ended")]
    return found


async def test_killed_leader_is_replaced_and_restarted_replicas_end_what_was_planned_before(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    async with world(tmp_path, store_location, deadline=DEADLINE, setups=[Setup("bctrl", "bctrl", {})]) as w:
        upstream = w.providers["bctrl"]
        settings = write_settings(tmp_path, settings_of([upstream]), store_location.settings, auth=AUTH)
        async with replicas(settings, 2, command=COMMAND) as gateways:
            assert (await create(upstream, gateways[0])).status == 201
            await ends(upstream, 1)
            first = await leader(gateways)
            (other,) = [one for one in gateways if one is not first]
            assert (await create(upstream, first)).status == 201
            await first.kill()
            await ends(upstream, 2)
            assert await leader([other]) is other
            assert (await create(upstream, other)).status == 201
            await other.kill()
            await first.start()
            await ends(upstream, 3)


async def test_create_whose_gateway_is_killed_before_the_proof_has_an_end(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    async with world(tmp_path, store_location, deadline=DEADLINE, setups=[Setup("bctrl", "bctrl", {})]) as w:
        upstream = w.providers["bctrl"]
        settings = write_settings(tmp_path, settings_of([upstream]), store_location.settings, auth=AUTH)
        async with replicas(settings, 2, command=COMMAND) as (killed, _other):
            upstream.fault("hold_after", times=1)
            pending = asyncio.create_task(create(upstream, killed))
            await upstream.emulator.until_waiting(1)
            await killed.kill()
            upstream.emulator.release("create")
            await asyncio.gather(pending, return_exceptions=True)
            assert len(upstream.live()) == 1
            await ends(upstream, 1)
