"""Assembles the data plane: its use cases, and the application of its listener."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from aiohttp import web

from gateway.app.serving import in_background
from gateway.domain.access import SYSTEM
from gateway.domain.errors import GatewayError, StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import KeepaliveRequest
from gateway.domain.values import Permission
from gateway.http.request_ids import request_id
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import ReleaseStore, RevocationStore
from gateway.ports.moves import Relocation
from gateway.ports.sealing import Sealer
from gateway.services.access.directory import Directory
from gateway.services.data_plane.endpoints import Endpoints
from gateway.services.data_plane.grants import Grants
from gateway.services.data_plane.service import DataPlane
from gateway.services.fleet import Fleet
from gateway.services.lifecycle import LifecycleService
from gateway.settings import DataSettings
from gateway.storage.sealing import Keyring

_PAUSE: Final = 0.2
"""Seconds between two looks whether runtimes with open connections still run."""

_SHARED_EVERY: Final = 1.0
"""Seconds between two exchanges with other replicas of what was stopped."""

_SHARED_WITHIN: Final = 20.0
"""Seconds that one look goes back: a store that is slow to commit hides nothing."""

_EVERY: Final = 60.0
"""Seconds between two extensions of a runtime that is used."""

_EXTENSION: Final = 60
"""Seconds of one extension."""


def assemble_data_plane(
    data: DataSettings, fleet: Fleet, directory: Directory, store: RevocationStore, sealer: Sealer, clock: Clock
) -> DataPlane | None:
    """The use cases of the data plane; None if it is off."""
    if not data.enabled:
        return None
    keys = Keyring(data.signing_keys) if data.signing_keys else sealer
    return DataPlane(fleet, Grants(keys, directory, clock), Endpoints(fleet, clock), store, data.public_url or "")


def relocated(fleet: Fleet, plane: DataPlane | None, news: Sequence[Relocation]) -> None:
    """Runtimes have moved: forget what was true where they were."""
    fleet.relocated(news)
    if plane is not None:
        plane.relocated(news)


class StoppedRuntimes:
    """Ends the connections to runtimes that were stopped through this gateway: through this process at once, through
    other replicas after their next look at the store."""

    def __init__(self, plane: DataPlane, store: ReleaseStore) -> None:
        self._plane = plane
        self._store = store
        self._written: set[str] = set()
        self._released: set[str] = set()
        self._seen: Mapping[str, float] = {}
        self._writer = secrets.token_hex(8)
        self._wake = asyncio.Event()

    def written(self, provider: str, ref: RuntimeRef | None) -> None:
        """An operation wrote at a provider, or may have: to one runtime, or to an unknown one."""
        if written := self._plane.written(provider, ref):
            self._written.update(written)
            self._wake.set()

    def released(self, provider: str, ref: RuntimeRef | None) -> None:
        """An operation ended an instance, or may have: other replicas have to know too."""
        if (runtime_id := self._plane.runtime_id(provider, ref)) is not None:
            self._released.add(runtime_id)

    async def run(self) -> None:
        """Look after writes until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            written, self._written = self._written, set()
            for runtime_id in written:
                with contextlib.suppress(GatewayError), RequestContext(request_id(None), SYSTEM) as ctx:
                    await self._plane.end_stopped(runtime_id, ctx)
            await asyncio.sleep(_PAUSE)

    async def follow(self) -> None:
        """Exchange with other replicas what was stopped, until cancelled. While the store is away, each asks the
        provider before the next connection only."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                released, self._released = self._released, set()
                if released:
                    await self._store.add_releases(released, self._writer)
                found = await self._store.releases(self._writer, _SHARED_WITHIN)
                before, self._seen = self._seen, found
                for runtime_id in [known for known, at in found.items() if before.get(known) != at]:
                    self._plane.endpoints.written(runtime_id)
                    self._written.add(runtime_id)
                    self._wake.set()
            await asyncio.sleep(_SHARED_EVERY)


async def extend_used(plane: DataPlane, lifecycle: LifecycleService, clock: Clock) -> None:
    """Extend the expiry of the runtimes that are used through the data plane: each at most once in :data:`_EVERY`
    seconds, by as much, for users that may do it themselves. Runs until cancelled."""
    while True:
        since = clock.now()
        await asyncio.sleep(_EVERY)
        for runtime_id, principal in plane.open.take_used(since).items():
            if Permission.LIFECYCLE in principal.permissions:
                with contextlib.suppress(GatewayError), RequestContext(request_id(None), principal) as ctx:
                    extension = KeepaliveRequest(extend_seconds=_EXTENSION)
                    await lifecycle.keepalive(principal.shown_id(runtime_id), extension, ctx)


def data_plane_work(
    plane: DataPlane, data: DataSettings, fleet: Fleet, lifecycle: LifecycleService, store: ReleaseStore
) -> list[Callable[[web.Application], AsyncIterator[None]]]:
    """What runs in the background while the application serves."""
    stopped = StoppedRuntimes(plane, store)
    fleet.on_write.append(stopped.written)
    fleet.on_release.append(stopped.released)
    extending = in_background(partial(extend_used, plane, lifecycle, fleet.clock))
    following = [in_background(stopped.run), in_background(stopped.follow)]
    return [*following, *([extending] if data.keepalive else [])]
