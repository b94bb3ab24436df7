"""Keeps the directory's copy of the store's access data current in this replica."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from gateway.domain.errors import StoreUnavailable
from gateway.ports.clock import Clock
from gateway.ports.principals import PrincipalStore
from gateway.services.access.directory import Directory
from gateway.telemetry.signals import AccessSignals

EVERY: Final = 2.0
"""Seconds between two reads of the version, if the store does not notify of a change before."""
PAUSE: Final = 0.2
"""Seconds between two reads at least, however often the store notifies."""
USES_EVERY: Final = 30.0
"""Seconds between two writes of the keys' last uses."""


@dataclass(eq=False, repr=False)
class AccessReplica:
    """Reads the access data again whenever its version has changed: after a notification of the store, which is a
    matter of milliseconds, and otherwise by polling. ``on_changed`` is called after principals or owners have changed.
    ``beside`` reads other data of the same store, as often and after the same notifications."""

    _store: PrincipalStore
    _directory: Directory
    _clock: Clock
    _observer: AccessSignals
    _: KW_ONLY
    on_changed: Callable[[], None] = lambda: None
    beside: Callable[[], Awaitable[None]] | None = None
    _version: str | None = field(default=None, init=False)
    _notified: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._uses_at = self._clock.monotonic()

    async def run(self) -> None:
        """Keep the copy current until the task is cancelled."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                await self._attempt()
                await self._pause()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def refresh(self) -> None:
        """Bring the copy up to date now. Raises :class:`StoreUnavailable`."""
        async with self._reading:  # an older copy must not replace a newer one
            began = self._clock.monotonic()
            if await self._store.access_version() != self._version:
                data = await self._store.access_data()
                self._version = data.version
                if self._directory.load(data):
                    self.on_changed()
            self._directory.confirm(began)

    async def write_uses(self) -> None:
        """Store which keys were used. Raises :class:`StoreUnavailable`; the uses are then kept for the next time."""
        used, self._directory.used = self._directory.used, set()
        self._uses_at = self._clock.monotonic()
        if not used:
            return
        try:
            await self._store.keys_used(used)
        except StoreUnavailable:
            self._directory.used |= used
            raise

    async def _attempt(self) -> None:
        self._notified.clear()
        for read in (self.beside, self._read):
            try:
                if read is not None:
                    await read()
            except StoreUnavailable:
                pass  # the store monitor reports it, and the copy ages
            except Exception as exc:  # noqa: BLE001 (a bug must not end the refreshing; it is reported)
                self._observer.failed(exc)

    async def _read(self) -> None:
        await self.refresh()
        if self._clock.monotonic() - self._uses_at >= USES_EVERY:
            await self.write_uses()

    async def _pause(self) -> None:
        """Wait until the next read."""
        await self._clock.sleep(PAUSE)
        notified, polling = (
            asyncio.create_task(self._notified.wait()),
            asyncio.create_task(self._clock.sleep(EVERY - PAUSE)),
        )
        try:
            await asyncio.wait((notified, polling), return_when=asyncio.FIRST_COMPLETED)
        finally:
            notified.cancel()
            polling.cancel()

    async def _listen(self) -> None:
        while True:
            try:
                await self._store.listen(self._notified.set)
            except StoreUnavailable:
                pass  # polling continues meanwhile
            except Exception as exc:  # noqa: BLE001 (a bug must not end the listening; it is reported)
                self._observer.failed(exc)
            else:
                return  # this store does not notify
            await self._clock.sleep(EVERY)
