"""Limits of principals hold for two gateways together, under a burst and through the kill of each component."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.callers import Response, get, post, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, Upstream, body, settings_of
from tests.faults.replicas import DEADLINE, KEY, Replica, replicas, write_settings
from tests.faults.world import unique_name, world
from tests.redis_server import RedisServer

SHOP = "a-key-of-the-shop-123456"
PLACES = 20
REQUESTS = 40


@dataclass(frozen=True, slots=True)
class Shop:
    """A limited principal, in front of two gateways."""

    gateways: list[Replica]
    upstream: Upstream
    client: aiohttp.ClientSession

    async def create(self, at: int = 0) -> Response:
        url = self.gateways[at].url
        assert url is not None
        return await post(self.client, url, body(self.upstream, "browser", unique_name()))

    async def creates(self, count: int) -> Counter[int]:
        """The statuses of this many concurrent creates, in turn at each gateway."""
        return Counter(made.status for made in await asyncio.gather(*(self.create(n % 2) for n in range(count))))

    async def calls(self, count: int, gateways: Sequence[int] = (0, 1)) -> Counter[int]:
        """The statuses of this many concurrent calls that need no provider, in turn at each of the gateways."""
        urls = [self.gateways[gateways[number % len(gateways)]].url for number in range(count)]
        answers = await asyncio.gather(*(get(self.client, str(url), "/v1/me") for url in urls))
        return Counter(answer.status for answer in answers)

    async def is_admitted(self, at: int) -> bool:
        """Whether one call is admitted."""
        return bool((await self.calls(1, [at]))[200])


@asynccontextmanager
async def shop(
    tmp_path: Path, store: StoreLocation, rights: Mapping[str, Any], *, deadline: float = 10, **sections: Any
) -> AsyncIterator[Shop]:
    auth = {
        "keys": {"caller": {"key": KEY}},
        "principals": {"shop": {"keys": [SHOP], "own_only": True, "limits": rights}},
    }
    async with world(tmp_path, store, deadline=deadline, setups=[Setup("bctrl_browsers", "browsers", {})]) as w:
        upstream = w.providers["browsers"]
        settings = write_settings(tmp_path, settings_of([upstream]), store.settings, auth=auth, **sections)
        async with replicas(settings, 2) as gateways, session(SHOP) as client:
            yield Shop(gateways, upstream, client)


async def test_running_instances_hold_under_200_concurrent_creates_at_two_gateways(
    store_location: StoreLocation, redis: RedisServer, tmp_path: Path
) -> None:
    rights = {"running": PLACES, "requests": "1000/hour"}
    async with shop(tmp_path, store_location, rights, limits={"storage": redis.url, "timeout": 5}) as s:
        assert await s.creates(200) == {201: PLACES, 429: 200 - PLACES}
        assert len(s.upstream.live()) == s.upstream.posts() == PLACES
        refused = await s.create()
        assert refused.json["limit"] == {"name": "running", "value": PLACES, "used": PLACES}
        assert len(set(refused.json["held_by"])) == PLACES


@pytest.mark.parametrize(("fault", "made"), [("hold", 0), ("hold_after", 1)])
async def test_place_of_a_create_whose_gateway_was_killed_is_settled_with_it(
    fault: str, made: int, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """It is given back if nothing was made, and kept if the runtime exists."""
    async with shop(tmp_path, sqlite_location, {"running": 1}, deadline=DEADLINE) as s:
        s.upstream.fault(fault, times=1)
        pending = asyncio.create_task(s.create())
        await s.upstream.emulator.until_waiting(1)
        await s.gateways[0].kill()
        await asyncio.gather(pending, return_exceptions=True)
        refused = await s.create(at=1)
        assert (refused.status, refused.code) == (429, "quota_exceeded"), refused.json

        async def is_settled() -> bool:
            answer = await s.create(at=1)
            return answer.status == 201 if not made else bool(answer.json.get("held_by"))

        await eventually(is_settled, "the create is settled")
        assert len(s.upstream.live()) == 1
        assert (await s.create(at=1)).status == 429


async def test_each_component_is_killed_in_turn(
    postgres_location: StoreLocation, redis: RedisServer, tmp_path: Path
) -> None:
    limits = {"requests": f"{REQUESTS}/hour", "running": 2}
    counted = {"storage": redis.url, "timeout": 5}
    async with shop(tmp_path, postgres_location, limits, limits=counted) as s:
        assert await s.calls(100) == {200: REQUESTS, 429: 100 - REQUESTS}
        await s.gateways[1].kill()
        assert await s.calls(20, [0]) == {429: 20}  # the window is not that of a process
        await s.gateways[1].start()
        assert await s.calls(20, [1]) == {429: 20}
        redis.kill()
        assert (await s.create()).status == 201
        assert (await s.calls(200))[200] == 2 * REQUESTS - 1  # each gateway counts alone
        redis.start()

        for at in (0, 1):
            await eventually(partial(s.is_admitted, at), "the gateways count together again")
        await postgres_location.cut()
        refused = await s.create()
        assert (refused.status, refused.code) == (503, "store_unavailable")
        assert (await s.calls(2))[200] == 2  # a limit on requests needs no store
        await postgres_location.restore()

        async def is_made() -> bool:
            return (await s.create(at=1)).status == 201

        await eventually(is_made, "the store is used again")
        assert (await s.create()).code == "quota_exceeded"
        assert len(s.upstream.live()) == 2
