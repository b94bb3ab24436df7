"""Compares the gateway with a bare pass-through: ``python -m benchmarks``. Cached reads are compared with a bare server
that returns the same bytes.

Both use one upstream and are measured alternately in many short rounds, so that drift in the machine's speed affects
both equally. The server under test runs on processor 0 if there are two, upstream and load on the other one. Figures
are medians over the rounds; ratios are medians of the ratio of each round.
"""

import argparse
import gc
import itertools
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.load import Ask, Sample, load, percentile, reading, server
from benchmarks.log_lines import log_lines
from benchmarks.servers import KEY, RUNTIME_ID, RUNTIMES
from benchmarks.sick import beside_the_sick
from benchmarks.starting import start
from benchmarks.tunnel import tunnel

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
"""Each creates runtimes with new names only; the flag says whether with an Idempotency-Key."""

_WIDE: Final = 180
_DISK: Final = Path("/var/tmp")  # noqa: S108 (a temporary folder is created there; /tmp may be in memory)


def creating(path: str, document: str, *, keyed: bool) -> Ask:
    """Creates with unused names; ``document`` is the body, with ``NAME`` in place of the name."""
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
    """Each line's name, the requests to the gateway, those to the other server, and the goal."""
    for name, (our_path, bare_path, goal) in {**WORK, **FROM_MEMORY}.items():
        yield name, reading(our_path), reading(bare_path), goal
    for name, (keyed, goal) in CREATES.items():
        ours = creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}', keyed=keyed)
        yield name, ours, creating(RUNTIMES, '{"key": "NAME"}', keyed=False), goal


@dataclass(frozen=True, slots=True)
class Round:
    """The samples of one round: both under load, and both with one request in flight. ``direct`` is the upstream alone
    (for cached reads the bare server) with one request in flight."""

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
    parser.add_argument("--only", default="", metavar="TEXT", help="only the work whose name starts with TEXT")
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
        lines = log_lines(upstream, options, folder, progress)
        sickness = beside_the_sick(upstream, options, folder, progress)
        tunnelled = tunnel(options, folder, progress)
        started = start(upstream, options, folder, progress)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    for printed in (table, lines, sickness, tunnelled, started):
        if printed.rows:
            console.print(printed)


def _figures(rounds: list[Round], seconds: float, goal: float) -> Iterator[str]:
    def median(figure: Callable[[Round], float]) -> float:
        return statistics.median(map(figure, rounds))

    def added(through: Callable[[Round], Sample], percent: int) -> str:
        figure = median(lambda r: percentile(through(r).took, percent) - percentile(r.direct.took, percent))
        return f"{figure * 1000:.2f}"

    yield f"{median(lambda r: len(r.bare.took)) / seconds:.0f}"
    yield f"{median(lambda r: len(r.ours.took)) / seconds:.0f}"
    yield f"{median(lambda r: len(r.ours.took) / len(r.bare.took)):.2f}"
    yield f"{goal:.2f}"
    yield f"{median(lambda r: r.bare.each) * 1e6:.0f} : {median(lambda r: r.ours.each) * 1e6:.0f}"
    yield f"{median(lambda r: r.bare.each / r.ours.each):.2f}"
    yield f"{median(lambda r: percentile(r.ours.took, 99) / percentile(r.bare.took, 99)):.2f}"
    for percent in (50, 99):
        yield f"{added(lambda r: r.single_bare, percent)} : {added(lambda r: r.single_ours, percent)}"


if __name__ == "__main__":
    main()
