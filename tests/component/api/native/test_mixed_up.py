"""Responses of a provider that are stray, doubled or interleaved: below ``/native`` none reaches another request.

Early and cut ones are in ``test_streams.py``, odd ones in ``tests/component/test_odd_statuses.py``.
"""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from gateway.ports.provider_settings import ProviderSettings
from tests.component.api.native.conftest import TOKEN
from tests.scripted_server import Reply, ScriptedServer, chunked, reply


def _scripted(server: ScriptedServer) -> ProviderSettings:
    """The settings of a provider ``raw`` at a scripted server."""
    values = {"name": "raw", "api": "durable", "base_url": server.url, "token": TOKEN, "native": {"allow": ["* /**"]}}
    return ProviderSettings.model_validate(values)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("own", [reply({"of": "a"}), chunked(b'{"of": "a"}')])
async def test_a_doubled_response_reaches_no_other_request(serve: Any, own: Reply, method: str) -> None:
    async with ScriptedServer([own.doubled(), reply({"of": "b"})]) as server:
        gateway = await serve(native=[_scripted(server)])
        body = b"{}" if method == "POST" else None
        assert (await gateway.call(method, "/native/raw/a", body)).json == {"of": "a"}
        assert (await gateway.call(method, "/native/raw/b", body)).json == {"of": "b"}
        assert [received.connection for received in server.received] == [0, 1]


@pytest.mark.parametrize("at", [1, 11, len(b"HTTP/1.1 200 Scripted\r\n"), None])
@pytest.mark.parametrize("own", [reply({"of": "a"}), chunked(b'{"of": "a"}')])
async def test_an_interleaved_response_reaches_no_other_request(serve: Any, own: Reply, at: int | None) -> None:
    """What becomes of the request itself depends on where the other response begins; it may be half delivered."""
    async with ScriptedServer([own.interleaved(reply({"of": "b"}), at), reply({"of": "c"})]) as server:
        gateway = await serve(native=[_scripted(server)])
        with suppress(asyncio.IncompleteReadError):
            assert (await gateway.call("GET", "/native/raw/a")).body != b'{"of": "b"}'
        assert (await gateway.call("GET", "/native/raw/c")).json == {"of": "c"}
        assert [received.connection for received in server.received] == [0, 1]


@pytest.mark.parametrize("stray", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b"HTTP/1.1 40", b"\r\n"])
async def test_a_connection_with_stray_bytes_is_not_reused(gateway: Any, provider: Any, stray: bytes) -> None:
    call = asyncio.create_task(gateway.call("GET", "/native/raw/a"))
    first = await provider.accept()
    await first.head()
    first.answer()
    await call
    first.send(stray)
    call = asyncio.create_task(gateway.call("GET", "/native/raw/b"))
    second = await provider.accept()
    assert (await second.head())[0] == "GET /base/v1/b HTTP/1.1"
    second.answer(b'{"of": "b"}')
    assert (await call).json == {"of": "b"}
    assert await first.gone()
