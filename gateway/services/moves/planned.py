"""One runtime of a plan: what is shown of it, what the mover needs to make it at the target, and how far the mover got,
which is written before and after every step, so that another replica can go on."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.moves import Blocker, Change, CreateMove, Lost, MovedTo, MoveItem, Semantics
from gateway.domain.values import State
from gateway.ports.moves import MoveStore, StoredItem, StoredMove
from gateway.ports.sealing import Cell, Sealer


class PlannedBinding(msgspec.Struct, frozen=True):
    """A capability that the runtime has at the target, under the name that it has there."""

    name: str
    version: str
    enabled: bool = True
    flags: dict[str, bool] | None = None


class PlannedItem(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan found about one runtime. The first part is that of :class:`MoveItem`.

    ``create`` is the body of the create at the target, with secrets; its name is the one at the provider, with the
    suffix of its owner, and the mark of the owner is not in it. ``starts``: the runtime has compute at the target
    afterwards; if it has none and the create launches, it is stopped again. ``bindings`` are the capabilities to
    install. ``owner`` is the owner where it is known. ``state`` and ``config_digest`` are those of the source when it
    was read. ``live`` False: the source could not be asked, so the plan is made from what is known of its create; then
    without ``bindings`` the capabilities are not known.
    """

    carries: Sequence[str] = ()
    changes: Sequence[Change] = ()
    semantics: Sequence[Semantics] = ()
    lost: Sequence[Lost] = ()
    unknown: Sequence[str] = ()
    addresses: Sequence[str] = ()
    double_run: str | None = None
    blocked_by: Sequence[Blocker] = ()
    target_scope: str
    create: dict[str, Any]
    starts: bool
    bindings: Sequence[PlannedBinding] = ()
    owner: str | None = None
    state: State
    config_digest: str | None = None
    live: bool = True

    @property
    def knows_bindings(self) -> bool:
        """Whether ``bindings`` are all capabilities of the runtime."""
        return self.live or bool(self.bindings)

    def __repr__(self) -> str:
        return f"PlannedItem({self.create.get('name')!r})"


class ItemProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What of ``StoredItem.details`` is shown. The mover may store more members there."""

    waits_for: str | None = None
    problem: Blocker | None = None


class MoveDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of ``StoredMove.details`` that are shown, or that a plan continues from: the cursor of the page that
    is read next in the scope of this number, and the position of the next item. ``kept``: it is a page of kept
    creates, because the source could not be asked. ``apply``: the move is applied as soon as it is planned."""

    side_effects: Sequence[str] = ()
    problem: Blocker | None = None
    scope: int = 0
    cursor: str | None = None
    position: int = 0
    kept: bool = False
    apply: bool = False


_PLANNED = msgspec.json.Decoder(PlannedItem)
_DETAILS = msgspec.json.Decoder(MoveDetails)
_PROGRESS = msgspec.json.Decoder(ItemProgress)


def sealed(planned: PlannedItem, move_id: str, position: int, sealer: Sealer) -> bytes:
    return sealer.seal(msgspec.json.encode(planned), _cell(move_id, position))


def unsealed(item: StoredItem, sealer: Sealer) -> PlannedItem:
    """The plan of a stored item. Raises :class:`gateway.ports.sealing.Unreadable`."""
    return _PLANNED.decode(sealer.unseal(item.plan, _cell(item.move_id, item.position)))


def sealed_request(request: CreateMove, move_id: str, sealer: Sealer) -> bytes:
    document = request.model_dump(mode="json", exclude_unset=True)
    return sealer.seal(msgspec.json.encode(document), Cell("moves", move_id, "request"))


def request_of(move: StoredMove, sealer: Sealer) -> CreateMove:
    """The request of a stored move. Raises :class:`gateway.ports.sealing.Unreadable`."""
    return CreateMove.model_validate_json(sealer.unseal(move.request, Cell("moves", move.id, "request")))


def details_of(move: StoredMove) -> MoveDetails:
    return _DETAILS.decode(move.details)


def item_view(item: StoredItem, planned: PlannedItem, target: str) -> MoveItem:
    """An item as the API shows it. ``target`` is the name of the provider at the target."""
    progress = _PROGRESS.decode(item.details)
    shown: dict[str, Any] = {
        name: list(getattr(planned, name))
        for name in ("carries", "changes", "semantics", "lost", "unknown", "addresses", "blocked_by")
    }
    return MoveItem(
        runtime_id=item.runtime_id,
        provider_id=item.provider_id,
        name=item.name,
        kind=item.kind,
        state=item.state,
        double_run=planned.double_run,
        target=MovedTo(
            provider=target,
            scope=item.target_scope or planned.target_scope,
            provider_id=item.target_id,
            id=item.target_runtime_id,
        ),
        waits_for=progress.waits_for,
        problem=progress.problem,
        **shown,
    )


def _cell(move_id: str, position: int) -> Cell:
    return Cell("move_items", f"{move_id}/{position}", "plan")


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
