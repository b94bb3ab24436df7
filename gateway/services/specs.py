"""What the gateway sent when it made a runtime, shown where the provider is silent (specification §2).

The store keeps it sealed and is never on the path of a read: reads look into this process's memory. What is not there
is asked for beside the provider and used if it has come by the time the provider has answered, else from the next read
on. One task at a time speaks to the store, in batches, and only while there is something to say.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from cachetools import LRUCache

from gateway.domain.errors import StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import namespace_of
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import ConfigDocument, Runtime
from gateway.ports.clock import Clock
from gateway.ports.provider import ProviderAdapter
from gateway.ports.sealing import Cell, Sealer, Unreadable
from gateway.ports.store import Store
from gateway.services.sent_spec import Spec, filled, is_outdated, labels_of, leaves_out, spec_of

MEMORY_BYTES: Final = 4 * 1024 * 1024
"""How much is held in memory, about; the least recently shown goes first."""

LARGEST: Final = 32 * 1024
"""Bytes of a spec in JSON; a larger one is not kept."""

MAX_WAITING: Final = 1000
"""How many runtimes wait at most to be asked for, and as many to be written."""

MAX_NOTHING: Final = 20_000
"""How many runtimes are known to have nothing kept; all are asked for again when there are more."""

BATCH: Final = 100
ASK_AGAIN: Final = 30.0
"""Seconds until the store is asked again for a runtime that it had nothing, or something outdated, about."""

REST: Final = 5.0
"""Seconds for which a store that failed is left alone."""

LAST_WRITES: Final = 2.0
"""Seconds that the end waits for what is to be written."""

_ENTRY_BYTES: Final = 400


class Trouble(StrEnum):
    """What can go wrong; nobody's request fails for it."""

    NOT_SAVED = "not_saved"  # held in memory, and written once the store is back
    NOT_LOADED = "not_loaded"
    UNREADABLE = "unreadable"  # its key was removed, or another version wrote it
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"  # more waiting than MAX_WAITING


class _Key(NamedTuple):
    namespace: str
    runtime_id: str

    @property
    def cell(self) -> Cell:
        return Cell("specs", msgspec.json.encode(self).decode(), "sealed")


@lru_cache(maxsize=1024)
def _namespace(api: str, base_url: str, scope: str) -> str:
    return namespace_of(api, base_url, "", scope)


def _key(adapter: ProviderAdapter[Any], scope: str, runtime_id: str) -> _Key:
    return _Key(_namespace(adapter.api, adapter.settings.base_url, scope), runtime_id)


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known of a runtime since the monotonic moment ``since``."""

    spec: Spec
    since: float
    size: int


class SpecKeeper:
    """Keeps specs, and fills in what providers leave out. Without a store it does neither. Never fails a request."""

    def __init__(
        self,
        store: Store | None,
        sealer: Sealer | None,
        clock: Clock,
        on_trouble: Callable[[Trouble], None] = lambda _trouble: None,
    ) -> None:
        """``store`` and ``sealer`` are given both or neither. ``on_trouble`` counts."""
        self._store = store if sealer is not None else None
        self._sealer = sealer
        self._clock = clock
        self._on_trouble = on_trouble
        self._memory: LRUCache[_Key, _Held] = LRUCache(MEMORY_BYTES, getsizeof=lambda held: held.size)
        self._nothing: dict[tuple[str, str], float] = {}  # kept, says the store, which is not asked until that moment
        self._wanted: dict[_Key, None] = {}
        self._unwritten: dict[_Key, Spec | None] = {}  # None: to be dropped
        self._resting_until = 0.0
        self._writing = False
        self._task: asyncio.Task[None] | None = None

    def keeps(self, request: CreateRequest) -> bool:
        """Whether there is anything to :meth:`remember` of a create."""
        return self._store is not None and spec_of(request) is not None

    async def remember(
        self, adapter: ProviderAdapter[Any], scope: str, runtime: Runtime, request: CreateRequest
    ) -> None:
        """Keep what was sent in a create that made a runtime. When it returns, it is written, or will be."""
        spec = None if self._store is None else spec_of(request, runtime)
        if spec is None:
            return
        key = _key(adapter, scope, runtime.provider_id)
        if self._hold(key, spec):
            self._unwritten.pop(key, None)
            await self._write(key, spec)

    def config_replaced(self, adapter: ProviderAdapter[Any], ref: RuntimeRef, document: ConfigDocument) -> None:
        """The labels of a runtime are those of its new config. Written in the background."""
        labels = labels_of(document)
        if self._store is None or labels is None or document.config_digest is None:
            return
        key, spec = _key(adapter, ref.scope, ref.provider_id), Spec(labels, document.config_digest)
        if self._hold(key, spec):
            self._later(key, spec)

    def forget(self, adapter: ProviderAdapter[Any], ref: RuntimeRef) -> None:
        """The runtime is gone for good. Dropped in the background."""
        if self._store is not None:
            key = _key(adapter, ref.scope, ref.provider_id)
            self._hold(key, None)
            self._later(key, None)

    def prefetch(self, adapter: ProviderAdapter[Any], ref: RuntimeRef) -> None:
        """Ask the store for a runtime that is about to be read, unless it is known. Waits for nothing."""
        if self._store is not None:
            key = _key(adapter, ref.scope, ref.provider_id)
            if not self._is_known(key):
                self._want((key,))
            elif self._unwritten:
                self._wake()

    def fill(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Runtime:
        """The runtime with what its provider leaves out, as far as it is in memory. No I/O."""
        if self._store is None or not leaves_out(runtime):
            return runtime
        held = self._memory.get(_key(adapter, runtime.scope, runtime.provider_id))
        return runtime if held is None else filled(runtime, held.spec)

    def fill_all(self, adapter: ProviderAdapter[Any], rows: Sequence[Runtime]) -> Sequence[Runtime]:
        """The same for the rows of a list; the store is asked for those that are not in memory, for the next one."""
        if self._store is None:
            return rows
        shown, missing, now, nothing = list(rows), [], self._clock.monotonic(), self._nothing
        scope, namespace = None, ""
        for index, row in enumerate(shown):
            if row.scope != scope:
                scope = row.scope
                namespace = _namespace(adapter.api, adapter.settings.base_url, scope)
            if nothing.get((namespace, row.provider_id), 0.0) > now or not leaves_out(row):  # (most rows of most lists)
                continue
            key = _key(adapter, row.scope, row.provider_id)
            held = self._memory.get(key)
            if held is not None:
                row = shown[index] = filled(row, held.spec)  # noqa: PLW2901 (the same row, with more in it)
            if held is None or self._stale(row, held):
                missing.append(key)
        if missing:
            self._want(missing)
        elif self._unwritten:
            self._wake()
        return shown

    async def known(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Runtime:
        """The same for one runtime that a create is compared with: here the store is waited for, for as long as it
        takes to answer or to fail."""
        if self._store is None or not leaves_out(runtime):
            return runtime
        key = _key(adapter, runtime.scope, runtime.provider_id)
        if self._memory.get(key) is None:
            try:
                await self._load(key.namespace, [key.runtime_id])
            except StoreUnavailable:
                self._failed(Trouble.NOT_LOADED)
        return self.fill(adapter, runtime)

    async def close(self) -> None:
        """Write what waits to be written, for :data:`LAST_WRITES` at most, then stop speaking to the store."""
        self._wanted.clear()
        self._resting_until = 0.0  # the store is asked once more, for there is no later
        self._wake()
        if self._task is not None:
            if self._unwritten or self._writing:
                await asyncio.wait({self._task}, timeout=LAST_WRITES)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _is_known(self, key: _Key) -> bool:
        return self._nothing.get(key, 0.0) > self._clock.monotonic() or self._memory.get(key) is not None

    def _stale(self, row: Runtime, held: _Held) -> bool:
        """Whether the config has changed since, so that there may be newer labels by another process."""
        spec = held.spec
        return (
            spec.labels is not None
            and row.labels is None
            and is_outdated(row, spec)
            and self._clock.monotonic() >= held.since + ASK_AGAIN
        )

    def _hold(self, key: _Key, spec: Spec | None) -> bool:
        if spec is None:
            self._memory.pop(key, None)
            if len(self._nothing) >= MAX_NOTHING:
                self._nothing.clear()
            self._nothing[key] = self._clock.monotonic() + ASK_AGAIN
            return True
        size = len(msgspec.json.encode(spec))
        if size > LARGEST:
            self._on_trouble(Trouble.TOO_LARGE)
            return False
        self._nothing.pop(key, None)
        self._memory[key] = _Held(spec, self._clock.monotonic(), size + _ENTRY_BYTES)
        return True

    def _want(self, keys: Iterable[_Key]) -> None:
        if self._clock.monotonic() < self._resting_until:
            return
        for key in keys:
            if len(self._wanted) >= MAX_WAITING and key not in self._wanted:
                self._on_trouble(Trouble.TOO_MANY)
                break
            self._wanted[key] = None
        self._wake()

    def _later(self, key: _Key, spec: Spec | None) -> None:
        self._unwritten.pop(key, None)
        if len(self._unwritten) >= MAX_WAITING:
            self._unwritten.pop(next(iter(self._unwritten)))
            self._on_trouble(Trouble.TOO_MANY)
        self._unwritten[key] = spec
        self._wake()

    def _wake(self) -> None:
        if self._clock.monotonic() < self._resting_until or not (self._wanted or self._unwritten):
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._catch_up(), name="specs")

    async def _catch_up(self) -> None:
        while (self._wanted or self._unwritten) and self._clock.monotonic() >= self._resting_until:
            if self._wanted:
                namespace = next(iter(self._wanted)).namespace
                batch = [key for key in self._wanted if key.namespace == namespace][:BATCH]
                for key in batch:
                    del self._wanted[key]
                try:
                    await self._load(namespace, [key.runtime_id for key in batch])
                except StoreUnavailable:
                    self._wanted.clear()  # the next read asks again
                    self._failed(Trouble.NOT_LOADED)
            else:
                key = next(iter(self._unwritten))
                self._writing = True
                await self._write(key, self._unwritten.pop(key))
                self._writing = False

    async def _load(self, namespace: str, runtime_ids: Sequence[str]) -> None:
        assert self._store is not None  # noqa: S101 (nobody gets here without one)
        found = await self._store.specs(namespace, runtime_ids)
        for runtime_id in runtime_ids:
            key = _Key(namespace, runtime_id)
            if key not in self._unwritten:  # what waits to be written is newer
                sealed = found.get(runtime_id)
                spec = None if sealed is None else self._opened(sealed, key)
                if spec is not None or self._memory.get(key) is None:  # else it was written in the meantime
                    self._hold(key, spec)

    def _opened(self, sealed: bytes, key: _Key) -> Spec | None:
        assert self._sealer is not None  # noqa: S101 (nobody gets here without one)
        try:
            return msgspec.json.decode(self._sealer.unseal(sealed, key.cell), type=Spec)
        except (Unreadable, msgspec.MsgspecError):
            self._on_trouble(Trouble.UNREADABLE)
            return None

    async def _write(self, key: _Key, spec: Spec | None) -> None:
        assert self._store is not None  # noqa: S101 (nobody gets here without one)
        assert self._sealer is not None  # noqa: S101
        try:
            if spec is None:
                await self._store.drop_spec(*key)
            else:
                await self._store.keep_spec(*key, self._sealer.seal(msgspec.json.encode(spec), key.cell))
        except StoreUnavailable:
            self._failed(Trouble.NOT_SAVED)
            if key not in self._unwritten:
                self._later(key, spec)

    def _failed(self, trouble: Trouble) -> None:
        self._on_trouble(trouble)
        self._resting_until = self._clock.monotonic() + REST
