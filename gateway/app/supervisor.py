"""The parent of ``serve --workers N``: starts the workers, replaces those that end, and stops and reloads all of them.

It reserves the addresses, and each worker listens at them with ``SO_REUSEPORT``: the system gives a new connection to
one of the workers that listen, so a worker that has ended receives none. The parent serves nothing itself.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing, suppress
from typing import Final

import msgspec

from gateway.app.descriptors import most_connections, raise_limit
from gateway.app.serving import named
from gateway.app.worker import COLLECT, HURRY, READY, RELOAD, SNAPSHOTS, STOP, Channel, Place
from gateway.ports.process_signals import RELOAD as SIGHUP
from gateway.ports.process_signals import STOP as STOP_SIGNALS
from gateway.ports.process_signals import hold_again, ignore_reload, react
from gateway.settings import ListenAddress, Problem, Settings, SettingsError
from gateway.telemetry.logs import Event, Logger, make_logger
from gateway.telemetry.merged_metrics import NOTHING, MergedMetrics, snapshot

PAUSES: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before a worker is replaced: the first after an end that was not early or the first early one in a row, then
one for each further early end."""
EARLY: Final = 60.0
"""A worker that has run for less than this many seconds has ended early."""

_SNAPSHOT_WITHIN: Final = 1.0


class _Worker:
    """One process. ``last`` is the last snapshot of its metrics."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.process = process
        self.channel = channel
        self.ready = False
        self.last = NOTHING
        self._next: asyncio.Future[None] | None = None

    def end(self, step: int) -> None:
        """Stop it; with ``step`` 2 end its waiting, with 3 end it."""
        with suppress(ProcessLookupError):
            if step == 1:
                self.channel.send(STOP)
                if not self.ready:
                    self.process.terminate()  # it reads no messages yet
            elif step == 2:
                self.channel.send(HURRY)
            else:
                self.process.kill()

    def answered(self, snapshot: bytes | None = None) -> None:
        """A snapshot has arrived, or none will."""
        self.last = self.last if snapshot is None else snapshot
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def refresh(self) -> None:
        """Update ``last``. A worker that does not answer in time keeps its last snapshot."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self.channel.send(COLLECT)
        await asyncio.wait([self._next], timeout=_SNAPSHOT_WITHIN)


class Supervisor:
    """Runs ``count`` workers with ``command`` and the option ``--worker``, until it is stopped."""

    def __init__(self, command: Sequence[str], count: int, reserved: dict[str, str], logger: Logger) -> None:
        self._command = command
        self._count = count
        self._reserved = reserved
        self._logger = logger
        self._workers: dict[int, _Worker] = {}
        self._ready: set[int] = set()  # all that have been ready once
        self._gone = NOTHING  # the counters of ended workers: Prometheus takes a sum that shrinks for a restart
        self._stopping = asyncio.Event()
        self._signals = 0
        self._code = 0

    async def run(self) -> int:
        """Return the exit code: 0, or that of a worker that ended before it was ever ready while others were not ready
        either; 1 if a signal ended it."""
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._count + 1):
                group.create_task(self._keep(number))
        return self._code

    def stop(self) -> None:
        """Upon a signal, stop all workers. A second call ends their waiting, a third one ends them."""
        self._signals += 1
        if self._signals > 1 or not self._stopping.is_set():
            self._end(self._signals)

    def _end(self, step: int) -> None:
        if step == 1:
            self._logger.info(Event.STOPPING, workers=len(self._workers))
            self._stopping.set()
        for worker in self._workers.values():
            worker.end(step)

    def reload(self) -> None:
        """Make all workers read the settings again. Each applies them only if they are valid."""
        for worker in self._workers.values():
            worker.channel.send(RELOAD)

    async def _keep(self, number: int) -> None:
        early = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            try:
                code = await self._serve(number)
            except OSError:  # no process, no memory or no descriptor is left
                self._logger.exception(Event.UNEXPECTED_ERROR, detail="a worker was not started")
                code = os.EX_OSERR
            if self._stopping.is_set():
                return
            if len(self._ready) < self._count and number not in self._ready:
                self._logger.error(Event.WORKER_ENDED, worker=number, exit_code=code)
                self._code = code if code > 0 else 1
                self._end(1)  # not a signal: the first one does not end the waiting
                return
            early = early + 1 if loop.time() - began < EARLY else 0
            pause = PAUSES[min(max(early - 1, 0), len(PAUSES) - 1)]
            self._logger.error(Event.WORKER_ENDED, worker=number, exit_code=code, replaced_after_seconds=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _serve(self, number: int) -> int:
        """Run a process until its end, and return its exit code."""
        ours, theirs = socket.socketpair()
        channel = await Channel.over(ours)
        with theirs, closing(channel):
            place = Place(number, theirs.fileno(), self._reserved)
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--worker",
                msgspec.json.encode(place).decode(),
                pass_fds=[theirs.fileno()],
                process_group=0,  # a terminal's Ctrl-C is for the supervisor alone
            )
            theirs.close()  # so that the channel ends with the process
            worker = self._workers[number] = _Worker(process, channel)
            if self._stopping.is_set():  # signals may have come while the process was being started
                for step in range(1, max(self._signals, 1) + 1):
                    worker.end(step)
            await self._converse(number, worker)
            code = await process.wait()
            worker.answered()
            del self._workers[number]
            self._gone = snapshot(MergedMetrics([self._gone, worker.last]), gauges=False)
            return code

    async def _converse(self, number: int, worker: _Worker) -> None:
        async with asyncio.TaskGroup() as group:
            async for name, parts in worker.channel.messages():
                if name == READY:
                    worker.ready = True
                    self._begun(number)
                elif name == SNAPSHOTS:
                    worker.answered(parts[0])
                elif name == COLLECT:
                    worker.last = parts[0]
                    group.create_task(self._collect(worker))

    def _begun(self, number: int) -> None:
        complete = len(self._ready) == self._count
        self._ready.add(number)
        if not complete and len(self._ready) == self._count:
            self._logger.info(Event.WORKERS_STARTED, workers=self._count)

    async def _collect(self, asking: _Worker) -> None:
        """Send a worker the metrics of all others, those that have ended included."""
        others = [worker for worker in self._workers.values() if worker is not asking and worker.ready]
        if others:
            await asyncio.wait([asyncio.create_task(worker.refresh()) for worker in others])
        asking.channel.send(SNAPSHOTS, self._gone, *(w.last for w in others if w in self._workers.values()))


def supervise(settings: Settings, workers: int) -> int:
    """Run this process's own command in that many workers, until SIGTERM or SIGINT. Raises :class:`SettingsError` for
    settings with which several processes cannot serve, and ``OSError`` when an address cannot be listened on."""
    if settings.store.file is not None:
        message = (
            "more than one worker needs PostgreSQL: processes that share a SQLite file wait for each other's writes to "
            "disk, which made creates take up to 0.8 s"
        )
        raise SettingsError([Problem("store.url", message)])
    most_connections(settings, raise_limit())  # workers inherit the limit
    logger = make_logger(settings.log.level, settings.log.format)

    async def run() -> int:
        async with AsyncExitStack() as stack:
            reserved = await _reserved(settings, stack)
            supervisor = Supervisor([sys.executable, *sys.orig_argv[1:]], workers, reserved, logger)
            for number in STOP_SIGNALS:
                react(number, supervisor.stop)
            react(SIGHUP, supervisor.reload)
            try:
                return await supervisor.run()
            finally:
                ignore_reload()
                logger.info(Event.STOPPED)

    try:
        return asyncio.run(run())
    finally:
        hold_again()


async def _reserved(settings: Settings, stack: AsyncExitStack) -> dict[str, str]:
    """Bind the addresses of all listeners, without listening, until the end of ``stack``. Return them with their ports,
    by the path of their setting. Raises ``OSError`` if another process listens there."""
    wanted = {"http.listen": settings.http.address, "admin.listen": settings.admin.address}
    if settings.data.enabled:
        wanted["data.listen"] = settings.data.address
    loop, bound = asyncio.get_running_loop(), {}
    for path, address in wanted.items():
        if address is not None:
            with named(address):
                server = await loop.create_server(asyncio.Protocol, address.host, address.port, start_serving=False)
            stack.callback(server.close)
            bound[path] = str(ListenAddress(address.host, server.sockets[0].getsockname()[1]))
    return bound
