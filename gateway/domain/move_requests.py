"""The request bodies of moves (docs/moves.md)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.domain.requests import Name, ProviderName
from gateway.domain.validation import INTEGRAL, Input, optional

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
