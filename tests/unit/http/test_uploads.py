"""How long the pass-through waits for a body that arrives slowly."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.domain.errors import RequestTimeout
from gateway.http.uploads import SLOWEST, StreamedUpload


class Dripping:
    """A body whose chunks of ``size`` bytes arrive ``seconds`` apart. It is a clock, too."""

    def __init__(self, chunks: int, size: int, seconds: float) -> None:
        self.left = chunks
        self.size = size
        self.seconds = seconds
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def readany(self) -> bytes:
        if not self.left:
            return b""
        self.left -= 1
        self.time += self.seconds
        return b"x" * self.size


class Exchange:
    """Counts what was reported to it."""

    stopped = False
    chunks = 0

    def moved(self) -> None:
        self.chunks += 1

    def stop(self) -> None:
        self.stopped = True


def uploaded(body: Dripping, exchange: Exchange) -> tuple[StreamedUpload, AsyncIterator[bytes]]:
    request: Any = SimpleNamespace(
        content=body, body_exists=True, content_length=None, version=None, transport=object()
    )
    upload = StreamedUpload(request, 1 << 26, 30, body.now)
    return upload, upload.chunks(exchange)  # type: ignore[arg-type]


async def test_a_body_of_one_byte_per_second_ends_after_the_body_timeout() -> None:
    body, exchange = Dripping(1_000_000, 1, 1.0), Exchange()
    upload, chunks = uploaded(body, exchange)
    with pytest.raises(RequestTimeout):
        async for _ in chunks:
            pass
    assert body.time == 31
    assert exchange.stopped
    assert isinstance(upload.error, RequestTimeout)


async def test_a_body_of_the_slowest_rate_arrives_completely() -> None:
    body, exchange = Dripping(1000, SLOWEST, 1.0), Exchange()
    upload, chunks = uploaded(body, exchange)
    assert sum([len(chunk) async for chunk in chunks]) == 1000 * SLOWEST
    assert not exchange.stopped
    assert upload.error is None


async def test_waiting_for_the_provider_does_not_count() -> None:
    body, exchange = Dripping(100, 1, 0.0), Exchange()
    _, chunks = uploaded(body, exchange)
    async for _ in chunks:
        body.time += 1000  # the provider reads slowly
    assert exchange.chunks == 100
