"""A worker of ``serve --workers N``: one of several processes at the same addresses, which a supervisor has started."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, Self

import msgspec

from gateway.domain.errors import Overloaded
from gateway.telemetry.merged_metrics import snapshot
from gateway.telemetry.metrics import Metrics

READY: Final = "ready"
STOP: Final = "stop"
HURRY: Final = "hurry"
RELOAD: Final = "reload"
COLLECT: Final = "collect"
"""From the supervisor: send a snapshot of the metrics. From a worker, with its own snapshot: send those of the
others."""
SNAPSHOTS: Final = "snapshots"

_ANSWERS_WITHIN: Final = 3.0


class Place(msgspec.Struct, frozen=True):
    """Which worker a process is. ``channel`` is the file descriptor that leads to the supervisor. ``settings`` are the
    addresses that the supervisor has reserved, by dotted path."""

    number: int
    channel: int
    settings: dict[str, str]


class Message(NamedTuple):
    name: str
    parts: Sequence[bytes] = ()


class Channel:
    """Messages between the supervisor and one worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Take over one end of a pair of sockets."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, name: str, *parts: bytes) -> None:
        """Send a message, unless the other side has ended."""
        content = msgspec.msgpack.encode(Message(name, parts))
        if not self._writer.is_closing():
            self._writer.write(len(content).to_bytes(4, "big") + content)

    async def messages(self) -> AsyncIterator[Message]:
        """The messages of the other side, until it has ended."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                yield msgspec.msgpack.decode(await self._reader.readexactly(size), type=Message)

    def close(self) -> None:
        self._writer.close()


class Link:
    """A worker's side of its channel. ``snapshot`` returns its own metrics."""

    def __init__(self, channel: Channel, snapshot: Callable[[], bytes]) -> None:
        self._channel = channel
        self._snapshot = snapshot
        self._asked: deque[asyncio.Future[Sequence[bytes]]] = deque()

    def ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        self._channel.send(READY)

    async def run(
        self, *, stop: Callable[[], object], hurry: Callable[[], object], reload: Callable[[], object]
    ) -> None:
        """Do what the supervisor says. When it has ended, the worker stops too: nothing would replace it."""
        reactions = {STOP: stop, HURRY: hurry, RELOAD: reload}
        try:
            async for name, parts in self._channel.messages():
                if name == COLLECT:
                    self._channel.send(SNAPSHOTS, self._snapshot())
                elif name == SNAPSHOTS:
                    self._asked.popleft().set_result(parts)
                else:
                    reactions[name]()
        finally:
            stop()
            self._channel.close()

    async def snapshots(self) -> Sequence[bytes]:
        """The metrics of all workers. Raises :class:`Overloaded` if the supervisor does not answer: without those of
        the others the sums would be wrong."""
        answer, own = asyncio.get_running_loop().create_future(), self._snapshot()
        self._asked.append(answer)
        self._channel.send(COLLECT, own)
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                return [own, *await asyncio.shield(answer)]
        except TimeoutError:
            raise Overloaded("The metrics of the other workers cannot be read.", retry_after=1) from None


async def joined(place: Place, metrics: Metrics) -> Link:
    """Take the place of a worker: from now on its ``metrics`` are those of all."""
    link = Link(await Channel.over(socket.socket(fileno=place.channel)), partial(snapshot, metrics.registry))
    metrics.snapshots = link.snapshots
    return link
