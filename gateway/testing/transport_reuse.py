"""The part of the transport contract about connections that are used again: an answer belongs to its request."""

import asyncio

from gateway.testing.scripted_server import Reply, Then, chunked, reply
from gateway.testing.transport_subject import TransportSubject, call


class ConnectionReuseContract(TransportSubject):
    """When a connection serves another request, and when it must not."""

    async def test_a_connection_is_used_again(self) -> None:
        empty = reply(b"", status=204)
        async with self.scripted(reply({}), empty, reply({}), chunked(b"{}")) as (server, transport):
            for method in ("GET", "DELETE", "POST", "GET", "GET"):
                await transport.send(self.request(method), call())
        assert server.connections == 1

    async def test_bytes_on_an_idle_connection_are_never_part_of_an_answer(self) -> None:
        """Whether the event loop has read them before the next request is sent or not."""
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

    async def test_an_answer_that_comes_twice_at_once_is_given_once(self) -> None:
        twice = reply({"of": 1})
        async with self.scripted(Reply(twice.raw * 2), reply({"of": 2})) as (server, transport):
            assert (await transport.send(self.request(), call())).body == b'{"of": 1}'
            assert (await transport.send(self.request(), call())).body == b'{"of": 2}'
        assert server.connections == 2

    async def test_an_idle_connection_that_the_server_has_ended_is_not_used(self) -> None:
        async with self.scripted(Reply(reply({}).raw, Then.CLOSE)) as (server, transport):
            await transport.send(self.request(), call())
            await server.until_ended(0)
            assert (await transport.send(self.request("POST", body=b"{}"), call())).status == 200
        assert [heard.connection for heard in server.heard] == [0, 1]

    async def test_a_connection_is_not_shared_by_callers_right_after_an_answer(self) -> None:
        """An answer that comes twice, the second time together with the next request, reaches no other caller."""
        async with self.scripted() as (server, transport):
            for caller in ("one", "two", "one", "two", ""):
                await transport.send(self.request(), call(caller=caller))
        assert [heard.connection for heard in server.heard] == [0, 1, 0, 1, 2]
