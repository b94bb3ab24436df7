"""The contract of transports: the promises of :class:`gateway.ports.transport.Transport`, as tests.

Subclass :class:`TransportContract` in a test module, implement ``make_transport``, and run it with pytest and
pytest-asyncio in its auto mode. A wrapper of a transport must pass the same suite.
"""

import asyncio
import os
from typing import Final
from unittest.mock import patch

import pytest

from gateway.domain.errors import StateConflict
from gateway.domain.values import Operation
from gateway.ports.transport import Attempt, Phase, UpstreamRequest
from tests.contract.transport.reuse import ConnectionReuseContract
from tests.contract.transport.subject import LIMIT, call, failure_of, request
from tests.scripted_server import DROP, HANG, Reply, ScriptedServer, Then, chunked, gzipped, reply
from tests.tcp_faults import Mode, TcpFaultProxy

_SOON: Final = 0.15  # seconds; the deadline of calls that must time out
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class TransportContract(ConnectionReuseContract):
    """The suite. Every test has its own server and transport."""

    async def test_a_response_of_any_status_is_returned(self) -> None:
        for status in (200, 201, 400, 404, 429, 500, 503):
            body = {"status": status}
            async with self.scripted(reply(body, status=status, headers=[("X-Some", "thing")])) as (_, transport):
                response = await transport.send(self.request(), call())
            assert (response.status, response.headers["x-some"]) == (status, "thing")
            assert response.body == b'{"status": %d}' % status

    async def test_chunked_and_compressed_bodies_are_decoded(self) -> None:
        async with self.scripted(chunked(b'{"a":', b"1}"), gzipped(b'{"a":1}')) as (_, transport):
            assert (await transport.send(self.request(), call())).body == b'{"a":1}'
            assert (await transport.send(self.request(), call())).body == b'{"a":1}'

    async def test_method_path_query_and_body_arrive_unchanged(self) -> None:
        query = [("a b", "c&d=é"), ("a b", "+"), ("empty", "")]
        for method in _METHODS:
            async with self.scripted(path="/base/path") as (server, transport):
                asked = self.request(method, "/x%2Fy/%C3%A9/../z", query=query, body=b'{"k": "\xc3\xa9"}')
                await transport.send(asked, call())
            (received,) = server.received
            assert received.method == method
            assert received.target == "/base/path/x%2Fy/%C3%A9/../z?a+b=c%26d%3D%C3%A9&a+b=%2B&empty="
            assert received.body == b'{"k": "\xc3\xa9"}'

    async def test_only_a_request_with_a_body_has_a_content_type(self) -> None:
        async with self.scripted() as (server, transport):
            await transport.send(self.request("POST", body=b"{}"), call())
            await transport.send(self.request("POST"), call())
        assert [received.headers.get("content-type") for received in server.received] == ["application/json", None]
        assert [received.headers["accept"] for received in server.received] == ["application/json"] * 2

    async def test_headers_of_the_request_and_the_call_are_sent_without_invented_ones(self) -> None:
        async with self.scripted() as (server, transport):
            on = call(request_id="r-1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            await transport.send(self.request(headers={"Authorization": "Bearer t"}), on)
            await transport.send(self.request(), call())
        first, second = (received.headers for received in server.received)
        assert (first["authorization"], first["x-request-id"], first["traceparent"]) == (
            "Bearer t",
            "r-1",
            on.traceparent,
        )
        assert not {"authorization", "x-request-id", "traceparent", "cookie"} & second.keys()

    async def test_the_check_of_a_call_precedes_requests_that_write_and_can_refuse_them(self) -> None:
        checked = list[str]()

        def refuse() -> None:
            checked.append("write")
            raise StateConflict("not now")

        on = call(before_write=refuse)
        async with self.scripted() as (server, transport):
            await transport.send(request("GET", operation=Operation.GET), on)
            with pytest.raises(StateConflict):
                await transport.send(request("POST", operation=Operation.START), on)
            await transport.send(request("POST", operation=Operation.START), call())
        assert checked == ["write"]
        assert [received.method for received in server.received] == ["GET", "POST"]
        assert max(attempt.phase for attempt in on.attempts[1:]) <= Phase.CONNECTING

    async def test_a_redirect_is_returned_and_not_followed(self) -> None:
        for status in (301, 302, 303, 307, 308):
            async with self.scripted(reply(status=status, headers=[("Location", "/elsewhere")])) as (server, transport):
                response = await transport.send(self.request("POST", body=b"{}"), call())
            assert response.status == status
            assert len(server.received) == 1

    async def test_cookies_are_not_stored(self) -> None:
        async with self.scripted(reply(headers=[("Set-Cookie", "session=1; Path=/")])) as (server, transport):
            await transport.send(self.request(), call())
            await transport.send(self.request(), call())
        assert [received.headers.get("cookie") for received in server.received] == [None, None]

    async def test_proxy_variables_of_the_environment_are_ignored(self) -> None:
        dead = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
        with patch.dict(os.environ, dead):
            async with self.scripted() as (_, transport):
                assert (await transport.send(self.request(), call())).status == 200

    async def test_a_refused_connection_fails_in_phase_connecting(self) -> None:
        async with ScriptedServer() as server, TcpFaultProxy(server.url) as proxy:
            await proxy.set_mode(Mode.REFUSE)
            async with self.transport_to(proxy.url) as transport:
                failure = await failure_of(transport, self.request("POST", body=b"{}"), call())
                assert (failure.reason, failure.phase, failure.status) == ("refused", Phase.CONNECTING, None)
                await proxy.set_mode(Mode.FORWARD)
                assert (await transport.send(self.request(), call())).status == 200

    async def test_a_disconnect_without_a_response_fails_in_phase_sent_and_is_not_retried(self) -> None:
        """Idempotent methods and reused connections are no exceptions."""
        for method in _METHODS:
            async with self.scripted(reply({}), DROP) as (server, transport):
                await transport.send(self.request(), call())
                failure = await failure_of(transport, self.request(method, body=b"{}"), call())
            assert (failure.reason, failure.phase, failure.status) == ("disconnected", Phase.SENT, None), method
            assert [received.method for received in server.received] == ["GET", method]
            assert [received.connection for received in server.received] == [0, 0]

    async def test_a_reset_connection_fails_in_phase_sent(self) -> None:
        async with ScriptedServer() as server, TcpFaultProxy(server.url) as proxy:
            await proxy.set_mode(Mode.RESET)
            async with self.transport_to(proxy.url) as transport:
                failure = await failure_of(transport, self.request("POST", body=b"{}"), call())
        assert (failure.reason, failure.phase) == ("disconnected", Phase.SENT)

    async def test_a_truncated_body_fails_as_cut_short(self) -> None:
        for cut in (reply({"a": 1}, length=1000, then=Then.CLOSE), chunked(b'{"a":', whole=False, then=Then.CLOSE)):
            async with self.scripted(cut) as (_, transport):
                failure = await failure_of(transport, self.request(), call())
                assert (failure.reason, failure.phase, failure.status) == ("cut_short", Phase.ANSWERED, 200)
                assert (await transport.send(self.request(), call())).status == 200

    async def test_a_response_that_is_not_http_fails_in_phase_sent(self) -> None:
        for garbage in (b"220 mail.test ESMTP\r\n\r\n", b"HTTP/1.1 999999\r\n\r\n", b"\x16\x03\x01\x00\x00\r\n\r\n"):
            async with self.scripted(Reply(garbage, Then.CLOSE)) as (_, transport):
                failure = await failure_of(transport, self.request(), call())
                assert failure.phase is Phase.SENT
                assert failure.reason in {"unreadable", "disconnected"}

    async def test_a_status_that_http_does_not_have_fails_and_its_connection_is_not_reused(self) -> None:
        for status in (0, 7, 99, 600, 700, 999):
            raw = b"HTTP/1.1 %03d Odd\r\nContent-Length: 2\r\n\r\n{}" % status
            async with self.scripted(Reply(raw)) as (server, transport):
                failure = await failure_of(transport, self.request("POST", body=b"{}"), call())
                assert (failure.reason, failure.phase, failure.status) == ("unreadable", Phase.SENT, None), status
                assert f"status {status} " in (failure.detail or "")
                assert (await transport.send(self.request(), call())).status == 200
            assert server.connections == 2
        for status in (200, 299, 599):
            async with self.scripted(reply({}, status=status)) as (_, transport):
                assert (await transport.send(self.request(), call())).status == status

    async def test_an_invalid_compression_fails(self) -> None:
        broken = reply(b"\x1f\x8b no gzip at all", headers=[("Content-Encoding", "gzip")])
        async with self.scripted(broken) as (_, transport):
            failure = await failure_of(transport, self.request(), call())
        assert (failure.reason, failure.phase, failure.status) == ("unreadable", Phase.ANSWERED, 200)

    async def test_a_hang_ends_at_the_deadline(self) -> None:
        async with self.scripted(HANG) as (server, transport):
            failure = await failure_of(transport, self.request("POST", body=b"{}"), call(_SOON))
        assert (failure.reason, failure.phase, failure.status) == ("timeout", Phase.SENT, None)
        assert len(server.received) == 1

    async def test_a_body_that_hangs_ends_at_the_deadline(self) -> None:
        for slow in (reply({"a": 1}, length=1000, then=Then.HANG), chunked(b"{", whole=False, then=Then.HANG)):
            async with self.scripted(slow) as (_, transport):
                failure = await failure_of(transport, self.request(), call(_SOON))
            assert (failure.reason, failure.phase, failure.status) == ("timeout", Phase.ANSWERED, 200)

    async def test_a_call_after_its_deadline_sends_nothing(self) -> None:
        async with self.scripted() as (server, transport):
            for received in (0, 1):
                failure = await failure_of(transport, self.request("POST", body=b"{}"), call(-1))
                assert failure.reason == "timeout"
                assert failure.phase <= Phase.CONNECTING
                assert len(server.received) == received
                await transport.send(self.request(), call())

    async def test_a_body_of_the_maximum_size_is_accepted_and_one_more_byte_is_not(self) -> None:
        largest = b'"' + b"x" * (LIMIT - 2) + b'"'
        more = largest + b" "
        async with self.scripted(reply(largest), chunked(largest), gzipped(largest)) as (_, transport):
            for _ in range(3):
                assert len((await transport.send(self.request(), call())).body) == LIMIT
        for answer in (reply(more), chunked(more[:9], more[9:]), gzipped(more), gzipped(b" " * 50_000_000)):
            async with self.scripted(answer) as (_, transport):
                failure = await failure_of(transport, self.request(), call())
                assert (failure.reason, failure.phase, failure.status) == ("too_large", Phase.ANSWERED, 200)
                assert (await transport.send(self.request(), call())).status == 200

    async def test_a_failure_names_its_operation_and_every_attempt_is_recorded(self) -> None:
        async with self.scripted(reply(status=404), DROP) as (_, transport):
            on = call()
            await transport.send(self.request(), on)
            failure = await failure_of(transport, UpstreamRequest(Operation.STOP, "POST", "/stop"), on)
        assert failure.operation is Operation.STOP
        assert [_fields(attempt) for attempt in on.attempts] == [
            ("under-test", self.operation, "404", Phase.ANSWERED),
            ("under-test", Operation.STOP, failure.reason, Phase.SENT),
        ]
        assert all(0 <= attempt.seconds < 30 for attempt in on.attempts)

    async def test_a_cancelled_call_is_recorded_and_does_not_affect_the_next_call(self) -> None:
        async with self.scripted(HANG) as (server, transport):
            on = call()
            task = asyncio.create_task(transport.send(self.request(), on))
            await server.until_received(1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert [_fields(attempt)[2:] for attempt in on.attempts] == [("cancelled", Phase.SENT)]
            assert (await transport.send(self.request(), call())).status == 200

    async def test_concurrent_calls_get_their_own_responses(self) -> None:
        script = [reply({}) for _ in range(20)]
        async with self.scripted(*script) as (server, transport):
            on = call()
            await asyncio.gather(*(transport.send(self.request(path=f"/{number}"), on) for number in range(20)))
        assert sorted(received.target for received in server.received) == sorted(f"/{number}" for number in range(20))
        assert len(on.attempts) == 20

    async def test_an_informational_response_is_skipped(self) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
        async with self.scripted(Reply(early)) as (_, transport):
            response = await transport.send(self.request("POST", body=b"{}"), call())
        assert (response.status, response.body) == (201, b"{}")

    async def test_a_protocol_switch_is_returned_and_its_connection_is_not_reused(self) -> None:
        switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        async with self.scripted(Reply(switch)) as (server, transport):
            assert (await transport.send(self.request(), call())).status == 101
            assert (await transport.send(self.request(), call())).status == 200
        assert server.connections == 2

    async def test_an_early_response_to_a_large_request_is_returned_and_its_connection_is_not_reused(self) -> None:
        async with self.scripted(reply({}, status=413).early(), reply({})) as (server, transport):
            response = await transport.send(self.request("POST", body=b" " * 20_000_000), call(5))
            assert (response.status, response.body) == (413, b"{}")
            assert (await transport.send(self.request("POST"), call())).status == 200
        assert [received.connection for received in server.received] == [0, 1]

    async def test_a_closed_transport_sends_nothing_and_may_be_closed_again(self) -> None:
        async with self.scripted() as (server, transport):
            await transport.send(self.request(), call())
            await transport.close()
            await transport.close()
            failure = await failure_of(transport, self.request(), call())
        assert (failure.reason, failure.phase) == ("closed", Phase.QUEUED)
        assert len(server.received) == 1


def _fields(attempt: Attempt) -> tuple[str, str, str, Phase]:
    return attempt.provider, attempt.operation, attempt.outcome, attempt.phase
