"""Memory per connection that is open and idle: of the API, and with an event stream."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

from benchmarks.bench import Bench, compared
from benchmarks.load import run
from benchmarks.processes import Server
from benchmarks.results import Row
from benchmarks.upstream import RUNTIME_ID
from benchmarks.versions import KEY, PROVIDER, provider, settings

IDLE = "idle connection of the API"
STREAM = "event stream"
_PER_RUNTIME = 10
_FIRST = 20
_AT_ONCE = 50

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def held(bench: Bench) -> Iterator[Row]:
    """Open many, and read the gateway's memory before and after."""
    http = {"max_connections": 5000, "max_idle_connections_per_address": 5000, "max_waiting": 5000}
    providers = {PROVIDER: provider(bench.upstream.url)}
    for name, opens in {IDLE: _answered, STREAM: _streaming}.items():
        if bench.wanted(name):
            each = {}
            with bench.gateways(lambda folder: settings(folder / "gateway.db", providers, http=http)) as gateways:
                for version, gateway in gateways.items():
                    bench.say(f"{name}: {bench.options.idle} of {version}")
                    each[version] = [run(_memory_each(gateway, opens, bench.options.idle)) / 1024]
            yield compared({"part": "more", "work": name, "measure": "resident", "unit": "KiB"}, each)


async def _memory_each(gateway: Server, opens: Callable[[str, int], Awaitable[Streams]], count: int) -> float:
    first = [await opens(gateway.url, number) for number in range(_FIRST)]
    before = gateway.resident()
    opened: list[Streams] = []
    for start in range(0, count, _AT_ONCE):  # a stream of a runtime that is watched already waits for its next poll
        numbers = range(start, min(start + _AT_ONCE, count))
        opened += await asyncio.gather(*(opens(gateway.url, number) for number in numbers))
    each = (gateway.resident() - before) / count
    for _, writer in (*first, *opened):
        writer.transport.abort()
    return each


async def _send(url: str, path: str) -> Streams:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(head.decode(errors="replace"))
    return reader, writer


async def _answered(url: str, _number: int) -> Streams:
    return await _send(url, f"/v1/runtimes/{PROVIDER}.{RUNTIME_ID}")


async def _streaming(url: str, number: int) -> Streams:
    """A stream whose first event has come. Some share a runtime."""
    runtime = f"{RUNTIME_ID[:-4]}{number // _PER_RUNTIME:04x}"
    reader, writer = await _send(url, f"/v1/runtimes/{PROVIDER}.{runtime}/events")
    await reader.readuntil(b"\n\n")
    return reader, writer
