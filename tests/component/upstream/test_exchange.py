"""The exchange of the pass-through at the end of its deadline, on real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict

from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import TransportFailure
from gateway.upstream.exchange import Exchange, NativeRequest
from gateway.upstream.http1.origin import Origin
from tests.component.upstream.late_responses import deadlines_end_with, pass_deadlines
from tests.scripted_server import HANG, Reply, ScriptedServer, Then, chunked, reply

WHOLE = chunked(b'{"a":', b" 1}").raw
LAST_CHUNK = WHOLE.index(b"3\r\n 1}")


class _PassThrough:
    """What an exchange needs to be sent to ``server``."""

    def __init__(self, server: ScriptedServer) -> None:
        settings = {"name": "p", "api": "test", "base_url": server.url, "token": "t"}
        self.origin = Origin(ProviderSettings.model_validate(settings), limit=1)
        self.outcomes: list[str] = []
        self.request = NativeRequest("GET", "/things", CIMultiDict())

    def exchange(self) -> Exchange:
        def finished(_: Exchange, outcome: str) -> None:
            self.outcomes.append(outcome)

        return Exchange(finished, self.origin.deadlines, caller="", until_response=30, between=30)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def passing(server: ScriptedServer) -> AsyncIterator[_PassThrough]:
    passing = _PassThrough(server)
    yield passing
    await passing.origin.pool.close()


@pytest.mark.parametrize("answer", [reply({"a": 1}), chunked(b'{"a":', b" 1}")])
async def test_a_response_that_is_complete_when_the_deadline_ends_is_returned(
    server: ScriptedServer, passing: _PassThrough, answer: Reply
) -> None:
    server.script.append(answer)
    with deadlines_end_with(lambda _: True) as late:
        async with passing.exchange() as exchange:
            response = await exchange.send(passing.request, passing.origin)
            assert late == [response]
            assert b"".join([piece async for piece in response.pieces()]) == b'{"a": 1}'
    assert (passing.outcomes, passing.origin.pool.size, server.connections) == (["200"], 1, 1)


async def test_the_end_of_a_body_that_arrives_when_the_deadline_ends_is_read(
    server: ScriptedServer, passing: _PassThrough
) -> None:
    server.script.append(Reply(WHOLE[:LAST_CHUNK], Then.HANG))
    with deadlines_end_with(lambda _: True) as late:
        async with passing.exchange() as exchange:
            response = await exchange.send(passing.request, passing.origin)
            pieces = response.pieces()
            assert await anext(pieces) == b'{"a":'
            server.send(0, WHOLE[LAST_CHUNK:])
            assert b"".join([piece async for piece in pieces]) == b" 1}"
    assert (len(late), passing.outcomes) == (1, ["200"])


async def test_a_deadline_that_ends_before_anything_arrives_is_a_timeout(
    server: ScriptedServer, passing: _PassThrough
) -> None:
    async def send() -> None:
        async with passing.exchange() as exchange:
            await exchange.send(passing.request, passing.origin)

    server.script.append(HANG)
    sending = asyncio.create_task(send())
    await server.until_received(1)
    pass_deadlines(passing.origin.deadlines)
    with pytest.raises(TransportFailure) as raised:
        await sending
    assert (raised.value.reason, passing.outcomes) == ("timeout", ["timeout"])
