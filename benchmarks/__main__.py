"""Side-by-side figures of the gateway and a bare pass-through: ``python -m benchmarks``.

One upstream; the two are measured in turn, round by round, so that a machine whose speed drifts is fair to both. The
server under test has processor 0 where there are two, upstream and load the other. Figures are medians of the rounds.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.servers import KEY, RUNTIME_ID, RUNTIMES

WORK = {
    "get, translated and validated": (f"/v1/runtimes/bench.{RUNTIME_ID}", f"{RUNTIMES}/{RUNTIME_ID}", 0.70),
    "list of 50 from one provider": ("/v1/runtimes?limit=50", f"{RUNTIMES}?limit=50", 0.35),
    "get, passed through as it is": (f"/native/bench{RUNTIMES}/{RUNTIME_ID}", f"{RUNTIMES}/{RUNTIME_ID}", 0.80),
    "list of 50, passed through as it is": (f"/native/bench{RUNTIMES}?limit=50", f"{RUNTIMES}?limit=50", 0.80),
}


@contextmanager
def server(name: str, *arguments: str, processor: int) -> Iterator[str]:
    """Run a server of ``benchmarks.servers``; gives its base URL."""
    command = [sys.executable, "-m", "benchmarks.servers", name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own module)
        try:
            if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
                os.sched_setaffinity(process.pid, {processor})
            assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _one(host: str, port: int, request: bytes, until: float, seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode(errors="replace").splitlines()[0])
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        seconds.append(time.perf_counter() - began)
    writer.close()


async def load(url: str, path: str, in_flight: int, duration: float) -> list[float]:
    """Ask for ``path`` over ``in_flight`` connections for ``duration`` seconds; the seconds that each answer took."""
    parts = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\nAccept: */*\r\n\r\n".encode()
    seconds: list[float] = []
    until = time.perf_counter() + duration
    await asyncio.gather(
        *(_one(parts.hostname or "", parts.port or 80, request, until, seconds) for _ in range(in_flight))
    )
    return seconds


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--in-flight", type=int, default=32)
    options = parser.parse_args()
    console = Console(stderr=True)
    table = Table("work", "pass-through /s", "gateway /s", "ratio", "goal", "p99 ratio", "added p50 ms", "added p99 ms")
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    with ExitStack() as stack:
        upstream = stack.enter_context(server("upstream", processor=1))
        bare = stack.enter_context(server("passthrough", upstream, processor=0))
        ours = stack.enter_context(server("gateway", upstream, processor=0))
        for work, (our_path, bare_path, goal) in WORK.items():
            rounds = []
            for number in range(options.rounds + 1):
                console.print(f"{work}: round {number} of {options.rounds}", highlight=False)
                pair = [
                    asyncio.run(load(bare, bare_path, options.in_flight, options.seconds)),
                    asyncio.run(load(ours, our_path, options.in_flight, options.seconds)),
                    asyncio.run(load(upstream, bare_path, 1, options.seconds / 4)),
                    asyncio.run(load(ours, our_path, 1, options.seconds / 2)),
                ]
                if number:  # the first one warms up
                    rounds.append(pair)
            table.add_row(work, *_figures(rounds, options.seconds, goal))
    Console().print(table)


def _figures(rounds: list[list[list[float]]], seconds: float, goal: float) -> Iterator[str]:
    def median(values: Iterator[float]) -> float:
        return statistics.median(list(values))

    yield f"{median(len(bare) / seconds for bare, *_ in rounds):.0f}"
    yield f"{median(len(ours) / seconds for _, ours, *_ in rounds):.0f}"
    yield f"{median(len(ours) / len(bare) for bare, ours, *_ in rounds):.2f}"
    yield f"{goal:.2f}"
    yield f"{median(_percentile(ours, 99) / _percentile(bare, 99) for bare, ours, *_ in rounds):.2f}"
    for percent in (50, 99):
        added = median(
            (_percentile(single, percent) - _percentile(direct, percent)) * 1000 for *_, direct, single in rounds
        )
        yield f"{added:.2f}"


def _percentile(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100)[percent - 1]


if __name__ == "__main__":
    main()
