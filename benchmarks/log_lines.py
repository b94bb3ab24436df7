"""The cost of the log lines of a get: alone, in a loop of one process; and in place, as the difference between a
gateway that writes them and one whose log level suppresses them."""

import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.load import Server, load, reading, server
from benchmarks.servers import RUNTIME_ID, SCOPE
from gateway.ports.context import RequestContext
from gateway.telemetry.logs import Event, make_logger

NAME: Final = "log lines of a get"
GOAL: Final = 0.1
_LINES: Final = 2
_TIMES: Final = 1000


def log_lines(upstream: Server, options: Namespace, folder: str, progress: Console) -> Table:
    """Measure alternately. Figures are medians of the rounds; for a line alone, the fastest round."""
    table = Table("work", "a line alone µs", "a line in place µs", "a get µs", "share of a get", "at most")
    if not NAME.startswith(options.only):
        return table
    with (
        server("gateway", upstream.url, f"{folder}/logging.db", processor=0) as logging,
        server("quiet", upstream.url, f"{folder}/quiet.db", processor=0) as quiet,
    ):
        table.add_row(NAME, *_figures(logging, quiet, options, progress))
    return table


def _figures(logging: Server, quiet: Server, options: Namespace, progress: Console) -> Iterator[str]:
    ask = reading(f"/v1/runtimes/bench.{RUNTIME_ID}")
    alone, gets, differences = [], [], []
    for number in range(options.rounds + 1):
        progress.print(f"{NAME}: round {number} of {options.rounds}", highlight=False)
        with_lines = load(logging, ask, options.in_flight, options.seconds).each
        without = load(quiet, ask, options.in_flight, options.seconds).each
        one = _alone()
        if number:  # the first one warms up
            alone.append(one)
            gets.append(with_lines)
            differences.append(with_lines - without)
    line, in_place, get = min(alone), statistics.median(differences) / _LINES, statistics.median(gets)
    yield f"{line * 1e6:.1f}"
    yield f"{in_place * 1e6:.1f}"
    yield f"{get * 1e6:.0f}"
    yield f"{line / get:.3f} alone, {in_place / get:.3f} in place"
    yield f"{GOAL:.2f}"


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
