"""The background loop of every replica that works on moves; the store gives each move to one replica."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gateway.domain.errors import InternalError, StoreUnavailable
from gateway.domain.moves import Blocker, MoveState
from gateway.ports.clock import Clock
from gateway.ports.moves import MoveStore, StoredMove
from gateway.services.moves.planned import LostLease
from gateway.services.waiting.places import Pausing
from gateway.telemetry.signals import MoveSignals

LEASE: Final = 10.0
"""Seconds after which another replica takes the moves of one that has died."""

EVERY: Final = 2.0
"""Seconds between two renewals of the leases."""

Work = Callable[[StoredMove, str], Awaitable[None]]
"""Works on a move as long as the holder has its lease, and changes its state at the end."""

_AFTER_A_BUG: Final = {
    MoveState.PLANNING: MoveState.FAILED,
    MoveState.APPLYING: MoveState.PAUSED,
    MoveState.ROLLING_BACK: MoveState.FAILED,
}


def with_details(move: StoredMove, **changes: Any) -> str:
    """The details of a move with other members; None removes one."""
    details = {**msgspec.json.decode(move.details), **changes}
    return msgspec.json.encode({name: value for name, value in details.items() if value is not None}).decode()


class _Run(NamedTuple):
    state: MoveState
    task: "asyncio.Task[None]"


class MoveWorker:
    """Works on all moves whose leases this process has. What it writes is checked against the lease by the store."""

    def __init__(
        self, store: MoveStore, clock: Clock, work: Mapping[MoveState, Work], signals: MoveSignals | None
    ) -> None:
        """``work`` is what is done in each state."""
        self._store = store
        self._clock = clock
        self._work = work
        self._signals = signals
        self._holder = secrets.token_hex(16)
        self._until = clock.monotonic()
        self._runs: dict[str, _Run] = {}
        self._pausing = Pausing(clock)

    def wake(self) -> None:
        """There is something to do: do not wait for the next round."""
        self._pausing.wake()

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self.round()
                except StoreUnavailable:
                    if self._clock.monotonic() >= self._until:
                        await self._end(*self._runs)
                except Exception as error:  # noqa: BLE001 (reported; the loop must not end)
                    self._failed(error)
                await self._pausing.pause(EVERY)
        finally:
            await self._end(*self._runs)

    async def round(self) -> None:
        """Take or renew the leases; begin the work that is new, and end the work on moves that another replica has.
        Raises :class:`StoreUnavailable`."""
        began = self._clock.monotonic()
        if began >= self._until:  # another replica may have had the leases, so what the work has read is outdated
            await self._end(*self._runs)
        until = began + LEASE
        claimed = {move.id: move for move in await self._store.claim_moves(self._holder, LEASE, self._work.keys())}
        self._until = until
        lost = [
            move_id
            for move_id, run in self._runs.items()
            if move_id not in claimed or claimed[move_id].state is not run.state
        ]
        await self._end(*lost)
        for move_id, move in claimed.items():
            if move_id not in self._runs or self._runs[move_id].task.done():
                self._runs[move_id] = _Run(move.state, asyncio.create_task(self._reported(move)))

    async def settled(self) -> None:
        """Wait until everything that was begun has ended."""
        await asyncio.gather(*(run.task for run in self._runs.values()), return_exceptions=True)

    async def _reported(self, move: StoredMove) -> None:
        try:
            await self._work[move.state](move, self._holder)
        except (StoreUnavailable, LostLease):
            pass  # the store's own monitor reports it; the next round begins again
        except Exception as error:  # noqa: BLE001 (reported)
            self._failed(error)
            problem = Blocker(code=InternalError.code, detail="The gateway failed because of a bug; see its log.")
            with contextlib.suppress(StoreUnavailable):  # the next round begins again
                await self._store.change_move(
                    move.id,
                    {move.state},
                    state=_AFTER_A_BUG[move.state],
                    details=with_details(move, problem=problem),
                    holder=self._holder,
                )

    async def _end(self, *move_ids: str) -> None:
        tasks = [self._runs.pop(move_id).task for move_id in move_ids]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _failed(self, error: Exception) -> None:
        if self._signals is not None:
            self._signals.failed(error)
