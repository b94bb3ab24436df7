"""Limits of connections, of requests in flight, and of unread responses."""

import asyncio
import json
from typing import Any

from aiohttp import web

from gateway.api import create_admin
from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import HttpSettings
from gateway.testing.processes import running

PROBES = ("/livez", "/readyz", "/metrics")


def rejected(gateway: Any, reason: str) -> float | None:
    value: float | None = gateway.metrics.registry.get_sample_value("rtgw_requests_rejected_total", {"reason": reason})
    return value


async def in_flight(gateway: Any) -> Any:
    """A request in flight whose body does not arrive."""
    connection = await gateway.connect()
    connection.send(
        b"POST /v1/runtimes HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer a-key-of-a-shop-1234\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    await connection.reader.readuntil(b"100 Continue\r\n\r\n")
    return connection


async def test_requests_beyond_the_limit_are_refused_at_once_and_probes_pass(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_requests_in_flight=1))
    first = await in_flight(gateway)
    assert gateway.metrics.registry.get_sample_value("rtgw_requests_in_flight") == 1
    refused = await gateway.call("GET", "/v1/providers")
    assert (refused.status, refused.json["code"], refused.json["source"]) == (503, "overloaded", "gateway")
    assert (refused.headers["retry-after"], refused.json["retryable"]) == ("1", "yes")
    assert rejected(gateway, "requests") == 1
    for probe in PROBES:
        assert (await gateway.call("GET", probe)).status == 200
    first.send(b"{}")
    assert (await first.answer()).status == 422
    assert (await gateway.call("GET", "/v1/providers")).status == 200
    assert gateway.metrics.registry.get_sample_value("rtgw_requests_in_flight") == 0


async def test_requests_in_flight_are_counted_with_a_separate_admin_address(serve: Any) -> None:
    gateway = await serve()
    create_admin(gateway.app, http=HttpSettings(), metrics=gateway.metrics)
    connection = await in_flight(gateway)
    assert gateway.metrics.registry.get_sample_value("rtgw_requests_in_flight") == 1
    connection.send(b"{}")
    assert (await connection.answer()).status == 422


async def test_a_connection_beyond_the_limit_gets_503_and_is_closed(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_connections=1, max_idle_connections_per_address=9))
    first = await gateway.connect()
    first.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n")
    assert (await first.answer()).status == 200
    second = await gateway.connect()
    answer = await second.answer()
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
    assert json.loads(answer.body)["code"] == "overloaded"
    assert await second.closed()
    assert rejected(gateway, "connections") == 1
    assert gateway.metrics.registry.get_sample_value("rtgw_connections") == 1
    first.writer.close()
    await first.writer.wait_closed()
    async with asyncio.timeout(30):
        while (await gateway.call("GET", "/livez")).status != 200:  # until it has noticed the closed connection
            pass


async def test_a_client_that_does_not_read_its_response_is_disconnected(serve: Any) -> None:
    """The provider's stream is closed then, too."""
    left = asyncio.Event()

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x" * 65_536)
        finally:
            left.set()

    app = web.Application()
    app.router.add_get("/{path:.*}", flood)
    async with running(app) as url:
        provider = ProviderSettings.model_validate({"name": "raw", "api": "durable", "base_url": url, "token": "t0ken"})
        gateway = await serve(native=[provider], http=HttpSettings(write_timeout=0.05))
        connection = await gateway.connect()
        connection.send(b"GET /native/raw/a HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer a-key-of-a-shop-1234\r\n\r\n")
        async with asyncio.timeout(30):
            await left.wait()
        assert gateway.metrics.registry.get_sample_value("rtgw_dropped_total", {"what": "slow_reader"}) == 1


async def test_an_address_with_too_many_idle_connections_loses_the_one_idle_longest(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_idle_connections_per_address=2))
    busy = await in_flight(gateway)
    first, second = await gateway.connect(), await gateway.connect()
    for connection in (first, second, first):
        connection.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n")
        assert (await connection.answer()).status == 200
    third = await gateway.connect()
    third.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n")
    assert (await third.answer()).status == 200
    assert await second.closed()
    first.send(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n")
    assert (await first.answer()).status == 200
    busy.send(b"{}")
    assert (await busy.answer()).status == 422
    assert gateway.metrics.registry.get_sample_value("rtgw_dropped_total", {"what": "idle_connection"}) == 1


async def test_silent_connections_of_one_address_take_half_of_all_at_most(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_connections=8))
    silent = [await gateway.connect() for _ in range(20)]
    for connection in silent[:16]:
        assert await connection.closed()
    assert (await gateway.call("GET", "/livez")).status == 200
    assert rejected(gateway, "connections") == 0


async def test_connections_that_were_all_in_use_and_became_idle_leave_room_for_a_new_one(serve: Any) -> None:
    gateway = await serve(http=HttpSettings(max_connections=4, max_idle_connections_per_address=2))
    busy = [await in_flight(gateway) for _ in range(4)]
    for connection in busy:
        connection.send(b"{}")
        assert (await connection.answer()).status == 422
    assert (await gateway.call("GET", "/livez")).status == 200
    assert rejected(gateway, "connections") == 0
    assert [await connection.closed() for connection in busy[:3]] == [True] * 3


async def test_connections_in_use_are_never_closed_for_their_number(serve: Any) -> None:
    """A reverse proxy is one address, and may have all connections in use."""
    gateway = await serve(http=HttpSettings(max_idle_connections_per_address=1))
    busy = [await in_flight(gateway) for _ in range(10)]
    for connection in busy:
        connection.send(b"{}")
        assert (await connection.answer()).status == 422
