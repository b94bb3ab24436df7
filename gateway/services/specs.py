"""Specs: what the gateway sent when it created a runtime, shown where the provider does not report it (docs/model.md).

The store has them sealed. A read never waits for the store: it uses the memory of this process. A spec that is not in
memory is loaded while the provider is called, and used if it is loaded before the provider responds, otherwise from
the next read on. A single task reads and writes the store, in batches, and ends when there is nothing to do.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from cachetools import LRUCache

from gateway.domain.errors import StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.runtime import ConfigDocument, Runtime
from gateway.ports.clock import Clock
from gateway.ports.moves import StoredSpec
from gateway.ports.provider import ProviderAdapter
from gateway.ports.sealing import Sealer, Unreadable
from gateway.ports.whole_store import WholeStore
from gateway.services import kept_configs
from gateway.services.sent_spec import (
    ASK_AGAIN,
    BATCH,
    ENTRY_BYTES,
    LARGEST,
    LAST_WRITES,
    MAX_NOTHING,
    MAX_WAITING,
    MEMORY_BYTES,
    REST,
    MadeRuntime,
    Spec,
    SpecEntry,
    SpecKey,
    SpecWrite,
    Trouble,
    config_labels,
    filled,
    is_outdated,
    key_of,
    labels_of,
    leaves_out,
    namespace_at,
    spec_of,
)


class SpecKeeper:
    """Stores specs and adds their values to runtimes; without a store, nothing. It never makes a request fail."""

    def __init__(
        self,
        store: WholeStore | None,
        sealer: Sealer | None,
        clock: Clock,
        on_trouble: Callable[[Trouble], None] = lambda _trouble: None,
    ) -> None:
        """``store`` and ``sealer``: both or neither. ``on_trouble`` is called for each problem, to count it."""
        self._store = store if sealer is not None else None
        self._sealer = sealer
        self._clock = clock
        self._on_trouble = on_trouble
        self._memory: LRUCache[SpecKey, SpecEntry] = LRUCache(MEMORY_BYTES, getsizeof=lambda held: held.size)
        self._absent: dict[tuple[str, str], float] = {}  # not in the store; until when that is assumed
        self._to_load: dict[SpecKey, None] = {}
        self._unwritten: dict[SpecKey, SpecWrite] = {}
        self._owner_unknown: set[SpecKey] = set()  # of the unwritten ones
        self._paused_until = 0.0
        self._writing = False
        self._task: asyncio.Task[None] | None = None

    def sealed(self, made: MadeRuntime) -> StoredSpec | None:
        """The spec of a create that made a runtime, which is in memory from now on; None if there is nothing to store.
        The caller stores it, and calls :meth:`store_later` if it cannot."""
        spec = None if self._store is None else spec_of(made.request, made.runtime, made.owner)
        if spec is None or self._sealer is None:
            return None
        key, document = key_of(made.adapter, made.scope, made.runtime.provider_id), msgspec.json.encode(spec)
        if not self._hold(key, spec, len(document)):
            return None
        self._unwritten.pop(key, None)
        self._owner_unknown.discard(key)
        return StoredSpec(*key, self._sealer.seal(document, key.cell))

    def store_later(self, made: MadeRuntime) -> None:
        """The store is unavailable: the spec waits in memory to be written."""
        key = key_of(made.adapter, made.scope, made.runtime.provider_id)
        self._not_saved(key, SpecWrite(made.adapter.name, made.scope, spec_of(made.request, made.runtime, made.owner)))

    async def remember(self, made: MadeRuntime) -> None:
        """Store the spec of a create that made a runtime. On return it is written, or waits in memory."""
        stored = self.sealed(made)
        if stored is not None and self._store is not None:
            try:
                await self._store.keep_spec(stored)
            except StoreUnavailable:
                self.store_later(made)

    def config_replaced(self, adapter: ProviderAdapter[Any], ref: RuntimeRef, document: ConfigDocument) -> None:
        """Keep the new config of a runtime, and replace the labels in its spec. Written in the background."""
        if self._store is None:
            return
        labels, spec = config_labels(document), None
        key = key_of(adapter, ref.scope, ref.provider_id)
        if labels is not None and document.config_digest is not None:
            held = self._memory.get(key)
            spec = Spec(labels or None, document.config_digest, owner=None if held is None else held.spec.owner)
            if not self._hold(key, spec):
                spec = None
            elif held is None:
                self._owner_unknown.add(key)
        self._write_later(key, SpecWrite(adapter.name, ref.scope, spec, kept_configs.encoded(document)))

    def forget(self, adapter: ProviderAdapter[Any], ref: RuntimeRef) -> None:
        """Delete the spec and the kept create of a runtime that was deleted. The store is updated in the background."""
        if self._store is not None:
            key = key_of(adapter, ref.scope, ref.provider_id)
            self._hold(key, None)
            self._write_later(key, SpecWrite(adapter.name, ref.scope, deleted=True))

    def prefetch(self, adapter: ProviderAdapter[Any], ref: RuntimeRef) -> None:
        """Start to load the spec of a runtime that is about to be read, unless it is in memory. Does not wait."""
        if self._store is not None:
            key = key_of(adapter, ref.scope, ref.provider_id)
            if self._absent.get(key, 0.0) <= self._clock.monotonic() and self._memory.get(key) is None:
                self._request_load((key,))
            elif self._unwritten:
                self._wake()

    def fill(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Runtime:
        """The runtime, with values that its provider does not report if the spec is in memory. No I/O."""
        if self._store is None or not leaves_out(runtime):
            return runtime
        held = self._memory.get(key_of(adapter, runtime.scope, runtime.provider_id))
        return runtime if held is None else filled(runtime, held.spec)

    def fill_all(self, adapter: ProviderAdapter[Any], rows: Sequence[Runtime]) -> Sequence[Runtime]:
        """As :meth:`fill`, for the items of a list. Specs that are not in memory are loaded for the next list."""
        if self._store is None:
            return rows
        shown, missing, now, absent = list(rows), [], self._clock.monotonic(), self._absent
        scope, namespace = None, ""
        for index, row in enumerate(shown):
            if row.scope != scope:
                scope = row.scope
                namespace = namespace_at(adapter.api, adapter.settings.address, scope)
            if absent.get((namespace, row.provider_id), 0.0) > now or not leaves_out(row):  # most items of most lists
                continue
            key = key_of(adapter, row.scope, row.provider_id)
            held = self._memory.get(key)
            if held is not None:
                row = shown[index] = filled(row, held.spec)  # noqa: PLW2901 (the same item, filled)
            if held is None or held.is_stale(row, now):
                missing.append(key)
        if missing:
            self._request_load(missing)
        elif self._unwritten:
            self._wake()
        return shown

    async def known(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Runtime:
        """As :meth:`fill`, for a runtime that is compared with a create: the spec is loaded first."""
        spec = await self.spec(adapter, runtime) if leaves_out(runtime) else None
        return runtime if spec is None else filled(runtime, spec)

    async def spec(self, adapter: ProviderAdapter[Any], runtime: Runtime) -> Spec | None:
        """The spec of a runtime, after :meth:`load`. None without one, or if the store fails."""
        await self.load(adapter, [runtime])
        held = self._memory.get(key_of(adapter, runtime.scope, runtime.provider_id))
        return None if held is None else held.spec

    async def load(self, adapter: ProviderAdapter[Any], runtimes: Iterable[Runtime]) -> None:
        """Load the specs that are not in memory, or outdated there. Waits until the store has responded or failed."""
        missing = dict[str, list[str]]()
        for runtime in runtimes:
            key = key_of(adapter, runtime.scope, runtime.provider_id)
            held = self._memory.get(key)
            if self._store is not None and (held is None or is_outdated(runtime, held.spec)):
                missing.setdefault(key.namespace, []).append(key.runtime_id)
        try:
            for namespace, runtime_ids in missing.items():
                await self._load(namespace, runtime_ids)
        except StoreUnavailable:
            self._failed(Trouble.NOT_LOADED)

    async def labels(self, adapter: ProviderAdapter[Any], rows: Sequence[Runtime]) -> list[dict[str, str] | None]:
        """The labels of the items of a list, after :meth:`load`; None where they are not known."""
        await self.load(adapter, [row for row in rows if row.labels is None])
        held = (self._memory.get(key_of(adapter, row.scope, row.provider_id)) for row in rows)
        return [labels_of(row, None if entry is None else entry.spec) for row, entry in zip(rows, held, strict=True)]

    async def owned(self, adapter: ProviderAdapter[Any], rows: Sequence[Runtime]) -> tuple[Sequence[Runtime], int]:
        """As :meth:`fill_all`, for items whose owners matter: those specs are loaded first. Also returns of how many
        items the owner is not known, because the store has failed."""
        unsure = [row for row in rows if row.owner is None and leaves_out(row)]
        await self.load(adapter, unsure)
        keys = [] if self._store is None else [key_of(adapter, row.scope, row.provider_id) for row in unsure]
        unknown = sum(key not in self._memory and key not in self._absent for key in keys)
        return self.fill_all(adapter, rows), unknown

    async def close(self) -> None:
        """Write the waiting specs for at most :data:`LAST_WRITES` seconds, then stop using the store."""
        self._to_load.clear()
        self._paused_until = 0.0  # try the store once more, also after a failure
        self._wake()
        if self._task is not None:
            if self._unwritten or self._writing:
                await asyncio.wait({self._task}, timeout=LAST_WRITES)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _hold(self, key: SpecKey, spec: Spec | None, size: int = 0) -> bool:
        if spec is None:
            self._memory.pop(key, None)
            if len(self._absent) >= MAX_NOTHING:
                self._absent.clear()
            self._absent[key] = self._clock.monotonic() + ASK_AGAIN
            return True
        size = size or len(msgspec.json.encode(spec))
        if size > LARGEST:
            self._on_trouble(Trouble.TOO_LARGE)
            return False
        self._absent.pop(key, None)
        self._memory[key] = SpecEntry(spec, self._clock.monotonic(), size + ENTRY_BYTES)
        return True

    def _request_load(self, keys: Iterable[SpecKey]) -> None:
        if self._clock.monotonic() < self._paused_until:
            return
        for key in keys:
            if len(self._to_load) >= MAX_WAITING and key not in self._to_load:
                self._on_trouble(Trouble.TOO_MANY)
                break
            self._to_load[key] = None
        self._wake()

    def _write_later(self, key: SpecKey, write: SpecWrite) -> None:
        self._unwritten.pop(key, None)
        if len(self._unwritten) >= MAX_WAITING:
            dropped = next(iter(self._unwritten))
            self._unwritten.pop(dropped)
            self._owner_unknown.discard(dropped)
            self._on_trouble(Trouble.TOO_MANY)
        self._unwritten[key] = write
        self._wake()

    def _wake(self) -> None:
        if self._clock.monotonic() < self._paused_until or not (self._to_load or self._unwritten):
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._catch_up(), name="specs")

    async def _catch_up(self) -> None:
        while (self._to_load or self._unwritten) and self._clock.monotonic() >= self._paused_until:
            if self._to_load:
                namespace = next(iter(self._to_load)).namespace
                batch = [key for key in self._to_load if key.namespace == namespace][:BATCH]
                for key in batch:
                    del self._to_load[key]
                try:
                    await self._load(namespace, [key.runtime_id for key in batch])
                except StoreUnavailable:
                    self._to_load.clear()  # the next read starts to load it again
                    self._failed(Trouble.NOT_LOADED)
            else:
                key = next(iter(self._unwritten))
                self._writing = True
                await self._write(key, self._unwritten.pop(key))
                self._writing = False

    async def _load(self, namespace: str, runtime_ids: Sequence[str]) -> None:
        assert self._store is not None  # noqa: S101 (callers check it)
        found = await self._store.specs(namespace, runtime_ids)
        for runtime_id in runtime_ids:
            key = SpecKey(namespace, runtime_id)
            if key not in self._unwritten:  # a spec that waits to be written is newer
                spec = None if (sealed := found.get(runtime_id)) is None else self._opened(sealed, key)
                if spec is not None or self._memory.get(key) is None:  # otherwise it was written meanwhile
                    self._hold(key, spec)

    def _opened(self, sealed: bytes, key: SpecKey) -> Spec | None:
        assert self._sealer is not None  # noqa: S101 (callers check it)
        try:
            return msgspec.json.decode(self._sealer.unseal(sealed, key.cell), type=Spec)
        except (Unreadable, msgspec.MsgspecError):
            self._on_trouble(Trouble.UNREADABLE)
            return None

    async def _write(self, key: SpecKey, write: SpecWrite) -> None:
        assert self._store is not None and self._sealer is not None  # noqa: S101, PT018 (callers check it)
        spec, provider, runtime_id = write.spec, write.provider, key.runtime_id
        try:
            if write.deleted:
                await self._store.drop_spec(*key)
                await self._store.drop_kept_create(provider, runtime_id)
            if write.config is not None:
                sealed = self._sealer.seal(write.config, kept_configs.cell_of(provider, runtime_id))
                await self._store.keep_config(provider, runtime_id, write.scope, sealed)
            if spec is not None:
                if key in self._owner_unknown:  # it replaces a spec that was not in memory
                    stored = (await self._store.specs(key.namespace, [key.runtime_id])).get(key.runtime_id)
                    known = None if stored is None else self._opened(stored, key)
                    spec = spec if known is None else msgspec.structs.replace(spec, owner=known.owner)
                sealed = self._sealer.seal(msgspec.json.encode(spec), key.cell)
                await self._store.keep_spec(StoredSpec(*key, sealed))
            self._owner_unknown.discard(key)
        except StoreUnavailable:
            self._not_saved(key, write)

    def _not_saved(self, key: SpecKey, write: SpecWrite) -> None:
        self._failed(Trouble.NOT_SAVED)
        if key not in self._unwritten:
            self._write_later(key, write)

    def _failed(self, trouble: Trouble) -> None:
        self._on_trouble(trouble)
        self._paused_until = self._clock.monotonic() + REST
