"""Where the time of each kind of request goes, by part of the gateway: ``python -m benchmarks.shares --json FILE``.

The profiler makes every call of a function slower, so that parts with many small functions look larger than they are.
It profiles the event loop's thread alone: the store's thread works beside it.
"""

import argparse
import json
import os
import pstats
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.calls import BARE, LIST, WORK, Work
from benchmarks.fleets import sharing
from benchmarks.load import load, reading
from benchmarks.processes import LOAD, pin, server
from benchmarks.profiled import FILE
from benchmarks.versions import PROVIDER, ROOT, Version, provider, serving, settings

MANY: Final = "list of 50 over 50 providers"
PARTS: Final[Mapping[str, str]] = {
    "sockets": r"<method '(send|recv|poll)' of",
    "asyncio": r"/asyncio/|/selectors\.py|/_weakrefset\.py",
    "aiohttp": r"/(aiohttp|multidict|yarl)/",
    "connection, head, route": r"/gateway/http/(request_loop|server|routing|request_heads|connection)\.py",
    "key and permission": r"/gateway/(api/(pipeline|auth)|services/access/directory)\.py",
    "log and metrics": r"/gateway/(telemetry/|http/access_log|upstream/observed)",
    "policies": r"/gateway/upstream/policies/",
    "HTTP client": r"/gateway/upstream/",
    "pass-through": r"/gateway/(api/native|http/(forward|native|headers|uploads))",
    "endpoint": r"/gateway/(http/|ports/context)",
    "services": r"/gateway/services/",
    "store": r"/gateway/storage/",
    "adapter": r"/adapters/",
    "encoding, tag, cache": r"/gateway/api/",
}
"""The parts by a pattern of the files of their functions; the first one that matches."""
OTHER: Final = "the rest"
_IN_FLIGHT: Final = 16
_WRITES_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Shares:
    """The parts of one kind of request: the share of each in the time, and the calls of Python functions and of
    functions in C, per request."""

    work: str
    parts: Mapping[str, tuple[float, float]]

    @property
    def calls(self) -> float:
        """All calls per request."""
        return sum(calls for _, calls in self.parts.values())


def parts_of(stats: Mapping[Any, Any], requests: int) -> Mapping[str, tuple[float, float]]:
    """The parts of what the profiler has measured. A function in C belongs to the part that calls it, sockets apart."""
    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (file, _, name), (_, count, own, _, callers) in stats.items():
        part = _part(name if file == "~" else file)
        if file == "~" and part is None:
            for (caller, _, caller_name), (_, its_calls, its_own, _) in callers.items():
                of_caller = _part(caller_name if caller == "~" else caller) or OTHER
                seconds[of_caller] += its_own
                calls[of_caller] += its_calls
        else:
            seconds[part or OTHER] += own
            calls[part or OTHER] += count
    whole = sum(seconds.values())
    return {part: (seconds[part] / whole, calls[part] / requests) for part in (*PARTS, OTHER) if seconds[part]}


def _part(name: str) -> str | None:
    return next((part for part, pattern in PARTS.items() if re.search(pattern, name)), None)


def measured(work: Work, document: Mapping[str, Any], folder: Path, seconds: float) -> Shares:
    """Profile a gateway under the load of one kind of request."""
    file = folder / "profile"
    os.environ[FILE] = str(file)
    with serving(Version("after", ROOT, module="benchmarks.profiled"), document, folder) as gateway:
        ask = work.ours()
        load(gateway, ask, _IN_FLIGHT, seconds / 4)
        os.kill(gateway.pid, signal.SIGUSR1)
        sample = load(gateway, ask, _IN_FLIGHT, seconds)
        os.kill(gateway.pid, signal.SIGUSR2)
        end = time.monotonic() + _WRITES_WITHIN
        while not file.exists():
            if time.monotonic() > end:
                raise RuntimeError("the gateway has not written its profile")
            time.sleep(0.05)
    stats: Any = pstats.Stats(str(file))
    return Shares(work.name, parts_of(stats.stats, len(sample.took)))


def shares(seconds: float, only: Sequence[str] = ()) -> Iterator[Shares]:
    """The shares of each kind of request, or of those whose names start with one of ``only``."""
    many = Work(MANY, lambda: reading(LIST), lambda: reading(LIST), 0)
    with server("upstream", processor=LOAD) as upstream:
        for work in (*WORK, many):
            if only and not work.name.startswith(tuple(only)):
                continue
            with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
                folder = Path(name)
                one = {PROVIDER: provider(upstream.url)}
                document = settings(folder / "gateway.db", one, cache={"enabled": work.beside == BARE})
                if work is many:
                    document = sharing(upstream, 50)(folder)
                yield measured(work, document, folder, seconds)


def rows(found: Sequence[Shares]) -> Iterator[Sequence[str]]:
    """The table: a head, a row for each part, and one of the calls."""
    yield ("part", *(each.work for each in found))
    for part in (*PARTS, OTHER):
        cells = [each.parts.get(part) for each in found]
        if any(cells):
            yield (part, *("–" if cell is None else f"{cell[0]:.0%}" for cell in cells))
    yield ("calls of functions", *(f"{each.calls:,.0f}" for each in found))


def read(file: Path) -> Sequence[Shares]:
    """Read what the command has written."""
    return [Shares(each["work"], {name: (a, b) for name, (a, b) in each["parts"].items()}) for each in _json(file)]


def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shares", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each kind of request")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="as for the benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the shares to a file as well")
    options = parser.parse_args()
    progress, found = Console(stderr=True), []
    for each in shares(options.seconds, options.only):
        progress.print(each.work, highlight=False)
        found.append(each)
    head, *body = rows(found)
    table = Table(*head)
    for row in body:
        table.add_row(*row)
    Console(width=200).print(table)
    if options.json is not None:
        document = [
            {
                "work": each.work,
                "parts": {part: (round(share, 4), round(calls, 1)) for part, (share, calls) in each.parts.items()},
            }
            for each in found
        ]
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    pin(0, LOAD)
    main()
