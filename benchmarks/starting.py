"""The start of a gateway with a provider of every API, until ``/readyz`` answers 200, beside ``import aiohttp`` alone;
and its resident memory then."""

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import Namespace
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.load import Server
from benchmarks.servers import KEY
from gateway.app import plugins

NAME: Final = "start to /readyz"
GOAL: Final = 3.0
MEMORY_GOAL: Final = 90
_ADDRESS: Final = "127.0.0.1:18437"
_LOOK_EVERY: Final = 0.005


class _Run(NamedTuple):
    seconds: float
    processor: float
    memory: float = 0.0


def start(upstream: Server, options: Namespace, folder: str, progress: Console) -> Table:
    """Measure alternately. Figures are medians of the rounds."""
    table = Table(
        "work", "aiohttp ms", "gateway ms", "ratio", "goal", "processor ms each", "their ratio", "MiB", "goal"
    )
    if not NAME.startswith(options.only):
        return table
    settings = _settings(upstream, Path(folder))
    bare, ours = [], []
    for number in range(options.rounds + 1):
        progress.print(f"{NAME}: round {number} of {options.rounds}", highlight=False)
        runs = _run("-c", "import aiohttp"), _run("-m", "gateway", "serve", "--config", str(settings), serves=True)
        if number:  # the first one warms up
            bare.append(runs[0])
            ours.append(runs[1])
    one, other = (_Run(*map(statistics.median, zip(*runs, strict=True))) for runs in (bare, ours))
    table.add_row(
        NAME,
        f"{one.seconds * 1000:.0f}",
        f"{other.seconds * 1000:.0f}",
        f"{statistics.median(b.seconds / a.seconds for a, b in zip(bare, ours, strict=True)):.2f}",
        f"{GOAL:.2f}",
        f"{one.processor * 1000:.0f} : {other.processor * 1000:.0f}",
        f"{statistics.median(b.processor / a.processor for a, b in zip(bare, ours, strict=True)):.2f}",
        f"{other.memory:.0f}",
        str(MEMORY_GOAL),
    )
    return table


def _settings(upstream: Server, folder: Path) -> Path:
    file = folder / "start.yaml"
    providers = {
        plugin.demo.provider: {"api": api, "base_url": upstream.url, "token": "t", "scope": plugin.demo.scope}
        for api, plugin in plugins().items()
    }
    document = {
        "version": 1,
        "http": {"listen": _ADDRESS},
        "data": {"enabled": True, "listen": "127.0.0.1:0"},
        "auth": {"keys": {"bench": {"key": KEY}}},
        "providers": providers,
    }
    file.write_text(json.dumps(document))
    return file


def _run(*arguments: str, serves: bool = False) -> _Run:
    """Run Python until it ends, or until it serves; then it is ended."""
    used, began = _children(), time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 (Python itself)
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    memory = 0.0
    if serves:
        while not _ready():
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
            time.sleep(_LOOK_EVERY)
        seconds = time.perf_counter() - began
        memory = _resident(process.pid)
        process.send_signal(signal.SIGKILL)  # so that nothing of its end is counted
        process.wait()
    else:
        process.wait()
        seconds = time.perf_counter() - began
    return _Run(seconds, _children() - used, memory)


def _children() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://{_ADDRESS}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _resident(pid: int) -> float:
    """In MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
