"""The effect of a failing provider on callers of a healthy one: response times with and without the failure."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.bench import Bench
from benchmarks.load import Ask, Client, percentile, reading, run
from benchmarks.processes import LOAD, Server, server
from benchmarks.results import Row
from benchmarks.servers import SICK_DEADLINE
from benchmarks.upstream import RUNTIME_ID
from benchmarks.versions import PROVIDER, provider, serving, settings

OTHER: Final = "other"

SICKNESSES: Final = {
    "beside a provider that hangs": "hang",
    "beside one that refuses connections": "refuse",
    "beside one that answers 429": "429",
    "beside one that answers 500": "500",
}

_OF_OTHER: Final[dict[str, Any]] = {"token": "other", "deadlines": {"get": SICK_DEADLINE}}  # another account
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
        self._timer: asyncio.TimerHandle | None = None

    def _again(self, now: float) -> None:
        if now + self._every >= self._until:
            super()._again(self._until)
        else:
            pause = max(self._began + self._every - now, 0)
            self._timer = asyncio.get_running_loop().call_later(pause, self.ask)

    def leave(self) -> None:
        """Stop without waiting for a response."""
        self.done.cancel()
        if self._timer is not None:
            self._timer.cancel()
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
        connect(_Healthy, PROVIDER, _HEALTHY, healthy), connect(_Paced, OTHER, _OTHERS, others)
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


def beside_the_sick(bench: Bench) -> Iterator[Row]:
    """Measure alternately a gateway whose other provider is healthy and one whose other provider fails, under the same
    load. Figures are over the response times of all rounds."""
    chosen = {name: mode for name, mode in SICKNESSES.items() if bench.wanted(name)}
    if not chosen:
        return
    with (
        _refusing() as nowhere,
        server("sick", processor=LOAD) as sick,
        _gateway(bench, "well", bench.upstream.url) as well,
    ):
        for name, mode in chosen.items():
            with _gateway(bench, mode, nowhere if mode == "refuse" else f"{sick.url}/{mode}") as ill:
                yield from _rows(bench, name, well, ill)


@contextmanager
def _gateway(bench: Bench, name: str, other: str) -> Iterator[Server]:
    providers = {PROVIDER: provider(bench.upstream.url), OTHER: provider(other, **_OF_OTHER)}
    folder = bench.folder / name
    folder.mkdir()
    with serving(bench.versions[-1], settings(folder / "gateway.db", providers), folder) as gateway:
        yield gateway


def _rows(bench: Bench, name: str, well: Server, ill: Server) -> Iterator[Row]:
    times: dict[Server, list[float]] = {well: [], ill: []}
    answers = {well: 0, ill: 0}
    for counts in bench.rounds(name):
        for gateway in (well, ill):
            took, others = run(_measure(gateway.url, bench.seconds))
            if counts:
                times[gateway] += took
                answers[gateway] += others
    part = {"part": "more", "work": name, "beside_name": "beside a healthy one"}
    for percent, goal in {50: None, 99: GOAL}.items():
        healthy, sick = (percentile(times[gateway], percent) * 1000 for gateway in (well, ill))
        more = {"beside": healthy, "after": sick, "ratio_after": sick / healthy, "at_most": goal}
        yield Row(**part, measure=f"p{percent}", unit="ms", **more)
    yield Row(**part, measure="answers of the other one", unit="", beside=answers[well], after=answers[ill])
