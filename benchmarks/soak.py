"""Whether one gateway process stays as it is over many mixed requests: ``python -m benchmarks.soak --requests 100000``.

The gateway is a process of its own, in front of an emulator of every provider API in this process; some calls to them
fail. Between equal shares of the requests the emulators start empty again, and when all queues of the gateway are
empty, its resident memory, descriptors, tasks and objects are counted. Exits with 1 if one of them grows after the
warm-up, or if a queue does not empty.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.mix import Mix, emulated, fail, share
from benchmarks.observed import FILE
from benchmarks.processes import Server
from benchmarks.versions import KEY, ROOT, Version, serving, settings

SHARES: Final = 20
WARM: Final = 75_000
"""The length of the warm-up in requests, or a quarter of all if that is less. After it nothing may grow."""
CREATES: Final = {"wait_out": 2, "join_wait": 2, "send_within": 1, "lease_margin": 1, "settle_every": 0.1}
QUEUES: Final = ("requests_in_flight", "waiting", "bulkhead_in_flight", "bulkhead_waiting", "native_in_flight")
_EMPTY_WITHIN: Final = 60.0
_MEMORY: Final = 1.05
_DESCRIPTORS: Final = 32
_TASKS: Final = 4
_OBJECTS: Final = (1.1, 12_000)


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the process after ``sent`` requests. ``memory`` is in MiB."""

    sent: int
    memory: float
    descriptors: int
    tasks: int
    objects: Mapping[str, int]


def judged(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield what has grown. Compared are the medians of the first and the last third of the samples after the warm-up.
    Idle connections come and go, so descriptors have a tolerance; bounded caches fill later than that, the largest with
    10,000 entries, so objects of one type may become 10 percent and 12,000 more, and memory 5 percent."""
    warm = min(WARM, samples[-1].sent // 4)
    rest = [sample for sample in samples if sample.sent >= warm]
    third = max(len(rest) // 3, 1)
    first, last = rest[:third], rest[-third:]

    def grown(figure: Callable[[Sample], float], factor: float, more: float) -> str | None:
        before, after = (statistics.median(map(figure, each)) for each in (first, last))
        return f"{before:,.0f} → {after:,.0f}" if after > before * factor + more else None

    bounds: dict[str, tuple[Callable[[Sample], float], float, float]] = {
        "memory, MiB": (lambda sample: sample.memory, _MEMORY, 0),
        "descriptors": (lambda sample: sample.descriptors, 1, _DESCRIPTORS),
        "tasks": (lambda sample: sample.tasks, 1, _TASKS),
    }
    for name in last[-1].objects:
        bounds[f"objects of {name}"] = (lambda sample, name=name: sample.objects.get(name, 0), *_OBJECTS)  # type: ignore[misc]
    for name, bound in bounds.items():
        if found := grown(*bound):
            yield f"{name}: {found}"


def queued(metrics: str) -> dict[str, float]:
    """The queues that are not empty, by series."""
    found = re.findall(rf"^rtgw_((?:{'|'.join(QUEUES)})(?:{{[^}}]*}})?) (\S+)$", metrics, re.MULTILINE)
    return {name: float(value) for name, value in found if float(value)}


class Gateway:
    """The process, seen from outside and through its hook."""

    def __init__(self, server: Server, client: aiohttp.ClientSession, counts: Path) -> None:
        self._server = server
        self._client = client
        self._counts = counts
        self._asked = 0

    async def sample(self, sent: int) -> Sample:
        """Its state when all queues are empty. Raises ``RuntimeError`` if they do not empty."""
        await self._rest()
        self._asked += 1
        os.kill(self._server.pid, signal.SIGUSR2)
        async with asyncio.timeout(_EMPTY_WITHIN):
            while (found := self._counted())["number"] < self._asked:  # noqa: ASYNC110 (it happens in another process)
                await asyncio.sleep(0.05)
        memory = self._server.resident() / (1 << 20)
        return Sample(sent, memory, self._descriptors(), found["tasks"], found["objects"])

    def _descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._server.pid}/fd").iterdir()))

    def _counted(self) -> dict[str, Any]:
        """What the hook has written last."""
        return dict(json.loads(self._counts.read_text())) if self._counts.exists() else {"number": 0}

    async def _rest(self) -> None:
        end = time.monotonic() + _EMPTY_WITHIN
        while True:
            async with self._client.get("/metrics") as response:
                full = queued(await response.text())
            if not full:
                return
            if time.monotonic() > end:
                raise RuntimeError(f"not empty {_EMPTY_WITHIN:.0f} s after the last request: {full}")
            await asyncio.sleep(0.2)


async def soak(
    requests: int, at_once: int, seed: int, say: Callable[[str], None], shares: int = SHARES
) -> list[Sample]:
    """Send the requests, and return the samples between them."""
    began, samples = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[FILE] = str(folder / "counts.json")
        version = Version("after", ROOT, module="benchmarks.observed")
        async with emulated() as (providers, emulators):
            document = settings(folder / "gateway.db", providers, cache={"enabled": True}, creates=CREATES)
            with serving(version, document, folder) as server:
                connector = aiohttp.TCPConnector(limit=at_once)
                headers = {"Authorization": f"Bearer {KEY}"}
                async with aiohttp.ClientSession(server.url, headers=headers, connector=connector) as client:
                    gateway = Gateway(server, client, folder / "counts.json")
                    mix = Mix(client, {name: each["api"] for name, each in providers.items()}, seed)
                    say(f"{'requests':>10} {'MiB':>7} {'descriptors':>12} {'tasks':>6} {'objects':>9} {'s':>6}")
                    for number in range(shares + 1):
                        for emulator in emulators:
                            emulator.reset()
                        await mix.fill()
                        samples.append(found := await gateway.sample(number * (requests // shares)))
                        line = f"{found.sent:>10,} {found.memory:>7.1f} {found.descriptors:>12} {found.tasks:>6}"
                        say(f"{line} {sum(found.objects.values()):>9,} {time.monotonic() - began:>6.0f}")
                        if number < shares:
                            for emulator in emulators:
                                fail(emulator)
                            await share(mix, requests // shares, at_once)
                    say(f"responses: {dict(mix.statuses.most_common())}")
    return samples


def main() -> None:
    """Send the requests, print the samples, and judge them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201

    try:
        grown = list(judged(asyncio.run(soak(options.requests, options.in_flight, options.seed, say))))
    except RuntimeError as exc:
        grown = [str(exc)]
    say("flat after the warm-up" if not grown else "not flat:\n  " + "\n  ".join(grown))
    sys.exit(1 if grown else 0)


if __name__ == "__main__":
    main()
