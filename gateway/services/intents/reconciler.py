"""The background loop of every replica that settles due intents; the store gives each intent to one replica."""

import asyncio
import secrets
from typing import Final

from gateway.domain.conclusions import LONGEST_PAUSE
from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import Intent
from gateway.services.intents.context import SURPLUS_KEPT, CreateContext, settling_lease
from gateway.services.intents.settling import Settling

_PURGE_EVERY: Final = 60.0
_PURGED_AT_ONCE: Final = 500
_MOST_DOUBLINGS: Final = 10  # the store may be down for days, and a float overflows at 2**1024


class Reconciler:
    """Settles due intents, up to ``settling_in_flight`` concurrently, and deletes those past their retention."""

    def __init__(self, context: CreateContext) -> None:
        self._context = context
        self._instance = secrets.token_hex(8)
        self._tasks: set[asyncio.Task[None]] = set()
        self._purged = context.clock.monotonic()

    @property
    def in_flight(self) -> int:
        """The number of intents that this process is settling."""
        return len(self._tasks)

    async def run(self) -> None:
        """Settle until cancelled. A slow intent blocks only its own slot. If the store is down, the pauses between the
        tries grow up to a minute."""
        rules, failures = self._context.rules, 0
        try:
            while True:
                try:
                    full = await self._take()
                    await self._purge()
                    failures = 0
                except StoreUnavailable:
                    full, failures = False, failures + 1
                except Exception as error:  # noqa: BLE001 (reported; the loop must not end)
                    self._context.observer.failed(error)
                    full, failures = False, failures + 1
                if full:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                else:
                    pause = rules.settle_every * 2 ** min(failures, _MOST_DOUBLINGS)
                    await self._context.clock.sleep(min(pause, LONGEST_PAUSE))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settle_due(self) -> None:
        """Settle what is due and wait until that is done. Raises :class:`StoreUnavailable`."""
        await self._take()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _take(self) -> bool:
        """Start settling due intents in the free slots. Whether all slots are used then."""
        room = self._context.rules.settling_in_flight - len(self._tasks)
        if room > 0:
            holder = f"{self._instance}-{secrets.token_hex(4)}"
            for intent in await self._context.store.claim_due(holder, settling_lease(self._context.rules), room):
                task = asyncio.create_task(self._settle(intent, holder))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return len(self._tasks) >= self._context.rules.settling_in_flight

    async def _settle(self, intent: Intent, holder: str) -> None:
        try:
            await Settling(self._context, holder).settle(intent)
        except StoreUnavailable as error:
            self._context.observer.not_written(intent.id, error)
        except Exception as error:  # noqa: BLE001 (the same)
            self._context.observer.failed(error)

    async def _purge(self) -> None:
        now = self._context.clock.monotonic()
        if now - self._purged < _PURGE_EVERY:
            return
        dropped = _PURGED_AT_ONCE
        while dropped == _PURGED_AT_ONCE:
            dropped = await self._context.store.purge(
                settled=self._context.rules.retention, kept=SURPLUS_KEPT, limit=_PURGED_AT_ONCE
            )
        self._purged = now
