"""What lets a create at the target of a move start from a saved state."""

from typing import Any

from gateway.domain.runtime import Runtime
from gateway.domain.values import CreateFeature
from gateway.ports.provider import ProviderAdapter
from gateway.ports.semantics import SupportsStateExport
from gateway.services.moves.recreating import semantics_of


def carry_state(
    create: dict[str, Any], runtime: Runtime, source: ProviderAdapter[Any], *, runs: bool, waits: bool
) -> bool:
    """Let the create start from the state of the runtime, in the same account, if its API has that. ``waits``: the move
    waits for the end of the run. Returns whether all of the state is carried: what a run has not saved is not."""
    semantics = semantics_of(source)
    if not isinstance(semantics, SupportsStateExport):
        return False
    saved = semantics.saved_state(runtime, ended=waits)
    for name, value in semantics.start_from(saved).items() if saved is not None else ():
        create[name] = {**(create.get(name) or {}), **value}
    return saved is not None and (waits or not runs)


def place_saved_state(create: dict[str, Any], target: ProviderAdapter[Any], *, usable: bool) -> bool:
    """Name a saved state as the target does, or leave it out if it is not ``usable`` there. Returns whether the create
    starts from one."""
    launch, semantics = create.get("launch") or {}, semantics_of(target)
    if launch.get("mode") != "profile":
        return False
    saved = launch.get("profile_id") if usable else None
    if saved and CreateFeature.LAUNCH_PROFILE in target.features:
        return True
    create["launch"] = {"mode": "ephemeral"}
    members = semantics.start_from(saved) if saved and semantics is not None else {}
    for name, value in members.items():
        create[name] = {**(create.get(name) or {}), **value}
    return bool(members)
