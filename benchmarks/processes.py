"""Processes under measurement, each on one processor if there are two, with the processor time and the memory that the
kernel counts for them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SERVER, LOAD = 0, 1
"""The processor of the server under test, and the one that the upstream and the load share."""

_BEGINS_WITHIN: Final = 180.0
_ENDS_WITHIN: Final = 20.0
_LOOKS_EVERY: Final = 0.005


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    pid: int

    def processor_seconds(self) -> float:
        """Processor time of its threads and its children's so far; NaN if the system does not report it."""
        threads = [
            int(path.read_text().split()[0])
            for pid in self.processes()
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ]
        return sum(threads) / 1e9 if threads else float("nan")

    def resident(self) -> int:
        """Resident memory in bytes, without its children's; 0 if the system does not report it."""
        return resident(self.pid)

    def processes(self) -> list[int]:
        """The process and its children."""
        found = [self.pid]
        for pid in found:
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, path.read_text().split())
        return found


def resident(pid: int) -> int:
    """The resident memory of a process in bytes; 0 if the system does not report it."""
    file = Path(f"/proc/{pid}/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


def pin(pid: int, processor: int | None) -> None:
    """Let a process run on one processor only, if there are two. None: on any, although this process is pinned."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, range(os.cpu_count() or 1) if processor is None else {processor})


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: Sequence[str], *, processor: int | None, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a command, and stop it at the end: with SIGTERM, or SIGKILL if it does not end."""
    with subprocess.Popen(command, text=True, **options) as process:  # noqa: S603 (a server of the benchmarks)
        try:
            pin(process.pid, processor)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def server(name: str, target: str = "", *, processor: int = SERVER, loop: str = "uvloop") -> Iterator[Server]:
    """Run a server of ``benchmarks.servers``."""
    command = [sys.executable, "-m", "benchmarks.servers", "--loop", loop, name, target]
    with running(command, processor=processor, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        yield Server(process.stdout.readline().strip(), process.pid)


def until_answers(process: "subprocess.Popen[str]", url: str) -> None:
    """Wait until the URL answers with 200. Raises ``RuntimeError`` if the process ends before, or takes too long."""
    end = time.monotonic() + _BEGINS_WITHIN
    while not answers(url):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not serve: exit code {process.returncode}")
        time.sleep(_LOOKS_EVERY)


def answers(url: str) -> bool:
    """Whether a GET has the answer 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (a loopback address)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
