"""Two workers beside one, with PostgreSQL, which flushes each commit to disk."""

import os
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench
from benchmarks.calls import GET
from benchmarks.load import Sample, creating, load, median, percentile, reading
from benchmarks.results import Row
from benchmarks.versions import PROVIDER, provider, settings
from tests.postgres_cluster import PostgresCluster, binaries, postgres_cluster

NAME: Final = "two workers with PostgreSQL"
_COUNTS: Final = (1, 2)


def workers(bench: Bench) -> Iterator[Row]:
    """Measure alternately. The workers run on all processors, as the database does."""
    if not bench.wanted(NAME):
        return
    if binaries() is None:
        bench.say("PostgreSQL is not installed: two workers are left out")
        return
    asks = {"get": reading(GET), "create": creating("/v1/runtimes", '{"kind": "durable", "name": "NAME"}')}
    samples: dict[tuple[str, int, str], list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        cluster = stack.enter_context(postgres_cluster(durable=True))
        found = {
            count: stack.enter_context(
                bench.gateways(_document(bench, cluster), "--workers", str(count), processor=None)
            )
            for count in _COUNTS
        }
        for counts in bench.rounds(NAME):
            for work, ask in asks.items():
                for count, gateways in found.items():
                    for version, gateway in gateways.items():
                        sample = load(gateway, ask, 32, bench.seconds)
                        if counts:
                            samples[work, count, version].append(sample)
    for work in asks:
        yield from _rows(work, samples)


def _rows(work: str, samples: dict[tuple[str, int, str], list[Sample]]) -> Iterator[Row]:
    def row(measure: str, unit: str, figure: Callable[[Sample], float], **more: Any) -> Row:
        one, two = ({v: [figure(s) for s in samples[work, n, v]] for v in _versions(samples)} for n in _COUNTS)
        ratios = {
            f"ratio_{version}": median([b / a for a, b in zip(one[version], two[version], strict=True)])
            for version in one
        }
        figures = {version: median(each) for version, each in two.items()}
        beside = {"beside": median(one["after"]), "beside_name": "one worker"}
        return Row(
            part="goals", work=f"{NAME}: {work}", measure=measure, unit=unit, **figures, **ratios, **beside, **more
        )

    yield row("processor time", "µs", lambda sample: sample.each * 1e6, at_most=1.1)
    tail = {"at_most": 1.0} if work == "create" else {}
    yield row("p99, 32 in flight", "ms", lambda sample: percentile(sample.took, 99) * 1000, **tail)
    yield row("requests per second, 32 in flight", "", lambda sample: sample.rate)


def _versions(samples: dict[tuple[str, int, str], list[Sample]]) -> list[str]:
    return sorted({version for _, _, version in samples})


def _document(bench: Bench, cluster: PostgresCluster) -> Callable[[Path], Any]:
    """The settings of a gateway with a database of its own."""

    def document(folder: Path) -> Any:
        name = f"bench_{folder.name.replace('-', '_')}"
        cluster.create(name)
        made = settings(cluster.dsn(name), {PROVIDER: provider(bench.upstream.url)})
        made["store"]["encryption_keys"] = [b64encode(os.urandom(32)).decode()]
        return made

    return document
