"""Assembles the parts of access (the directory of keys and principals, its copy of the store, its administration) and
the audit trail."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from gateway.app.serving import background_task
from gateway.domain.errors import StoreUnavailable
from gateway.ports.audit import AuditStore
from gateway.ports.clock import Clock
from gateway.ports.moves import Relocation
from gateway.ports.whole_store import WholeStore
from gateway.services.access.administration import AccessAdministration
from gateway.services.access.directory import Directory
from gateway.services.access.key_sets import KeySets
from gateway.services.access.rates import RateLimits
from gateway.services.access.replication import AccessReplica
from gateway.services.access.tokens import Tokens
from gateway.services.audit.trail import AuditTrail
from gateway.services.fleet import Fleet
from gateway.services.moves.map import MoveReplica, Snapshot
from gateway.services.moves.permits import WritePermits
from gateway.settings import LimitsSettings, Settings
from gateway.storage.audit_journal import AuditJournal
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import AccessSignals, AuditSignals, LimitSignals
from gateway.upstream.key_sets import fetch_key_set

_READY_WITHIN: Final = 2.0
"""Seconds that the start waits for the first read, and the end for the last uses to be written."""


@dataclass(frozen=True, slots=True)
class Access:
    replica: AccessReplica
    administration: AccessAdministration
    tokens: Tokens
    moves: MoveReplica

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep the directory, the relocations and the keys of issuers current while the application serves."""
        await asyncio.gather(
            self._read_first(), self.moves.begin(_READY_WITHIN), self.tokens.key_sets.first_fetches(_READY_WITHIN)
        )
        async with background_task(self.replica.run()), background_task(self.tokens.key_sets.run()):
            yield
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(_READY_WITHIN):
                await self.replica.write_uses()

    async def _read_first(self) -> None:
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(_READY_WITHIN):
                await self.replica.refresh()


def assemble_access(
    store: WholeStore,
    fleet: Fleet,
    *,
    clock: Clock,
    metrics: Metrics,
    logger: Logger,
    on_changed: Callable[[], None],
    on_moved: Callable[[Sequence[Relocation]], None] = lambda _: None,
    snapshot: Snapshot | None = None,
) -> Access:
    """Assemble the parts over a store. ``on_changed`` is called when what callers see may have changed, ``on_moved``
    when runtimes have moved. ``snapshot`` has the relocations for a start without the store."""
    directory, signals = Directory(clock, fleet.owners), AccessSignals(metrics, logger)
    permits = fleet.permits = WritePermits(fleet.moves, store, clock, lambda: moves.age)
    moves = MoveReplica(
        store,
        fleet.moves,
        clock,
        snapshot,
        on_read=permits.announced,
        on_moved=on_moved,
        on_unsaved=signals.moves_not_saved,
    )
    fleet.moves_age, fleet.refresh_moves = lambda: moves.age, moves.refresh
    replica = AccessReplica(store, directory, clock, signals, on_changed=on_changed, beside=moves.refresh)
    metrics.access_age.set_function(lambda: directory.age)
    key_sets = KeySets(partial(fetch_key_set, clock=clock), clock, signals)
    administration = AccessAdministration(store, directory, replica, clock, signals)
    return Access(replica, administration, Tokens(directory, clock, key_sets), moves)


def assemble_rates(
    limits: LimitsSettings, *, clock: Clock, metrics: Metrics, logger: Logger, workers: int = 1
) -> RateLimits:
    """The rate limits, counted where the settings say."""
    signals = LimitSignals(metrics, logger)
    metrics.limits_shared.set(1)
    if limits.storage is None:
        return RateLimits(clock, signals, workers=workers)
    from gateway.storage.redis_windows import RedisWindows  # noqa: PLC0415 (its libraries cost 12 MB of memory)

    return RateLimits(clock, signals, RedisWindows(limits.storage, limits.timeout), workers)


_MOVED_WITHIN: Final = 2.0
"""Seconds that the end waits for the last events to be moved. The others are moved after the next start."""


def assemble_audit(
    settings: Settings, store: AuditStore, *, clock: Clock, metrics: Metrics, logger: Logger
) -> AuditTrail:
    audit = settings.audit
    journal = AuditJournal(audit.folder(settings.store), audit.journal_max_bytes)
    metrics.audit_journal_bytes.set_function(lambda: journal.size)
    return AuditTrail(store, journal, clock, AuditSignals(metrics, logger), retention=audit.retention)


async def moving(trail: AuditTrail, _app: web.Application) -> AsyncIterator[None]:
    """Move events to the store while the application serves."""
    async with background_task(trail.run()):
        yield
    trail.sum_up()
    with suppress(TimeoutError, StoreUnavailable, OSError):
        async with asyncio.timeout(_MOVED_WITHIN):
            await trail.move()
