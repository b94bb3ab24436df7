"""The browsers behind an emulated account: a Chromium for every running browser, or a stub where there is none."""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession, web

from adapters.bctrl_browsers.emulator.chromium import (
    PORT_FILE,
    address_in,
    arguments,
    logging_in,
    proxy_of,
    unsupported,
)
from adapters.bctrl_browsers.emulator.front import STUB, Front
from adapters.bctrl_browsers.emulator.world import Browser, World
from gateway.testing.processes import first, own_folder, watched

_LOG: Final = logging.getLogger(__name__)
_STARTUP: Final = 30.0
"""Seconds for which a browser may start before it counts as failed."""
_CLOSING: Final = 5.0
_POLL: Final = 0.02


class Chromium:
    """The process of one run. ``address`` is that of its WebSocket, once it listens; ``failure`` says why it ended
    although it was not stopped."""

    def __init__(self, front: str) -> None:
        self.address: str | None = None
        self.failure: str | None = None
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._front = front

    def urls(self, credential: str) -> dict[str, str]:
        """The addresses for ``currentRun.connections``."""
        return {"cdpUrl": self.address or "", "webdriverUrl": f"{self._front}/{credential}"}

    async def run(self, executable: str, folder: Path, browser: Browser) -> None:
        """Run until :attr:`stopped`, or until the process ends. Sets the other attributes."""
        config = browser.config
        if (warning := unsupported(config)) is not None:
            _LOG.warning("%s: %s", browser.name, warning)
        command = arguments(executable, folder, config, as_root=os.geteuid() == 0)
        log = folder.with_suffix(".log")
        try:
            with log.open("wb") as output:
                async with watched(command, stderr=output) as process:
                    self.address = await self._listening(folder, process)
                    async with logging_in(self.address, proxy_of(config.get("proxy"))):
                        self.started.set()
                        await first(process.wait(), self.stopped.wait())
                    await _close(self.address, process)
            if not self.stopped.is_set():
                self.failure = f"The browser's process ended with the code {process.returncode}."
        except (OSError, TimeoutError, ClientError) as exc:
            if not self.stopped.is_set():
                said = log.read_text(errors="replace")[-500:] if log.exists() else ""
                self.failure = f"The browser did not start: {exc or 'it took too long'}."
                _LOG.warning("%s: %s\n%s", browser.name, self.failure, said)
        finally:
            self.started.set()

    async def _listening(self, folder: Path, process: asyncio.subprocess.Process) -> str:
        """The address of the WebSocket. Raises ``OSError`` if the process ends or is stopped before it listens."""
        async with asyncio.timeout(_STARTUP):
            while process.returncode is None and not self.stopped.is_set():
                with contextlib.suppress(OSError):
                    if (address := address_in((folder / PORT_FILE).read_text())) is not None:
                        return address
                await asyncio.sleep(_POLL)
        raise OSError(f"it ended with the code {process.returncode}")


@dataclass(slots=True)
class _Place:
    """The profile folder of a browser. ``lock`` orders the runs and the removals; ``used``: it has a state."""

    folder: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    run: Chromium | None = None
    used: bool = False


class FarEnds:
    """Starts and ends browsers as the account changes. Without an ``executable``, a stub answers for all of them."""

    def __init__(self, world: World, executable: str | None, limit: int) -> None:
        self.executable = executable
        self.limit = limit
        self._world = world
        self._front = Front(self._of)
        self._folder = Path()
        self._places: dict[str, _Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Serve the front, and at the end stop all browsers and remove their folders."""
        async with contextlib.AsyncExitStack() as stack:
            if self.executable is None:
                _LOG.warning("%s", STUB)
            else:
                self._folder = await stack.enter_async_context(own_folder("browsers-"))
            await stack.enter_async_context(self._front.serving())
            yield
            for place in self._places.values():
                if place.run is not None:
                    place.run.stopped.set()
            await asyncio.gather(*self._tasks)

    def _of(self, credential: str) -> Browser | None:
        """The running browser whose addresses contain the credential."""
        known = (place_id for place_id, place in self._places.items() if place.run is not None)
        for browser in filter(None, map(self._world.by_id, known)):
            if browser.run is not None and browser.run.credential == credential and browser.run.ended_at is None:
                return browser
        return None

    def follow(self, browsers: Iterable[Browser]) -> None:
        """Start and end what the browsers' runs demand. ``browsers`` are all that exist."""
        existing = {browser.id: browser for browser in browsers}
        for browser_id in [one for one in self._places if one not in existing]:
            place = self._places.pop(browser_id)
            self._end(place)
            if place.used:
                self._spawn(self._erase(place))
        for browser in existing.values():
            place = self._places.get(browser.id) or _Place(self._folder / browser.id)
            self._places[browser.id] = place
            run = browser.run
            if run is None or run.ended_at is not None or run.far_end is not place.run:
                self._end(place)
            if run is None and not browser.saved and place.used:
                place.used = False
                self._spawn(self._erase(place))
            if run is not None and run.ended_at is None and run.far_end is None:
                run.far_end = place.run = Chromium(self._front.url)
                self._launch(place, place.run, browser, run.credential)

    def _launch(self, place: _Place, chromium: Chromium, browser: Browser, credential: str) -> None:
        if self.executable is None:
            chromium.address = f"{self._front.url.replace('http', 'ws', 1)}/{credential}"
            chromium.started.set()
            return
        source = self._places.get((browser.copied_from or {}).get("browserId", ""))
        copied = source.folder if source is not None and browser.saved and not place.used else None
        chromium.task = self._spawn(self._run(self.executable, place, chromium, browser, copied))

    def _end(self, place: _Place) -> None:
        if place.run is not None:
            place.run.stopped.set()

    async def settled(self, browser_id: str, seconds: float) -> None:
        """Wait until the browser's last start or stop is complete, at most ``seconds``."""
        place = self._places.get(browser_id)
        if place is None or place.run is None or place.run.task is None:
            return
        waited = place.run.task if place.run.stopped.is_set() else asyncio.ensure_future(place.run.started.wait())
        await asyncio.wait([waited], timeout=seconds)
        if waited is not place.run.task:
            waited.cancel()

    async def _run(
        self, executable: str, place: _Place, chromium: Chromium, browser: Browser, copied: Path | None
    ) -> None:
        async with place.lock:
            await asyncio.to_thread(_prepare, place.folder, keep=browser.saved, copied=copied)
            place.used = True
            if not chromium.stopped.is_set():
                await chromium.run(executable, place.folder, browser)

    async def _erase(self, place: _Place) -> None:
        async with place.lock:
            await asyncio.to_thread(shutil.rmtree, place.folder, ignore_errors=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _close(address: str, process: asyncio.subprocess.Process) -> None:
    """Ask a browser to end: it writes its cookies then, which it does not after a signal. Returns after some seconds
    if it does not end."""
    with contextlib.suppress(OSError, TimeoutError, ClientError):
        async with asyncio.timeout(_CLOSING), ClientSession() as session, session.ws_connect(address) as socket:
            await socket.send_json({"id": 1, "method": "Browser.close"})
            await process.wait()


def _prepare(folder: Path, *, keep: bool, copied: Path | None) -> None:
    """Make the profile folder: as it is, as a copy, or empty."""
    if not keep or copied is not None:
        shutil.rmtree(folder, ignore_errors=True)
    if copied is not None and copied.is_dir():
        shutil.copytree(copied, folder, symlinks=True, ignore=shutil.ignore_patterns("Singleton*"))
    folder.mkdir(exist_ok=True)
    (folder / PORT_FILE).unlink(missing_ok=True)
