"""Where the data plane does not connect to, whatever the provider answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.component.dataplane.conftest import leading_to


@pytest.fixture
async def inside() -> AsyncIterator[tuple[int, list[Any]]]:
    """The port of a server on all addresses of this machine, and its connections."""
    accepted: list[Any] = []
    server = await asyncio.start_server(lambda *streams: accepted.append(streams), "0.0.0.0", 0)  # noqa: S104
    async with server:
        yield server.sockets[0].getsockname()[1], accepted
        for _, writer in accepted:
            writer.transport.abort()


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.2", "127.1", "2130706434", "0x7f000002", "0177.0.0.2", "0.0.0.0", "[::1]"),  # noqa: S104
        *("[::ffff:127.0.0.2]", "[64:ff9b::7f00:2]", "169.254.169.254", "[fd00:ec2::254]", "elsewhere.example"),
    ],
)
async def test_address_of_another_host_is_refused_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, inside: tuple[int, list[Any]], host: str
) -> None:
    """The provider itself is at 127.0.0.1, which is therefore allowed, but nothing beside it."""
    port, accepted = inside
    async with (
        leading_to(monkeypatch, f"http://{host}:{port}") as (gateway, runtime_id),
        aiohttp.ClientSession() as client,
    ):
        path = f"/v1/runtimes/{runtime_id}/connections"
        issued = await gateway.call("POST", path, {"protocol": "cdp"})
        assert issued.status == 200, issued.text
        (cdp,) = issued.json["items"]
        async with client.get(f"{cdp['http_url']}/json/version") as response:
            problem = await response.json()
            assert (response.status, problem["code"]) == (502, "provider_bad_response")
            assert host not in str(problem)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="502"):
            await client.ws_connect(cdp["url"])
    assert accepted == []
