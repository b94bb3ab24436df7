"""The store's interface for moves: their plans, the rows that writes go through meanwhile, and where runtimes have gone
(docs/moves.md); and for kept creates, which serve moves whose source cannot be reached. The rules of
:mod:`gateway.ports.store` apply."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from random import getrandbits
from typing import ClassVar, NamedTuple

import msgspec

from gateway.domain.moves import ItemState, MoveState


class StoredMove(msgspec.Struct, frozen=True, kw_only=True):
    """A move. ``request`` is the sealed body of the plan. ``source_scope`` None: all scopes. ``details`` is JSON that
    belongs to the state (side effects, problem, progress of the plan). ``announced_at``: since when all replicas are
    told to let writes go through the rows. ``holder`` works on it until ``lease_until``."""

    id: str
    state: MoveState
    principal: str
    source: str
    source_scope: str | None
    target: str
    request: bytes
    digest: str | None = None
    details: str = "{}"
    announced_at: float | None = None
    holder: str | None = None
    lease_until: float | None = None
    created_at: float = 0.0
    updated_at: float = 0.0


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime of a move. ``position`` is its place in the plan. ``provider_id`` is the provider's id at the source,
    ``runtime_id`` the id that clients use. ``plan`` is sealed: what the plan found, and the create at the target.
    ``step`` is how far the mover got, and ``details`` JSON for it. ``target_*`` are None until the runtime exists
    there."""

    move_id: str
    position: int
    provider: str
    scope: str
    provider_id: str
    runtime_id: str
    name: str | None
    kind: str
    state: ItemState
    plan: bytes
    step: str = ""
    details: str = "{}"
    target_scope: str | None = None
    target_id: str | None = None
    target_runtime_id: str | None = None


class Relocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a runtime has gone: from ``source`` (a provider), where the provider's id was ``source_id``, to ``target``.

    ``runtime_id`` is the id that clients use: that of the place where it was first. ``source_runtime_id`` and
    ``target_runtime_id`` are the ids that the two places give it. ``target_name`` is the name in its address there
    (:class:`gateway.domain.ids.RuntimeRef`). ``target_instance`` continues ``source_instance``. ``removed``: it applies
    no longer, because the runtime is back; its instances still do, if the runtime was started again. ``change`` is the
    number of the change of the store that wrote it; of several relocations to one place, that of the last switch has
    the highest one.
    """

    source: str
    source_scope: str
    source_id: str
    source_runtime_id: str
    name: str | None
    kind: str
    target: str
    target_scope: str
    target_id: str
    target_name: str | None
    target_runtime_id: str
    runtime_id: str
    source_instance: str | None = None
    target_instance: str | None = None
    move_id: str = ""
    removed: bool = False
    change: int = 0

    @property
    def continues(self) -> bool:
        """Whether another instance continues that of the source."""
        return None not in (self.source_instance, self.target_instance) and self.source_instance != self.target_instance


class Arriving(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime that an announced move creates at its target, or has created and not switched to yet. ``name`` is its
    name there; ``provider_id`` is None until it is known."""

    provider: str
    scope: str
    kind: str
    name: str
    provider_id: str | None = None


class Relocations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has changed. ``whole``: ``rows`` are all that apply or continue an instance. ``active`` are the providers of
    announced moves, ``arriving`` what these make; where it contains a runtime that ``rows`` contain too, it has been
    switched since."""

    change: int
    active: Sequence[str]
    rows: Sequence[Relocation]
    whole: bool
    arriving: Sequence[Arriving] = ()


class MoveStore(ABC):
    """Stores moves and their items, the rows of runtimes that are moving, and relocations. ``shared``: several replicas
    may use it, some of which may be cut off from it."""

    shared: ClassVar[bool] = False

    @abstractmethod
    async def add_move(self, move: StoredMove) -> StoredMove:
        """Insert a move. Repeated: the stored one."""

    @abstractmethod
    async def get_move(self, move_id: str) -> StoredMove | None:
        """One move, or None."""

    @abstractmethod
    async def list_moves(self, limit: int, before: str | None = None) -> Sequence[StoredMove]:
        """A page of moves, newest first, with ids below ``before``."""

    @abstractmethod
    async def claim_moves(self, holder: str, lease: float, states: Collection[MoveState]) -> Sequence[StoredMove]:
        """Take or renew the lease of all moves in these states that no other holder has."""

    @abstractmethod
    async def change_move(
        self,
        move_id: str,
        states: Collection[MoveState],
        *,
        state: MoveState | None = None,
        digest: str | None = None,
        details: str | None = None,
        holder: str | None = None,
    ) -> StoredMove | None:
        """Change a move that is in one of ``states`` and, if ``holder`` is given, whose lease that holder has. Entering
        a state of ``ANNOUNCED`` from another one sets ``announced_at``; leaving ``WORKING`` ends the lease. None, and
        no change, otherwise."""

    @abstractmethod
    async def add_move_items(self, items: Sequence[StoredItem], holder: str) -> bool:
        """Insert items of one move, or replace those at the same positions, if the holder has its lease. False, and no
        change, otherwise."""

    @abstractmethod
    async def move_items(
        self, move_id: str, *, states: Collection[ItemState] = (), after: int = -1, limit: int = 100
    ) -> Sequence[StoredItem]:
        """A page of items in these states (none: all), with positions above ``after``."""

    @abstractmethod
    async def count_move_items(self, move_id: str) -> Mapping[ItemState, int]:
        """The numbers of items by state."""

    @abstractmethod
    async def change_move_item(self, item: StoredItem, holder: str) -> bool:
        """Replace an item, if the holder has the lease of its move. False, and no change, otherwise."""

    @abstractmethod
    async def enter_write(self, provider: str, keys: Collection[str], writer: str, seconds: float) -> bool:
        """Before a write to a runtime of a provider of an announced move: register the writer in the rows of ``keys``
        (the provider's id of the runtime, or ``name:`` and its name at the provider) for at most ``seconds``. False,
        and no change, while a mover holds one of them, and after the runtime has gone from there: the caller does not
        know it yet."""

    @abstractmethod
    async def leave_write(self, provider: str, keys: Collection[str], writer: str) -> None:
        """The write has ended."""

    @abstractmethod
    async def hold_runtime(self, provider: str, keys: Collection[str], mover: str, seconds: float) -> float | None:
        """Hold the rows of a runtime, or hold them longer, so that no writer enters. Returns for how many seconds
        writers may still be under way; 0 if none is. None: another mover holds them."""

    @abstractmethod
    async def release_runtime(self, provider: str, keys: Collection[str], mover: str) -> None:
        """Let writers enter again."""

    @abstractmethod
    async def switch_runtime(
        self, item: StoredItem, relocation: Relocation, holder: str, keys: Collection[str]
    ) -> Relocation | None:
        """In one transaction: the runtime is at the target from now on. Owner assignment, place and planned end go with
        it; earlier relocations that lead to the source lead to the target now; one that led from the target is removed;
        ``item`` is stored as given, and the rows of ``keys`` are released. ``runtime_id`` of the result is that of the
        first place. None, and no change, unless the holder has the lease of the move and holds the rows. Repeated: the
        same result."""

    @abstractmethod
    async def relocations(self, since: int) -> Relocations:
        """The relocations that have changed since a change, including removed ones; all without removed ones if
        ``since`` is 0 or unknown to this store."""


def new_move_id(now: float) -> str:
    """The id of a move. Ids are ordered by time (seconds since the epoch)."""
    return f"mv_{max(0, int(now * 1000)):012x}{getrandbits(48):012x}"


class StoredCreate(msgspec.Struct, frozen=True, kw_only=True):
    """The create of a runtime. ``request`` is as it is sealed in the intent ``intent_id``, or, if that is empty, the
    sealed line of an import. ``config`` is the sealed document of the last config that replaced the one of the create,
    if any."""

    provider: str
    runtime_id: str
    scope: str
    kind: str
    name: str
    namespace: str
    intent_id: str
    principal: str
    created_at: float
    request: bytes
    config: bytes | None = None


class StoredSpec(NamedTuple):
    """What was sent in the create of a runtime and its provider does not report, sealed."""

    namespace: str
    runtime_id: str
    sealed: bytes


class KeptCreateStore(ABC):
    """Stores the creates of runtimes: in their intents, and after those are purged in a table of their own."""

    @abstractmethod
    async def kept_creates(
        self, provider: str, *, scope: str | None = None, only: str | None = None, after: str = "", limit: int = 500
    ) -> Sequence[StoredCreate]:
        """A page of the creates, whose requests are kept, of runtimes of a provider (by its configured name), in the
        order of their ids, above ``after``; one for each runtime, the newest. ``only`` is one id. Without
        those of :meth:`drop_kept_create`."""

    @abstractmethod
    async def keep_create(self, create: StoredCreate) -> None:
        """Store a create that was imported, in place of what is known of its runtime. Its ``created_at`` is the time of
        the import."""

    @abstractmethod
    async def keep_config(self, provider: str, runtime_id: str, scope: str, sealed: bytes) -> None:
        """Store the config that replaced the one of the runtime's create, or a later one."""

    @abstractmethod
    async def drop_kept_create(self, provider: str, runtime_id: str) -> None:
        """The runtime was deleted: its create is not listed any longer, also if its intent ends later. An
        imported create is not dropped: it is one of a runtime that is gone."""
