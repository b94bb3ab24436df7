"""Requests of every kind, beside the same requests to a bare pass-through, and to nginx and node where installed: in
flight at once, one after the other, and at a fixed rate below saturation."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench, compared
from benchmarks.load import Ask, Sample, creating, load, paced, percentile, reading
from benchmarks.processes import Server, server
from benchmarks.proxies import missing, proxies
from benchmarks.results import Row
from benchmarks.upstream import RUNTIME_ID, RUNTIMES
from benchmarks.versions import PROVIDER, provider, settings

IN_FLIGHT: Final = (32, 256)
PASSING: Final = "pass-through"
BARE: Final = "bare"
GET: Final = f"/v1/runtimes/{PROVIDER}.{RUNTIME_ID}"
LIST: Final = "/v1/runtimes?limit=50"


@dataclass(frozen=True, slots=True)
class Work:
    """A request to the gateway, and the same one to what it is compared with. ``goal`` is the least ratio of both the
    processor time and the requests per second. ``goals`` are those of the latencies. ``proxied`` is also sent through
    other proxies, and at a fixed rate."""

    name: str
    ours: Callable[[], Ask]
    other: Callable[[], Ask]
    goal: float
    beside: str = PASSING
    tail: float | None = None
    proxied: bool = False


def _create(*, keyed: bool) -> Callable[[], Ask]:
    return lambda: creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}', keyed=keyed)


def _post() -> Ask:
    return creating(RUNTIMES, '{"key": "NAME"}')


def _read(path: str) -> Callable[[], Ask]:
    return lambda: reading(path)


_ONE, _ALL = f"{RUNTIMES}/{RUNTIME_ID}", f"{RUNTIMES}?limit=50"

WORK: Final = (
    Work("get, translated and validated", _read(GET), _read(_ONE), 1.0, tail=1.2, proxied=True),
    Work("list of 50 from one provider", _read(LIST), _read(_ALL), 0.5, proxied=True),
    Work("create, its intent on disk first", _create(keyed=False), _post, 0.35, proxied=True),
    Work("create with an Idempotency-Key", _create(keyed=True), _post, 0.35),
    Work("cached get", _read(GET), _read(GET), 0.65, BARE),
    Work("cached list of 50", _read(LIST), _read(LIST), 0.65, BARE),
    Work("native get, passed through as it is", _read(f"/native/{PROVIDER}{_ONE}"), _read(_ONE), 1.0),
    Work("native list of 50, passed through", _read(f"/native/{PROVIDER}{_ALL}"), _read(_ALL), 1.0),
)


@dataclass(frozen=True, slots=True)
class Subjects:
    """What is measured for a work, by name, and what answers it without anything between."""

    servers: dict[str, Server]
    direct: Server


def calls(bench: Bench) -> Iterator[Row]:
    """Measure alternately."""
    wanted = [work for work in WORK if bench.wanted(work.name)]
    if not wanted:
        return
    loop = bench.options.loop

    def document(*, caching: bool) -> Callable[[Path], Any]:
        providers = {PROVIDER: provider(bench.upstream.url)}
        return lambda folder: settings(folder / "gateway.db", providers, cache={"enabled": caching})

    from_memory = [work for work in wanted if work.beside == BARE]
    if len(from_memory) < len(wanted):
        if missing():
            bench.say(f"not installed, and left out: {', '.join(missing())}")
        with (
            bench.gateways(document(caching=False)) as plain,
            server("passthrough", bench.upstream.url, loop=loop) as passing,
            server("floor", bench.upstream.url, loop=loop) as floor,
            proxies(bench.upstream, bench.folder) as others,
        ):
            for work in wanted:
                if work not in from_memory:
                    found = {PASSING: passing, **plain, **({"floor": floor, **others} if work.proxied else {})}
                    yield from _measured(bench, work, Subjects(found, bench.upstream))
    if from_memory:
        with bench.gateways(document(caching=True)) as caching, server("bare", caching["after"].url, loop=loop) as bare:
            for work in from_memory:
                yield from _measured(bench, work, Subjects({BARE: bare, **caching}, bare))


def _measured(bench: Bench, work: Work, subjects: Subjects) -> Iterator[Row]:
    asks = {
        name: (work.ours if name in {"before", "after"} else work.other)() for name in (*subjects.servers, "direct")
    }
    loads: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    added: dict[tuple[str, int], list[float]] = defaultdict(list)
    for counts in bench.rounds(work.name):
        samples: dict[tuple[str, int], Sample] = {}
        for in_flight in IN_FLIGHT:
            for name, each in subjects.servers.items():
                samples[name, in_flight] = load(each, asks[name], in_flight, bench.seconds)
        direct = load(subjects.direct, asks["direct"], 1, bench.seconds / 2)
        single = {name: load(each, asks[name], 1, bench.seconds / 2) for name, each in subjects.servers.items()}
        if counts:
            for key, sample in samples.items():
                loads[key].append(sample)
            for name, sample in single.items():
                for percent in (50, 99):
                    added[name, percent].append(percentile(sample.took, percent) - percentile(direct.took, percent))
    yield from _rows(work, subjects, loads, added)
    if work.proxied:
        slowest = min(median_rate(samples) for (_, in_flight), samples in loads.items() if in_flight == IN_FLIGHT[0])
        yield from _at_a_fixed_rate(bench, work, subjects, asks, slowest / 2)


def median_rate(samples: list[Sample]) -> float:
    """The median of the requests per second."""
    return sorted(sample.rate for sample in samples)[len(samples) // 2]


def _rows(
    work: Work,
    subjects: Subjects,
    loads: dict[tuple[str, int], list[Sample]],
    added: dict[tuple[str, int], list[float]],
) -> Iterator[Row]:
    part = {"part": "goals", "work": work.name}

    def figures(in_flight: int, figure: Callable[[Sample], float]) -> dict[str, list[float]]:
        return {name: [figure(each) for each in loads[name, in_flight]] for name in subjects.servers}

    goal, first = {"at_least": work.goal}, IN_FLIGHT[0]
    each = {**part, "measure": "processor time", "unit": "µs"}
    yield compared({**each, **goal}, figures(first, lambda s: s.each * 1e6), work.beside, inverse=True)
    for in_flight in IN_FLIGHT:
        per_second = {"measure": f"requests per second, {in_flight} in flight", "unit": ""}
        of_goal = goal if in_flight == first else {"part": "more"}
        yield compared({**part, **per_second, **of_goal}, figures(in_flight, lambda s: s.rate), work.beside)
    for in_flight in IN_FLIGHT:
        tail = {"at_most": work.tail} if work.tail else {"part": "more"}
        p99 = {**part, "measure": f"p99, {in_flight} in flight", "unit": "ms", **tail}
        yield compared(p99, figures(in_flight, lambda s: percentile(s.took, 99) * 1000), work.beside)
    for percent in (50, 99):
        ms = {name: [value * 1000 for value in added[name, percent]] for name in subjects.servers}
        row = {**part, "measure": f"added p{percent}, 1 in flight", "unit": "ms"}
        if work.beside == BARE or not work.tail:
            yield compared({**row, "part": "more"}, ms, work.beside if percent == 50 and work.beside == PASSING else "")
        elif percent == 50:
            yield compared({**row, "at_most": 1.0}, ms, work.beside)
        else:
            yield compared({**row, "at_most": 2.0}, ms)


def _at_a_fixed_rate(bench: Bench, work: Work, subjects: Subjects, asks: dict[str, Ask], rate: float) -> Iterator[Row]:
    took: dict[str, list[float]] = {name: [] for name in subjects.servers}
    times = 1 if bench.options.quick else 3
    for counts in bench.rounds(f"{work.name}, at {rate:.0f} requests per second", times):
        for name, each in subjects.servers.items():
            measured = paced(each, asks[name], rate, bench.options.paced_seconds)
            if counts:
                took[name] += measured
    part = {"part": "rate", "work": work.name}
    yield Row(**part, measure="rate", unit="requests/s", after=rate)
    for percent in (50, 99, 99.9):
        ms = {name: [percentile(each, percent) * 1000] for name, each in took.items()}
        yield compared({**part, "measure": f"p{percent:g}", "unit": "ms"}, ms, work.beside)
