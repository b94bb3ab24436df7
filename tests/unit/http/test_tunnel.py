"""What a tunnel adds to the bytes that it forwards, and a provider that does not read."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


PING = b"\x89\x00"
LAST = b"\x88\x00"


def message(sizes: list[int]) -> list[bytes]:
    """The frames of one message, each of this size."""
    heads = [
        (0x02 if number == 0 else 0x00) | (0x80 if number == len(sizes) - 1 else 0) for number in range(len(sizes))
    ]
    return [
        bytes((first, size)) + b"\x89" * size
        if size < 126
        else bytes((first, 126)) + size.to_bytes(2, "big") + bytes(size)
        for first, size in zip(heads, sizes, strict=True)
    ]


MESSAGES = st.lists(
    st.lists(st.one_of(st.integers(0, 10), st.integers(100, 400)), min_size=1, max_size=4).map(message), max_size=8
)


@given(messages=MESSAGES, cuts=st.lists(st.integers(1, 4000), max_size=12), asked=st.sets(st.integers(0, 12)))
def test_own_frames_are_written_between_messages_only_and_all_bytes_pass_unchanged(
    messages: list[list[bytes]], cuts: list[int], asked: set[int]
) -> None:
    """``asked``: the pieces after which a ping is asked for."""
    stream = b"".join(b"".join(frames) for frames in messages)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    written = bytearray()
    moved = 0

    async def source() -> AsyncIterator[bytes]:
        for number, piece in enumerate(pieces):
            yield piece
            if number in asked:
                await direction.insert(PING)

    async def write(data: bytes) -> None:
        written.extend(data)

    def count(size: int) -> None:
        nonlocal moved
        moved += size

    direction = tunnel._Direction(source(), write, count)
    asyncio.run(direction.pump())
    rest, inserted = bytes(written), 0
    for frames in (*messages, []):
        while rest.startswith(PING):
            rest, inserted = rest.removeprefix(PING), inserted + 1
        whole = b"".join(frames)
        assert rest.startswith(whole)
        rest = rest[len(whole) :]
    assert (rest, moved) == (b"", len(stream))
    assert min(1, len(asked & set(range(len(pieces))))) <= inserted <= len(asked)


async def test_last_frame_waits_for_the_frame_in_progress_and_not_for_its_message() -> None:
    written = bytearray()

    async def write(data: bytes) -> None:
        written.extend(data)

    first, second = message([5, 5])
    direction = tunnel._Direction(silent(), write, lambda _size: None)
    await direction._forward(first[:3])
    await direction.insert(PING)
    await direction.end(LAST)
    assert bytes(written) == first[:3]
    await direction._forward(first[3:] + second)
    assert bytes(written) == first + LAST
    assert direction.ended


async def test_end_does_not_wait_for_a_frame_of_which_nothing_was_passed_on() -> None:
    """The beginning of a pong is held back until it is known whose it is."""
    written = bytearray()

    async def write(data: bytes) -> None:
        written.extend(data)

    direction = tunnel._Direction(silent(), write, lambda _size: None)
    direction.pongs.ping()
    await direction._forward(b"\x8a\x8cmask")
    await direction.end(LAST)
    assert bytes(written) == LAST


async def test_many_small_frames_in_one_piece_while_a_ping_waits_are_forwarded() -> None:
    written = bytearray()

    async def write(data: bytes) -> None:
        written.extend(data)

    direction = tunnel._Direction(silent(), write, lambda _size: None)
    begun, piece = b"\x01\x01a", b"\x00\x00" * 30_000
    await direction._forward(begun)
    await direction.insert(PING)
    await direction._forward(piece + b"\x80\x00")
    assert bytes(written) == begun + piece + b"\x80\x00" + PING
