"""Log lines of the complete gateway: every line of a request has its id, and a failed write fails no request."""

from typing import Any, Final

import msgspec

from tests.component.whole_gateway import Gateway, whole_gateway

_DURABLE: Final = "/api/v1/org/acme/ws/research/runtimes"


def logged(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    lines = [msgspec.json.decode(line) for line in gateway.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


async def test_upstream_lines_of_a_request_have_its_id() -> None:
    async with whole_gateway() as gateway:
        durable = gateway.upstreams["durable"]
        made = (await gateway.create(durable))["id"]
        create = {"kind": "durable", "provider": durable.name, "name": "agent", "start": True}
        requests = {
            "get": ("GET", f"/v1/runtimes/{made}", None),
            "list": ("GET", "/v1/runtimes", None),
            "create": ("POST", "/v1/runtimes", create),
            "start": ("POST", f"/v1/runtimes/{made}/start", None),
            "dialect": ("GET", "/durable" + _DURABLE, None),
            "native": ("GET", f"/native/{durable.name}/api/v1/user", None),
        }
        for request_id, (method, path, body) in requests.items():
            response = await gateway.call(method, path, body, **{"X-Request-ID": request_id})
            assert response.status < 300, response.text
        for request_id in requests:
            (line,) = [line for line in logged(gateway, "request") if line["request_id"] == request_id]
            attempts = [line for line in logged(gateway, "upstream") if line["request_id"] == request_id]
            assert len(attempts) == line["attempts"] > 0, request_id
        received = [
            entry.headers["x-request-id"]
            for upstream in gateway.upstreams.values()
            for entry in upstream.emulator.requests.received()
        ]
        assert sorted(line["request_id"] for line in logged(gateway, "upstream")) == sorted(received)


async def test_other_lines_of_a_request_have_its_id() -> None:
    async with whole_gateway("durable", durable={"policies": {"breaker": {"minimum": 1}}}) as gateway:
        gateway.upstreams["durable"].fault("get", fault="status", status=500)
        path = f"/v1/runtimes/{gateway.upstreams['durable'].name}.00000000-0000-4000-8000-000000000000"
        await gateway.call("GET", path, **{"X-Request-ID": "r-1"})
        (line,) = logged(gateway, "breaker")
        assert (line["request_id"], line["state"]) == ("r-1", "open")


async def test_failed_log_output_is_counted_and_fails_no_request() -> None:
    async with whole_gateway("durable") as gateway:
        made = (await gateway.create(gateway.upstreams["durable"]))["id"]
        gateway.log.close()
        assert (await gateway.call("GET", f"/v1/runtimes/{made}")).status == 200
        metrics = (await gateway.call("GET", "/metrics")).text
        assert 'rtgw_dropped_total{what="log_line"} 2.0' in metrics
