"""The frames of a WebSocket (RFC 6455, 5.2), as far as a tunnel has to know them."""

import os
from dataclasses import dataclass
from typing import Final

GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012

_FINAL: Final = 0x80
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10
_OPCODE: Final = 0x0F
_PING_BYTES: Final = 12
_SERIES_BYTES: Final = 8
_LONGEST_HEAD: Final = 14
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_MASKED: Final = 0x80
_MOST_REASON_BYTES: Final = 123


@dataclass(slots=True, eq=False, repr=False)
class FrameFollower:
    """Follows the frames of one direction by their heads. Payloads are skipped, neither read nor copied.

    ``closed``: a close frame has passed, after which nothing may follow. ``in_message``: a message has begun, and its
    last frame has not.
    """

    closed: bool = False
    in_message: bool = False
    _head: bytes = b""  # of a frame whose head is incomplete
    _left: int = 0  # bytes of the payload
    _is_close: bool = False

    @property
    def between(self) -> bool:
        """Whether the last frame is complete and no other one has begun."""
        return not self._left and not self._head

    def follow(self, data: bytes) -> None:
        position, size = 0, len(data)
        while position < size:
            position = self.follow_frame(data, position)

    def follow_frame(self, data: bytes, start: int = 0) -> int:
        """Advance to the end of the current frame, or to the end of ``data``. Returns the position."""
        if not self._left:
            known = len(self._head)
            head = self._head + data[start : start + _LONGEST_HEAD - known]
            size = _head_size(head)
            if len(head) < size:
                self._head = head
                return len(data)
            start += size - known
            self._head = b""
            self._left = _payload_size(head)
            opcode = head[0] & _OPCODE
            self._is_close = opcode == _CLOSE
            if opcode < _CLOSE:  # control frames may come between the frames of a message
                self.in_message = head[0] < _FINAL
        passed = min(self._left, len(data) - start)
        self._left -= passed
        self.closed = self.closed or (self._is_close and not self._left)
        return start + passed


def _head_size(head: bytes) -> int:
    """The size of a head; too much for ``head`` itself while that does not show it."""
    if len(head) < 2:
        return 2
    return 2 + _LENGTH_BYTES.get(head[1] & 0x7F, 0) + (4 if head[1] & _MASKED else 0)


def _payload_size(head: bytes) -> int:
    length = head[1] & 0x7F
    extended = _LENGTH_BYTES.get(length, 0)
    return int.from_bytes(head[2 : 2 + extended], "big") if extended else length


def close_frame(code: int, reason: str, *, mask: bool) -> bytes:
    """A close frame. A client masks its frames. A longer ASCII ``reason`` is cut to 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()[:_MOST_REASON_BYTES]
    first = bytes((_FINAL | _CLOSE,))
    if not mask:
        return first + bytes((len(payload),)) + payload
    key = os.urandom(4)
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return first + bytes((_MASKED | len(payload),)) + key + masked


class PongFilter:
    """Removes from a client's frames the pongs for the gateway's own pings, which the client was sent in between.

    The payload of a ping is a random text of this connection and a number, so that its pong can be distinguished from
    others. A client may answer only the latest of several pings (RFC 6455, 5.5.3).
    """

    def __init__(self, frames: FrameFollower) -> None:
        self._frames = frames
        self._series = os.urandom(_SERIES_BYTES)
        self._sent = self._answered = 0  # the numbers of the latest ping, and of the latest one that was answered
        self._held: bytearray | None = None  # the beginning of a frame that may be the pong

    @property
    def holds(self) -> bool:
        """Whether a frame has begun that may be a pong, of which nothing was passed on."""
        return bool(self._held)

    @property
    def waits(self) -> bool:
        """Whether a pong is missing, so that all bytes have to be filtered."""
        return self._answered < self._sent or self.holds

    def ping(self) -> bytes:
        self._sent += 1
        number = self._sent.to_bytes(_PING_BYTES - _SERIES_BYTES, "big")
        return bytes((_FINAL | _PING, _PING_BYTES)) + self._series + number

    def passed(self, data: bytes) -> bytes:
        """Follow ``data``, and return it without the pong. What may be the pong is held until it is complete."""
        out, position = bytearray(), 0
        while position < len(data):
            start = position
            if self._frames.between and self._held is None:
                self._held = bytearray()
            position = self._frames.follow_frame(data, position)
            if self._held is None:
                out += data[start:position]
                continue
            self._held += data[start:position]
            if self._is_ours():
                self._held = None
            elif not self._may_be_ours():
                out += self._held
                self._held = None
        return bytes(out)

    def _may_be_ours(self) -> bool:
        held = self._held or b""
        if len(held) < 2:
            return True
        head = (_FINAL | _PONG, _MASKED | _PING_BYTES)
        return tuple(held[:2]) == head and not self._frames.between

    def _is_ours(self) -> bool:
        held = self._held or b""
        if len(held) != 6 + _PING_BYTES or not self._frames.between or held[0] != _FINAL | _PONG:
            return False
        key = held[2:6]
        payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(held[6:]))
        number = int.from_bytes(payload[_SERIES_BYTES:], "big")
        if payload[:_SERIES_BYTES] != self._series or not self._answered < number <= self._sent:
            return False
        self._answered = number
        return True
