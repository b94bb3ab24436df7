"""The part of the transport contract about connection reuse: a response belongs to its own request."""

import asyncio
from contextlib import suppress
from itertools import product

from gateway.ports.transport import TransportFailure
from tests.contract.transport.subject import TransportSubject, call
from tests.scripted_server import Reply, Then, chunked, reply


class ConnectionReuseContract(TransportSubject):
    """When a connection may serve another request, and when it must not."""

    async def test_a_connection_is_reused(self) -> None:
        empty = reply(b"", status=204)
        async with self.scripted(reply({}), empty, reply({}), chunked(b"{}")) as (server, transport):
            for method in ("GET", "DELETE", "POST", "GET", "GET"):
                await transport.send(self.request(method), call())
        assert server.connections == 1

    async def test_stray_bytes_on_an_idle_connection_close_it(self) -> None:
        """Stray bytes are never part of a response, whether or not they were read before the next request is sent."""
        whole = reply({"of": "another"}).raw
        for stray in (whole, reply({"slow": True}, status=408).raw, whole[:20], b"H", b"no HTTP\r\n\r\n", b"\r\n"):
            for turns in (0, 5):
                async with self.scripted(reply({"of": 1}), reply({"of": 2})) as (server, transport):
                    await transport.send(self.request(), call())
                    server.send(0, stray)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    assert (await transport.send(self.request(), call())).body == b'{"of": 2}'
                assert server.connections == 2

    async def test_a_duplicate_response_in_one_segment_is_discarded(self) -> None:
        async with self.scripted(reply({"of": 1}).doubled(), reply({"of": 2})) as (server, transport):
            assert (await transport.send(self.request(), call())).body == b'{"of": 1}'
            assert (await transport.send(self.request(), call())).body == b'{"of": 2}'
        assert server.connections == 2

    async def test_an_interleaved_response_reaches_no_other_request(self) -> None:
        """Whatever becomes of the call itself, its connection is closed, and the next call has its own response."""
        for own, other in product((reply({"of": 1}), chunked(b'{"of": 1}')), (reply({"of": 2}), chunked(b'{"of": 2}'))):
            for at in (1, len(b"HTTP/1.1 20"), own.raw.index(b"\r\n") + 2, own.raw.index(b'"of"'), None):
                async with self.scripted(own.interleaved(other, at), reply({"of": 3})) as (server, transport):
                    with suppress(TransportFailure):
                        body = (await transport.send(self.request("POST", body=b"{}"), call())).body
                        assert body != b'{"of": 2}'
                    assert (await transport.send(self.request(), call())).body == b'{"of": 3}'
                assert server.connections == 2, (own, at)

    async def test_trailers_of_a_response_are_not_headers_of_the_next_one(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        first = Reply(head + b"X-Trailer: 1\r\nX-Request-ID: of-the-first\r\n\r\n")
        async with self.scripted(first, reply({})) as (server, transport):
            assert "x-trailer" not in (await transport.send(self.request(), call())).headers
            response = await transport.send(self.request(), call())
            assert not {"x-trailer", "x-request-id"} & {name.lower() for name in response.headers}
        assert server.connections == 1

    async def test_an_idle_connection_that_the_server_closed_is_not_reused(self) -> None:
        async with self.scripted(Reply(reply({}).raw, Then.CLOSE)) as (server, transport):
            await transport.send(self.request(), call())
            await server.until_ended(0)
            assert (await transport.send(self.request("POST", body=b"{}"), call())).status == 200
        assert [received.connection for received in server.received] == [0, 1]

    async def test_a_connection_is_reused_only_by_the_same_caller_right_after_a_response(self) -> None:
        """A duplicate response that arrives during the next request reaches no other caller."""
        async with self.scripted() as (server, transport):
            for caller in ("one", "two", "one", "two", ""):
                await transport.send(self.request(), call(caller=caller))
        assert [received.connection for received in server.received] == [0, 1, 0, 1, 2]
