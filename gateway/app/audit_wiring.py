"""Assembles the audit trail: its journal, its signals, and the task that moves events to the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp import web

from gateway.app.serving import background_task
from gateway.domain.errors import StoreUnavailable
from gateway.ports.audit import AuditStore
from gateway.ports.clock import Clock
from gateway.services.audit.trail import AuditTrail
from gateway.settings import Settings
from gateway.storage.audit_journal import AuditJournal
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import AuditSignals

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
