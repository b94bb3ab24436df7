"""What passes a WebSocket through the data plane, byte by byte."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.http import tunnel
from tests.component.api.conftest import FLOOD, Connection, flood, reset, stop_reading
from tests.component.api.native.conftest import Inbound
from tests.component.dataplane.raw import RawPlane, closing, frame, raw_plane, read_frame

KEY = b"\x01\x02\x03\x04"
FRAMES = int(os.environ.get("TUNNEL_FRAMES", "400"))
"""Random frames per direction. 10,000 take about five seconds."""


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawPlane]:
    """A tunnel that ends waits as long as necessary for its two sides."""
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 60.0)
    async with raw_plane(monkeypatch) as plane:
        yield plane


def messages(chance: random.Random, count: int, *, masked: bool) -> Iterator[bytes]:
    """Frames of messages, some of them fragmented, with control frames in between."""
    number = 0
    while number < count:
        last = chance.choice([0, 0, 0, 1, 3])
        for part in range(last + 1):
            if chance.random() < 0.1:
                yield frame(
                    chance.choice([0x89, 0x8A]), chance.randbytes(chance.randrange(126)), key=key_of(chance, masked)
                )
            first = (
                (chance.choice([1, 2]) if part == 0 else 0) | (0x80 if part == last else 0) | chance.choice([0, 0x40])
            )
            size = chance.choice([0, 1, 5, 125, 126, 127, 1000, chance.randrange(70_000)])
            yield frame(first, chance.randbytes(size), key=key_of(chance, masked))
            number += 1


def key_of(chance: random.Random, masked: bool) -> bytes | None:
    return chance.randbytes(4) if masked else None


async def send(writer: asyncio.StreamWriter, stream: bytes, chance: random.Random) -> None:
    """Send a stream in pieces of any size."""
    position = 0
    while position < len(stream):
        size = chance.choice([1, 2, 7, 300, 5000, 100_000])
        writer.write(stream[position : position + size])
        await writer.drain()
        position += size


class Recorded(NamedTuple):
    """All bytes that each end received, up to the end of the connection, and how many pings were not the runtime's."""

    runtime: bytes
    client: bytes
    own_pings: int


async def recorded(client: Connection, far: Inbound, seed: int, *, own_pings: int) -> Recorded:
    """Send random frames both ways at once, and close when the client has them all. The client answers pings that are
    not the runtime's, leaves them out, and waits until there were ``own_pings`` of them."""
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    up, down = (list(messages(chance, FRAMES, masked=masked)) for masked in (True, False))
    up_size, down_size = sum(map(len, up)), sum(map(len, down))
    own_size, pongs, complete = frame(0x89, bytes(12))[:2], list[bytes](), asyncio.Event()
    pings = {one for one in down if one[:2] == own_size}

    async def read() -> tuple[bytes, int]:
        received, found = bytearray(), 0
        while True:
            try:
                _, payload, raw = await read_frame(client.reader)
            except asyncio.IncompleteReadError as end:
                return bytes(received + end.partial), found
            if raw[:2] == own_size and raw not in pings:
                pongs.append(frame(0x8A, payload, key=KEY))
                found += 1
            else:
                received += raw
            if len(received) >= down_size and found >= own_pings:
                complete.set()

    async def write() -> None:
        for one in up:
            await send(client.writer, one, chance)
            while pongs:
                client.send(pongs.pop(0))
        await complete.wait()
        client.send(closing(1000, "done", key=KEY))

    async def runtime() -> bytes:
        received = await far.reader.readexactly(up_size + len(closing(1000, "done", key=KEY)))
        far.send(closing(1000, "done"))
        far.writer.write_eof()
        return received + await far.rest()

    async def read_and_close() -> tuple[bytes, int]:
        received = await read()
        client.writer.close()
        return received

    sending = random.Random(seed)  # noqa: S311 (repeatable)
    to_runtime, (to_client, found), *_ = await asyncio.gather(
        runtime(), read_and_close(), write(), send(far.writer, b"".join(down), sending)
    )
    return Recorded(to_runtime, to_client, found)


async def test_random_frames_arrive_as_on_a_direct_connection_except_for_own_pings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed = int(os.environ.get("TUNNEL_SEED") or random.SystemRandom().randrange(1 << 30))
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 60.0)
    async with raw_plane(monkeypatch, ping_interval=0.005) as plane:
        direct = await recorded(*await plane.directly(), seed, own_pings=0)
        through = await recorded(*await plane.opened(), seed, own_pings=5)
    assert (direct.own_pings, through.own_pings >= 5) == (0, True)
    assert (through.runtime == direct.runtime, through.client == direct.client) == (True, True), f"seed {seed}"
    assert len(direct.client) > 100 * FRAMES


async def test_own_pings_are_added_between_messages_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers every ping, also between the frames of its own messages."""
    chance = random.Random(7)  # noqa: S311 (repeatable)
    up = list(messages(chance, 200, masked=True))
    down = list(messages(chance, 200, masked=False))
    async with raw_plane(monkeypatch, ping_interval=0.002) as plane:
        client, far = await plane.opened()
        pongs: asyncio.Queue[bytes] = asyncio.Queue()
        stop, pings = asyncio.Event(), 0

        async def read() -> None:
            nonlocal pings
            left, in_message = list(down), False
            while left or pings < 5:
                first, payload, raw = await read_frame(client.reader)
                if left and raw == left[0]:
                    del left[0]
                    in_message = first < 0x80 if first & 0x0F < 8 else in_message
                else:
                    assert (first, len(payload), in_message) == (0x89, 12, False)
                    pings += 1
                    pongs.put_nowait(frame(0x8A, payload, key=KEY))
            stop.set()

        async def write() -> None:
            for one in up:
                await send(client.writer, one, chance)
                while not pongs.empty():
                    client.send(pongs.get_nowait())
                await asyncio.sleep(0)

        expected = b"".join(up)
        tasks = [asyncio.create_task(each) for each in (read(), write(), send(far.writer, b"".join(down), chance))]
        assert await far.reader.readexactly(len(expected)) == expected
        await asyncio.gather(*tasks)
        while not pongs.empty():
            client.send(pongs.get_nowait())
        client.send(closing(1000, key=KEY))
        assert await far.reader.readexactly(8) == closing(1000, key=KEY)


async def test_answered_pings_do_not_keep_a_silent_websocket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 60.0)
    async with raw_plane(monkeypatch, ping_interval=0.01, idle_timeout=0.1) as plane:
        client, far = await plane.opened()
        pings = 0
        while (found := await read_frame(client.reader))[0] == 0x89:
            pings += 1
            client.send(frame(0x8A, found[1], key=KEY))
        assert found[1] == (4408).to_bytes(2, "big") + b"nothing was sent for too long"
        assert pings
        assert (await read_frame(far.reader))[:2] == found[:2]
        client.send(closing(4408, key=KEY))
        far.send(closing(4408))
        assert await client.closed()
        metrics = await plane.gateway.call("GET", "/metrics")
        assert 'rtgw_data_connections_ended_total{code="4408",protocol="cdp"} 1.0' in metrics.text


def probing(writer: asyncio.StreamWriter) -> list[int]:
    """How the gateway's side of a connection of the test is probed: whether, after how long, how often, how many times
    without success."""
    here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
    for path in Path("/proc/self/fd").iterdir():
        if not path.is_socket():
            continue
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(path.name))) as found:
            if (found.getsockname(), found.getpeername()) == (there, here):
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                every = [found.getsockopt(socket.IPPROTO_TCP, option) for option in options]
                return [found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *every]
    raise AssertionError("the gateway has no such connection")


async def test_system_probes_both_sides_of_a_silent_websocket(plane: RawPlane) -> None:
    """So that it ends although a side has vanished without closing."""
    client, far = await plane.opened()
    assert probing(client.writer) == probing(far.writer) == [1, 60, 15, 4]


@pytest.mark.parametrize("code", [1000, 4400, 4401, 4402, 4499])
@pytest.mark.parametrize("first", ["client", "runtime"])
async def test_close_codes_of_both_sides_pass_with_their_reasons(plane: RawPlane, code: int, first: str) -> None:
    client, far = await plane.opened()
    sides = {"client": (client, far, closing(code, "why", key=KEY)), "runtime": (far, client, closing(code, "why"))}
    other = "runtime" if first == "client" else "client"
    for source, target, sent in (sides[first], sides[other]):
        source.send(sent)
        assert await target.reader.readexactly(len(sent)) == sent
    far.writer.close()  # as a server does then
    assert await client.closed()


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_runtime_is_disconnected_at_once_when_its_client_is_gone(plane: RawPlane, way: str) -> None:
    client, far = await plane.opened()
    client.reset() if way == "reset" else client.writer.close()
    assert await far.gone()


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_client_gets_4502_at_once_when_its_runtime_is_gone(plane: RawPlane, way: str) -> None:
    client, far = await plane.opened()
    far.send(frame(0x82, b"last"))
    assert (await read_frame(client.reader))[1] == b"last"
    reset(far.writer) if way == "reset" else far.writer.close()
    assert (await read_frame(client.reader))[:2] == (
        0x88,
        (4502).to_bytes(2, "big") + b"the provider ended the connection",
    )
    client.send(closing(4502, key=KEY))
    assert await client.closed()


@pytest.mark.parametrize("slow", ["client", "runtime"])
async def test_side_that_does_not_read_slows_down_the_other(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    """The gateway buffers only a little; the rest of the bound are the buffers of the system."""
    monkeypatch.setattr(tunnel, "_CLOSING_SECONDS", 0.05)
    async with raw_plane(monkeypatch, idle_timeout=0.2, ping_interval=60) as plane:
        client, far = await plane.opened()
        source, target = (far, client) if slow == "client" else (client, far)
        stop_reading(target.writer)
        assert await flood(source.writer, frame(0x82, bytes(1 << 16))) < FLOOD / 8


async def test_revocation_ends_a_connection_whose_runtime_has_not_answered_yet(plane: RawPlane) -> None:
    client = await plane.asked(await plane.connect())
    far = await plane.far.accept()
    await far.head()
    revoked = await plane.gateway.call("DELETE", f"/v1/runtimes/{plane.runtime_id}/connections")
    assert revoked.status == 204
    answer = await client.answer()
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert await far.gone()
