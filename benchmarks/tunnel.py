"""The tunnel of the data plane, compared with a bare relay: throughput, latency, and memory of idle WebSockets."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from benchmarks.bench import Bench, compared
from benchmarks.load import percentile, run
from benchmarks.processes import LOAD, Server, server
from benchmarks.results import Row
from benchmarks.upstream import RUNTIME_ID
from benchmarks.versions import KEY, PROVIDER, provider, settings

NAME: Final = "tunnel of the data plane"
SOCKET: Final = "idle WebSocket in the data plane"
RELAY: Final = "relay"
_PIECE: Final = b"\x82\xff" + (1 << 16).to_bytes(8, "big") + bytes(4 + (1 << 16))
_SMALL: Final = b"\x82\xe4" + bytes(4 + 100)

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
class Place:
    """The address of a WebSocket through a gateway, and that gateway."""

    address: Address
    gateway: Server


@contextmanager
def far_end() -> Iterator[tuple[Server, Address]]:
    """A provider, and the address of the echo behind its runtime."""
    with server("far", processor=LOAD) as far:
        yield far, Address(asyncio.run(_json(f"{far.url}/echo")), "t")


def data_settings(far: Server, folder: Path) -> dict[str, Any]:
    """The settings of a gateway with a data plane."""
    http = {"max_connections": 5000, "max_idle_connections_per_address": 5000}
    data = {"enabled": True, "listen": "127.0.0.1:0", "max_connections": 5000}
    return settings(folder / "data.db", {PROVIDER: provider(far.url)}, http=http, data=data)


def place(gateway: Server) -> Place:
    """Make a connection of the runtime."""
    path = f"{gateway.url}/v1/runtimes/{PROVIDER}.{RUNTIME_ID}/connections"
    given = asyncio.run(_json(path, {"ttl": 86_400}))["items"][0]
    return Place(Address(given["url"], given["token"]), gateway)


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


async def memory_each(there: Place, count: int) -> float:
    """Bytes of the gateway per idle WebSocket, its connection to the runtime included. Some are opened before, so that
    what a first connection makes is not counted."""
    first = [await there.address.open() for _ in range(20)]
    before = there.gateway.resident()
    opened = [await there.address.open() for _ in range(count)]
    for reader, writer in opened:  # each has been used once
        writer.write(_SMALL)
        await reader.readexactly(len(_SMALL))
    each = (there.gateway.resident() - before) / count
    for _, writer in (*first, *opened):
        writer.transport.abort()
    return each


def tunnel(bench: Bench) -> Iterator[Row]:
    """Measure alternately."""
    if not bench.wanted(NAME):
        return
    speeds: dict[str, list[float]] = defaultdict(list)
    added: dict[tuple[str, int], list[float]] = defaultdict(list)
    with (
        far_end() as (far, direct),
        server("relay", direct.url, loop=bench.options.loop) as relay,
        bench.gateways(lambda folder: data_settings(far, folder)) as gateways,
    ):
        places = {name: place(gateway) for name, gateway in gateways.items()}
        through = {RELAY: Address(relay.url, "t"), **{name: there.address for name, there in places.items()}}
        for counts in bench.rounds(NAME):
            speed = {name: run(throughput(each, bench.seconds)) for name, each in through.items()}
            alone = run(round_trips(direct, bench.seconds))
            trips = {name: run(round_trips(each, bench.seconds)) for name, each in through.items()}
            if counts:
                for name in through:
                    speeds[name].append(speed[name] / 1e6)
                    for percent in (50, 99):
                        added[name, percent].append(
                            (percentile(trips[name], percent) - percentile(alone, percent)) * 1000
                        )
        idle = {name: [run(memory_each(there, bench.options.idle)) / 1024] for name, there in places.items()}
    part = {"part": "goals", "work": NAME}
    yield compared({**part, "measure": "bytes", "unit": "MB/s", "at_least": 0.8}, speeds, RELAY)
    for percent, goal in {50: 0.2, 99: None}.items():
        row = {**part, "measure": f"added p{percent} of a round trip", "unit": "ms", "at_most": goal}
        yield compared(row, {name: added[name, percent] for name in through})
    yield compared({**part, "work": SOCKET, "measure": "resident, both sides", "unit": "KiB", "at_most": 40.0}, idle)
