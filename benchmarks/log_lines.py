"""The cost of the log lines of a get: alone, in a loop of one process; and in place, as the difference between a
gateway that writes them and one whose log level suppresses them."""

import time
from collections.abc import Iterator
from typing import Final

from benchmarks.bench import Bench
from benchmarks.calls import GET
from benchmarks.load import load, median, reading
from benchmarks.results import Row
from benchmarks.upstream import RUNTIME_ID, SCOPE
from benchmarks.versions import PROVIDER, provider, serving, settings
from gateway.ports.context import RequestContext
from gateway.telemetry.logs import Event, make_logger

NAME: Final = "log lines of a get"
GOAL: Final = 0.1
_LINES: Final = 2
_TIMES: Final = 1000


def log_lines(bench: Bench) -> Iterator[Row]:
    """Measure alternately. For a line alone, the fastest round; for a line in place, the median."""
    if not bench.wanted(NAME):
        return
    version, ask = bench.versions[-1], reading(GET)
    document = settings(bench.folder / "logging.db", {PROVIDER: provider(bench.upstream.url)})
    other = settings(bench.folder / "quiet.db", {PROVIDER: provider(bench.upstream.url)})
    alone, in_place, shares = [], [], []
    with (
        serving(version, document, bench.folder) as logging,
        serving(version, other, bench.folder, level="error") as quiet,
    ):
        for counts in bench.rounds(NAME):
            with_lines = load(logging, ask, 32, bench.seconds).each
            without = load(quiet, ask, 32, bench.seconds).each
            one = _alone()
            if counts:
                alone.append(one)
                in_place.append((with_lines - without) / _LINES)
                shares.append(one / with_lines)
    row = {"part": "more", "work": NAME, "unit": "µs"}
    yield Row(**row, measure="a line in place", after=median(in_place) * 1e6)
    yield Row(
        **row, measure="a line alone, its share", after=min(alone) * 1e6, ratio_after=median(shares), at_most=GOAL
    )


def _alone() -> float:
    """Seconds per line: the mean of the two lines of a get, with their fields."""
    with open("/dev/null", "w") as nowhere:  # noqa: PTH123
        logger = make_logger("info", "json", nowhere)
        upstream = logger.bind(provider="bench")
        request = logger.bind(surface="v1", operation="getRuntime", path="/v1/runtimes/{runtime_id}")
        began = time.process_time()
        for _ in range(_TIMES):
            with RequestContext("0f8fad5b-d9cb-469f-a165-70867728950e", "bench"):
                upstream.info(
                    Event.UPSTREAM,
                    operation="get",
                    method="GET",
                    outcome="200",
                    phase="answered",
                    duration_ms=1.234,
                    provider_request_id=None,
                )
                request.info(
                    Event.REQUEST,
                    method="GET",
                    status=200,
                    duration_ms=1.456,
                    principal="bench",
                    provider="bench",
                    scope=SCOPE,
                    runtime_id=f"bench.{RUNTIME_ID}",
                    attempts=1,
                    upstream_ms=1.234,
                )
        return (time.process_time() - began) / _TIMES / _LINES
