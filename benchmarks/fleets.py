"""Lists over several providers, lists of 10,000 runtimes, and creates beside a million older ones."""

import json
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench, compared
from benchmarks.calls import LIST
from benchmarks.load import creating, load, median, percentile, reading
from benchmarks.processes import Server
from benchmarks.results import Row
from benchmarks.upstream import MANY
from benchmarks.versions import KEY, PROVIDER, provider, settings

PROVIDERS: Final = {1: None, 3: None, 10: 2.5, 50: 8.0}
"""How many providers share the runtimes of a list, each with the most that it may cost of a list from one."""

LISTS: Final = "list of 50 over {} provider{}"
PAGES: Final = "all of 10,000 runtimes, 100 a page"
INTENTS: Final = "create beside {:,} older ones"
_IN_FLIGHT: Final = 8


def _list(count: int) -> str:
    return LISTS.format(count, "" if count == 1 else "s")


def lists(bench: Bench) -> Iterator[Row]:
    """A list of the same 50 runtimes, of which each provider has its share."""
    if not bench.wanted(*(_list(count) for count in PROVIDERS)):
        return
    chosen = [count for count in PROVIDERS if count == 1 or bench.wanted(_list(count))]
    each: dict[int, dict[str, list[float]]] = {count: {v.name: [] for v in bench.versions} for count in chosen}
    with bench.several({count: sharing(bench.upstream, count) for count in chosen}) as found:
        for counts in bench.rounds("lists over several providers"):
            for count, gateways in found.items():
                for name, gateway in gateways.items():
                    sample = load(gateway, reading(LIST), _IN_FLIGHT, bench.seconds)
                    if counts:
                        each[count][name].append(sample.each * 1e6)
    for count, figures in each.items():
        goal = PROVIDERS[count]
        ratios = {
            f"ratio_{name}": median([a / b for a, b in zip(figures[name], each[1][name], strict=True)])
            for name in figures
        }
        row = {"part": "goals" if goal else "more", "work": _list(count), "measure": "processor time", "unit": "µs"}
        row |= {"at_most": goal, "beside": median(each[1]["after"]), "beside_name": "one provider"}
        yield Row(**row, **{name: median(values) for name, values in figures.items()}, **ratios)


def sharing(upstream: Server, count: int) -> Callable[[Path], Any]:
    """Makes the settings of a gateway whose providers share the runtimes of a list."""
    return lambda folder: settings(
        folder / "gateway.db", {f"p{index}": provider(f"{upstream.url}/of/{count}/{index}") for index in range(count)}
    )


def pages(bench: Bench) -> Iterator[Row]:
    """All pages of a provider with many runtimes, one after the other."""
    if not bench.wanted(PAGES):
        return
    times = max(bench.options.rounds // 3, 1)
    each: dict[str, list[float]] = {version.name: [] for version in bench.versions}
    url = f"{bench.upstream.url}/many"
    with bench.gateways(lambda folder: settings(folder / "gateway.db", {PROVIDER: provider(url)})) as gateways:
        for counts in bench.rounds(PAGES, times):
            for name, gateway in gateways.items():
                before = gateway.processor_seconds()
                walk(gateway)
                if counts:
                    each[name].append((gateway.processor_seconds() - before) * 1000)
    yield compared({"part": "more", "work": PAGES, "measure": "processor time", "unit": "ms"}, each)


def walk(gateway: Server) -> None:
    """Read all pages. Raises ``RuntimeError`` if a runtime is missing."""
    seen, cursor = 0, ""
    while True:
        request = urllib.request.Request(f"{gateway.url}/v1/runtimes?limit=100{cursor}", headers={"X-API-Key": KEY})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 (a loopback address)
            page = json.load(response)
        seen += len(page["items"])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    if seen != MANY:
        raise RuntimeError(f"{seen} of {MANY} runtimes were listed")


def intents(bench: Bench) -> Iterator[Row]:
    """Creates, and pages of the intents, with few and with many old intents in a SQLite store."""
    sizes = (1_000, 50_000) if bench.options.quick else (1_000, 1_000_000)
    if not bench.wanted(*(INTENTS.format(size) for size in sizes)):
        return
    ask = {version.name: creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}') for version in bench.versions}
    read = reading("/v1/intents?limit=50")
    for size in sizes:
        name = INTENTS.format(size)
        cpu, tail, listed = ({version.name: list[float]() for version in bench.versions} for _ in range(3))
        bench.say(f"{name}: filling the stores")
        with bench.gateways(_filled(bench, size)) as gateways:
            for counts in bench.rounds(name):
                for version, gateway in gateways.items():
                    made = load(gateway, ask[version], 32, bench.seconds)
                    shown = load(gateway, read, 1, bench.seconds / 2)
                    if counts:
                        cpu[version].append(made.each * 1e6)
                        tail[version].append(percentile(made.took, 99) * 1000)
                        listed[version].append(percentile(shown.took, 50) * 1000)
        row = {"part": "more", "work": name}
        yield compared({**row, "measure": "processor time", "unit": "µs"}, cpu)
        yield compared({**row, "measure": "p99, 32 in flight", "unit": "ms"}, tail)
        yield compared({**row, "measure": "p50 of a page of 50 intents", "unit": "ms"}, listed)


def _filled(bench: Bench, size: int) -> Callable[[Path], Any]:
    """The settings of a gateway whose store has that many settled intents: a gateway makes the first one."""

    def document(folder: Path) -> Any:
        file = folder / "gateway.db"
        made = settings(file, {PROVIDER: provider(bench.upstream.url)})
        (version,) = (each for each in bench.versions if folder.name.startswith(f"{each.name}-"))
        with bench.one(version, made, folder) as gateway:
            load(gateway, creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}'), 1, 0.01)
        multiply(file, size)
        return made

    return document


def multiply(file: Path, size: int) -> None:
    """Copy a settled intent until there are ``size`` more. Each has its own id, name and runtime, and is 50 ms older
    than the one before it."""
    own, times = {"id", "name", "runtime_id"}, {"created_at", "updated_at", "settled_at"}
    with closing(sqlite3.connect(file)) as store:
        store.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000")
        columns = [row[1] for row in store.execute("PRAGMA table_info(intents)")]
        values = (
            f"{column} || '-' || number"
            if column in own
            else f"{column} - number / 20.0"
            if column in times
            else column
            for column in columns
        )
        numbers = "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT ?)"
        source = "numbers, (SELECT * FROM intents LIMIT 1)"
        store.execute(
            f"{numbers} INSERT INTO intents ({', '.join(columns)}) SELECT {', '.join(values)} FROM {source}",  # noqa: S608
            (size,),
        )
        store.commit()
