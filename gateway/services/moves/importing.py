"""Imports runtimes: keeps what would make them, and moves them from there as from a source that cannot be reached."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from gateway.domain.errors import (
    FieldError,
    GatewayError,
    NotFound,
    PermissionDenied,
    RuntimeReplaced,
    ValidationFailed,
    pointer,
)
from gateway.domain.exports import Import, ImportedRuntime, ImportRuntimes, RefusedImport
from gateway.domain.ids import RuntimeRef, format_runtime_id, parse_runtime_id
from gateway.domain.intents import namespace_of
from gateway.domain.moves import Blocker, CreateMove, MoveSource, MoveTarget
from gateway.domain.ownership import suffix_in, suffix_of
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.runtime import CapabilityBinding
from gateway.domain.validation import validate
from gateway.domain.values import Operation, State
from gateway.ports.context import RequestContext
from gateway.ports.moves import KeptCreateStore, StoredCreate
from gateway.ports.sealing import Sealer
from gateway.services.fleet import Fleet, Provider
from gateway.services.moves.documents import filled
from gateway.services.moves.reading import UNREACHABLE, ImportedCreate, cell_of_import
from gateway.services.moves.service import MoveService

AT_ONCE: Final = 8
"""Runtimes that are looked for at their source at the same time."""


class _Refused(Exception):
    """A line that cannot be imported."""

    def __init__(self, code: str, detail: str, at: str) -> None:
        super().__init__(detail)
        self.problem = Blocker(code=code, detail=detail, pointer=at)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that can be imported: its source, its address there, and its create with secrets."""

    runtime: ImportedRuntime
    provider: Provider
    ref: RuntimeRef
    create: dict[str, Any]

    @property
    def id(self) -> str:
        """The id that its provider gives it."""
        return format_runtime_id(self.provider.name, self.provider.adapter.format_reference(self.ref))


@dataclass(frozen=True, slots=True)
class ImportService:
    fleet: Fleet
    store: KeptCreateStore
    sealer: Sealer
    plans: MoveService

    async def run(self, request: ImportRuntimes, ctx: RequestContext) -> Import:
        """Keep the creates, and plan a move of their runtimes.

        Raises :class:`ValidationFailed` for references without a value, for a target that cannot be, and if all lines
        are refused; :class:`StoreUnavailable`."""
        if ctx.principal.confined:
            raise PermissionDenied("A caller that sees only some runtimes cannot import any.")
        missing: set[str] = set()
        creates = [filled(runtime.create, request.secrets, missing) for runtime in request.runtimes]
        if missing:
            faults = [FieldError("There is no value.", "required", pointer=pointer("secrets", n)) for n in missing]
            faults.sort(key=lambda fault: fault.pointer or "")
            raise ValidationFailed(f"{len(faults)} references have no value in secrets.", errors=faults[:100])
        limit = asyncio.Semaphore(AT_ONCE)

        async def checked(index: int, runtime: ImportedRuntime) -> _Line | RefusedImport:
            try:
                line = self._checked(runtime, creates[index], index)
                async with limit:
                    await self._refuse_existing(line, index, ctx)
            except _Refused as refused:
                return RefusedImport(id=runtime.id, problem=refused.problem)
            return line

        found = await asyncio.gather(*(checked(*entry) for entry in enumerate(request.runtimes)))
        lines = [one for one in found if isinstance(one, _Line)]
        refused = [one for one in found if isinstance(one, RefusedImport)]
        if not lines:
            errors = [FieldError(r.problem.detail, r.problem.code, pointer=r.problem.pointer) for r in refused[:100]]
            raise ValidationFailed("None of these runtimes can be imported.", errors=errors)
        plan = self._plan(request, [line.id for line in lines])
        for line in lines:
            await self._keep(line)
        return Import(move=await self.plans.plan(plan, ctx, apply=not request.dry_run), refused=refused)

    def _plan(self, request: ImportRuntimes, ids: list[str]) -> CreateMove:
        """The request of the move. Raises :class:`ValidationFailed` for a target that cannot be."""
        target = {"provider": request.provider, **({"scope": request.scope} if request.scope else {})}
        plan = CreateMove(
            source=MoveSource(provider=request.runtimes[0].provider, ids=ids),
            target=MoveTarget(**target),
            mappings=request.mappings,
            when="now",
            on_name_conflict=request.on_name_conflict,
            source_after="keep",
        )
        try:
            self.plans.require_possible(plan)
        except ValidationFailed as refusal:  # about the target, whose members have other places here
            faults = [replace(fault, pointer=_here(fault.pointer)) for fault in refusal.errors]
            raise ValidationFailed(f"{faults[0].pointer}: {faults[0].detail}", errors=faults) from refusal
        return plan

    def _checked(self, runtime: ImportedRuntime, create: Mapping[str, Any], index: int) -> _Line:
        """A line whose members fit to each other. Raises :class:`_Refused`."""
        at = ("runtimes", index)
        provider = self.fleet.get(runtime.provider)
        if provider is None:
            detail = (
                f"This gateway has no provider {runtime.provider}; it has to be configured, also if it is unreachable."
            )
            raise _Refused("provider_not_configured", detail, pointer(*at, "provider"))
        known = _create_of(runtime, create, at)
        ref = RuntimeRef(runtime.scope, runtime.provider_id, known.name)
        try:
            scope = provider.adapter.parse_scope(runtime.scope)
            _, reference = parse_runtime_id(format_runtime_id(provider.name, provider.adapter.format_reference(ref)))
            parsed = provider.adapter.parse_reference(reference)
        except (ValueError, NotFound) as exc:
            raise _Refused("invalid", f"{provider.name} has no such ids.", pointer(*at, "provider_id")) from exc
        if scope != runtime.scope or (parsed.scope, parsed.provider_id) != (ref.scope, ref.provider_id):
            raise _Refused("invalid", f"{provider.name} has no such scope or id.", pointer(*at, "scope"))
        gone = self.fleet.moves.of_source(provider.name, runtime.provider_id)
        if gone is not None:
            raise _Refused("moved", f"The runtime has moved to {gone.target_runtime_id}.", pointer(*at, "id"))
        return _Line(runtime, provider, ref, {**create, "name": known.name})

    async def _refuse_existing(self, line: _Line, index: int, ctx: RequestContext) -> None:
        """Refuse a runtime that its provider still has."""
        try:
            async with self.fleet.call_scope(line.provider, Operation.GET, ctx) as call:
                await line.provider.adapter.get(line.ref, call)
        except (NotFound, RuntimeReplaced, *UNREACHABLE):
            return
        except GatewayError as error:
            raise _Refused(error.code, error.detail, pointer("runtimes", index, "provider")) from error
        detail = f"{line.provider.name} still has this runtime: plan a move of it instead."
        raise _Refused("already_exists", detail, pointer("runtimes", index, "id"))

    async def _keep(self, line: _Line) -> None:
        runtime, adapter, name = line.runtime, line.provider.adapter, line.create["name"]
        if runtime.owner is not None and suffix_in(name) == suffix_of(runtime.owner):
            self.fleet.owners.learn(runtime.owner)
        imported = ImportedCreate(
            create=line.create,
            bindings=None if runtime.bindings is None else list(_bindings(runtime)),
            state=State(runtime.state) if runtime.state in {*State} else State.UNKNOWN,
        )
        cell = cell_of_import(line.provider.name, runtime.provider_id)
        await self.store.keep_create(
            StoredCreate(
                provider=line.provider.name,
                runtime_id=runtime.provider_id,
                scope=runtime.scope,
                kind=runtime.kind,
                name=name,
                namespace=namespace_of(adapter.api, adapter.settings.address, "", runtime.scope),
                intent_id="",
                principal=runtime.owner or "",
                created_at=0.0,
                request=self.sealer.seal(msgspec.json.encode(imported), cell),
            )
        )


def _here(at: str | None) -> str:
    """A pointer into the request of a plan, as one into that of an import."""
    return (at or "#").replace("#/target/", "#/").replace("#/target", "#/provider")


def _create_of(runtime: ImportedRuntime, create: Mapping[str, Any], at: tuple[str | int, ...]) -> CreateRequest:
    """The create of a line. Raises :class:`_Refused` at its first fault."""
    model = CREATE_REQUESTS.get(runtime.kind)
    if model is None:
        raise _Refused("unsupported", f"Runtimes of the kind {runtime.kind} cannot be created.", pointer(*at, "kind"))
    try:
        known: CreateRequest = validate(model, create, (*at, "create"))
    except ValidationFailed as exc:
        fault = exc.errors[0]
        raise _Refused(fault.code, fault.detail, fault.pointer or pointer(*at, "create")) from exc
    if not known.sent("name"):
        raise _Refused("required", "This field is required.", pointer(*at, "create", "name"))
    return known


def _bindings(runtime: ImportedRuntime) -> Iterator[CapabilityBinding]:
    for one in runtime.bindings or ():
        flags = None if one.flags is None else dict(one.flags)
        yield CapabilityBinding(
            id=one.id, name=one.name, version=one.version, enabled=one.enabled, artifact_id=one.artifact_id, flags=flags
        )
