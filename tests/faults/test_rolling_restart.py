"""Two gateways behind a load balancer are restarted one after the other (docs/promises.md#p8)."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.faults.balancer import EVERY, Balancer
from tests.faults.callers import Response, session
from tests.faults.conftest import StoreLocation
from tests.faults.providers import Setup, Upstream, body, default_setups, settings_of, upstreams
from tests.faults.replicas import KEY, Replica, replicas, write_settings

CALLERS: Final = 4
DELAY: Final = EVERY * 10
"""Seconds for which a terminating gateway continues to serve, so that the balancer notices that it is not ready."""


class Caller:
    """Creates runtimes, reads them and lists, until ``stop`` is set. Every call is safe to repeat, and is repeated once
    if its connection was lost; ``lost`` counts those. Any other failure fails the test."""

    def __init__(self, number: int, url: str, providers: Sequence[Upstream]) -> None:
        self._number = number
        self._url = url
        self._providers = providers
        self.made: list[tuple[str, str]] = []
        self.calls = 0
        self.lost = 0
        self.stop = False

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as client:
            for round_number in itertools.count():
                upstream = self._providers[(round_number + self._number) % len(self._providers)]
                name = f"caller-{self._number}-{round_number}"
                wanted = body(upstream, upstream.kind, name)
                made = await self._call(client, "POST", "/v1/runtimes", 201, wanted, {"Idempotency-Key": name})
                self.made.append((upstream.name, made["provider_id"]))
                got = await self._call(client, "GET", f"/v1/runtimes/{made['id']}", 200)
                assert got["name"] == name
                listed = await self._call(client, "GET", "/v1/runtimes?limit=1", 200)
                assert listed["incomplete"] == []
                if self.stop:
                    return

    async def _call(self, client: aiohttp.ClientSession, method: str, path: str, status: int, *more: Any) -> Any:
        try:
            response = await _send(client, method, self._url + path, *more)
        except aiohttp.ClientConnectionError:
            self.lost += 1
            response = await _send(client, method, self._url + path, *more)
        assert response.status == status, (method, path, response)
        self.calls += 1
        return response.json


async def _send(
    client: aiohttp.ClientSession, method: str, url: str, wanted: Any = None, headers: dict[str, str] | None = None
) -> Response:
    async with client.request(method, url, json=wanted, headers=headers) as response:
        return Response(response.status, response.headers, json.loads(await response.read()))


async def test_rolling_restart_under_load_causes_no_error_and_loses_no_create(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    async with upstreams([*default_setups(), Setup("durable", "slow", {})]) as (*providers, slow):
        sections = {"shutdown": {"delay": DELAY, "grace": 30}, "cache": {"enabled": False}}
        settings = write_settings(tmp_path, settings_of([*providers, slow]), sqlite_location.settings, **sections)
        async with replicas(settings, 2) as made, Balancer(made) as balancer:
            await balancer.until_ready(2)
            callers = [Caller(number, balancer.url, providers) for number in range(CALLERS)]
            async with asyncio.TaskGroup() as group:
                for caller in callers:
                    group.create_task(caller.run())
                for replica in made:
                    await _restart(replica, slow, balancer)
                for caller in callers:
                    caller.stop = True
            assert len(balancer.sent) == 2 * len(made)  # both served before and after
            assert all(caller.calls for caller in callers)
        assert len(slow.live()) == slow.posts() == len(made)
        await _nothing_is_lost(sqlite_location, providers, callers)


async def _restart(replica: Replica, upstream: Upstream, balancer: Balancer) -> None:
    """Terminate a gateway that has a create in progress, and start it again."""
    assert replica.url is not None
    upstream.fault("hold_after", times=1)
    name = f"held-{upstream.posts()}"
    async with session() as client:
        key = {"Idempotency-Key": name}
        url = replica.url + "/v1/runtimes"
        held = asyncio.create_task(_send(client, "POST", url, body(upstream, upstream.kind, name), key))
        await upstream.emulator.until_waiting(1)
        ended = asyncio.create_task(replica.terminate())
        await balancer.until_ready(1)
        upstream.emulator.release("create")
        response = await held
        assert (response.status, response.json["name"]) == (201, name)
    assert await ended == 0
    await replica.start()
    await balancer.until_ready(2)
    async with session() as client:  # the other callers keep their connections, so none of them may reach it now
        while not balancer.sent[replica.url]:
            assert (await _send(client, "GET", balancer.url + "/v1/runtimes?limit=1")).status == 200


async def _nothing_is_lost(location: StoreLocation, providers: Sequence[Upstream], callers: Sequence[Caller]) -> None:
    """Exactly the runtimes that were returned exist, each once."""
    returned = [pair for caller in callers for pair in caller.made]
    live = Counter((upstream.name, runtime.id) for upstream in providers for runtime in upstream.live())
    assert live == Counter(returned)
    async with location.opened() as store:
        counts = await store.counts()
    assert not any(counts.unsettled.values())
