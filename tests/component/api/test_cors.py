"""Web pages of other origins: which responses they may read, and which calls they may make."""

from typing import Any

import pytest

from gateway.settings import CorsSettings
from tests.component.api.conftest import HTTP

APP = "https://app.example"
OTHER = "https://other.example"
LISTED = HTTP.model_copy(update={"cors": CorsSettings(origins=[APP, "http://localhost:5173"], max_age=60)})
EXPOSED = {"X-Request-ID", "Retry-After", "ETag", "Location", "Age", "RateLimit", "RateLimit-Policy"}
ASKED = {"Access_Control_Request_Method": "POST"}
GET = b"GET /v1/providers HTTP/1.1\r\nHost: localhost\r\n"


def crossing(answer: Any) -> set[str]:
    """The names of the CORS headers of a response."""
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/providers", 200),
        ("GET", "/v1/runtimes/durable_x", 404),
        ("PUT", "/v1/runtimes", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/openapi.json", 200),
        ("GET", "/native/absent/x", 421),
        ("GET", "/native", 404),
        ("GET", "/v1/runtimes?nothing=1", 400),
        ("GET", "/" + "x" * 1000, 404),
    ],
)
async def test_page_of_a_listed_origin_may_read_every_response(
    serve: Any, method: str, target: str, status: int
) -> None:
    api = await serve(http=LISTED)
    answer = await api.call(method, target, Origin=APP)
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == APP
    assert set(answer.headers["access-control-expose-headers"].split(", ")) > EXPOSED
    assert answer.headers["vary"] == "Origin, Authorization"
    assert "access-control-allow-credentials" not in answer.headers
    other = await api.call(method, target, Origin=OTHER)
    assert (other.status, crossing(other)) == (status, set()), "without CORS, the key alone decides"
    assert other.headers["vary"] == "Origin, Authorization"


async def test_page_may_read_that_its_key_is_missing_or_its_request_unreadable(serve: Any) -> None:
    api = await serve(http=LISTED)
    for raw, status in (
        (GET + f"Origin: {APP}\r\n\r\n".encode(), 401),
        (f"GET /v1/providers HTTP/1.1\r\nHost: a b\r\nOrigin: {APP}\r\n\r\n".encode(), 400),
        (GET + f"Origin: {APP}\r\n".encode() + b"X-Long: %s\r\n" % (b"x" * 900) * 5 + b"\r\n", 431),
    ):
        answer = await api.exchange(raw)
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, APP)
        assert "x-request-id" in answer.headers


@pytest.mark.parametrize("origin", [OTHER, "null", "*", APP + "/", APP + ":443", "https://APP.example", APP + ".evil"])
async def test_only_the_exact_origin_is_listed(serve: Any, origin: str) -> None:
    api = await serve(http=LISTED)
    assert crossing(await api.call("GET", "/v1/providers", Origin=origin)) == set()
    refused = await api.call("OPTIONS", "/v1/runtimes", Origin=origin, **ASKED)
    assert (refused.status, crossing(refused)) == (403, set())
    assert refused.json["errors"][0]["header"] == "Origin"


async def test_request_with_two_origins_is_of_none(serve: Any) -> None:
    api = await serve(http=LISTED)
    answer = await api.exchange(GET + f"Origin: {APP}\r\nOrigin: {APP}\r\n\r\n".encode())
    assert crossing(answer) == set()


@pytest.mark.parametrize("target", ["/v1/runtimes", "/v1/runtimes/x/start", "/v1/nothing", "/nothing", "/openapi.json"])
async def test_preflight_of_a_listed_origin_needs_no_key(serve: Any, target: str) -> None:
    api = await serve(http=LISTED)
    raw = f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\nOrigin: {APP}\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    answer = await api.exchange(raw.encode(), head=True)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-max-age"] == "60"
    assert set(answer.headers["access-control-allow-methods"].split(", ")) == {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    }
    headers = set(answer.headers["access-control-allow-headers"].split(", "))
    assert {"Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"} < headers
    assert {"X-Request-ID", "Prefer", "traceparent"} < headers


async def test_preflight_of_v1_allows_only_headers_that_have_a_meaning_there(serve: Any) -> None:
    api = await serve(http=LISTED)
    headers = {**ASKED, "Access_Control_Request_Headers": "x-new,content-type"}
    answer = await api.call("OPTIONS", "/v1/runtimes", Origin=APP, **headers)
    assert "x-new" not in answer.headers["access-control-allow-headers"]


async def test_options_that_is_no_preflight_is_a_method_like_others(serve: Any) -> None:
    api = await serve(http=LISTED)
    assert (await api.call("OPTIONS", "/v1/runtimes", Origin=APP)).status == 405
    assert (await api.call("OPTIONS", "/v1/runtimes", **ASKED)).status == 405


async def test_without_listed_origins_no_response_has_a_header_of_cors(api: Any) -> None:
    answer = await api.call("GET", "/v1/providers", Origin=APP)
    assert (answer.status, crossing(answer), "vary" in answer.headers) == (200, set(), False)
    assert (await api.call("OPTIONS", "/v1/runtimes", Origin=APP, **ASKED)).status == 403


async def test_listed_origin_may_call_a_gateway_without_keys(serve: Any) -> None:
    api = await serve(http=LISTED, keys=False)
    cross = {"Host": "localhost", "Sec_Fetch_Site": "cross-site"}
    allowed = await api.call("GET", "/v1/providers", Origin=APP, **cross)
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, APP)
    refused = await api.call("GET", "/v1/providers", Origin=OTHER, **cross)
    assert (refused.status, crossing(refused)) == (403, set())
    assert (await api.call("GET", "/v1/providers", **cross)).status == 403
    rebound = await api.call("OPTIONS", "/v1/runtimes", Host="page.example", Origin=APP, **ASKED)
    assert rebound.status == 403
