"""The tunnel of the data plane, compared with a bare relay: throughput, latency, and memory of idle WebSockets."""

import asyncio
import os
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.table import Table

from benchmarks.load import Server, percentile, server
from benchmarks.servers import KEY, RUNTIME_ID

NAME: Final = "tunnel of the data plane"
_PIECE: Final = b"\x82\xff" + (1 << 16).to_bytes(8, "big") + bytes(4 + (1 << 16))
_SMALL: Final = b"\x82\xe4" + bytes(4 + 100)
_IDLE: Final = 500

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a WebSocket is opened, and the token that is sent."""

    url: str
    token: str

    async def open(self) -> Streams:
        """A WebSocket, after its handshake."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            f"GET /api/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {self.token}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(head.decode(errors="replace"))
        return reader, writer


@dataclass(frozen=True, slots=True)
class Places:
    """The same far end: directly, through the relay, and through the gateway."""

    direct: Address
    relay: Address
    ours: Address
    gateway: Server


@contextmanager
def places(folder: str) -> Iterator[Places]:
    """Start the servers."""
    with server("far", processor=1) as far:
        direct = f"http://127.0.0.1:{asyncio.run(_json(far.url + '/echo'))}"
        with (
            server("relay", direct, processor=0) as relay,
            server("data", far.url, f"{folder}/data.db", processor=0) as gateway,
        ):
            path = f"{gateway.url}/v1/runtimes/bench.{RUNTIME_ID}/connections"
            given = asyncio.run(_json(path, {"ttl": 86_400}))["items"][0]
            ours = Address(given["url"], given["token"])
            yield Places(Address(direct, "t"), Address(relay.url, "t"), ours, gateway)


async def _json(url: str, body: Any = None) -> Any:
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": KEY}) as client,
        client.request(method, url, json=body, raise_for_status=True) as response,
    ):
        return await response.json()


async def throughput(address: Address, seconds: float) -> float:
    """Bytes per second that come back while frames of 64 KiB are sent as fast as possible."""
    reader, writer = await address.open()
    end, received = time.perf_counter() + seconds, 0

    async def send() -> None:
        while True:
            writer.write(_PIECE)
            await writer.drain()

    sending = asyncio.create_task(send())
    while time.perf_counter() < end:
        received += len(await reader.read(1 << 18))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.transport.abort()
    return received / seconds


async def round_trips(address: Address, seconds: float) -> list[float]:
    """The seconds of each round trip of a message of 100 bytes."""
    reader, writer = await address.open()
    end, took = time.perf_counter() + seconds, []
    while (began := time.perf_counter()) < end:
        writer.write(_SMALL)
        await reader.readexactly(len(_SMALL))
        took.append(time.perf_counter() - began)
    writer.transport.abort()
    return took


def resident(pid: int) -> int:
    """The resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def memory_each(found: Places) -> float:
    """Bytes of the gateway per idle WebSocket, its connection to the runtime included. Some are opened before, so that
    what a first connection makes is not counted."""
    first = [await found.ours.open() for _ in range(20)]
    before = resident(found.gateway.pid)
    opened = [await found.ours.open() for _ in range(_IDLE)]
    for reader, writer in opened:  # each has been used once
        writer.write(_SMALL)
        await reader.readexactly(len(_SMALL))
    each = (resident(found.gateway.pid) - before) / _IDLE
    for _, writer in (*first, *opened):
        writer.transport.abort()
    return each


def tunnel(options: Namespace, folder: str, progress: Console) -> Table:
    """Measure, unless ``--only`` excludes it."""
    table = Table(
        "work", "relay MB/s", "gateway MB/s", "ratio", "goal", "added p50, p99 ms", "goal", "KiB idle", "goal"
    )
    if not NAME.startswith(options.only):
        return table
    speeds: list[tuple[float, float]] = []
    took: list[tuple[list[float], list[float]]] = []
    with places(folder) as found:
        for number in range(options.rounds + 1):
            progress.print(f"{NAME}: round {number} of {options.rounds}", highlight=False)
            speed = tuple(asyncio.run(throughput(one, options.seconds)) for one in (found.relay, found.ours))
            trips = tuple(asyncio.run(round_trips(one, options.seconds)) for one in (found.direct, found.ours))
            if number:  # the first one warms up
                speeds.append((speed[0], speed[1]))
                took.append((trips[0], trips[1]))
        each = asyncio.run(memory_each(found)) if Path("/proc/self/statm").exists() else float("nan")
    added = [
        statistics.median(percentile(ours, percent) - percentile(direct, percent) for direct, ours in took) * 1000
        for percent in (50, 99)
    ]
    table.add_row(
        NAME,
        *(f"{statistics.median(speed[which] for speed in speeds) / 1e6:.0f}" for which in (0, 1)),
        f"{statistics.median(ours / bare for bare, ours in speeds):.2f}",
        "0.80",
        f"{added[0]:.2f}, {added[1]:.2f}",
        "0.20",
        f"{each / 1024:.0f}",
        "40",
    )
    return table
