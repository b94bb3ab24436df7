"""Who may read the metrics: at a listener that other machines reach, only a caller with ``admin``."""

from typing import Any

import pytest
from aiohttp import web

from gateway.api import create_admin
from gateway.domain.access import DEFAULT_PERMISSIONS, Principal
from gateway.domain.values import Permission
from gateway.http.server import GatewayRunner
from tests.component.api.conftest import HTTP

AUDITOR = "a-key-of-an-auditor-1"
OTHERS = {AUDITOR: Principal("auditor", DEFAULT_PERMISSIONS | {Permission.AUDIT})}
PUBLIC = HTTP.model_copy(update={"listen": "0.0.0.0:8080"})
METRICS = "GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n"


async def test_metrics_of_a_listener_beyond_loopback_need_a_key_with_admin(serve: Any) -> None:
    api = await serve(http=PUBLIC, others=OTHERS)
    unknown = await api.exchange(METRICS.format("").encode())
    assert (unknown.status, "www-authenticate" in unknown.headers) == (401, True)
    refused = await api.exchange(METRICS.format(f"X-API-Key: {AUDITOR}\r\n").encode())
    assert (refused.status, refused.json["scope"]) == (403, "admin")
    assert b"rtgw_" not in unknown.body + refused.body
    admitted = await api.call("GET", "/metrics")
    assert (admitted.status, b"rtgw_requests_total" in admitted.body) == (200, True)
    assert (await api.call("HEAD", "/metrics", Authorization="")).status == 401
    for probe in ("/livez", "/readyz"):
        assert (await api.call("GET", probe, Authorization="")).status == 200


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"])
async def test_metrics_of_a_loopback_listener_need_no_key(serve: Any, listen: str) -> None:
    api = await serve(http=HTTP.model_copy(update={"listen": listen}))
    assert (await api.exchange(METRICS.format("").encode())).status == 200


async def test_metrics_at_the_address_for_operators_need_no_key(serve: Any) -> None:
    api = await serve(http=PUBLIC)
    runner = GatewayRunner(create_admin(api.app, http=PUBLIC, metrics=api.metrics), PUBLIC)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.port = runner.addresses[0][1]
        assert (await api.exchange(METRICS.format("").encode())).status == 200
    finally:
        await runner.cleanup()
