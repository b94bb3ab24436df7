"""The servers behind the emulated sandboxes: a small one for each, or a real one in a process of its own.

A server begins with its sandbox, runs on while that is paused, and ends with it. A start does not wait for it.
"""

import asyncio
import logging
import os
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from adapters.durable.emulator.runtime_server import RuntimeServer
from adapters.durable.emulator.world import Instance
from gateway.testing.processes import Socket, first, listening_socket, own_folder, watched

SMALL: Final = "small"
"""The option that stands for the small server."""

_LOG: Final = logging.getLogger(__name__)
_HOST: Final = "127.0.0.1"
_SHUTDOWN: Final = 0.5  # seconds for what is in flight
_BUSY: Final = 0.1  # seconds until a port that is taken is tried again


@dataclass(slots=True)
class _Sandbox:
    stopped: asyncio.Event
    task: "asyncio.Task[None]"


class FarEnds:
    """Starts and ends servers. ``command`` starts a real one; it gets ``--host`` and ``--port``, and the token in
    ``DREADNODE_RUNTIME_TOKEN``. Raises ``ValueError`` for a command that does not exist."""

    def __init__(self, command: str) -> None:
        program, *arguments = [""] if command == SMALL else shlex.split(command) or [""]
        found = shutil.which(program)
        if found is None and command != SMALL:
            raise ValueError(f"there is no program {program!r} for the runtime server")
        self._command = [] if found is None else [str(Path(found).absolute()), *arguments]
        self._sandboxes: dict[str, _Sandbox] = {}
        self._folder = Path()

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """End all servers at the end of the emulator."""
        async with AsyncExitStack() as stack:
            if self._command:
                self._folder = await stack.enter_async_context(own_folder("sandboxes-"))
            yield
            ending = [sandbox.task for sandbox in self._sandboxes.values()]
            self.end_all()
            await asyncio.gather(*ending)

    def start(self, instance: Instance) -> None:
        """Start the server of an instance, and set its address. One that had an address in an earlier process keeps
        it."""
        listening = None
        if instance.address is None:
            listening = listening_socket()
            instance.address = f"http://{_HOST}:{listening.getsockname()[1]}"
        stopped = asyncio.Event()
        task = asyncio.create_task(self._run(instance, listening, stopped))
        self._sandboxes[instance.sandbox_id] = _Sandbox(stopped, task)
        task.add_done_callback(lambda _: self._sandboxes.pop(instance.sandbox_id, None))

    def end(self, instance: Instance) -> None:
        if (sandbox := self._sandboxes.get(instance.sandbox_id)) is not None:
            sandbox.stopped.set()

    def end_all(self) -> None:
        for sandbox in self._sandboxes.values():
            sandbox.stopped.set()

    async def _run(self, instance: Instance, listening: Socket | None, stopped: asyncio.Event) -> None:
        port = urlsplit(instance.address or "").port or 0
        while listening is None:
            try:
                listening = listening_socket(port)
            except OSError:  # a connection of another process may have the port for a moment
                await first(stopped.wait(), asyncio.sleep(_BUSY))
                if stopped.is_set():
                    return
        if self._command:
            listening.close()  # the program binds the port itself
            await self._run_process(instance, port, stopped)
            return
        runner = web.AppRunner(RuntimeServer(instance.token).application(), access_log=None, shutdown_timeout=_SHUTDOWN)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            await stopped.wait()
        finally:
            await runner.cleanup()

    async def _run_process(self, instance: Instance, port: int, stopped: asyncio.Event) -> None:
        folder = self._folder / instance.sandbox_id
        folder.mkdir()
        log = folder.with_suffix(".log")
        command = [*self._command, "--host", _HOST, "--port", str(port)]
        environment = {**os.environ, "DREADNODE_RUNTIME_TOKEN": instance.token}
        try:
            with log.open("wb") as output:
                async with watched(command, stdout=output, stderr=output, env=environment, folder=folder) as process:
                    await first(process.wait(), stopped.wait())
            if not stopped.is_set():
                said = log.read_text(errors="replace")[-500:]
                _LOG.warning("the runtime server ended with the code %s: %s", process.returncode, said)
        except OSError as exc:
            _LOG.warning("the runtime server did not start: %s", exc)
