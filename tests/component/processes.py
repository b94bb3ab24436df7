"""The command line as a separate process, for tests of signals, exit codes, output streams and the working folder."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "gateway")
URL = re.compile(r"http://[0-9.]+:[0-9]+")

HANGS = 60  # seconds after which a process without the expected output counts as hanging


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment of a process: without settings of the gateway or pytest, and with the code of this checkout.
    Compiled modules are kept, also if the environment says otherwise: to compile them takes as long as the start."""
    left_out = ("RTGW_", "PYTEST_", "COV_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables}


def runtime_folder(cwd: Path) -> Path:
    """Where processes that run in ``cwd`` have what only exists while they run, such as the file of a demo."""
    return cwd.with_name(f"{cwd.name}-runtime")


@dataclass
class Ended:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Running:
    """A process that runs until it receives a signal. ``output`` is what was read of stdout and stderr so far."""

    process: asyncio.subprocess.Process
    output: str = ""
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Read the output until its end."""
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.readline():
            async with self._more:
                self.output += chunk.decode(errors="replace")
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()

    async def until_output(self, pattern: str) -> re.Match[str]:
        """Wait for a match in the output, and return the first one.

        Raises ``AssertionError`` if the process ends before, ``TimeoutError`` after :data:`HANGS` seconds."""
        assert self.process.stdout is not None
        async with asyncio.timeout(HANGS), self._more:
            while (found := re.search(pattern, self.output)) is None:
                assert not self.process.stdout.at_eof(), f"it ended without the output {pattern!r}:\n{self.output}"
                await self._more.wait()
        return found

    async def more(self) -> None:
        """Wait for more output, or its end."""
        async with asyncio.timeout(HANGS), self._more:
            await self._more.wait()

    async def url(self) -> str:
        """Wait for the first address in the output, and return it."""
        return (await self.until_output(URL.pattern + r"(?=\D)"))[0]

    def send_signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end of the process. Return its exit code."""
        async with asyncio.timeout(HANGS):
            return await self.process.wait()


@asynccontextmanager
async def running(
    *arguments: str, cwd: Path, command: tuple[str, ...] = COMMAND, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Start ``runtime-gateway ARGUMENTS…`` in a folder. At the end of the context the process is killed if it runs."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=cwd,
        env=clean_environment(XDG_RUNTIME_DIR=str(runtime_folder(cwd)), **(environment or {})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    started = Running(process)
    reader = asyncio.create_task(started.read())
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reader


@asynccontextmanager
async def end_of(*pids: int) -> AsyncIterator[None]:
    """Wait at the end of the context until these processes have ended."""
    loop, watches = asyncio.get_running_loop(), {os.pidfd_open(pid): asyncio.Event() for pid in pids}
    for watch, ended in watches.items():
        loop.add_reader(watch, ended.set)
    try:
        yield
        async with asyncio.timeout(HANGS):
            for ended in watches.values():
                await ended.wait()
    finally:
        for watch in watches:
            loop.remove_reader(watch)
            os.close(watch)


def children(pid: int) -> list[int]:
    """The processes that the main thread of a process has started."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


async def finished(
    *arguments: str, cwd: Path, command: tuple[str, ...] = COMMAND, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run ``runtime-gateway ARGUMENTS…``, and return its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=cwd,
        env=clean_environment(XDG_RUNTIME_DIR=str(runtime_folder(cwd)), **(environment or {})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(HANGS * 4):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def client(url: str, key: str | None = None) -> aiohttp.ClientSession:
    """A session with the base URL ``url``, which sends ``key`` if it is given."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return aiohttp.ClientSession(url, headers=headers, timeout=aiohttp.ClientTimeout(total=HANGS))
