"""Moves: runtimes go from one provider to another, and keep their ids, names and addresses (docs/moves.md)."""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field

from gateway.domain.requests import Name, ProviderName
from gateway.domain.runtime import Model
from gateway.domain.validation import INTEGRAL, Input, optional


class MoveState(StrEnum):
    """The state of a move."""

    PLANNING = "planning"
    PLANNED = "planned"
    APPLYING = "applying"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


WORKING: Final = frozenset({MoveState.PLANNING, MoveState.APPLYING, MoveState.ROLLING_BACK})
"""The states in which a replica works on a move."""

ANNOUNCED: Final = frozenset({MoveState.APPLYING, MoveState.PAUSED, MoveState.ROLLING_BACK})
"""The states in which writes to the runtimes of both providers go through their rows in the store."""


class ItemState(StrEnum):
    """The state of one runtime of a move."""

    PLANNED = "planned"
    BLOCKED = "blocked"
    MOVING = "moving"
    MOVED = "moved"
    FAILED = "failed"
    SKIPPED = "skipped"
    ROLLED_BACK = "rolled_back"


class Change(Model, frozen=True, kw_only=True):
    """A value that differs at the target. ``pointer`` leads into the create of the target. Secrets are not shown."""

    pointer: str
    from_: Any = msgspec.field(name="from", default=None)
    to: Any = None


class Semantics(Model, frozen=True, kw_only=True):
    """A rule of the providers that differs: the same call has another effect at the target."""

    topic: str
    from_: str = msgspec.field(name="from", default="")
    to: str = ""


class Lost(Model, frozen=True, kw_only=True):
    """What does not exist at the target, and why."""

    what: str
    why: str


class Blocker(Model, frozen=True, kw_only=True):
    """Why a runtime cannot be moved, and where that can be changed."""

    code: str
    detail: str
    pointer: str | None = None


class MovedTo(Model, frozen=True, kw_only=True):
    """Where a runtime goes, or is. ``id`` is the target's own form of its id, None before it exists."""

    provider: str
    scope: str
    provider_id: str | None = None
    id: str | None = None


class MoveItem(Model, frozen=True, kw_only=True):
    """One runtime of a move, as the API shows it. ``provider_id`` is the provider's id at the source. ``carries`` are
    the fields that are equal at the target; ``unknown`` are those that cannot be read at the source; ``addresses`` are
    the connections in use, and whether they end; ``double_run`` says for how long both run and what that costs.
    ``waits_for`` says what a moving item waits for; ``problem`` why it failed."""

    object: Literal["move_item"] = "move_item"
    runtime_id: str
    provider_id: str
    name: str | None
    kind: str
    state: ItemState
    carries: list[str] = []
    changes: list[Change] = []
    semantics: list[Semantics] = []
    lost: list[Lost] = []
    unknown: list[str] = []
    addresses: list[str] = []
    double_run: str | None = None
    blocked_by: list[Blocker] = []
    target: MovedTo | None = None
    waits_for: str | None = None
    problem: Blocker | None = None


class Move(Model, frozen=True, kw_only=True):
    """A move, as the API shows it. ``counts`` are the items by state. ``side_effects`` are what belongs to the account
    of the source and is not moved. ``request`` is the body of the plan, with references in place of secrets."""

    object: Literal["move"] = "move"
    id: str
    state: MoveState
    digest: str | None
    counts: dict[str, int]
    side_effects: list[str] = []
    request: dict[str, Any]
    principal: str
    problem: Blocker | None = None
    created_at: str
    updated_at: str


class MoveList(Model, frozen=True, kw_only=True):
    """A page of moves, newest first."""

    items: list[Move]
    next_cursor: str | None = None


class MoveItems(Model, frozen=True, kw_only=True):
    """A page of the items of a move, in the order of the plan."""

    items: list[MoveItem]
    next_cursor: str | None = None


_MAX: int = 10_000  # entries of one list or mapping
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_References = Annotated[dict[str, str], Field(max_length=_MAX)]


class MoveSource(Input):
    """Which runtimes to move: all of a provider, restricted by the other members."""

    provider: ProviderName
    scope: _Text = optional("")
    kind: _Text = optional("")
    state: list[_Text] = optional([])
    name: Name = optional("")
    label: Annotated[dict[str, str], Field(max_length=20)] = optional({})
    ids: Annotated[list[Annotated[str, Field(min_length=1, max_length=4200)]], Field(max_length=_MAX)] = optional([])


class MoveTarget(Input):
    """Where to."""

    provider: ProviderName
    scope: _Text = optional("")


class Mappings(Input):
    """What a reference at the source is called at the target."""

    secret_ids: _References = {}
    projects: _References = {}
    profile_ids: _References = {}
    extension_ids: _References = {}
    capabilities: _References = {}
    build_sources: _References = {}
    scopes: _References = {}


class Override(Input):
    """A JSON Merge Patch for the creates at the target of all runtimes that ``match`` selects."""

    match: MoveSource
    patch: dict[str, Any]


class CreateMove(Input):
    """Plan a move. A plan changes nothing."""

    source: MoveSource
    target: MoveTarget
    mappings: Mappings = Mappings.model_construct()
    overrides: Annotated[list[Override], Field(max_length=1000)] = []
    when: Literal["idle", "now", "drain"] = "idle"
    on_name_conflict: Literal["fail", "adopt"] = "fail"
    source_after: Literal["keep", "stop", "reset", "delete"] = "stop"
    concurrency: Annotated[int, Field(ge=1, le=64), INTEGRAL] = 4
    max_double_running: Annotated[int, Field(ge=1), INTEGRAL] | None = None
    stop_on_errors: Annotated[int, Field(ge=1), INTEGRAL] | None = None
    force: bool = False


class ApplyMove(Input):
    """Apply the plan that has this digest."""

    digest: Annotated[str, Field(min_length=1, max_length=100)]


class RollbackMove(Input):
    """Move back. ``sync_back``: copy what has changed at the target since; ``discard``: give it up."""

    dry_run: bool = False
    sync_back: Annotated[list[Literal["config", "capabilities"]], Field(max_length=2)] = []
    discard: bool = False
