"""Child processes and folders of an emulator that end with it, and applications on loopback ports during a test."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any, Final, TypeAlias

from aiohttp import web

_WATCHED: Final = """
exec 3<&0
"$@" 3<&- </dev/null & child=$!
{ read -r _ <&3; kill -KILL 0; } & watcher=$!
trap 'kill -TERM "$child"' TERM
while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done
kill "$watcher"
exit "$code"
"""
"""The shell holds the other end of a pipe of this process. When that closes, also because this process was killed, the
shell kills its process group, which is the child's."""

_REMOVED: Final = 'read -r _; for _ in 1 2 3 4 5 6 7 8 9; do rm -rf "$1" && exit; sleep 0.2; done'
"""The same for a folder. Processes that are about to be killed may still write to it."""


@asynccontextmanager
async def own_folder(prefix: str) -> AsyncIterator[Path]:
    """A temporary folder. It is removed at the end of the context, and also when this process is killed."""
    folder = mkdtemp(prefix=prefix)
    remover = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _REMOVED, "sh", folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Path(folder)
    finally:
        await remover.communicate(b"")  # closes the pipe


@asynccontextmanager
async def watched(
    command: Sequence[str],
    *,
    grace: float = 5,
    stdout: IO[bytes] | int = asyncio.subprocess.DEVNULL,
    stderr: IO[bytes] | int = asyncio.subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command in a process group of its own. At the end of the context it receives SIGTERM, and after ``grace``
    seconds the group is killed. The group also ends when this process does. ``env`` and ``folder`` are its environment
    and working directory, by default those of this process."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        *("-c", _WATCHED, "sh", *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def first(*works: Coroutine[Any, Any, object]) -> None:
    """Return when one of the works ends; cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Socket: TypeAlias = socket.socket


def listening_socket(port: int = 0) -> Socket:
    """A socket that listens on a port of 127.0.0.1; 0 selects a free one. Raises ``OSError`` if it is taken."""
    return socket.create_server(("127.0.0.1", port))


@asynccontextmanager
async def running(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve ``app`` and yield its URL (``http://127.0.0.1:PORT``, no trailing slash). Port 0 selects a free port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
