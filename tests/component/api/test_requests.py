"""Behaviour common to all calls: ids, keys, headers, logs, counts and unexpected exceptions."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from gateway.api.pipeline import ENDPOINTS
from gateway.domain.errors import ProviderError, ProviderFailure
from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.clock import SystemClock
from gateway.ports.context import RequestContext
from gateway.ports.transport import Attempt, Phase
from gateway.services.fleet import Fleet, Provider, ResolvedRuntime
from gateway.services.lifecycle import LifecycleService
from tests.component.api.conftest import KEY
from tests.unit.services.fakes import DurableLike

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RUNTIME = Runtime(id="p.1", kind="durable", provider="p", scope="s", provider_id="1", state=State.IDLE)
RESOLVED = ResolvedRuntime(Provider(DurableLike("p")), RuntimeRef("s", "1"))


class OneRuntime(LifecycleService):
    """Every read returns the same runtime, or raises ``error``, after one upstream attempt."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__(Fleet([], SystemClock()))
        self.error = error
        self.contexts: list[RequestContext] = []

    def resolve(self, runtime_id: str, ctx: RequestContext) -> ResolvedRuntime:
        ctx.provider, ctx.scope, ctx.runtime_id = "p", "s", runtime_id
        return RESOLVED

    async def read(self, resolved: ResolvedRuntime, ctx: RequestContext) -> Runtime:
        assert resolved is RESOLVED
        self.contexts.append(ctx)
        ctx.attempts.append(Attempt("p", Operation.GET, "200", 0.25, Phase.ANSWERED))
        if self.error is not None:
            raise self.error
        return RUNTIME


class Endless(LifecycleService):
    """Reads never end."""

    def __init__(self) -> None:
        super().__init__(Fleet([], SystemClock()))
        self.reading = asyncio.Event()

    def resolve(self, _runtime_id: str, _ctx: RequestContext) -> ResolvedRuntime:
        return RESOLVED

    async def read(self, _resolved: ResolvedRuntime, _ctx: RequestContext) -> Runtime:
        self.reading.set()
        return await asyncio.Future[Runtime]()


async def test_a_read_has_a_tag_and_is_304_while_unchanged(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime())
    first = await api.call("GET", "/v1/runtimes/p.1")
    assert first.status == 200
    assert first.json["etag"] == first.headers["etag"]
    second = await api.call("GET", "/v1/runtimes/p.1", If_None_Match=first.headers["etag"])
    assert (second.status, second.body, second.headers["etag"]) == (304, b"", first.headers["etag"])


async def test_head_is_like_get_without_the_body(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime())
    get, head = [await api.call(method, "/v1/runtimes/p.1", X_Request_ID="r") for method in ("GET", "HEAD")]
    volatile = {"date"}
    assert {k: v for k, v in get.headers.items() if k not in volatile} == {
        k: v for k, v in head.headers.items() if k not in volatile
    }


@pytest.mark.parametrize(
    ("version", "asked", "told"),
    [("1.1", "", None), ("1.1", "close", "close"), ("1.0", "", "close"), ("1.0", "keep-alive", "keep-alive")],
)
async def test_a_connection_stays_open_as_its_request_asks(
    api: Any, version: str, asked: str, told: str | None
) -> None:
    connection = await api.connect()
    asked = f"Connection: {asked}\r\n" if asked else ""
    for _ in range(1 if told == "close" else 2):
        connection.send(f"GET /livez HTTP/{version}\r\nHost: gateway\r\n{asked}\r\n".encode())
        answer = await connection.answer()
        assert (answer.json, answer.headers.get("connection")) == ({"status": "ok"}, told)
    if told == "close":
        assert await connection.closed()


async def test_every_response_is_private_nosniff_and_has_the_request_id(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime())
    for path in ("runtimes/p.1", "runtimes", "providers", "nope", "runtimes?x=1"):
        answer = await api.call("GET", f"/v1/{path}")
        assert uuid.UUID(answer.headers["x-request-id"])
        revalidated = path in {"runtimes/p.1", "runtimes"}
        assert answer.headers["cache-control"] == ("private, no-cache" if revalidated else "no-store")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "aiohttp" not in answer.headers["server"]


async def test_the_callers_request_id_and_trace_reach_the_use_case(serve: Any) -> None:
    lifecycle = OneRuntime()
    api = await serve(lifecycle=lifecycle)
    answer = await api.call("GET", "/v1/runtimes/p.1", X_Request_ID="mine.1", traceparent=TRACE)
    assert answer.headers["x-request-id"] == "mine.1"
    (ctx,) = lifecycle.contexts
    assert (ctx.request_id, ctx.traceparent, ctx.principal.name) == ("mine.1", TRACE, "shop")


async def test_a_request_is_logged_in_one_line_with_all_its_context(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime())
    await api.call("GET", "/v1/runtimes/p.1", X_Request_ID="mine.1", traceparent=TRACE)
    ((level, event, line),) = api.logger.events
    assert (level, event) == ("info", "request")
    assert line.pop("duration_ms") >= 0
    assert line == {
        "request_id": "mine.1",
        "traceparent": TRACE,
        "principal": "shop",
        "surface": "v1",
        "operation": "getRuntime",
        "method": "GET",
        "path": "/v1/runtimes/{id}",
        "runtime_id": "p.1",
        "provider": "p",
        "scope": "s",
        "status": 200,
        "attempts": 1,
        "upstream_ms": 250.0,
    }
    assert api.counted(operation="getRuntime", status="200") == 1


async def test_a_failure_is_logged_and_counted_with_its_source(serve: Any) -> None:
    failure = ProviderFailure("p", status=500, code="oops", request_id="theirs-1")
    api = await serve(lifecycle=OneRuntime(ProviderError("The provider failed.", failure=failure, retry_after=2)))
    answer = await api.call("GET", "/v1/runtimes/p.1")
    assert (answer.status, answer.headers["retry-after"]) == (502, "2")
    line = await api.logger.one("request")
    expected = {"code": "provider_error", "source": "provider", "retryable": "same_request"}
    assert expected.items() <= line.items()
    assert line["provider_request_id"] == "theirs-1"
    labels = {"status": "502", "code": "provider_error", "source": "provider"}
    assert api.counted(operation="getRuntime", **labels) == 1


async def test_provider_time_does_not_count_as_overhead(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime())
    await api.call("GET", "/v1/runtimes/p.1")
    labels = {"surface": "v1", "operation": "getRuntime"}
    assert api.metrics.registry.get_sample_value("rtgw_gateway_overhead_seconds_sum", labels) == 0


async def test_an_unexpected_exception_shows_only_the_request_id(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime(RuntimeError("the inside: hunter2")))
    answer = await api.call("GET", "/v1/runtimes/p.1", X_Request_ID="mine.1")
    assert (answer.status, answer.json["code"], answer.json["source"]) == (500, "internal_error", "gateway")
    assert b"inside" not in answer.body
    assert b"RuntimeError" not in answer.body
    levels = [level for level, event, _ in api.logger.events if event == "unexpected_error"]
    assert levels == ["exception"]
    assert (await api.logger.one("unexpected_error"))["request_id"] == "mine.1"
    assert (await api.logger.one("request"))["code"] == "internal_error"


async def test_an_internal_timeout_is_an_internal_error(serve: Any) -> None:
    api = await serve(lifecycle=OneRuntime(TimeoutError()))
    assert (await api.call("GET", "/v1/runtimes/p.1")).json["code"] == "internal_error"


async def test_a_read_interrupted_by_the_shutdown_is_retryable_and_logged(serve: Any) -> None:
    lifecycle = Endless()
    api = await serve(lifecycle=lifecycle, shutdown_timeout=0)
    call = asyncio.create_task(api.call("GET", "/v1/runtimes/p.1"))
    async with asyncio.timeout(30):
        await lifecycle.reading.wait()
    await api.runner.cleanup()
    line = await api.logger.one("request")
    assert (line["status"], line["code"], line["source"]) == (503, "overloaded", "gateway")
    answer = await call
    assert (answer.status, answer.json["retryable"], answer.headers["connection"]) == (503, "yes", "close")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_a_key_every_api_call_is_401(api: Any, method: str) -> None:
    answer = await api.exchange(f"{method} /v1/runtimes HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "principal" not in await api.logger.one("request")


async def test_two_different_keys_are_refused(api: Any) -> None:
    answer = await api.call("GET", "/v1/providers", X_API_Key="another-key-altogether")
    assert (answer.status, answer.json["errors"][0]["header"]) == (400, "X-API-Key")


async def test_credentials_of_a_proxy_beside_the_key_are_ignored(api: Any) -> None:
    answer = await api.call("GET", "/v1/providers", Authorization="Basic cHJveHk6cGFzcw==", X_API_Key=KEY)
    assert answer.status == 200


async def test_without_required_keys_every_caller_is_anonymous(serve: Any) -> None:
    api = await serve(keys=False)
    assert (await api.exchange(b"GET /v1/providers HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
    assert (await api.logger.one("request"))["principal"] == "anonymous"


@pytest.mark.parametrize("path", [b"/v1/providers", b"/native/one/x", b"/metrics", b"/openapi.json"])
async def test_without_required_keys_other_hosts_are_forbidden(serve: Any, path: bytes) -> None:
    api = await serve(keys=False)
    answer = await api.exchange(b"GET " + path + b" HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
    assert answer.status == 403


@pytest.mark.parametrize(("method", "target"), [("GET", "/v1/providers"), ("POST", "/v1/runtimes/p.1/start")])
async def test_an_idempotency_key_is_refused_rather_than_ignored(api: Any, method: str, target: str) -> None:
    answer = await api.call(method, target, Idempotency_Key="k")
    assert (answer.status, answer.json["code"]) == (422, "unsupported_feature")
    assert answer.json["errors"][0]["header"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/v1/runtimes/p.1"), ("POST", "/v1/runtimes"), ("DELETE", "/v1/runtimes/p.1"), ("GET", "/v1/providers/p")],
)
async def test_a_call_without_parameters_refuses_them(api: Any, method: str, target: str) -> None:
    answer = await api.call(method, f"{target}?verbose=1")
    assert (answer.status, answer.json["errors"][0]["parameter"]) == (400, "verbose")


async def test_a_malformed_precondition_is_refused_before_the_body_is_read(api: Any) -> None:
    answer = await api.call("PUT", "/v1/runtimes/p.1/config", b"{", If_Match="v1")
    assert (answer.status, answer.json["errors"][0]["header"]) == (400, "If-Match")


async def test_an_unknown_provider_is_not_found(api: Any) -> None:
    assert (await api.call("GET", "/v1/providers/nope")).status == 404


@pytest.mark.parametrize(
    ("target", "content_type"),
    [
        ("/livez", "application/json"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/api", "text/html; charset=utf-8"),
        ("/docs/api/", "text/html; charset=utf-8"),
        ("/docs/errors", "text/html; charset=utf-8"),
        ("/docs/errors/not_found", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs/reference", "text/html; charset=utf-8"),
        ("/docs/assets/reference.js", "text/javascript"),
        ("/docs/assets/search.json", "application/json"),
    ],
)
async def test_the_site_needs_no_key_and_no_other_host(api: Any, target: str, content_type: str) -> None:
    answer = await api.exchange(f"GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    if target.startswith("/docs"):
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    assert [level for level, _, _ in api.logger.events] == ["debug"]


@pytest.mark.parametrize(("target", "location"), [("/", "console"), ("/console/", "../console")])
async def test_the_front_page_leads_to_the_console(api: Any, target: str, location: str) -> None:
    answer = await api.exchange(f"GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    assert (answer.status, answer.headers["location"]) == (307, location)


async def test_a_draining_gateway_is_not_ready_but_alive(api: Any) -> None:
    api.app[ENDPOINTS].in_flight.draining = True
    assert (await api.call("GET", "/readyz")).json["code"] == "overloaded"
    assert (await api.call("GET", "/livez")).status == 200


async def test_a_connection_is_reused_after_a_problem(api: Any) -> None:
    connection = await api.connect()
    for target, status in (("/livez", 200), ("/nope", 404), ("/v1/providers", 401), ("/livez", 200)):
        connection.send(f"GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        assert (await connection.answer()).status == status


async def test_the_metrics_count_responses(api: Any) -> None:
    await api.call("GET", "/v1/providers")
    text = (await api.call("GET", "/metrics")).body.decode()
    line = 'rtgw_requests_total{code="",operation="listProviders",source="",status="200",surface="v1"} 1.0'
    assert line in text


async def test_the_served_openapi_document_is_the_generated_one(api: Any) -> None:
    answer = await api.call("GET", "/openapi.json")
    assert json.loads(answer.body)["info"]["title"] == "runtime-gateway"
