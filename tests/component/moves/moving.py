"""Runtimes that have moved: a store that notifies, and relocations without a mover."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from gateway.domain.moves import ItemState, MoveState
from gateway.ports.moves import Relocation, StoredItem, StoredMove, new_move_id
from gateway.ports.sealing import Sealer
from tests.component.stores import SEALER
from tests.component.whole_gateway import Gateway, Response, Upstream
from tests.memory_store import MemoryStore

MOVER: Final = "the-mover"
_WITHIN: Final = 20.0


class NotifyingStore(MemoryStore):
    """Notifies of changes as a database server does, as soon as the test says so."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self._listeners: set[Callable[[], object]] = set()

    async def listen(self, changed: Callable[[], object]) -> None:
        self._listeners.add(changed)
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.discard(changed)

    def notify(self) -> None:
        for changed in self._listeners:
            changed()

    async def silently(self, work: Awaitable[object]) -> None:
        """Await changes without notifying of them."""
        listeners, self._listeners = self._listeners, set()
        await work
        self._listeners |= listeners


class Moving:
    """Moves runtimes in the store of a gateway."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.store = NotifyingStore(now)
        self._now = now
        self._positions = 0

    @property
    def of_gateway(self) -> tuple[NotifyingStore, Sealer]:
        """The store and the sealer of the gateway."""
        return self.store, SEALER

    async def announce(self, source: str, target: str) -> str:
        """Announce a move. Returns its id."""
        move_id = new_move_id(self._now())
        planning = StoredMove(
            id=move_id,
            state=MoveState.PLANNING,
            principal="ops",
            source=source,
            source_scope=None,
            target=target,
            request=b"",
        )
        await self.store.add_move(planning)
        await self.store.change_move(move_id, {MoveState.PLANNING}, state=MoveState.APPLYING)
        await self.store.claim_moves(MOVER, 600, {MoveState.APPLYING})
        self.store.notify()
        return move_id

    async def end(self, move_id: str) -> None:
        """The move is done."""
        await self.store.change_move(move_id, {MoveState.APPLYING}, state=MoveState.DONE)
        self.store.notify()

    async def item(self, relocation: Relocation, move_id: str, state: ItemState, **fields: Any) -> StoredItem:
        """The runtime of a relocation becomes an item of an announced move, or the item changes."""
        item = StoredItem(
            move_id=move_id,
            position=self._positions,
            provider=relocation.source,
            scope=relocation.source_scope,
            provider_id=relocation.source_id,
            runtime_id=relocation.source_runtime_id,
            name=relocation.name,
            kind=relocation.kind,
            state=state,
            plan=b"",
            **fields,
        )
        assert await self.store.add_move_items([item], MOVER)
        return item

    async def switch(self, relocation: Relocation, move_id: str | None = None) -> None:
        """Record a relocation with a move of its own, or with one that was announced; then the gateway is not
        notified."""
        announced = move_id or await self.announce(relocation.source, relocation.target)
        if move_id is None:
            self._positions += 1
        item = await self.item(relocation, announced, ItemState.MOVED)
        keys = [relocation.source_id]
        assert await self.store.hold_runtime(relocation.source, keys, MOVER, 600) == 0
        moved = msgspec.structs.replace(relocation, move_id=announced)
        assert await self.store.switch_runtime(item, moved, MOVER, keys)
        if move_id is None:
            await self.end(announced)

    async def relocate(self, gateway: Gateway, source: Any, target: Any, **fields: Any) -> None:
        """Record that the runtime ``source`` is ``target`` now, both as the API shows them, and wait until the gateway
        knows. ``fields`` are other fields of the relocation."""
        await self.switch(relocation(source, target, **fields))
        async with asyncio.timeout(_WITHIN):
            while (await gateway.call("GET", f"/v1/runtimes/{source['id']}")).json["provider"] != target["provider"]:
                continue

    async def while_read(
        self, gateway: Gateway, upstream: Upstream, rows: tuple[Any, Any], path: str, *, gone: bool
    ) -> Response:
        """The response to a GET of ``path`` whose call at ``upstream`` is held while the runtime ``rows[0]`` becomes
        ``rows[1]``: before the provider has looked it up, and it is deleted (``gone``), or after that."""
        source, target = rows
        move_id = await self.announce(source["provider"], target["provider"])
        upstream.fault(fault="hold" if gone else "hold_after", times=1)
        reading = asyncio.create_task(gateway.call("GET", path))
        await upstream.emulator.until_waiting()
        await self.relocate(gateway, source, target)
        if gone:
            upstream.emulator.clear()
        upstream.emulator.release()
        read = await reading
        await self.end(move_id)
        return read


def relocation(source: Any, target: Any, **fields: Any) -> Relocation:
    """That of a runtime, whose ids are those of its places."""
    known = {
        "source": source["provider"],
        "source_scope": source["scope"],
        "source_id": source["provider_id"],
        "source_runtime_id": source["id"],
        "name": source["name"],
        "kind": source["kind"],
        "target": target["provider"],
        "target_scope": target["scope"],
        "target_id": target["provider_id"],
        "target_name": None,
        "target_runtime_id": target["id"],
        "runtime_id": source["id"],
        **fields,
    }
    return msgspec.convert(known, Relocation)
