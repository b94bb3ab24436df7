"""Web pages of other origins at the dialects and the pass-through."""

from typing import Final

import aiohttp
import pytest

from gateway.settings import CorsSettings
from tests.component.whole_gateway import Gateway, whole_gateway

APP: Final = "https://app.example"
CORS: Final = CorsSettings(origins=[APP])
OPEN: Final = {"native": {"allow": ["* /**"]}}
ASKED: Final = {"Origin": APP, "Access-Control-Request-Method": "GET"}


async def preflight(gateway: Gateway, path: str, **headers: str) -> set[str]:
    """The headers that a page may send, by the response to its preflight, which has no key."""
    headers = {**ASKED, **headers}
    async with aiohttp.ClientSession() as browser, browser.options(gateway.url + path, headers=headers) as response:
        assert response.status == 204, await response.text()
        assert response.headers["Access-Control-Allow-Origin"] == APP
        return set(response.headers["Access-Control-Allow-Headers"].split(", "))


@pytest.mark.parametrize("path", ["/native/durable-demo/api/v1/user", "/durable/api/v1/user", "/durable/nothing"])
async def test_preflight_is_answered_by_the_gateway_and_allows_what_would_be_forwarded(path: str) -> None:
    async with whole_gateway("durable", cors=CORS, durable=OPEN) as gateway:
        asked = "x-stainless-os, content-type,cookie, x-forwarded-for,x_odd, x-http-method-override, authorization"
        allowed = await preflight(gateway, path, **{"Access-Control-Request-Headers": asked})
        assert allowed - await preflight(gateway, path) == {"x-stainless-os"}
        refused = await gateway.call("OPTIONS", path, **{**ASKED, "Origin": "https://other.example"})
        assert (refused.status, "Access-Control-Allow-Origin" in refused.headers) == (403, False)
        assert gateway.upstreams["durable"].received() == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/native/durable-demo/api/v1/user", 200),
        ("/native/durable-demo/api/v1/nothing", 404),
        ("/durable/api/v1/user", 200),
        ("/durable/nothing", 404),
    ],
)
async def test_page_may_read_responses_of_dialects_and_of_the_provider(path: str, status: int) -> None:
    async with whole_gateway("durable", cors=CORS, durable=OPEN) as gateway:
        read = await gateway.call("GET", path, Origin=APP)
        assert (read.status, read.headers["Access-Control-Allow-Origin"]) == (status, APP)
        assert "X-Request-ID" in read.headers["Access-Control-Expose-Headers"]
        other = await gateway.call("GET", path, Origin="https://other.example")
        assert (other.status, "Access-Control-Allow-Origin" in other.headers) == (status, False)


async def test_cached_reads_are_private_and_vary_by_caller() -> None:
    async with whole_gateway("durable", cors=CORS) as gateway:
        made = await gateway.create(gateway.upstreams["durable"])
        read = await gateway.call("GET", f"/v1/runtimes/{made['id']}", Origin=APP)
        assert read.headers["Cache-Control"].startswith("private")
        assert read.headers["Vary"] == "Origin, Authorization"
