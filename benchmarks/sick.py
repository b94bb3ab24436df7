"""The effect of a failing provider on callers of a healthy one: response times with and without the failure."""

import asyncio
import socket
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.load import Ask, Client, Server, percentile, reading, server
from benchmarks.servers import OTHER, RUNTIME_ID

SICKNESSES: Final = {
    "beside a provider that hangs": "hang",
    "beside one that refuses connections": "refuse",
    "beside one that answers 429": "429",
    "beside one that answers 500": "500",
}

GOAL: Final = 1.20
"""The highest allowed ratio of the two p99."""

_HEALTHY: Final = (8, 0.02)
_OTHERS: Final = (32, 0.1)
"""Connections, and the seconds between the requests of each. The load is below the capacity of a processor, so that
waiting for other requests is measured, not waiting for CPU."""


class _Paced(Client):
    """Sends a request every ``every`` seconds, or when the response is complete if that is later. Any status counts."""

    accepted = b"HTTP/1.1 "

    def __init__(self, ask: Ask, until: float, took: list[float], every: float) -> None:
        super().__init__(ask, until, took)
        self._every = every

    def _again(self, now: float) -> None:
        if now + self._every >= self._until:
            super()._again(self._until)
        else:
            asyncio.get_running_loop().call_later(max(self._began + self._every - now, 0), self._ask)

    def leave(self) -> None:
        """Stop without waiting for a response."""
        self.done.cancel()
        if not self._transport.is_closing():
            self._transport.abort()


class _Healthy(_Paced):
    """The same, but every response has to be a success."""

    accepted = Client.accepted


async def _measure(url: str, seconds: float) -> tuple[list[float], int]:
    """The response times at the healthy provider, and how many responses the callers of the other one got."""
    parts, until = urlsplit(url), time.perf_counter() + seconds
    healthy: list[float] = []
    others: list[float] = []

    async def connect(kind: type[_Paced], provider: str, load: tuple[int, float], took: list[float]) -> list[_Paced]:
        ask, (count, every) = reading(f"/v1/runtimes/{provider}.{RUNTIME_ID}"), load
        made = []
        for number in range(count):
            await asyncio.sleep(every / count if number else 0)  # so that the requests are spread over time
            _, client = await asyncio.get_running_loop().create_connection(
                lambda: kind(ask, until, took, every), parts.hostname or "", parts.port or 80
            )
            made.append(client)
        return made

    callers, beside = await asyncio.gather(
        connect(_Healthy, "bench", _HEALTHY, healthy), connect(_Paced, OTHER, _OTHERS, others)
    )
    await asyncio.gather(*(caller.done for caller in callers))
    for caller in beside:
        caller.leave()
    return healthy, len(others)


@contextmanager
def _refusing() -> Iterator[str]:
    """A reserved address on which no process listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def beside_the_sick(upstream: Server, options: Namespace, folder: str, progress: Console) -> Table:
    """Measure alternately a gateway whose other provider is healthy and one whose other provider fails, under the same
    load. Figures are over the response times of all rounds."""
    table = Table("work", "p50 ms well : sick", "p99 ms well : sick", "p99 ratio", "at most", "its answers well : sick")
    chosen = {name: mode for name, mode in SICKNESSES.items() if name.startswith(options.only)}
    if not chosen:
        return table
    with (
        _refusing() as nowhere,
        server("sick", processor=1) as sick,
        server("gateway", upstream.url, f"{folder}/well.db", upstream.url, processor=0) as well,
    ):
        for name, mode in chosen.items():
            other = nowhere if mode == "refuse" else f"{sick.url}/{mode}"
            with server("gateway", upstream.url, f"{folder}/{mode}.db", other, processor=0) as ill:
                table.add_row(name, *_figures(name, well, ill, options, progress))
    return table


def _figures(name: str, well: Server, ill: Server, options: Namespace, progress: Console) -> Iterator[str]:
    times: dict[Server, list[float]] = {well: [], ill: []}
    answers = {well: 0, ill: 0}
    for number in range(options.rounds + 1):
        progress.print(f"{name}: round {number} of {options.rounds}", highlight=False)
        for gateway in (well, ill):
            took, others = asyncio.run(_measure(gateway.url, options.seconds))
            if number:  # the first one warms up
                times[gateway] += took
                answers[gateway] += others
    for percent in (50, 99):
        yield " : ".join(f"{percentile(took, percent) * 1000:.2f}" for took in times.values())
    yield f"{percentile(times[ill], 99) / percentile(times[well], 99):.2f}"
    yield f"{GOAL:.2f}"
    yield " : ".join(map(str, answers.values()))
