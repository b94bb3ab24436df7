"""How far the mover got with a runtime, written before and after every step, so that another replica can go on."""

from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.moves import Blocker
from gateway.ports.moves import MoveStore, StoredItem
from gateway.services.moves.planned import ItemProgress


class Step(StrEnum):
    """The last step that was begun or done. ``CREATING``: the create in ``plan`` may have been sent. ``CREATED``: the
    runtime at the target is known. ``SWITCHED``: clients are led to the target. ``DONE``: the source is as it was to
    be."""

    CREATING = "creating"
    CREATED = "created"
    SWITCHED = "switched"
    DONE = "done"


class Progress(ItemProgress, frozen=True, kw_only=True, omit_defaults=True):
    """The details of an item. ``made``: the move has created the runtime at the target, which it has not if it was
    adopted. ``name`` is its name there. ``creates`` counts the creates that were given up, ``tries`` the failures since
    the last step.
    ``config_digest`` and ``state`` are those of the target at the switch."""

    made: bool = False
    name: str = ""
    creates: int = 0
    tries: int = 0
    config_digest: str | None = None
    state: str | None = None


_DECODER: Final = msgspec.json.Decoder(Progress)


class Waits(Exception):
    """Nothing can be done with a runtime now; it is looked at again later."""


class LostLease(Exception):
    """Another replica may work on the move, or on the runtime: nothing may be done any longer."""


class MovingItem:
    """An item, and its changes under the lease of its move."""

    def __init__(self, store: MoveStore, holder: str, stored: StoredItem) -> None:
        self.stored = stored
        self.progress: Progress = _DECODER.decode(stored.details)
        self._store = store
        self._holder = holder

    def changed(self, progress: dict[str, Any], **fields: Any) -> StoredItem:
        """The item with other values, and other members of its progress, not written yet."""
        details = msgspec.json.encode(msgspec.structs.replace(self.progress, **progress)).decode()
        return msgspec.structs.replace(self.stored, details=details, **fields)

    async def put(self, progress: dict[str, Any], **fields: Any) -> None:
        """Write other values. Raises :class:`LostLease` and :class:`StoreUnavailable`."""
        changed = self.changed(progress, **fields)
        if changed == self.stored:
            return
        if not await self._store.change_move_item(changed, self._holder):
            raise LostLease
        self.take(changed)

    def take(self, stored: StoredItem) -> None:
        """The store has these values now."""
        self.stored, self.progress = stored, _DECODER.decode(stored.details)


def problem_of(error: GatewayError, more: str = "") -> Blocker:
    """An error, as an item shows it. It names no values."""
    pointer = next((each.pointer for each in error.errors if each.pointer is not None), None)
    return Blocker(code=error.code, detail=f"{error.detail}{more}", pointer=pointer)
