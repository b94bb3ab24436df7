"""The start of a gateway with a provider of every API, until ``/readyz`` answers 200, beside ``import aiohttp`` alone;
and its resident memory then, with issuers of tokens and the data plane."""

import json
import resource
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from benchmarks.bench import Bench, compared
from benchmarks.processes import SERVER, free_port, pin, resident, until_answers
from benchmarks.results import Row
from benchmarks.versions import Version, settings
from gateway.app import plugins

NAME: Final = "start to /readyz"
MEMORY: Final = "memory of an idle worker"
_IMPORT: Final = "import aiohttp"
_MIB: Final = 1 << 20


class _Run(NamedTuple):
    seconds: float
    processor: float
    memory: float = 0.0


def start(bench: Bench) -> Iterator[Row]:
    """Measure alternately."""
    if not bench.wanted(NAME, MEMORY):
        return
    runs: dict[str, list[_Run]] = defaultdict(list)
    port = free_port()
    file = bench.folder / "start.yaml"
    file.write_text(json.dumps(_settings(bench, port)))
    for counts in bench.rounds(NAME):
        measured = {_IMPORT: _run(bench.versions[-1], "-c", "import aiohttp")}
        for version in bench.versions:
            command = ("-m", "gateway", "serve", "--config", str(file))
            measured[version.name] = _run(version, *command, ready=f"http://127.0.0.1:{port}/readyz")
        if counts:
            for name, run in measured.items():
                runs[name].append(run)
    part = {"part": "goals", "work": NAME, "unit": "ms", "at_most": 3.0}
    for measure, of in {"time": "seconds", "processor time": "processor"}.items():
        figures = {name: [getattr(run, of) * 1000 for run in each] for name, each in runs.items()}
        yield compared({**part, "measure": measure}, figures, _IMPORT)
    memory = {name: [run.memory for run in each] for name, each in runs.items() if name != _IMPORT}
    row = {"part": "goals", "work": MEMORY, "measure": "resident", "unit": "MiB", "at_most": 90.0}
    yield compared(row, memory)


def _settings(bench: Bench, port: int) -> dict[str, Any]:
    providers = {
        plugin.demo.provider: {"api": api, "base_url": bench.upstream.url, "token": "t", "scope": plugin.demo.scope}
        for api, plugin in plugins().items()
    }
    made = settings(bench.folder / "start.db", providers, http={"listen": f"127.0.0.1:{port}"})
    issuer = {"issuer": "https://login.example", "audience": "runtime-gateway", "jwks": f"{bench.upstream.url}/jwks"}
    made["auth"]["jwt"] = [{**issuer, "name": "login", "template": "bench"}]
    return {**made, "data": {"enabled": True, "listen": "127.0.0.1:0"}}


def _run(version: Version, *arguments: str, ready: str = "") -> _Run:
    """Run Python until it ends, or until the URL ``ready`` answers; then it is killed."""
    used, began = _children(), time.perf_counter()
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": version.folder}
    with subprocess.Popen([version.python, *arguments], text=True, **options) as process:  # noqa: S603 (Python itself)
        pin(process.pid, SERVER)
        memory = 0.0
        if ready:
            try:
                until_answers(process, ready)
                seconds = time.perf_counter() - began
                memory = resident(process.pid) / _MIB
            finally:
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
