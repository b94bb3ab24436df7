"""What has changed at the target since a runtime was switched, which a rollback would lose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.config import RuntimeConfig
from gateway.domain.differences import config_of
from gateway.domain.moves import Change
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Runtime
from gateway.ports.context import RequestContext
from gateway.services.moves.documents import changes
from gateway.services.moves.planned import PlannedBinding, PlannedItem
from gateway.services.moves.progress import Progress
from gateway.services.moves.runtimes import MovedRuntimes, Place, differing_bindings


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """A runtime at the target, and what of it has changed since the switch. ``patch`` is what has changed in its
    config, as a JSON Merge Patch."""

    runtime: Runtime
    bindings: Sequence[PlannedBinding]
    patch: Mapping[str, Any]
    config: Sequence[Change]
    capabilities: Sequence[Change]
    state: Sequence[Change]

    @property
    def changes(self) -> list[Change]:
        """All of it."""
        return [*self.config, *self.capabilities, *self.state]


async def diverged(
    runtimes: MovedRuntimes,
    at: Place,
    planned: PlannedItem,
    request: CreateRequest,
    progress: Progress,
    ctx: RequestContext,
) -> Divergence:
    """Compare a runtime with what it was at the switch. Raises as any read does."""
    runtime = await runtimes.read(at, ctx)
    patch, config = _config(config_of(request), await runtimes.config(at, ctx), progress)
    known = await runtimes.bindings(at, ctx)
    state = []
    if progress.state not in {None, runtime.state.value}:
        state.append(Change(pointer="#/state", from_=progress.state, to=runtime.state.value))
    return Divergence(
        runtime=runtime,
        bindings=[PlannedBinding(one.name, one.version, one.enabled, one.flags) for one in known],
        patch=patch,
        config=config,
        capabilities=_capabilities(planned.bindings, known) if planned.knows_bindings else [],
        state=state,
    )


def _config(
    made: RuntimeConfig | None, known: ConfigDocument | None, progress: Progress
) -> tuple[Mapping[str, Any], list[Change]]:
    if known is None or known.config_digest == progress.config_digest:
        return {}, []
    before = {} if made is None else made.model_dump(exclude_none=True)
    after = RuntimeConfig.model_validate(known.config).model_dump(exclude_none=True)
    found = changes({"config": before}, {"config": after})
    digests = Change(pointer="#/config", from_=progress.config_digest, to=known.config_digest)
    return patch_of(before, after), found or [digests]


def _capabilities(wanted: Sequence[PlannedBinding], known: Sequence[CapabilityBinding]) -> list[Change]:
    before = {one.name: one.version for one in wanted}
    after = {one.name: one.version for one in known}
    names = {where: where.rpartition("/")[2] for where in differing_bindings(wanted, known)}
    return [Change(pointer=where, from_=before.get(name), to=after.get(name)) for where, name in names.items()]


def patch_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Merge Patch (RFC 7396) that makes one document of another."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if inner := patch_of(old, value):
                patch[name] = inner
        elif old != value or name not in before:
            patch[name] = value
    return patch
