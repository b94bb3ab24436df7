"""The audit trail has each request of the pass-through that may change something, before its response is sent."""

from typing import Any

from gateway.domain.access import Principal
from tests.component.api.native.test_streams import request
from tests.component.api.native.test_websockets import CLOSE, opened


def audited(gateway: Any) -> list[tuple[Any, ...]]:
    found = [fields for _, name, fields in gateway.logger.events if name == "audit"]
    return [(event["action"], event["outcome"], event["status"], event["changes"]["path"]) for event in found]


async def test_requests_that_change_something_are_recorded_with_the_providers_status(
    gateway: Any, provider: Any
) -> None:
    inbound = None
    for method, status in (("POST", "201 Created"), ("DELETE", "404 Not Found"), ("GET", "200 OK")):
        connection = await gateway.connect()
        connection.send(request(method, target="/native/raw/runtimes/Secret-1?key=secret"))
        inbound = inbound or await provider.accept()
        await inbound.head()
        inbound.answer(status=status)
        await connection.answer()
    path = "/runtimes/*"
    assert audited(gateway) == [("native", "ok", 201, path), ("native", "failed", 404, path)]
    event = await gateway.logger.one("audit")
    assert (event["provider"], event["principal"], event["changes"]["method"]) == ("raw", "shop", "POST")
    assert "ecret" not in str(event)


async def test_a_streamed_response_is_recorded_once_before_its_head_is_sent(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST"))
    inbound = await provider.accept()
    await inbound.head()
    inbound.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await connection.reader.readuntil(b"\r\n\r\n")
    assert audited(gateway) == [("native", "ok", 200, "/a")]
    inbound.send(b"0\r\n\r\n")
    assert await connection.reader.readexactly(5) == b"0\r\n\r\n"
    await gateway.logger.one("request")
    assert len(audited(gateway)) == 1


async def test_a_request_whose_caller_leaves_has_an_unknown_outcome(gateway: Any, provider: Any) -> None:
    connection = await gateway.connect()
    connection.send(request("POST"))
    inbound = await provider.accept()
    await inbound.head()
    connection.reset()
    await gateway.logger.one("request")
    ((action, outcome, _, _),) = audited(gateway)
    assert (action, outcome) == ("native", "unknown")


async def test_a_websocket_is_recorded_when_it_is_opened_and_when_it_is_closed(gateway: Any, provider: Any) -> None:
    connection, inbound, _ = await opened(gateway, provider)
    assert audited(gateway) == [("connection.opened", "ok", 101, "/ws")]
    connection.send(CLOSE)
    inbound.send(CLOSE)
    inbound.writer.close()
    await connection.reader.read()
    await gateway.logger.one("request")
    assert audited(gateway)[1:] == [("connection.closed", "ok", 101, "/ws")]


async def test_a_path_that_the_rules_do_not_allow_is_a_refusal(serve: Any, provider: Any) -> None:
    gateway = await serve(
        native=[provider.settings(native={"allow": ["GET /a"]})], others={"own-key": Principal("own", own_only=True)}
    )
    for method in ("GET", "POST"):
        assert (await gateway.call(method, "/native/raw/b")).status == 403
    (event,) = [fields for _, name, fields in gateway.logger.events if name == "audit"]
    assert (event["action"], event["outcome"], event["code"]) == ("native", "refused", "permission_denied")
