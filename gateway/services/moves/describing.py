"""Describes what a move of one runtime does: what it carries, changes and loses, and what prevents it."""

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from gateway.domain.errors import GatewayError, UnsupportedFeature, ValidationFailed
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import is_live
from gateway.domain.moves import Blocker, CreateMove, Lost, MoveSource, Semantics
from gateway.domain.ownership import outward
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.validation import field_errors
from gateway.domain.values import CreateFeature, Feature, State
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import SupportsDataPlane
from gateway.ports.semantics import Topic
from gateway.services.data_plane.service import DataPlane
from gateway.services.fleet import Fleet, Provider
from gateway.services.moves.documents import carried, changes, merged
from gateway.services.moves.map import MoveMap
from gateway.services.moves.planned import PlannedBinding, PlannedItem
from gateway.services.moves.reading import SourceFacts, SourceReader
from gateway.services.moves.recreating import PASSWORD, carry_state, place_saved_state, recreated, semantics_of
from gateway.services.moves.references import Mapped, References
from gateway.services.moves.runtimes import waits_until_idle
from gateway.services.provider_choice import Target, fit

_RUNS: Final = frozenset({State.STARTING, State.RUNNING})
_SECONDS: Final = 3600
_PLACE: Final = frozenset({"provider", "scope"})


@dataclass(frozen=True, slots=True)
class MoveBetween:
    """A move with its providers. ``taken`` are the names that runtimes at the target have, by scope; None: the create
    finds out. The same object is used for all runtimes of a move, because it remembers what the target was asked."""

    request: CreateMove
    source: Provider
    target: Provider
    references: References
    taken: Mapping[str, Collection[str | None]] | None = field(default=None, repr=False)

    def target_scope(self, source_scope: str) -> str:
        """The scope at the target for runtimes of a scope of the source; empty if the request names none."""
        mapped = self.request.mappings.scopes.get(source_scope) or self.request.target.scope
        return mapped or self.target.pinned_scope or ""


class Describer:
    """Describes runtimes. ``reader`` reads them at the source, ``plane`` is the data plane, if it is on. It writes
    nothing."""

    def __init__(self, fleet: Fleet, moves: MoveMap, reader: SourceReader, plane: DataPlane | None = None) -> None:
        self._fleet = fleet
        self._moves = moves
        self._reader = reader
        self._plane = plane

    def between(
        self, request: CreateMove, taken: Mapping[str, Collection[str | None]] | None = None
    ) -> MoveBetween | None:
        """The move of a request; None if one of its providers is not configured any longer."""
        source, target = self._fleet.get(request.source.provider), self._fleet.get(request.target.provider)
        if source is None or target is None:
            return None
        references = References(self._fleet, source, target, request.mappings)
        return MoveBetween(request, source, target, references, taken)

    async def read(
        self, move: MoveBetween, ref: RuntimeRef, ctx: RequestContext, listed: Runtime | None = None
    ) -> SourceFacts:
        """What is known of a runtime of the source now. Raises as any read there."""
        return await self._reader.read(move.source, ref, ctx, listed)

    async def describe(self, move: MoveBetween, facts: SourceFacts, ctx: RequestContext) -> PlannedItem:
        """What the move of a runtime does. Raises as reads at the target do."""
        runtime, source, target = facts.runtime, move.source.adapter, move.target.adapter
        before, unknown = recreated(facts, source)
        create, scope = deepcopy(before), move.target_scope(runtime.scope)
        if source.api != target.api:
            create.pop("provider_options", None)
        mapped = await move.references.map(create, scope, ctx)
        bindings = [binding async for binding in _bindings(move, facts, scope, mapped, ctx)]
        restored = place_saved_state(create, target, usable=not mapped.blocks("profile_ids"))
        own_state = await move.references.same_account(ctx) and carry_state(
            create, runtime, source, runs=runtime.state in _RUNS, waits=move.request.when != "now"
        )
        lost = list(_losses(runtime, move, restored=restored or own_state))
        lost += _dropped(create, target.features, target.api)
        for override in move.request.overrides:
            if selects(override.match, runtime, self._moves, config_labels(facts)):
                create = merged(create, override.patch)
        create |= {"kind": runtime.kind, "name": runtime.name, "provider": move.target.name, "scope": scope}
        starts = runtime.state in _RUNS
        blocked = [*mapped.blocked, *_source_blockers(move, runtime), *_misfits(move, create)]
        blocked += _idle_blockers(move.target, starts=starts)
        if PASSWORD in unknown and "password" not in ((create.get("launch") or {}).get("proxy") or {"password": ""}):
            detail = "The password of the proxy is not known; give it in an override."
            blocked.append(Blocker(code="required", detail=detail, pointer=PASSWORD))
        if move.taken is not None and runtime.name in move.taken.get(scope, ()):
            detail = f"{move.target.name} has a runtime of this name in {scope}."
            blocked.append(Blocker(code="name_conflict", detail=detail, pointer="#/on_name_conflict"))
        shown = {name: value for name, value in create.items() if name not in _PLACE}
        return PlannedItem(
            carries=[
                *carried(before, shown),
                *(["capabilities"] if bindings else []),
                *(["state"] if own_state else []),
            ],
            changes=changes(before, shown),
            semantics=_semantics(move),
            lost=lost,
            unknown=[*unknown, *mapped.unknown, *_unknown_rules(move), *_unknown_since(facts, source.features)],
            addresses=list(self._addresses(runtime, move)),
            double_run=_double_run(facts, move, starts=starts),
            blocked_by=blocked,
            target_scope=scope,
            create=create,
            starts=starts,
            bindings=bindings,
            owner=self._fleet.owners.owner_of(runtime),
            state=runtime.state,
            config_digest=facts.config.config_digest if facts.config else None,
            live=facts.live,
        )

    def _addresses(self, runtime: Runtime, move: MoveBetween) -> Iterator[str]:
        """The protocols in use, and what becomes of their addresses."""
        adapter = move.source.adapter
        if runtime.state not in _RUNS or not isinstance(adapter, SupportsDataPlane):
            return
        opened: list[str] = []
        if self._plane is not None:
            opened = [one.grant.protocol for one in self._plane.open.of(self._moves.shown_id(runtime))]
        for protocol in adapter.data_protocols:
            if self._plane is None:
                yield f"{protocol}: the provider's addresses end"
            else:
                count = opened.count(protocol)
                ended = f"; {count} open connections end at the switch" if count else ""
                yield f"{protocol}: the gateway's addresses continue{ended}"


def selects(match: MoveSource, runtime: Runtime, moves: MoveMap, labels: Mapping[str, str] | None) -> bool:
    """Whether a selector selects a runtime, as its provider names it. ``labels`` are its labels."""
    return (
        match.provider == runtime.provider
        and match.scope in {"", runtime.scope}
        and match.kind in {"", runtime.kind}
        and (not match.state or runtime.state in match.state)
        and match.name in {"", outward(runtime.name)}
        and all((labels or {}).get(name) == value for name, value in match.label.items())
        and (not match.ids or runtime.id in match.ids or moves.shown_id(runtime) in match.ids)
    )


def config_labels(facts: SourceFacts) -> Mapping[str, str] | None:
    """The labels of a runtime: those that its provider shows, else those in its config."""
    if facts.runtime.labels is not None or facts.config is None:
        return facts.runtime.labels
    return (facts.config.config.get("metadata") or {}).get("labels")


async def _bindings(move: MoveBetween, facts: SourceFacts, scope: str, mapped: Mapped, ctx: RequestContext) -> Any:
    for binding in facts.bindings or ():
        name = await move.references.capability(binding.name, scope, mapped, ctx)
        if name:
            yield PlannedBinding(name, binding.version, binding.enabled, binding.flags)


def _losses(runtime: Runtime, move: MoveBetween, *, restored: bool) -> Iterator[Lost]:
    semantics = semantics_of(move.source.adapter)
    for loss in () if semantics is None else semantics.losses(runtime):
        if loss.what != "logins" or not restored:
            yield loss
    after = move.request.source_after
    if after in {"reset", "delete"}:
        ends = "deleted, with all that it has" if after == "delete" else "reset, which discards its compute and disk"
        yield Lost(what="source", why=f"The source is {ends}, so a rollback cannot return to it as it was.")
    elif after == "stop" and Feature.START not in move.source.adapter.features:
        yield Lost(
            what="source", why="A stop ends it for good: only with source_after: keep can a rollback return to it."
        )


def _parsed(create: Mapping[str, Any]) -> CreateRequest | list[Blocker]:
    """The create as a request, or what is wrong with it."""
    model = CREATE_REQUESTS.get(create["kind"])
    if model is None:
        detail = f"No provider of this gateway creates runtimes of the kind {create['kind']}."
        return [Blocker(code="unsupported", detail=detail, pointer="#/kind")]
    try:
        return model.model_validate(dict(create))
    except ValidationError as exc:
        return [Blocker(code=error.code, detail=error.detail, pointer=error.pointer) for error in field_errors(exc)]


def _dropped(create: dict[str, Any], features: Collection[str], api: str) -> Iterator[Lost]:
    """Remove the members that the target has no equivalent for, and say which."""
    request = _parsed(create)
    for need in () if isinstance(request, list) else request.requirements():
        if need.any_of & frozenset(features):
            continue
        path = need.pointer.removeprefix("#/").removesuffix("/type").split("/")
        holder = create
        for name in path[:-1]:
            holder = holder[name]
        holder.pop(path[-1], None)
        yield Lost(what=need.pointer, why=f"{api} has no {' or '.join(sorted(need.any_of))}.")


def _misfits(move: MoveBetween, create: Mapping[str, Any]) -> list[Blocker]:
    """Why the target would refuse the create."""
    request = _parsed(create)
    if isinstance(request, list):
        return request
    found = fit(move.target, request)
    if not isinstance(found, Target):
        return [Blocker(code=m.error.code, detail=m.error.detail, pointer=m.error.pointer) for m in found]
    try:
        move.target.adapter.check_create(request)
    except (ValidationFailed, UnsupportedFeature) as refusal:
        return list(_blockers_of(refusal))
    return []


def _blockers_of(error: GatewayError) -> Iterator[Blocker]:
    if not error.errors:
        yield Blocker(code=error.code, detail=error.detail)
    for each in error.errors:
        yield Blocker(code=each.code, detail=each.detail, pointer=each.pointer)


def _source_blockers(move: MoveBetween, runtime: Runtime) -> Iterator[Blocker]:
    if not is_live(runtime.state) and Feature.START not in move.source.adapter.features:
        yield Blocker(code="ended", detail="The runtime has ended and cannot be started again.")
    if not runtime.may_be_own:
        yield Blocker(code="not_owned", detail="The runtime belongs to another user of the source's account.")


def _idle_blockers(target: Provider, *, starts: bool) -> Iterator[Blocker]:
    features = target.adapter.features
    if not starts and CreateFeature.CREATE_IDLE not in features and not {Feature.START, Feature.STOP} <= features:
        detail = (
            f"The runtime has no compute, and a create at {target.name} launches one that cannot be ended and kept."
        )
        yield Blocker(code="unsupported", detail=detail, pointer="#/start")


def _semantics(move: MoveBetween) -> list[Semantics]:
    source, target = (semantics_of(each.adapter) for each in (move.source, move.target))
    if source is None or target is None:
        return []
    return [
        Semantics(topic=topic, from_=source.rules[topic], to=target.rules[topic])
        for topic in Topic
        if source.rules[topic] != target.rules[topic]
    ]


def _unknown_since(facts: SourceFacts, features: Collection[str]) -> Iterator[str]:
    """What is not known if the source cannot be asked."""
    if facts.live:
        return
    if facts.bindings is None and Feature.CAPABILITY_BINDINGS in features:
        yield "capabilities"
    yield "changes since"


def _unknown_rules(move: MoveBetween) -> Iterator[str]:
    for provider in (move.source, move.target):
        if semantics_of(provider.adapter) is None:
            yield f"the semantics of {provider.adapter.api}"


def _double_run(facts: SourceFacts, move: MoveBetween, *, starts: bool) -> str | None:
    """For how long both run, and what that costs where the source reports it."""
    runtime = facts.runtime
    if facts.live and waits_until_idle(move.request.when, runtime.state):
        if Feature.START not in move.source.adapter.features:
            return "Never moves as planned: when it is idle, it has ended for good. Plan with when: now."
        meanwhile = ", and nothing new begins on it" if move.request.when == "drain" else ""
        return f"Has compute, so it waits until it is idle{meanwhile}. With when: now it moves while it runs."
    if not starts:
        if CreateFeature.CREATE_IDLE in move.target.adapter.features:
            return None
        return "The create launches it at the target, where it is stopped again."
    ends = "until the source is stopped" if move.request.source_after != "keep" else "until you stop the source"
    return f"Runs at both ends, from the start at the target {ends}{_rate(runtime)}."


def _rate(runtime: Runtime) -> str:
    instance = runtime.durable.instance if runtime.durable else None
    seconds = None if instance is None else instance.total_runtime_seconds
    if not seconds or runtime.cost is None or not runtime.cost.estimated_total_credits:
        return "; the source reports no cost"
    hourly = runtime.cost.estimated_total_credits * _SECONDS / seconds
    return f"; the source costs about {hourly:.0f} credits an hour"
