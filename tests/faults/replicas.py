"""Gateways as real processes that can be killed, suspended and restarted, over one store and one settings file."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from gateway.testing.waiting import Watch
from tests.component.processes import COMMAND, HANGS, URL, clean_environment

KEY: Final = "a-key-of-the-fault-tests-1234"
OTHER_KEY: Final = "a-key-of-somebody-else-5678"

QUICK: Final = {
    "wait_out": 2,
    "join_wait": 2,
    "send_within": 1,
    "lease_margin": 1,
    "settle_every": 0.1,
    "settling_in_flight": 16,
}
"""The ``creates`` settings: the wait-out is 2 s, and the leases of a killed gateway end about 3 s after the kill."""

DEADLINE: Final = 1.0
"""The deadline of a create at a provider, in seconds."""


class Server:
    """A command that serves, across restarts. ``lines`` is the output of all its processes; ``url`` has no value while
    none runs."""

    def __init__(self, folder: Path, command: Sequence[str], arguments: Sequence[str]) -> None:
        self._folder = folder
        self._command = command
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watch = Watch()
        self.url: str | None = None
        self.lines: list[str] = []
        self.kills = 0

    async def start(self) -> None:
        """Start a process, and return when it listens. Raises ``AssertionError`` if it ends before."""
        assert self._process is None
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            *self._arguments,
            cwd=self._folder,
            env=clean_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        async with asyncio.timeout(HANGS):
            await self._watch.until(lambda: self.url is not None or self._reader_is_done())
        assert self.url is not None, f"{self._arguments[0]} did not start:\n" + "".join(self.lines[-20:])

    async def kill(self) -> None:
        """End the process with SIGKILL."""
        self.kills += 1
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """End the process with SIGTERM. Return its exit code."""
        return await self._end(signal.SIGTERM)

    async def close(self) -> None:
        """End the process if one runs."""
        if self._process is not None:
            await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> int:
        process, self._process, self.url = self._process, None, None
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        async with asyncio.timeout(HANGS):
            code = await process.wait()
        assert self._reader is not None
        await self._reader
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        begun = False
        try:
            while raw := await process.stdout.readline():
                line = raw.decode(errors="replace")
                self.lines.append(line)
                if not begun and (found := re.search(URL.pattern + r"(?=\D)", line)):
                    begun, self.url = True, found[0]
                    self._watch.changed()
        finally:
            self._watch.changed()

    def _reader_is_done(self) -> bool:
        return self._reader is not None and self._reader.done()


class Replica(Server):
    """One gateway, across restarts."""

    def __init__(self, settings: Path, command: tuple[str, ...] = COMMAND) -> None:
        super().__init__(settings.parent, command, ("serve", "--config", str(settings)))

    async def freeze(self, file: Path | None) -> None:
        """Suspend the process, with SIGSTOP, at a moment at which it does not hold the write lock of the SQLite store
        in ``file``: a suspended process keeps the lock, and no other replica can write until it continues."""
        assert self._process is not None
        async with asyncio.timeout(HANGS):
            while True:
                self._process.send_signal(signal.SIGSTOP)
                await asyncio.to_thread(os.waitid, os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)
                if file is None or _can_write(file):
                    return
                self.thaw()
                await asyncio.sleep(0.01)  # time to finish the write

    def thaw(self) -> None:
        """Continue the process, with SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event, decoded."""
        marked = f'"{event}"'
        lines = [json.loads(line) for line in self.lines if marked in line and line.startswith("{")]
        return [line for line in lines if line["event"] == event]


def _can_write(file: Path) -> bool:
    connection = sqlite3.connect(file, isolation_level=None, timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    else:
        return True
    finally:
        connection.close()


def write_settings(
    folder: Path, providers: Mapping[str, Mapping[str, Any]], store: Mapping[str, Any], **sections: Any
) -> Path:
    """Write the settings file of gateways over a store (as JSON, which is valid YAML). Return its path."""
    creates = {**QUICK, **sections.pop("creates", {})}
    document = {
        "version": 1,
        "http": {"listen": "127.0.0.1:0"},
        "auth": {"keys": {"caller": {"key": KEY}, "other": {"key": OTHER_KEY}}},
        "shutdown": {"grace": 2},
        "store": dict(store),
        "creates": creates,
        "providers": {name: dict(settings) for name, settings in providers.items()},
        **sections,
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(document))
    return path


def encryption_key() -> str:
    """A new random sealing key."""
    return b64encode(secrets.token_bytes(32)).decode()


@asynccontextmanager
async def replicas(settings: Path, count: int, *, command: tuple[str, ...] = COMMAND) -> AsyncIterator[list[Replica]]:
    """Run ``count`` gateways with the same settings, each with this command."""
    made = [Replica(settings, command) for _ in range(count)]
    try:
        await made[0].start()  # the first one creates the schema
        await asyncio.gather(*(replica.start() for replica in made[1:]))
        yield made
    finally:
        for replica in made:
            await replica.close()
