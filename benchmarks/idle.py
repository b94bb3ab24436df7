"""Idle WebSockets through the data plane behind a balancer that cuts silent connections: ``python -m benchmarks.idle``.

The clients send nothing but the pongs for the gateway's pings, and one message each at the end.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.tunnel import Address, Place, Streams, data_settings, far_end, place
from benchmarks.versions import ROOT, Version, serving

_MESSAGE = b"\x82\x85" + bytes(4) + b"hello"
_PING = 14
_PONG = b"\x8a\x8c" + bytes(4)


@dataclass(slots=True)
class Balancer:
    """Forwards connections, and cuts one on which nothing has moved for ``silence`` seconds."""

    target: str
    silence: float
    cut: int = 0

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target)
        there_reader, there_writer = await asyncio.open_connection(parts.hostname, parts.port)
        moved = time.monotonic()

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            nonlocal moved
            while data := await source.read(1 << 14):
                moved = time.monotonic()
                target.write(data)
                await target.drain()

        pumps = {asyncio.create_task(pump(reader, there_writer)), asyncio.create_task(pump(there_reader, writer))}
        while not any(task.done() for task in pumps):
            silent = time.monotonic() - moved
            if silent >= self.silence:
                self.cut += 1
                break
            await asyncio.wait(pumps, timeout=self.silence - silent, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for each in (writer, there_writer):
            each.transport.abort()


async def answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> int:
    """Answer the pings until then, and return how many there were."""
    pings = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            while True:
                ping = await reader.readexactly(_PING)
                pings += 1
                writer.write(_PONG + ping[2:])
    return pings


async def works(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether a message still comes back."""
    writer.write(_MESSAGE)
    while (head := await reader.readexactly(2))[0] != _MESSAGE[0]:  # a ping
        await reader.readexactly(_PING - 2)
    return head + await reader.readexactly(len(_MESSAGE) - 2) == _MESSAGE


async def measure(found: Place, count: int, seconds: float, silence: float) -> str:
    """Open the WebSockets, wait, and use each once."""
    balancer = Balancer(found.address.url, silence)
    server = await asyncio.start_server(balancer.accepted, "127.0.0.1", 0, backlog=4096)
    address: Address = replace(found.address, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    warm: Streams = await address.open()
    before, began = found.gateway.resident(), time.monotonic()
    opened = [await address.open() for _ in range(count)]
    opening = time.monotonic() - began
    each, cpu = (found.gateway.resident() - before) / count / 1024, found.gateway.processor_seconds()
    until = asyncio.get_running_loop().time() + seconds
    pings = await asyncio.gather(*(answer_pings(*streams, until) for streams in opened), return_exceptions=True)
    cpu = found.gateway.processor_seconds() - cpu
    alive = await asyncio.gather(*(works(*streams) for streams in opened), return_exceptions=True)
    after = (found.gateway.resident() - before) / count / 1024
    for _, writer in (warm, *opened):
        writer.transport.abort()
    server.close()
    numbers = [ping for ping in pings if isinstance(ping, int)]
    return (
        f"{alive.count(True)} of {count} work after {seconds:.0f} s; the balancer cut {balancer.cut}; "
        f"{min(numbers, default=0)} to {max(numbers, default=0)} pings each; {opening:.1f} s to open; "
        f"{each:.0f} KiB each, {after:.0f} at the end; {cpu:.1f} s of processor time of the gateway meanwhile"
    )


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--silence", type=float, default=20, help="seconds after which the balancer cuts")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        far_end() as (far, _),
        serving(Version("after", ROOT), data_settings(far, Path(name)), Path(name)) as gateway,
    ):
        found = place(gateway)
        print(asyncio.run(measure(found, options.count, options.seconds, options.silence)))  # noqa: T201 (the result)


if __name__ == "__main__":
    main()
