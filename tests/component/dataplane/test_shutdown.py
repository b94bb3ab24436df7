"""A shutdown with connections through the data plane."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway.http import tunnel
from tests.component.api.native.conftest import RawProvider
from tests.component.dataplane.conftest import leading_to
from tests.component.dataplane.raw import RawPlane, closing, frame, read_frame

KEY = b"\x01\x02\x03\x04"
AGAIN = (0x88, (1012).to_bytes(2, "big") + b"the gateway is shutting down")


async def test_websockets_end_with_1012_while_requests_have_time_to_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides can still confirm, and the rest of a body that is being sent still arrives."""
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 60.0)
    async for server in RawProvider().serve():
        async with AsyncExitStack() as stack:
            url = f"http://127.0.0.1:{server.port}"
            gateway, runtime_id = await stack.enter_async_context(leading_to(monkeypatch, url))
            plane = RawPlane(gateway, server, runtime_id)
            address = await plane.connect()
            client, far = await plane.opened(address)
            upload = await plane.asked(address, "Content-Length: 10\r\n", method="POST", path="/upload")
            upload.send(b"first")
            receiver = await server.accept()
            await receiver.head()
            assert await receiver.reader.readexactly(5) == b"first"
            far.send(frame(0x01, b"fragment"))
            assert (await read_frame(client.reader))[1] == b"fragment"
            ending = asyncio.create_task(stack.aclose())
            for side in (client, far):
                assert (await read_frame(side.reader))[:2] == AGAIN
            upload.send(b" last")
            assert await receiver.reader.readexactly(5) == b" last"
            receiver.answer(b"received")
            assert (await upload.answer()).body == b"received"
            assert not ending.done()
            client.send(frame(0x82, b"late", key=KEY) + closing(1012, key=KEY))
            far.send(closing(1012))
            await ending
            assert await client.closed()
            plane.abort()
