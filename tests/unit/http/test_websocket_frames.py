"""Frames are followed by their heads, in pieces of any size."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.websocket_frames import FrameFollower, PongFilter, close_frame


def frame(opcode: int, size: int, *, masked: bool) -> bytes:
    flag = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, flag | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, flag | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, flag | 127)) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + b"\x88" * size


SIZES = st.one_of(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]), st.integers(0, 300))
FRAMES = st.lists(st.builds(frame, st.sampled_from([0, 1, 2, 9, 10]), SIZES, masked=st.booleans()), min_size=1)


@given(FRAMES, st.data())
def test_the_follower_is_between_frames_exactly_at_their_ends(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    ends = {0}
    for one in frames:
        ends.add(max(ends) + len(one))
    cuts = sorted([*data.draw(st.lists(st.integers(0, len(stream)), max_size=20)), len(stream)])
    follower, position = FrameFollower(), 0
    for cut in cuts:
        follower.follow(stream[position:cut])
        position = cut
        assert follower.between is (position in ends)
    assert not follower.closed


@given(FRAMES, st.integers(1, 200))
def test_following_one_frame_stops_at_its_end(frames: list[bytes], begun: int) -> None:
    stream, first = b"".join(frames), len(frames[0])
    begun = min(begun, first - 1)
    follower = FrameFollower()
    follower.follow(stream[:begun])
    assert begun + follower.follow_frame(stream[begun:]) == first
    assert follower.between


@pytest.mark.parametrize("masked", [False, True])
def test_a_close_frame_is_noticed_when_it_is_complete(*, masked: bool) -> None:
    follower = FrameFollower()
    stream = frame(1, 5, masked=masked) + frame(8, 2, masked=masked)
    follower.follow(stream[:-1])
    assert not follower.closed
    follower.follow(stream[-1:])
    assert follower.closed


def test_a_length_that_no_payload_has_is_never_complete() -> None:
    follower = FrameFollower()
    follower.follow(b"\x82\x7f" + b"\xff" * 8 + b"x" * 100)
    assert not follower.between


@pytest.mark.parametrize("mask", [False, True])
def test_a_close_frame_has_its_code_and_its_reason_cut_to_what_fits(*, mask: bool) -> None:
    made = close_frame(4408, "idle" * 40, mask=mask)
    assert made[:2] == bytes((0x88, (0x80 if mask else 0) | 125))
    key, payload = (made[2:6], made[6:]) if mask else (bytes(4), made[2:])
    shown = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    assert (int.from_bytes(shown[:2], "big"), shown[2:]) == (4408, (b"idle" * 40)[:123])
    follower = FrameFollower()
    follower.follow(made)
    assert (follower.closed, follower.between) == (True, True)


def masked(opcode: int, payload: bytes, key: bytes = b"abcd") -> bytes:
    """A frame of a client."""
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + key + body


@given(
    pings=st.integers(1, 4),
    answered=st.data(),
    between=st.lists(
        st.lists(st.tuples(st.sampled_from([1, 2, 9, 10]), st.binary(max_size=20)), max_size=4), min_size=5, max_size=5
    ),
    cuts=st.lists(st.integers(0, 600), max_size=8),
)
def test_own_pongs_are_removed_and_all_other_frames_pass_unchanged(
    pings: int, answered: st.DataObject, between: list[list[tuple[int, bytes]]], cuts: list[int]
) -> None:
    """Also pongs that are late, and those of a client that answers only the latest of several pings."""
    filtered = PongFilter(FrameFollower())
    sent = [filtered.ping() for _ in range(pings)]
    seen = [ping for ping in sent[:-1] if answered.draw(st.booleans())] + sent[-1:]
    others = [b"".join(masked(*frame) for frame in frames) for frames in between]
    pongs = [masked(10, ping[2:]) for ping in seen]
    data = b"".join(itertools.chain.from_iterable(itertools.zip_longest(others, pongs, fillvalue=b"")))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    passed = b"".join(filtered.passed(data[start:end]) for start, end in itertools.pairwise(places))
    assert passed == b"".join(others)
    assert not filtered.waits


def test_pong_that_answers_no_ping_of_the_gateway_passes() -> None:
    filtered = PongFilter(FrameFollower())
    ping = filtered.ping()
    for payload in (b"x" * 12, ping[2:-4] + b"\0\0\0\2", ping[2:-4] + bytes(4), PongFilter(FrameFollower()).ping()[2:]):
        assert filtered.passed(masked(10, payload)) == masked(10, payload)
        assert filtered.waits
    assert filtered.passed(masked(10, ping[2:])) == b""


@pytest.mark.parametrize("payload", [b"", b"x" * 300])
def test_message_ends_with_its_final_frame_whatever_control_frames_come_between(payload: bytes) -> None:
    follower = FrameFollower()
    size = bytes((len(payload),)) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    for first, expected in ((0x01, True), (0x89, True), (0x00, True), (0x8A, True), (0x80, False), (0x82, False)):
        control = first & 0x0F > 7
        follower.follow(bytes((first,)) + (b"\0" if control else size + payload))
        assert (follower.between, follower.in_message) == (True, expected)
