"""A tunnel whose provider does not read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock

import pytest

from gateway.http import tunnel


async def silent() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_a_tunnel_whose_caller_is_gone_does_not_wait_for_a_provider_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 0.0)
    request, stuck = MagicMock(), asyncio.Event()

    async def to_provider(_data: bytes) -> None:
        stuck.set()
        await asyncio.Event().wait()

    made = tunnel.Tunnel(request, MagicMock(), silent(), to_provider, tunnel.Watch())
    running = asyncio.create_task(made.run(lambda: tunnel.Watch().shutdown))
    inlet: Any = request.protocol.set_parser.call_args[0][0]
    inlet.feed_data(b"\x82\x01x")
    await stuck.wait()
    assert not running.done()
    inlet.feed_eof()
    await running
