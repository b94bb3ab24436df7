"""Requests do not leave objects in memory."""

import pytest

from tests.component.whole_gateway import Gateway, whole_gateway
from tests.memory import allocated_blocks, least_growth

REQUESTS = 500
"""Requests per round. An object that each request or log line leaves is at least one memory block per request."""

MISSING = "00000000-0000-4000-8000-000000000000"


def clear_recordings(gateway: Gateway) -> None:
    """Clear the log, and the requests that the emulators record."""
    gateway.log.seek(0)
    gateway.log.truncate()
    for upstream in gateway.upstreams.values():
        upstream.emulator.requests.clear()


@pytest.mark.parametrize("kind", ["get", "native", "not found at the provider", "unknown path"])
async def test_requests_leave_no_objects_behind(kind: str) -> None:
    async with whole_gateway("durable") as gateway:
        upstream = gateway.upstreams["durable"]
        made = await gateway.create(upstream)
        path, status = {
            "get": (f"/v1/runtimes/{made['id']}", 200),
            "native": (f"/native/{upstream.name}/api/v1/user", 200),
            "not found at the provider": (f"/v1/runtimes/{upstream.name}.{MISSING}", 404),
            "unknown path": ("/nothing", 404),
        }[kind]
        counts = []
        for _ in range(6):
            clear_recordings(gateway)
            counts.append(allocated_blocks())
            for _ in range(REQUESTS):
                assert (await gateway.call("GET", path)).status == status
    assert least_growth(counts) < REQUESTS // 5
