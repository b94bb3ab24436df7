"""A forwarded target is below the provider's base path and spelled as sent."""

from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ports.provider_settings import ProviderSettings
from gateway.testing.processes import running

pieces = [
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    "a",
    "b",
    "%20",
    "%00",
    "%252e",
    "?",
    "@evil",
    ":80",
    "%c3%a9",
]
targets = st.lists(st.sampled_from(pieces), max_size=7).map("".join)


@pytest.fixture
async def received() -> list[str]:
    """The request targets that the provider saw."""
    return []


@pytest.fixture
async def guarded(serve: Any, received: list[str]) -> Any:
    async def record(request: web.Request) -> web.Response:
        received.append(request.raw_path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", record)
    async with running(app) as url:
        values = {"name": "raw", "api": "durable", "base_url": f"{url}/base/v1", "token": "a-token"}
        yield await serve(native=[ProviderSettings.model_validate(values)])


@given(target=targets)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_an_arbitrary_target_arrives_unchanged_below_the_base_path_or_is_refused(
    guarded: Any, received: list[str], target: str
) -> None:
    received.clear()
    answer = await guarded.call("GET", f"/native/raw{target}")
    if answer.status == 200:
        assert received == [f"/base/v1{target}"]
    else:
        assert answer.status in {400, 404, 421}
        assert answer.headers["content-type"] == "application/problem+json"
        assert received == []
