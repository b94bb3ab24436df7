"""A gateway with its read cache enabled, over emulators."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.app import plugins
from gateway.ports.clock import SystemClock
from gateway.settings import CacheSettings
from tests.component.whole_gateway import Gateway, Response, Upstream, whole_gateway
from tests.tcp_faults import Mode

TTL = 30.0  # seconds; far longer than a test takes
STALE = 600.0
BOB = {"Authorization": "Bearer bobs-key-0123456789"}


class ShiftedClock(SystemClock):
    """The system's clock, which a test can advance."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class World:
    """A gateway with its read cache enabled, and its clock."""

    def __init__(self, gateway: Gateway, clock: ShiftedClock) -> None:
        self.gateway = gateway
        self.clock = clock
        self.durable, self.bctrl = gateway.upstreams["durable"], gateway.upstreams["bctrl"]
        self.call = gateway.call

    def provider_requests(self) -> int:
        """The number of requests that the providers received."""
        return sum(upstream.received() for upstream in self.gateway.upstreams.values())

    async def read(self, path: str, **headers: str) -> tuple[Response, str]:
        """Read a path. Return the response, and the first member of its ``Cache-Status``."""
        response = await self.call("GET", path, **headers)
        return response, cache_status(response)[0]

    async def cut_off(self) -> None:
        """Make all providers unreachable."""
        for upstream in self.gateway.upstreams.values():
            await upstream.proxy.cut()
            await upstream.proxy.set_mode(Mode.REFUSE)

    def requests(self) -> list[dict[str, Any]]:
        """The access log lines."""
        lines = map(json.loads, self.gateway.log.getvalue().splitlines())
        return [line for line in lines if line["event"] == "request"]


def cache_status(response: Response) -> list[str]:
    """The members of ``Cache-Status``, without the name of the cache."""
    name, *members = response.headers["Cache-Status"].split("; ")
    assert name == "runtime-gateway"
    return members


@asynccontextmanager
async def cached_gateway(**settings: Any) -> AsyncIterator[World]:
    """Start a gateway with two principals. ``settings`` are those of the cache."""
    clock = ShiftedClock()
    cache = CacheSettings(**{"ttl": TTL, "stale_if_error": STALE, **settings})
    keys = {"bob": BOB["Authorization"].removeprefix("Bearer ")}
    async with whole_gateway(cache=cache, keys=keys, clock=clock) as gateway:
        yield World(gateway, clock)


async def get_and_list_paths(world: World) -> tuple[str, str]:
    """Create a runtime. Return the path of its read and that of a list."""
    made = await world.gateway.create(world.durable)
    return f"/v1/runtimes/{made['id']}", "/v1/runtimes?limit=20"


async def call_natively(world: World, made: Any, verb: str) -> int:
    """Call the provider itself, past the gateway. Return the status."""
    upstream: Upstream = world.durable
    scope = plugins()["durable"].demo.scope.replace("/", "/ws/")
    url = f"{upstream.proxy.url}/api/v1/org/{scope}/runtimes/{made['provider_id']}/{verb}"
    async with world.gateway.client.post(url, json={}, headers={"X-API-Key": upstream.token}) as response:
        return response.status
