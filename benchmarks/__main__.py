"""Side-by-side figures of the gateway and a bare pass-through: ``python -m benchmarks``. What is answered from memory
is compared with a bare server that answers the same bytes.

One upstream; the two are measured in turn, in many short rounds, so that a machine whose speed drifts is fair to both.
The server under test has processor 0 where there are two, upstream and load the other. Figures are medians of the
rounds; the ratios are medians of each round's own.
"""

import argparse
import asyncio
import gc
import itertools
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.servers import KEY, RUNTIME_ID, RUNTIMES

_GET: Final = f"/v1/runtimes/bench.{RUNTIME_ID}"
_LIST: Final = "/v1/runtimes?limit=50"

WORK: Final = {
    "get, translated and validated": (_GET, f"{RUNTIMES}/{RUNTIME_ID}", 0.70),
    "list of 50 from one provider": (_LIST, f"{RUNTIMES}?limit=50", 0.35),
    "get, passed through as it is": (f"/native/bench{RUNTIMES}/{RUNTIME_ID}", f"{RUNTIMES}/{RUNTIME_ID}", 0.80),
    "list of 50, passed through as it is": (f"/native/bench{RUNTIMES}?limit=50", f"{RUNTIMES}?limit=50", 0.80),
}

FROM_MEMORY: Final = {
    "cached get": (_GET, _GET, 0.60),
    "cached list of 50": (_LIST, _LIST, 0.60),
}

CREATES: Final = {
    "create, its intent on disk first": (False, 0.25),
    "create with an Idempotency-Key": (True, 0.25),
}
"""Each asks for runtimes of new names only; whether with a key of its own, too."""

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WIDE: Final = 180
_DISK: Final = Path("/var/tmp")  # noqa: S108 (a folder of its own is made there; /tmp may be in memory)


Ask = Callable[[], bytes]
"""The next request."""


def reading(path: str) -> Ask:
    """The same read, over and over."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\nAccept: */*\r\n\r\n".encode()
    return lambda: request


def creating(path: str, document: str, *, keyed: bool) -> Ask:
    """Creates of names that nobody had before; ``document`` has ``NAME`` where each one's name belongs."""
    this_run, numbers = secrets.token_hex(4), itertools.count()

    def ask() -> bytes:
        name = f"agent-{this_run}-{next(numbers):08}"
        body, key = document.replace("NAME", name), f"Idempotency-Key: {name}\r\n" if keyed else ""
        return (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    return ask


def work() -> Iterator[tuple[str, Ask, Ask, float]]:
    """Each line's name, what the gateway is asked for it, what the server beside it, and the goal."""
    for name, (our_path, bare_path, goal) in {**WORK, **FROM_MEMORY}.items():
        yield name, reading(our_path), reading(bare_path), goal
    for name, (keyed, goal) in CREATES.items():
        ours = creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}', keyed=keyed)
        yield name, ours, creating(RUNTIMES, '{"key": "NAME"}', keyed=False), goal


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, on a processor of its own."""

    url: str
    pid: int

    def processor_seconds(self) -> float | None:
        """How long its threads have computed so far; None where the system does not tell."""
        threads = [int(path.read_text().split()[0]) for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")]
        return sum(threads) / 1e9 if threads else None


@dataclass(frozen=True, slots=True)
class Sample:
    """What a load saw: the seconds that each answer took, and those that the server computed."""

    took: list[float]
    computed: float | None

    @property
    def each(self) -> float:
        """Seconds of the server's processor for one request; not a number where that is not known."""
        return float("nan") if self.computed is None else self.computed / len(self.took)


@contextmanager
def server(name: str, *arguments: str, processor: int) -> Iterator[Server]:
    """Run a server of ``benchmarks.servers``."""
    command = [sys.executable, "-m", "benchmarks.servers", name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own module)
        try:
            if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
                os.sched_setaffinity(process.pid, {processor})
            assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
            yield Server(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as its answer is whole. (As little code as can be: it competes with the
    upstream for its processor.)"""

    def __init__(self, ask: Ask, until: float, took: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next = ask
        self._until = until
        self._took = took
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (a stream)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._head = b""
        self._began = time.perf_counter()
        self._transport.write(self._next())

    def data_received(self, data: bytes) -> None:
        if self._head.endswith(b"\r\n\r\n"):
            self._missing -= len(data)
        else:
            head, end, body = (self._head + data).partition(b"\r\n\r\n")
            self._head = head + end
            length = _LENGTH.search(head)
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 20") or length is None:
                self._fail(head.decode(errors="replace").splitlines()[0])
                return
            self._missing = int(length[1]) - len(body)
        if self._missing > 0:
            return
        now = time.perf_counter()
        self._took.append(now - self._began)
        if now < self._until:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was lost: {exc}")

    def _fail(self, what: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(what))


async def _load(url: str, ask: Ask, in_flight: int, seconds: float) -> list[float]:
    parts = urlsplit(url)
    took: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(ask, until, took), parts.hostname or "", parts.port or 80))[1]
        for _ in range(in_flight)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return took


def load(server: Server, ask: Ask, in_flight: int, seconds: float) -> Sample:
    """Send what ``ask`` gives over ``in_flight`` connections for so many seconds."""
    before = server.processor_seconds()
    took = asyncio.run(_load(server.url, ask, in_flight, seconds))
    after = server.processor_seconds()
    return Sample(took, None if before is None or after is None else after - before)


@dataclass(frozen=True, slots=True)
class Round:
    """What is compared: both under load, and both at one request in flight, where the upstream alone (from memory: the
    bare server) is ``direct``."""

    bare: Sample
    ours: Sample
    direct: Sample
    single_bare: Sample
    single_ours: Sample


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement of a round")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--only", default="", metavar="TEXT", help="the work whose name begins like this")
    options = parser.parse_args()
    progress = Console(stderr=True)
    table = Table(
        "work",
        "bare /s",
        "gateway /s",
        "ratio",
        "goal",
        "processor µs each",
        "their ratio",
        "p99 ratio",
        "added p50 ms",
        "added p99 ms",
    )
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    gc.freeze()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=_DISK if _DISK.is_dir() else None))
        upstream = stack.enter_context(server("upstream", processor=1))
        bare = stack.enter_context(server("passthrough", upstream.url, processor=0))
        ours = stack.enter_context(server("gateway", upstream.url, f"{folder}/gateway.db", processor=0))
        caching = stack.enter_context(server("caching", upstream.url, f"{folder}/caching.db", processor=0))
        memory = stack.enter_context(server("bare", caching.url, processor=0))
        for name, our_ask, bare_ask, goal in work():
            if not name.startswith(options.only):
                continue
            alone, beside, gateway = (memory, memory, caching) if name in FROM_MEMORY else (upstream, bare, ours)
            rounds: list[Round] = []
            for number in range(options.rounds + 1):
                progress.print(f"{name}: round {number} of {options.rounds}", highlight=False)
                measured = Round(
                    bare=load(beside, bare_ask, options.in_flight, options.seconds),
                    ours=load(gateway, our_ask, options.in_flight, options.seconds),
                    direct=load(alone, bare_ask, 1, options.seconds / 2),
                    single_bare=load(beside, bare_ask, 1, options.seconds / 2),
                    single_ours=load(gateway, our_ask, 1, options.seconds / 2),
                )
                if number:  # the first one warms up
                    rounds.append(measured)
            table.add_row(name, *_figures(rounds, options.seconds, goal))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _figures(rounds: list[Round], seconds: float, goal: float) -> Iterator[str]:
    def median(figure: Callable[[Round], float]) -> float:
        return statistics.median(map(figure, rounds))

    def added(through: Callable[[Round], Sample], percent: int) -> str:
        figure = median(lambda r: _percentile(through(r).took, percent) - _percentile(r.direct.took, percent))
        return f"{figure * 1000:.2f}"

    yield f"{median(lambda r: len(r.bare.took)) / seconds:.0f}"
    yield f"{median(lambda r: len(r.ours.took)) / seconds:.0f}"
    yield f"{median(lambda r: len(r.ours.took) / len(r.bare.took)):.2f}"
    yield f"{goal:.2f}"
    yield f"{median(lambda r: r.bare.each) * 1e6:.0f} : {median(lambda r: r.ours.each) * 1e6:.0f}"
    yield f"{median(lambda r: r.bare.each / r.ours.each):.2f}"
    yield f"{median(lambda r: _percentile(r.ours.took, 99) / _percentile(r.bare.took, 99)):.2f}"
    for percent in (50, 99):
        yield f"{added(lambda r: r.single_bare, percent)} : {added(lambda r: r.single_ours, percent)}"


def _percentile(took: list[float], percent: int) -> float:
    return statistics.quantiles(took, n=100)[percent - 1] if len(took) > 1 else took[0]


if __name__ == "__main__":
    main()
