"""Compares the gateway with a bare pass-through, and with an older version: ``python -m benchmarks --before REF``.

All of them use one upstream and are measured alternately in many short rounds, so that drift in the machine's speed
affects all equally. The server under test runs on processor 0 if there are two, upstream and load on the other one.
Figures are medians over the rounds; ratios are medians of the ratio of each round.
"""

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.bench import LOOP, Bench
from benchmarks.calls import calls
from benchmarks.chromium import chromium
from benchmarks.fleets import intents, lists, pages
from benchmarks.held import held
from benchmarks.log_lines import log_lines
from benchmarks.processes import LOAD, pin, server
from benchmarks.results import HEAD, Results, Row, machine
from benchmarks.sick import beside_the_sick
from benchmarks.starting import start
from benchmarks.tunnel import tunnel
from benchmarks.versions import ROOT, Version, commit, extracted
from benchmarks.workers import workers

PARTS: Final[Sequence[Callable[[Bench], Iterator[Row]]]] = (
    calls,
    lists,
    tunnel,
    chromium,
    workers,
    start,
    pages,
    intents,
    held,
    log_lines,
    beside_the_sick,
)
TITLES: Final = {"goals": "Goals", "rate": "Latency at a fixed rate", "more": "More"}
_WIDE: Final = 200
_DISK: Final = Path("/var/tmp")  # noqa: S108 (a temporary folder is created there; /tmp may be in memory)
_QUICK: Final = {"rounds": 2, "seconds": 0.15, "paced_seconds": 1.0, "idle": 100}
_WHOLE: Final = {"rounds": 10, "seconds": 0.4, "paced_seconds": 3.0, "idle": 500}


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--before", metavar="REF", help="also measure the gateway of this commit, in the same rounds")
    parser.add_argument("--before-python", metavar="PATH", default=sys.executable, help="its interpreter")
    only = "only the work whose name starts with TEXT; repeatable"
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help=only)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--quick", action="store_true", help="a short look: figures are far from exact")
    parser.add_argument("--loop", default=LOOP, choices=["asyncio", "uvloop"], help="the event loop of all servers")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement of a round")
    parser.add_argument("--paced-seconds", type=float, help="of each measurement at a fixed rate")
    parser.add_argument("--idle", type=int, help="connections whose memory is measured")
    options = parser.parse_args(arguments)
    for name, value in (_QUICK if options.quick else _WHOLE).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def measured(options: argparse.Namespace, rows: list[Row], say: Callable[[str], None]) -> Results:
    """Measure everything that the options select. Each row is added to ``rows`` as soon as it is known."""
    pin(0, LOAD)
    gc.freeze()
    made: dict[str, Any] = {"at": f"{datetime.now(UTC):%Y-%m-%d}", **machine(), "cores": os.cpu_count() or 1}
    made |= {name: getattr(options, name) for name in ("loop", "rounds", "seconds", "quick")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_DISK if _DISK.is_dir() else None)))
        versions = [Version("after", ROOT)]
        if options.before:
            versions.insert(0, extracted(options.before, folder / "source", options.before_python))
            made["before"] = commit(options.before)
        upstream = stack.enter_context(server("upstream", processor=LOAD))
        bench = Bench(options, versions, folder, upstream, say)
        for part in PARTS:
            rows.extend(part(bench))
    return Results(made, rows)


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """A table for each part."""
    for part, title in TITLES.items():
        table = Table(*HEAD, title=title)
        for row in (row for row in rows if row.part == part):
            table.add_row(*row.cells(), style={None: "", True: "green", False: "red"}[row.met])
        yield table


def main() -> None:
    """Measure, and print tables. The file of the figures is written only if nothing failed."""
    options, progress = parsed(), Console(stderr=True)
    rows: list[Row] = []
    try:
        results = measured(options, rows, lambda text: progress.print(text, highlight=False))
    finally:  # a part that fails does not take away what was measured before it
        console = Console(width=None if sys.stdout.isatty() else _WIDE)
        for table in tables(rows):
            if table.rows:
                console.print(table)
    if options.json is not None:
        results.write(options.json)


if __name__ == "__main__":
    main()
